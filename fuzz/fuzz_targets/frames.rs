//! Any segment as what a crash or a bad disk left: readers and recovery end, and lose nothing that was committed.
//!
//! The input writes frames with checksums that fit, since damaged ones would never get beyond the first, and damage.
#![no_main]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use touchmark::ledger::read::{Query, Reader};
use touchmark::ledger::{Config, Ledger, Origin};
use touchmark::telemetry::Metrics;
use touchmark::units::Size;
use touchmark_fuzz::{Segment, scratch};

static DATA: LazyLock<PathBuf> = LazyLock::new(|| scratch("frames"));
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));

fuzz_target!(|input: &[u8]| {
    let folder = DATA.join("ledger");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let segment = Segment::scripted(input);
    std::fs::write(folder.join("seg-00000000000000000000.log"), &segment.bytes).expect("a segment");
    let before = read(&DATA);
    for _ in 0..2 {
        let Ok(ledger) = open(&DATA) else { return };
        ledger.close().expect("a healthy disk");
    }
    let after = read(&DATA);
    for (entry, count) in before.into_iter().filter(|_| segment.dense) {
        assert!(
            after.get(&entry).is_some_and(|now| *now >= count),
            "recovery lost {:?}",
            String::from_utf8_lossy(&entry)
        );
    }
});

fn open(data: &Path) -> Result<Ledger, touchmark::ledger::OpenError> {
    let config = Config { dir: data.to_owned(), segment_size: Size(1 << 20), ..Config::default() };
    let origin = Origin { deployment: "fuzz".to_owned(), instance: "0".to_owned() };
    Ledger::open(&config, &origin, &METRICS)
}

/// Every entry that a reader finds, and how often.
fn read(data: &Path) -> HashMap<Vec<u8>, usize> {
    let mut entries = HashMap::new();
    let Ok(reader) = Reader::open(data) else { return entries };
    for found in reader.find(&Query::default()).flatten() {
        *entries.entry(found.entry).or_default() += 1;
    }
    entries
}
