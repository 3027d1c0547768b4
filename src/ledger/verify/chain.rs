//! Which key a log may sign with at which size: the one that its first `start` names, then those that `key` entries put
//! in its place, each signed by the one before. Pure; entries come in order.
//!
//! A key signs for sizes that cover the entry that introduced it, and no more once a `start` stands after the one that
//! retired it: the run that changes the key ends under the old one. What a key entry claims counts only where the key in
//! force signed it; what a checkpoint claims is held against the tree elsewhere.

use super::keys::{Keys, Signed, signs_for};
use crate::ledger::rotation::Change;
use crate::tlog::{Scheme, VerifierKey};

/// What an entry says of the log's keys.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A `start` goes on under these.
    Start(Vec<VerifierKey>),
    /// Another key comes; or the entry cannot be read, and why.
    Change(Result<Change, String>),
}

/// A key's time.
#[derive(Clone, Debug)]
struct Reign {
    key: VerifierKey,
    /// The entry that introduced it.
    from: Option<u64>,
    /// The entry that retired it.
    retired: Option<u64>,
    /// The first `start` after that.
    until: Option<u64>,
}

/// The keys of one log, as its entries have them so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    reigns: Vec<Reign>,
    /// Keys of other schemes, which sign beside.
    beside: Vec<VerifierKey>,
}

impl Chain {
    /// Takes what entry `index` says. What is wrong with it is returned, and does not count.
    pub(super) fn take(&mut self, index: u64, said: Said) -> Result<(), String> {
        match said {
            Said::Start(keys) => self.start(index, keys),
            Said::Change(change) => {
                let change = change.map_err(|error| format!("the key entry cannot be read: {error}"))?;
                self.change(index, &change).map_err(|problem| format!("the key entry does not hold: {problem}"))
            }
        }
    }

    fn start(&mut self, index: u64, keys: Vec<VerifierKey>) -> Result<(), String> {
        for reign in self.reigns.iter_mut().filter(|reign| reign.retired.is_some() && reign.until.is_none()) {
            reign.until = Some(index);
        }
        let (own, beside): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.scheme() == Scheme::Ed25519);
        for key in beside {
            if !self.beside.contains(&key) {
                self.beside.push(key);
            }
        }
        let Some(current) = self.reigns.last().map(|reign| reign.key.clone()) else {
            self.reigns.extend(own.into_iter().next().map(Reign::new));
            return Ok(());
        };
        match own.iter().find(|key| **key != current) {
            None => Ok(()),
            Some(other) => Err(match self.reigns.iter().find(|reign| reign.key == *other) {
                Some(Reign { retired: Some(entry), .. }) => {
                    format!("the start names the key {other}, which entry {entry} retired")
                }
                _ => format!("the start names the key {other}, which no key entry introduced"),
            }),
        }
    }

    fn change(&mut self, index: u64, change: &Change) -> Result<(), String> {
        let (old, new) = change.verify(index)?;
        if self.reigns.is_empty() {
            // The first start is missing, which is a finding of its own.
            self.reigns.push(Reign::new(old.clone()));
        }
        if self.reigns.iter().any(|reign| reign.key == new) {
            return Err(format!("the key {new} was this log's before"));
        }
        match self.reigns.last_mut() {
            Some(current) if current.key == old => current.retired = Some(index),
            _ => return Err(format!("{old} signed it, which is not the key in force")),
        }
        self.reigns.push(Reign { from: Some(index), ..Reign::new(new) });
        Ok(())
    }

    /// Every key that was ever in force, oldest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.reigns.iter().map(|reign| &reign.key)
    }

    /// Those, and the keys that sign beside them.
    pub(super) fn all(&self) -> impl Iterator<Item = &VerifierKey> {
        self.keys().chain(&self.beside)
    }

    /// Each change: the entry, and the keys before and after.
    pub(super) fn changes(&self) -> impl Iterator<Item = (u64, &VerifierKey, &VerifierKey)> {
        let pairs = self.reigns.iter().zip(self.reigns.iter().skip(1));
        pairs.filter_map(|(old, new)| Some((new.from?, &old.key, &new.key)))
    }

    /// Why a checkpoint of so many entries does not count as the log's, by who signed it.
    pub(super) fn problem(&self, keys: &Keys, signed: &Signed) -> Option<String> {
        if signed.problem.is_some() {
            return signed.problem.clone();
        }
        let (origin, size) = (signed.checkpoint.origin.as_str(), signed.checkpoint.size);
        let given = signed.by.iter().filter_map(|(place, _)| keys.given.get(*place));
        let given = given.filter(|key| signs_for(key, origin));
        let mut problem = None;
        let signers = given.map(|key| (key, true)).chain(signed.named.iter().filter_map(|place| {
            let key = keys.named.get(*place)?;
            Some((key, false))
        }));
        for (key, given) in signers {
            // Introduced by an entry that is still to come.
            let ahead = keys.introduced.iter().find(|(new, _)| new == key);
            let ahead = ahead.map(|(_, entry)| Reign { from: Some(*entry), ..Reign::new(key.clone()) });
            match self.reigns.iter().find(|reign| reign.key == *key).or(ahead.as_ref()) {
                // The auditor knows it, and the log says nothing of it.
                None if given => return None,
                None => {}
                Some(reign) => match reign.against(size) {
                    None => return None,
                    Some(against) => problem = Some(against),
                },
            }
        }
        problem.or_else(|| Some(keys.untrusted(origin)))
    }
}

impl Reign {
    fn new(key: VerifierKey) -> Self {
        Self { key, from: None, retired: None, until: None }
    }

    /// Why the key may not sign for so many entries.
    fn against(&self, size: u64) -> Option<String> {
        let key = &self.key;
        match (self.from, self.retired, self.until) {
            (Some(from), ..) if size <= from => {
                Some(format!("{key} signed it, which entry {from} introduces and nothing before"))
            }
            (_, Some(retired), Some(until)) if size > until => {
                Some(format!("{key} signed it, which entry {retired} had retired"))
            }
            _ => None,
        }
    }
}
