//! What no proxy can do for less on this machine: a hash of the body, a sync of the disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use rustix::fs::{FallocateFlags, fallocate};
use touchmark::sha256::Sha256;

use crate::support::{body, quantile};

/// Bytes of one ledger entry, about.
const ENTRY_BYTES: usize = 900;
/// Bytes of a segment, about.
const ALLOCATED_BYTES: u64 = 64 << 20;

/// A file that is synced a few times in each round, since a disk's mood changes.
pub(crate) struct Disk {
    file: File,
    micros: Vec<f64>,
}

impl Disk {
    /// A file on the disk that the ledgers are on.
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("fdatasync");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        // Allocated ahead, as a ledger's segments are: where nothing is, a sync has more to write.
        fallocate(&file, FallocateFlags::empty(), 0, ALLOCATED_BYTES).context("allocating a file")?;
        file.sync_all()?;
        Ok(Self { file, micros: Vec::new() })
    }

    /// Appends an entry's bytes and syncs, so many times.
    pub(crate) fn sync(&mut self, times: usize) -> anyhow::Result<()> {
        for _ in 0..times {
            self.file.write_all(&[b'x'; ENTRY_BYTES])?;
            let start = Instant::now();
            self.file.sync_data()?;
            self.micros.push(micros_since(start));
        }
        Ok(())
    }

    /// The median of all syncs, in µs.
    pub(crate) fn p50_micros(&mut self) -> Option<f64> {
        quantile(&mut self.micros, 0.5)
    }
}

/// SHA-256 of a body of so many bytes, in µs: the median of many.
pub(crate) fn sha256_micros(bytes: usize) -> Option<f64> {
    const TIMES: usize = 300;
    let body = body(bytes);
    let mut micros: Vec<f64> = (0..TIMES)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(Sha256::digest(std::hint::black_box(&body)));
            micros_since(start)
        })
        .collect();
    quantile(&mut micros, 0.5)
}

fn micros_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}
