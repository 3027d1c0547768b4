//! What the entries of one segment say, as far as entries must fit each other: kinds, times, documents, pairs, gaps.
//!
//! Segments are read side by side; what one leaves open (a `begin` without its end, a document that must stand before it)
//! the next ones close, in order, in `judge`. Every entry is read, cheaply where it is in the usual form. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::chain::Said;
use super::derived::Shadow;
use super::report::Follows;
use super::times::Times;
use crate::ledger::glance::Glance;
use crate::ledger::parse::{Entry, unhex};
use crate::ledger::rotation::Change;
use crate::ledger::time::TimeReader;
use crate::sha256::Sha256;

/// What the entries say.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) kinds: BTreeMap<String, u64>,
    pub(super) times: Option<Times>,
    /// Documents that stand here.
    pub(super) documents: BTreeSet<[u8; 32]>,
    /// Digests that entries refer to and that stood nowhere in this segment before, with the first such entry.
    pub(super) missing: BTreeMap<[u8; 32], u64>,
    /// `begin` entries without their end in this segment.
    pub(super) begun: HashMap<Uuid, u64>,
    /// Ends of predictions that did not begin in this segment.
    pub(super) ended: Vec<Uuid>,
    pub(super) gaps: BTreeMap<String, u64>,
    /// `start` entries, and those that followed no orderly stop.
    pub(super) starts: (u64, u64),
    pub(super) follows: Option<Follows>,
    /// What entries say of the log's keys: index, offset and that.
    pub(super) keys: Vec<(u64, u64, Said)>,
    /// What the index beside the segment should say.
    pub(super) shadow: Shadow,
    reader: TimeReader,
    /// The digest that was referred to last: most often the next one too.
    last_digest: Option<String>,
}

impl Tally {
    /// Takes an entry, at a glance and as it stands. What is wrong with it is returned; it is taken as far as it goes.
    pub(super) fn take(
        &mut self,
        (index, offset): (u64, u64),
        glance: &Glance<'_>,
        payload: &[u8],
    ) -> Result<(), String> {
        let kind = &*glance.common.kind;
        // All that others say is read, so that all of it has to be readable.
        let full = (!matches!(kind, "prediction" | "begin")).then(|| Entry::parse(payload)).transpose();
        let full = full.map_err(|error| unreadable(&error))?;
        self.shadow.take(offset, glance);
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(kind.to_owned(), 1)),
        }
        let time = &*glance.own.time;
        let micros = self.reader.micros(time)?;
        match &mut self.times {
            Some(times) => times.take(index, time, micros),
            none => *none = Some(Times::new(index, time, micros)),
        }
        match (kind, full) {
            ("prediction", _) => self.prediction(index, glance),
            ("begin", _) => self.begin(index, glance),
            ("lineage", Some(entry)) => self.document(&entry),
            ("gap", Some(entry)) => self.gap(&entry),
            ("lifecycle", Some(entry)) => self.lifecycle((index, offset), &entry),
            _ => Ok(()),
        }
    }

    fn prediction(&mut self, index: u64, glance: &Glance<'_>) -> Result<(), String> {
        let id = id(glance)?;
        if self.begun.is_empty() || self.begun.remove(&id).is_none() {
            self.ended.push(id);
        }
        self.refers(index, glance)
    }

    fn begin(&mut self, index: u64, glance: &Glance<'_>) -> Result<(), String> {
        let id = id(glance)?;
        self.refers(index, glance)?;
        match self.begun.insert(id, index) {
            None => Ok(()),
            Some(first) => Err(format!("prediction:{id} begins here and at entry {first}")),
        }
    }

    fn refers(&mut self, index: u64, glance: &Glance<'_>) -> Result<(), String> {
        let Some(text) = &glance.common.lineage else { return Ok(()) };
        if self.last_digest.as_ref() == Some(text) {
            return Ok(());
        }
        let digest = unhex::<32>(text).ok_or_else(|| format!("{text:?} is no digest of a lineage document"))?;
        if !self.documents.contains(&digest) {
            self.missing.entry(digest).or_insert(index);
        }
        self.last_digest = Some(text.clone());
        Ok(())
    }

    fn document(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        let digest = entry.digest.as_deref().and_then(unhex::<32>).ok_or("the lineage entry has no digest")?;
        self.documents.insert(digest);
        let Some(document) = entry.document else {
            let problem = "the lineage entry holds no document, and does not say that it was too large";
            return if entry.truncated { Ok(()) } else { Err(problem.to_owned()) };
        };
        let unread = |error: serde_json::Error| format!("the lineage document cannot be read: {error}");
        let value: serde_json::Value = serde_json::from_str(document.get()).map_err(unread)?;
        let canonical = serde_json_canonicalizer::to_vec(&value).map_err(unread)?;
        if Sha256::digest(canonical) == digest {
            Ok(())
        } else {
            Err("the lineage document is not the one that its digest names".to_owned())
        }
    }

    fn gap(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        let (count, reason) = (entry.count.ok_or("the gap has no count")?, entry.reason.as_deref());
        let sum = self.gaps.entry(reason.ok_or("the gap has no reason")?.to_owned()).or_default();
        *sum = sum.saturating_add(count);
        Ok(())
    }

    fn lifecycle(&mut self, (index, offset): (u64, u64), entry: &Entry<'_>) -> Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Detail {
            #[serde(default)]
            unclean: bool,
            follows: Option<Follows>,
            #[serde(default)]
            keys: Vec<String>,
        }
        if let Some(change) = Change::of(entry) {
            self.keys.push((index, offset, Said::Change(change)));
        }
        if entry.event.as_deref() != Some("start") {
            return Ok(());
        }
        let unread = |error: serde_json::Error| format!("the start's detail cannot be read: {error}");
        let detail: Option<Detail> =
            entry.detail.map(|detail| serde_json::from_str(detail.get()).map_err(unread)).transpose()?;
        let Some(detail) = detail else { return Ok(()) };
        self.starts = (self.starts.0 + 1, self.starts.1 + u64::from(detail.unclean));
        let keys = detail.keys.iter().filter_map(|key| key.parse().ok()).collect();
        self.keys.push((index, offset, Said::Start(keys)));
        if index == 0 {
            self.follows = detail.follows;
        }
        Ok(())
    }
}

/// What is said of bytes that are no entry.
pub(super) fn unreadable(error: &serde_json::Error) -> String {
    format!("the entry cannot be read: {error}")
}

fn id(glance: &Glance<'_>) -> Result<Uuid, String> {
    let id = glance.own.id.as_deref().ok_or("the entry has no id")?;
    Uuid::parse_str(id).map_err(|_| format!("{id:?} is no prediction's id"))
}
