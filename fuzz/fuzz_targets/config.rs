//! Any file as a configuration: taken, or refused with everything that is wrong and where it stands.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::config::{ConfigError, Source};
use touchmark_fuzz::scratch;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("config").join("touchmark.yaml"));

fuzz_target!(|input: &[u8]| {
    std::fs::write(&*FILE, input).expect("the file");
    match Source::file(&*FILE).load() {
        Ok(config) => assert!(!config.backends.is_empty()),
        Err(ConfigError::Wrong(problems)) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.problem.is_empty()));
        }
        // What is no text, or too long.
        Err(ConfigError::Read { .. }) => {}
    }
});
