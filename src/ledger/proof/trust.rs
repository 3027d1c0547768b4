//! Whom to believe, and who of them signed a checkpoint. Pure.
//!
//! A key that was given is believed, and so is one that it introduced: a proof brings the `key` entries of its log, and the
//! signature in each makes the new key as good as the old one from that entry on (`docs/adr/0013`). So a proof that is
//! made today can be verified with the key that an auditor was given years ago.

use super::Reason;
use crate::ledger::parse::Entry;
use crate::ledger::rotation::Change;
use crate::tlog::{Checkpoint, Note, VerifierKey};

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Keys of logs, whose name is the log's origin, and of witnesses.
    pub keys: Vec<VerifierKey>,
    /// How many witnesses must have cosigned each checkpoint.
    pub witnesses: usize,
}

/// A checkpoint that a trusted key of its log signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The trusted keys of the log that signed it.
    pub keys: Vec<VerifierKey>,
    /// Trusted witnesses that cosigned it, by name, with the time that each gave in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
    /// The entries by which a key that was given led to the one that signed; none where that one was given itself.
    pub rotations: Vec<u64>,
}

/// The keys that are given, and those that they introduced.
#[derive(Debug)]
pub(super) struct Believed {
    keys: Vec<VerifierKey>,
    introduced: Vec<Introduced>,
    witnesses: usize,
}

#[derive(Debug)]
struct Introduced {
    key: VerifierKey,
    /// The entries that led to it, its own last: it signs for what covers that one.
    by: Vec<u64>,
}

impl Trust {
    /// Follows the changes of keys that a proof brings, in their order. One that begins at a key which is not believed
    /// leads nowhere; one that does not hold is refused.
    pub(super) fn following(&self, rotations: &[String]) -> Result<Believed, Reason> {
        let mut believed = Believed { keys: self.keys.clone(), introduced: Vec::new(), witnesses: self.witnesses };
        for entry in rotations {
            let entry = Entry::parse(entry.as_bytes()).map_err(|_| Reason::NoEntry)?;
            let change = Change::of(&entry).ok_or(Reason::NoRotation("it is no key entry".to_owned()))?;
            let verified = change.and_then(|change| change.verify(change.size).map(|keys| (change.size, keys)));
            let (at, (old, new)) = verified.map_err(Reason::NoRotation)?;
            let mut by = match believed.introduced.iter().find(|introduced| introduced.key == old) {
                Some(introduced) => introduced.by.clone(),
                None if self.keys.contains(&old) => Vec::new(),
                None => continue,
            };
            if by.last().is_some_and(|last| *last >= at) {
                return Err(Reason::NoRotation(
                    "it stands before the entry that introduced the key that signed it".into(),
                ));
            }
            by.push(at);
            if !believed.keys.contains(&new) {
                believed.keys.push(new.clone());
                believed.introduced.push(Introduced { key: new, by });
            }
        }
        Ok(believed)
    }
}

impl Believed {
    /// Verifies who signed a checkpoint: a key of the log that it names, and enough witnesses.
    pub(super) fn checkpoint(&self, note: &Note) -> Result<Signed, Reason> {
        let verified = note.verified_by(&self.keys)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let introduced = |key: &VerifierKey| self.introduced.iter().find(|introduced| introduced.key == *key);
        let of_log = |key: &VerifierKey| key.name() == checkpoint.origin;
        let in_time = |key: &VerifierKey| {
            introduced(key).and_then(|introduced| introduced.by.last()).is_none_or(|from| checkpoint.size > *from)
        };
        let keys = verified.iter().map(|(key, _)| *key).filter(|key| of_log(key) && in_time(key));
        let keys: Vec<VerifierKey> = keys.cloned().collect();
        let Some(signer) = keys.iter().min_by_key(|key| introduced(key).map_or(0, |introduced| introduced.by.len()))
        else {
            return Err(Reason::NotTheLog(checkpoint.origin));
        };
        let rotations = introduced(signer).map(|introduced| introduced.by.clone()).unwrap_or_default();
        let mut witnesses: Vec<(String, u64)> = Vec::new();
        for (key, time) in verified.iter().filter(|(key, _)| !of_log(key)) {
            // Another log's own signature has no time, and says nothing of this one.
            if let Some(time) = time
                && !witnesses.iter().any(|(name, _)| name == key.name())
            {
                witnesses.push((key.name().to_owned(), *time));
            }
        }
        if witnesses.len() < self.witnesses {
            return Err(Reason::Witnesses { found: witnesses.len(), wanted: self.witnesses });
        }
        Ok(Signed { checkpoint, keys, witnesses, rotations })
    }
}
