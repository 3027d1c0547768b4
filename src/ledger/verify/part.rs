//! One segment, frame by frame: whether it is what a writer leaves, and what is needed to judge it among the others.
//!
//! Pure: frames come in, in the order in which they stand; `walk` reads them. What it must be: entries dense, each mark
//! at the place that it speaks of, a seal at the end unless the next segment takes its place or it is the last.

use std::ops::RangeInclusive;

use super::keys::{Keys, Signed};
use super::leaves::Leaves;
use super::report::{Finding, Findings};
use super::tally::{Tally, unreadable};
use crate::ledger::frame::{FrameKind, Mark};
use crate::ledger::glance::Glances;
use crate::ledger::segment::{BadHeader, Header};
use crate::sha256::hex;
use crate::tlog::{Hash, LeafBatch};

/// Entries between two looks at the clock.
const CLOCK_STEP: u64 = 16;

/// Which segment, and where it stands among the others.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) name: String,
    /// The first index, by its name.
    pub(super) first: u64,
    /// The next segment's first index.
    pub(super) limit: Option<u64>,
    /// The next segment says that it takes this one's place from there on.
    pub(super) replaced: bool,
    /// The log's id, as its first readable header says it.
    pub(super) log: Option<[u8; 16]>,
    /// It is of a log that was set aside.
    pub(super) old: bool,
}

/// A tree's head that the log states, and where.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) file: String,
    pub(super) byte: u64,
    /// The checkpoint that states it, if it is one.
    pub(super) signed: Option<Signed>,
    /// It stands elsewhere, and not in the log.
    pub(super) claim: bool,
}

/// Whether there is more to take from a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    /// Nothing but zeros may follow.
    Sealed,
    /// The rest is a discarded tail.
    Discarded,
}

/// A segment, taken.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) job: Job,
    /// The index after the last entry.
    pub(super) end: u64,
    /// Leaves up to the first entry that is missing; all of them once it is finished.
    pub(super) leaves: Leaves,
    batch: LeafBatch,
    glances: Glances,
    /// Every entry was there, in its place.
    pub(super) whole: bool,
    pub(super) stated: Vec<Stated>,
    pub(super) tally: Tally,
    /// The seal, and whether an orderly stop wrote it.
    pub(super) seal: Option<bool>,
    pub(super) findings: Findings,
    pub(super) remarks: Vec<String>,
    pub(super) bytes: u64,
    /// The latest time of the entries up to a size, in microseconds, at each [`CLOCK_STEP`].
    pub(super) clock: Vec<(u64, i64)>,
    /// An index was built over it, of so many entries: so it was sealed.
    pub(super) indexed: Option<u64>,
    /// Where the frames stopped, until the next one shows what is missing.
    hole: Option<u64>,
}

/// A frame, as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'a> {
    pub(super) offset: u64,
    pub(super) kind: FrameKind,
    pub(super) index: u64,
    pub(super) mark: Option<Mark>,
    pub(super) payload: &'a [u8],
}

impl Part {
    pub(super) fn new(job: Job) -> Self {
        Self {
            end: job.first,
            leaves: Leaves::new(job.first),
            batch: LeafBatch::default(),
            glances: Glances::default(),
            job,
            whole: true,
            stated: Vec::new(),
            tally: Tally::default(),
            seal: None,
            findings: Findings::default(),
            remarks: Vec::new(),
            bytes: 0,
            clock: Vec::new(),
            indexed: None,
            hole: None,
        }
    }

    /// Takes the header, as it stands and as it was understood.
    pub(super) fn header(&mut self, bytes: &[u8], header: Result<Header, BadHeader>) {
        let header = match header {
            Ok(header) => header,
            Err(BadHeader::Newer(version)) => {
                let problem =
                    format!("it has format version {version}, and this touchmark reads 1: take the newer one");
                return self.found(0, None, problem);
            }
            Err(BadHeader::Damaged | BadHeader::Foreign) => {
                return self.found(0, Some(self.job.first), "its header is damaged");
            }
        };
        if header.encode() != *bytes {
            self.found(0, None, "its header holds what no writer puts there");
        }
        if header.first != self.job.first || self.job.log.is_some_and(|log| log != header.log) {
            self.found(0, Some(self.job.first), "its header belongs to another segment or log");
        }
        if header.replaces.is_some_and(|first| first != header.first) {
            self.found(0, None, "its header replaces entries that it does not begin with");
        }
        if let Some(head) = header.tree {
            self.state(0, (head.size, head.root), None, 0..=header.first);
        }
    }

    /// Takes the next frame.
    pub(super) fn frame(&mut self, taken: &Taken<'_>, keys: &Keys) -> Flow {
        let beyond = self.job.limit.is_some_and(|limit| match taken.kind {
            FrameKind::Entry => taken.index >= limit,
            _ => taken.index > limit,
        });
        if beyond && self.job.replaced && self.end >= self.job.limit.unwrap_or(u64::MAX) {
            return Flow::Discarded;
        }
        self.close_hole(taken);
        match taken.kind {
            FrameKind::Entry => self.entry(taken),
            FrameKind::Commit | FrameKind::Seal { .. } => self.mark(taken),
            FrameKind::Checkpoint => self.checkpoint(taken, keys),
        }
        if let FrameKind::Seal { stop } = taken.kind {
            self.seal = Some(stop);
            return Flow::Sealed;
        }
        Flow::On
    }

    /// What stands at a place is no whole frame.
    pub(super) fn hole(&mut self, offset: u64) -> Flow {
        if self.job.replaced && self.job.limit == Some(self.end) {
            return Flow::Discarded;
        }
        self.hole.get_or_insert(offset);
        Flow::On
    }

    /// There are no more frames, in a file of so many bytes.
    pub(super) fn finish(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.leaves.extend(&self.batch.take());
        let hole = self.hole.take();
        if let Some(limit) = self.job.limit.or(self.indexed) {
            if self.end < limit {
                let (end, at) = (self.end, hole.unwrap_or(bytes));
                self.whole = false;
                self.found(at, Some(end), format!("entries {end} to {limit} are missing"));
            } else if self.seal.is_none() && !self.job.replaced {
                self.found(hole.unwrap_or(bytes), None, "it does not end with a seal");
            }
        } else if let Some(at) = hole {
            self.found(at, Some(self.end), "what stands here was synced and is no whole frame");
        }
    }

    pub(super) fn found(&mut self, byte: u64, entry: Option<u64>, problem: impl Into<String>) {
        let file = Some(self.job.name.clone());
        self.findings.add(Finding { file, byte: Some(byte), entry, problem: problem.into() });
    }

    fn close_hole(&mut self, taken: &Taken<'_>) {
        let Some(from) = self.hole.take() else { return };
        let missing = taken.index > self.end;
        let problem = format!("bytes {from} to {} are no whole frames", taken.offset);
        self.found(from, missing.then_some(self.end), problem);
    }

    fn entry(&mut self, taken: &Taken<'_>) {
        let (index, expected) = (taken.index, self.end);
        if index != expected || self.job.limit.is_some_and(|limit| index >= limit) {
            let problem = if index > expected {
                format!("entries {expected} to {index} are missing")
            } else {
                format!("entry {index} stands where entry {expected} should")
            };
            self.whole = false;
            self.found(taken.offset, Some(expected.min(index)), problem);
        }
        if self.whole {
            self.batch.push(taken.payload);
            if self.batch.is_full() {
                self.leaves.extend(&self.batch.take());
            }
        }
        self.end = self.end.max(index.saturating_add(1));
        let tallied = match self.glances.read(taken.payload) {
            Ok(glance) => self.tally.take((index, taken.offset), &glance, taken.payload),
            Err(error) => Err(unreadable(&error)),
        };
        if let Err(problem) = tallied {
            self.found(taken.offset, Some(index), problem);
        }
        if self.end.is_multiple_of(CLOCK_STEP)
            && let Some(times) = &self.tally.times
        {
            self.clock.push((self.end, times.range().1));
        }
    }

    fn mark(&mut self, taken: &Taken<'_>) {
        let Some(mark) = taken.mark else { return };
        if taken.index != self.end || mark.size != taken.index {
            let problem = format!("a mark speaks of {} entries where there are {}", mark.size, self.end);
            self.found(taken.offset, Some(self.end.min(mark.size)), problem);
        }
        if mark.synced > mark.size {
            let problem = format!("a mark swears that {} of {} entries are synced", mark.synced, mark.size);
            self.found(taken.offset, None, problem);
        }
        if let Some(root) = mark.root {
            self.state(taken.offset, (mark.size, root), None, 0..=self.end);
        }
    }

    fn checkpoint(&mut self, taken: &Taken<'_>, keys: &Keys) {
        if taken.index != self.end {
            let problem =
                format!("a checkpoint stands {} entries into the log where there are {}", taken.index, self.end);
            self.found(taken.offset, None, problem);
        }
        let log = self.job.log.map(hex);
        match keys.check(taken.payload, log.as_deref()) {
            Err(problem) => self.found(taken.offset, None, format!("a checkpoint does not hold: {problem}")),
            Ok(signed) => {
                let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
                self.state(taken.offset, (size, root), Some(signed), 0..=self.end);
            }
        }
    }

    fn state(&mut self, byte: u64, (size, root): (u64, Hash), signed: Option<Signed>, sizes: RangeInclusive<u64>) {
        if sizes.contains(&size) {
            self.stated.push(Stated { size, root, file: self.job.name.clone(), byte, signed, claim: false });
        } else {
            self.found(byte, None, format!("it commits to {size} entries before there were that many"));
        }
    }
}
