//! The `ledger` section of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exchange::OnFailure;
use crate::tlog::{Scheme, VerifierKey};
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

/// The most witnesses: a checkpoint with all of their signatures must fit a frame.
const WITNESSES_MAX: usize = 16;

/// A witness that cosigns checkpoints (C2SP tlog-witness).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Its submission prefix, `http://` or `https://`.
    pub url: String,
    /// Its verifier key, `NAME+ID+BASE64`.
    pub key: String,
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
    /// Whether held answers carry `X-Lineage-Receipt`, a signed promise to show their entry. Fixed at run time.
    pub receipt: bool,
    /// Who cosigns checkpoints. Fixed at run time.
    pub witnesses: Vec<WitnessConfig>,
    /// The least between two checkpoints for the same witness.
    pub witness_interval: Period,
    /// A directory on another volume where the newest checkpoint is kept too; at a start the log must still lead to it.
    /// Fixed at run time.
    pub anchor: Option<PathBuf>,
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
            receipt: false,
            witnesses: Vec::new(),
            witness_interval: Period::secs(10),
            anchor: None,
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
        if self.witnesses.len() > WITNESSES_MAX {
            let count = self.witnesses.len();
            problems.push(format!("ledger.witnesses: {count} are too many, take at most {WITNESSES_MAX}"));
        }
        for (at, witness) in self.witnesses.iter().enumerate() {
            let uri = witness.url.parse::<http::Uri>();
            if !uri.is_ok_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))) {
                let url = &witness.url;
                problems.push(format!("ledger.witnesses[{at}].url: {url:?} must be an http:// or https:// URL"));
            }
            match witness.key.parse::<VerifierKey>() {
                Ok(key) if key.scheme() != Scheme::Ed25519 => {}
                Ok(_) => problems.push(format!(
                    "ledger.witnesses[{at}].key: it signs notes and does not cosign; take the key that the witness prints"
                )),
                Err(error) => problems.push(format!("ledger.witnesses[{at}].key: {error}")),
            }
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
        let witness = |url: &str, key: &str| WitnessConfig { url: url.to_owned(), key: key.to_owned() };
        let note_key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let witnesses = vec![witness("ftp://w", "junk"), witness("http://w:1/x", note_key)];
        let problems = Config { witnesses, ..Config::default() }.problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[2].contains("witnesses[1].key") && problems[2].contains("does not cosign"));
    }

    #[test]
    fn what_is_written_reads_back() {
        let json = serde_json::to_string(&Config::default()).unwrap();
        assert!(json.contains("\"durability\":\"write\""));
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), Config::default());
        assert!(serde_json::from_str::<Config>("{\"durable\":true}").is_err());
    }
}
