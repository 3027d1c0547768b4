//! The keys that a log speaks of: those that its `start` entries name, and those that `key` entries put in their place.

use serde_json::Value;

use super::{Found, Query, ReadError, Reader};
use crate::ledger::entry::Kind;
use crate::ledger::frame::FrameKind;
use crate::ledger::parse::Entry;
use crate::ledger::rotation::Change;
use crate::ledger::segment::{Scanner, Step};
use crate::tlog::VerifierKey;

impl Reader {
    /// The verifier keys that the current log's `start` and `key` entries name, oldest first, each once. They are what
    /// the log says of itself: whoever distrusts it compares them with what was handed to them.
    ///
    /// # Errors
    /// Where an entry cannot be read.
    pub fn keys(&self) -> Result<Vec<VerifierKey>, ReadError> {
        Ok(named(&self.find_here(&lifecycle()).collect::<Result<Vec<_>, _>>()?))
    }

    /// The same, as far as entries can be read.
    pub(crate) fn readable_keys(&self) -> Vec<VerifierKey> {
        named(&self.find_here(&lifecycle()).filter_map(Result::ok).collect::<Vec<_>>())
    }

    /// The changes of the current log's key that the keys before them signed: the old key and the new.
    pub(crate) fn key_changes(&self) -> Result<Vec<(VerifierKey, VerifierKey)>, ReadError> {
        let mut changes = Vec::new();
        for found in self.find_here(&lifecycle()) {
            changes.extend(change(&found?));
        }
        Ok(changes)
    }

    /// The entries of those changes, verbatim, as far as entries can be read.
    pub(crate) fn rotations(&self) -> Vec<String> {
        let changes = self.find_here(&lifecycle()).filter_map(Result::ok).filter(|found| change(found).is_some());
        changes.filter_map(|found| String::from_utf8(found.entry).ok()).collect()
    }

    /// Whether this key may not be the one that the current log goes on with: another signed last, or the last run
    /// changed it. Reads little.
    pub(crate) fn may_change_keys(&self, own: &VerifierKey) -> Result<bool, ReadError> {
        Ok(self.newest_is_of_another(own)? || self.last_run_changed_keys()?)
    }

    /// Whether the newest checkpoint of the current log is there, and not of this key.
    pub(crate) fn newest_is_of_another(&self, own: &VerifierKey) -> Result<bool, ReadError> {
        let is_own = |(name, id): (&str, [u8; 4])| name == own.name() && id == own.id();
        let newest = self.newest_checkpoint()?;
        Ok(newest.is_some_and(|newest| !newest.note.signatures.iter().any(|line| is_own((&line.name, line.id)))))
    }

    /// Whether the last segment with entries begins with a change of the key.
    fn last_run_changed_keys(&self) -> Result<bool, ReadError> {
        for segment in self.segments()?.iter().rev().filter(|segment| !segment.old) {
            let entries = self.first_entries(&segment.name).map_err(|error| self.error(&segment.name, error))?;
            if !entries.is_empty() {
                let is_change = |entry: &Vec<u8>| Entry::parse(entry).is_ok_and(|entry| Change::of(&entry).is_some());
                return Ok(entries.iter().any(is_change));
            }
        }
        Ok(false)
    }

    /// A segment's first two entries.
    fn first_entries(&self, segment: &str) -> std::io::Result<Vec<Vec<u8>>> {
        let mut scanner = Scanner::new(self.storage.open(segment)?);
        let mut entries = Vec::new();
        while entries.len() < 2
            && let Step::Frame { kind: FrameKind::Entry, payload, .. } = scanner.step()?
        {
            entries.push(scanner.payload(payload).to_vec());
        }
        Ok(entries)
    }
}

/// The old key and the new, where the entry is a change that the old one signed.
fn change(found: &Found) -> Option<(VerifierKey, VerifierKey)> {
    Change::of(&Entry::parse(&found.entry).ok()?)?.ok()?.verify(found.index).ok()
}

fn lifecycle() -> Query {
    Query { kind: Some(Kind::Lifecycle), ..Query::default() }
}

/// The keys that entries name, each once.
fn named(found: &[Found]) -> Vec<VerifierKey> {
    let mut keys = Vec::new();
    for found in found {
        let Ok(Value::Object(entry)) = serde_json::from_slice(&found.entry) else { continue };
        let Some(detail) = entry.get("detail") else { continue };
        let started = detail.get("keys").and_then(Value::as_array).into_iter().flatten();
        let changed = detail.get("new").filter(|_| entry.get("event").is_some_and(|event| event == "key"));
        for key in started.chain(changed).filter_map(|key| key.as_str()?.parse::<VerifierKey>().ok()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}
