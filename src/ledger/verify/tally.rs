//! What the entries of one segment say, as far as entries must fit each other: kinds, times, documents, pairs, gaps.
//!
//! Segments are read side by side; what one leaves open (a `begin` without its end, a document that must stand before it)
//! the next ones close, in order, in `judge`. Every entry is read, cheaply where it is in the usual form. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::chain::Said;
use super::derived::Shadow;
use super::report::Follows;
use crate::ledger::glance::glance;
use crate::ledger::parse::{Entry, unhex};
use crate::ledger::rotation::Change;
use crate::sha256::Sha256;

/// The clock may go back by so many microseconds before it is said: predictions begin up to hours before they are
/// written, and are written in the order in which they end.
const BACK_US_MAX: i64 = 3_600_000_000;
/// Bytes of `2026-11-20T17` in a time: as long as they agree, it is not worth reading.
const HOUR_BYTES: usize = 13;

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
    /// The digest that was referred to last: most often the next one too.
    last_digest: Option<[u8; 32]>,
}

/// When, by the entries' own word. Times of one form compare as texts.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) earliest: (String, u64),
    pub(super) latest: String,
    /// How often the clock went back, and where first.
    pub(super) back: Option<(u64, u64)>,
}

impl Tally {
    /// Takes an entry. What is wrong with it is returned; it is taken as far as it goes.
    pub(super) fn take(&mut self, (index, offset): (u64, u64), payload: &[u8]) -> Result<(), String> {
        let full = || Entry::parse(payload).map_err(|error| format!("the entry cannot be read: {error}"));
        let mut entry = glance(payload).map_or_else(full, Ok)?;
        if !matches!(&*entry.kind, "prediction" | "begin") {
            entry = full()?;
        }
        self.shadow.take(offset, &entry);
        match self.kinds.get_mut(&*entry.kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(entry.kind.to_string(), 1)),
        }
        self.time(index, &entry.time)?;
        match &*entry.kind {
            "prediction" => self.prediction(index, &entry),
            "begin" => self.begin(index, &entry),
            "lineage" => self.document(&entry),
            "gap" => self.gap(&entry),
            "lifecycle" => self.lifecycle((index, offset), &entry),
            _ => Ok(()),
        }
    }

    fn time(&mut self, index: u64, time: &str) -> Result<(), String> {
        if !is_plain(time) {
            return micros(time).map(drop);
        }
        let Some(times) = &mut self.times else {
            micros(time)?;
            self.times = Some(Times { earliest: (time.to_owned(), index), latest: time.to_owned(), back: None });
            return Ok(());
        };
        if *time > *times.latest {
            if time[..HOUR_BYTES] != times.latest[..HOUR_BYTES] {
                micros(time)?;
            }
            time.clone_into(&mut times.latest);
        } else {
            if time[..HOUR_BYTES] != times.latest[..HOUR_BYTES] && went_back(&times.latest, time)? {
                let (count, first) = times.back.unwrap_or((0, index));
                times.back = Some((count + 1, first));
            }
            if *time < *times.earliest.0 {
                times.earliest = (time.to_owned(), index);
            }
        }
        Ok(())
    }

    fn prediction(&mut self, index: u64, entry: &Entry<'_>) -> Result<(), String> {
        let id = id(entry)?;
        if self.begun.is_empty() || self.begun.remove(&id).is_none() {
            self.ended.push(id);
        }
        self.refers(index, entry)
    }

    fn begin(&mut self, index: u64, entry: &Entry<'_>) -> Result<(), String> {
        let id = id(entry)?;
        self.refers(index, entry)?;
        match self.begun.insert(id, index) {
            None => Ok(()),
            Some(first) => Err(format!("prediction:{id} begins here and at entry {first}")),
        }
    }

    fn refers(&mut self, index: u64, entry: &Entry<'_>) -> Result<(), String> {
        let Some(digest) = entry.lineage.as_deref() else { return Ok(()) };
        let digest = unhex::<32>(digest).ok_or_else(|| format!("{digest:?} is no digest of a lineage document"))?;
        if self.last_digest.replace(digest) != Some(digest) && !self.documents.contains(&digest) {
            self.missing.entry(digest).or_insert(index);
        }
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

/// Whether a time lies so far before another that the clock must have been set back.
pub(super) fn went_back(latest: &str, time: &str) -> Result<bool, String> {
    Ok(micros(latest)? - micros(time)? > BACK_US_MAX)
}

/// Microseconds since 1970.
pub(super) fn micros(time: &str) -> Result<i64, String> {
    let parsed = time.parse::<jiff::Timestamp>().map_err(|_| format!("{time:?} is no time"))?;
    Ok(parsed.as_microsecond())
}

fn id(entry: &Entry<'_>) -> Result<Uuid, String> {
    let id = entry.id.as_deref().ok_or("the entry has no id")?;
    Uuid::parse_str(id).map_err(|_| format!("{id:?} is no prediction's id"))
}

/// Whether a time has the form in which entries are written, `2026-11-20T17:29:01.123456Z`.
fn is_plain(time: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000Z";
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    let bytes = time.as_bytes();
    // Hours and days are read as numbers wherever they change; minutes and seconds are not.
    bytes.len() == FORM.len() && bytes.iter().zip(FORM).all(fits) && bytes[14] < b'6' && bytes[17] < b'6'
}
