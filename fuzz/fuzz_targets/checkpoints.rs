//! Any text as a checkpoint: read or refused, written as read but for its extension lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use touchmark::tlog::Checkpoint;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(checkpoint) = Checkpoint::parse(text) else { return };
    let written = checkpoint.to_string();
    assert!(text.starts_with(&written), "{written:?}");
    assert!(!text.contains("\n\n") && text.ends_with('\n'));
    assert_eq!(Checkpoint::parse(&written), Ok(checkpoint));
});
