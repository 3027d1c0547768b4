//! The `ledger` section of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exchange::OnFailure;
use crate::units::{Period, Size};

/// The smallest segment that makes sense: files, not entries, would be the cost below it.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Offsets in an index are 32 bits wide.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The least that one prediction needs: its `begin` and its `prediction`.
const QUEUE_ENTRIES_MIN: u64 = 2;
/// Room for the largest entry.
const QUEUE_BYTES_MIN: u64 = 128 * 1024;

/// What an entry waits for before the answer that it records may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing: the entry is in a bounded queue. Survives an orderly stop.
    Queue,
    /// The entry handed to the kernel. Survives the process being killed.
    #[default]
    Write,
    /// `fdatasync` of the group that it is in. Survives power loss.
    Sync,
}

/// The `ledger` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LedgerConfig"))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data directory: segments are in its `ledger` folder, the lock beside that. Fixed at run time.
    pub dir: PathBuf,
    /// What an entry waits for.
    pub durability: Durability,
    /// What happens to predictions that the ledger cannot take.
    pub on_failure: OnFailure,
    /// The longest that an entry stays off stable storage.
    pub sync_interval: Period,
    /// Bytes of a segment, allocated ahead.
    pub segment_size: Size,
    /// Entries reserved or waiting to be written, at most; two for each prediction in flight.
    pub queue_entries: u64,
    /// Bytes waiting to be written, at most. What is in flight when it is reached may still come on top.
    pub queue_bytes: Size,
    /// The largest answer that is held until its entry is recorded; larger ones stream.
    pub hold_limit: Size,
    /// The Ed25519 key that signs checkpoints, PKCS #8 in PEM. Without one, `signing-key.pem` in the data directory is
    /// used, and made where there is none. Fixed at run time.
    pub signing_key: Option<PathBuf>,
    /// Whether checkpoints are signed with ML-DSA-44 (FIPS 204) too, by the key in `signing-key.ml-dsa-44.pem` beside
    /// the other. Fixed at run time.
    pub ml_dsa_44: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("./touchmark-data"),
            durability: Durability::default(),
            on_failure: OnFailure::default(),
            sync_interval: Period::secs(1),
            segment_size: Size(64 << 20),
            queue_entries: 65_536,
            queue_bytes: Size(64 << 20),
            hold_limit: Size(64 << 10),
            signing_key: None,
            ml_dsa_44: false,
        }
    }
}

impl Config {
    /// Everything that is wrong by meaning, each with its key, its value and the mend.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (min, max) = (Size(SEGMENT_BYTES_MIN), Size(SEGMENT_BYTES_MAX));
        if !(min.0..=max.0).contains(&self.segment_size.0) {
            let size = self.segment_size;
            problems.push(format!("ledger.segment_size: {size} is out of range, take {min} to {max}"));
        }
        if self.sync_interval.limit().is_none() {
            problems.push("ledger.sync_interval: 0s would never sync, take 1s".to_owned());
        }
        if self.queue_entries < QUEUE_ENTRIES_MIN {
            let entries = self.queue_entries;
            problems.push(format!("ledger.queue_entries: {entries} holds no prediction, take at least 2"));
        }
        if self.queue_bytes.0 < QUEUE_BYTES_MIN {
            let (bytes, min) = (self.queue_bytes, Size(QUEUE_BYTES_MIN));
            problems.push(format!("ledger.queue_bytes: {bytes} is too small, take at least {min}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_named() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let bad =
            Config { segment_size: Size(5), sync_interval: Period::secs(0), queue_entries: 1, ..Config::default() };
        assert_eq!(bad.problems().len(), 3);
    }

    #[test]
    fn what_is_written_reads_back() {
        let json = serde_json::to_string(&Config::default()).unwrap();
        assert!(json.contains("\"durability\":\"write\""));
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), Config::default());
        assert!(serde_json::from_str::<Config>("{\"durable\":true}").is_err());
    }
}
