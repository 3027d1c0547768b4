//! Joins the segments of a log, in order, and holds what they say against each other and against the one tree.
//!
//! Pure: it knows neither files nor threads. A checkpoint's root is known while its segment or the one after it is in
//! hand; where one names an older size (a witness's answer that came late), [`Judge::late`] says which segment must be
//! read again. Once entries are missing there is no root beyond them, which is said once and not for every checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::chain::Chain;
use super::clock::Clock;
use super::keys::{Keys, signs_for};
use super::leaves::{Leaves, is_kept};
use super::part::{Job, Part, Stated};
use super::report::{Anchor, Cosigner, Ending, Finding, Findings, LogReport, Rotation};
use super::tally::Tally;
use super::times::Times;
use crate::sha256::hex;
use crate::tlog::{Hash, Node, Range, VerifierKey, base64};

/// Roots that are kept for checkpoints that come again, with more signatures.
const RECENT_MAX: usize = 4096;
/// Stated heads that wait for a second reading, before it is due.
pub(super) const LATE_MAX: usize = 65_536;
/// `begin` entries that may be open at once; what is beyond is counted and not paired.
const OPEN_MAX: usize = 1 << 20;

/// A segment that was joined: what it takes to read it again.
#[derive(Debug)]
struct Joined {
    job: Job,
    base: Range,
}

/// The judgement, growing.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    keys: &'a Keys,
    chain: Chain,
    clock: Clock,
    range: Range,
    /// Nodes that the tree's files should hold, not yet compared.
    nodes: Vec<Node>,
    /// The first entry that is missing: there are no roots beyond it.
    broken: bool,
    joined: Vec<Joined>,
    before: Option<(Range, Leaves)>,
    recent: BTreeMap<u64, Hash>,
    late: Vec<Stated>,
    /// The first stated head that the entries do not lead to, and how many there were.
    wrong: Option<(Stated, u64)>,
    /// Heads beyond the first missing entry.
    unchecked: u64,
    /// The largest size at which a checkpoint held.
    anchor: Option<(u64, Hash)>,
    /// The largest size at which anything held.
    held: u64,
    /// What became of the head that was claimed.
    claimed: Option<bool>,
    /// Per given key.
    cosigned: Vec<Option<Cosigner>>,
    open: HashMap<Uuid, u64>,
    unpaired: u64,
    documents: BTreeSet<[u8; 32]>,
    times: Option<Times>,
    seal: Option<bool>,
    end: u64,
    findings: Findings,
    report: LogReport,
}

impl<'a> Judge<'a> {
    pub(super) fn new(keys: &'a Keys) -> Self {
        Self {
            keys,
            chain: Chain::default(),
            clock: Clock::default(),
            range: Range::new(0),
            nodes: Vec::new(),
            broken: false,
            joined: Vec::new(),
            before: None,
            recent: BTreeMap::new(),
            late: Vec::new(),
            wrong: None,
            unchecked: 0,
            anchor: None,
            held: 0,
            claimed: None,
            cosigned: vec![None; keys.given.len()],
            open: HashMap::new(),
            unpaired: 0,
            documents: BTreeSet::new(),
            times: None,
            seal: None,
            end: 0,
            findings: Findings::default(),
            report: LogReport::default(),
        }
    }

    /// Takes the next segment.
    pub(super) fn join(&mut self, mut part: Part) {
        if part.job.first != self.end {
            let (end, first) = (self.end, part.job.first);
            let problem = if end < first {
                format!("entries {end} to {first} are missing: no segment holds them")
            } else {
                format!("it begins at entry {first}, the one before ends at {end}")
            };
            part.found(0, Some(end.min(first)), problem);
        }
        self.report.segments += 1;
        self.report.bytes += part.bytes;
        self.end = self.end.max(part.end);
        self.seal = part.seal;
        let latest = part.tally.times.as_ref().map(|times| times.range().1);
        self.clock.join(std::mem::take(&mut part.clock), part.end, latest);
        self.tally(&mut part);
        self.findings.extend(std::mem::take(&mut part.findings));
        self.report.remarks.append(&mut part.remarks);
        let base = self.range.clone();
        let Self { range, nodes, broken, .. } = &mut *self;
        let fits = !*broken && range.join(part.leaves.range(), |node| nodes.extend(Some(*node).filter(is_kept)));
        if fits && !part.job.old {
            nodes.extend(part.leaves.take_nodes());
        }
        self.heads(std::mem::take(&mut part.stated), fits.then_some((&base, &part.leaves)));
        self.broken |= !fits || !part.whole;
        if fits {
            self.joined.push(Joined { job: part.job, base: base.clone() });
            self.before = Some((base, part.leaves));
        }
    }

    /// Takes the nodes above the leaves that the tree has had since the last time.
    pub(super) fn take_nodes(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.nodes)
    }

    /// Says what is no damage and should be known.
    pub(super) fn remark(&mut self, remarks: Vec<String>) {
        self.report.remarks.extend(remarks);
    }

    /// A segment that could not be read at all. That is no finding; what it held is not known.
    pub(super) fn unread(&mut self, job: &Job) {
        self.report.segments += 1;
        self.end = job.limit.unwrap_or(self.end.max(job.first));
        self.broken = true;
    }

    /// A head that must be the log's, of a checkpoint that was seen elsewhere; [`Judge::late`] settles it.
    pub(super) fn claim(&mut self, (size, root): (u64, Hash)) {
        self.late.push(Stated { size, root, file: String::new(), byte: 0, signed: None, claim: true });
    }

    /// Whether the log has the claimed head; `None` where that cannot be told.
    pub(super) fn claimed(&self) -> Option<bool> {
        self.claimed
    }

    /// Segments that must be read again for heads that were stated late, once there are many or at the end.
    pub(super) fn late(&mut self, now: bool) -> Vec<(Job, Range, Vec<Stated>)> {
        if !now && self.late.len() < LATE_MAX {
            return Vec::new();
        }
        let mut late = std::mem::take(&mut self.late);
        late.sort_by_key(|stated| stated.size);
        let mut again: Vec<(usize, Vec<Stated>)> = Vec::new();
        for stated in late {
            let after = self.joined.partition_point(|joined| joined.base.end() <= stated.size);
            if stated.size > self.range.end() || after == 0 {
                self.unchecked += u64::from(!stated.claim);
                continue;
            }
            match again.last_mut() {
                Some((place, group)) if *place == after - 1 => group.push(stated),
                _ => again.push((after - 1, vec![stated])),
            }
        }
        let of = |(place, group): (usize, Vec<Stated>)| {
            let Joined { job, base } = self.joined.get(place)?;
            Some((job.clone(), base.clone(), group))
        };
        again.into_iter().filter_map(of).collect()
    }

    /// Holds heads against a segment that was read again, over a log that begins with `base`.
    pub(super) fn resolve(&mut self, heads: Vec<Stated>, (base, leaves): (&Range, &Leaves)) {
        let mut roots = leaves.roots(base);
        for stated in heads {
            let root = roots.root(stated.size);
            self.compare(stated, root);
        }
    }

    /// The verdict on this log, and its keys; none where none of those given is among them.
    pub(super) fn end(mut self) -> (LogReport, Chain) {
        let mut report = std::mem::take(&mut self.report);
        if let Some(problem) = self.not_anchored(&report) {
            self.findings.add(Finding::general(problem));
            (report.checkpoints, self.anchor, self.chain) = (0, None, Chain::default());
        }
        let rotation = |(entry, old, new): (u64, &VerifierKey, &VerifierKey)| Rotation {
            entry,
            old: old.to_string(),
            new: new.to_string(),
        };
        report.rotations = self.chain.changes().map(rotation).collect();
        report.entries = self.end;
        report.ending = if self.seal == Some(true) { Ending::Stopped } else { Ending::Open };
        report.checkpoint = self.anchor.map(|(size, root)| Anchor { size, root: base64(&root) });
        report.uncovered = self.end.saturating_sub(self.anchor.map_or(0, |(size, _)| size));
        report.documents = self.documents.len() as u64;
        report.open = self.open.len() as u64 + self.unpaired;
        if let Some(times) = &self.times {
            [report.from, report.to] = times.texts().map(Some);
            report.remarks.extend(times.remark());
        }
        report.remarks.extend(self.clock.remarks(&self.keys.given));
        self.ending(&report);
        report.cosigners = self.cosigned.into_iter().flatten().collect();
        report.findings = self.findings.kept;
        report.more_findings = self.findings.more;
        (report, self.chain)
    }

    /// The log's own keys hold its checkpoints together; where the auditor brought one, it must be among them.
    fn not_anchored(&self, report: &LogReport) -> Option<String> {
        let origin = report.origin.as_deref();
        if self.keys.log_vouches_for_itself(origin) || report.checkpoints == 0 {
            return None;
        }
        let origin = origin?;
        let signed = |place: usize| self.cosigned.get(place).is_some_and(Option::is_some);
        let of_log = |key: &VerifierKey| signs_for(key, origin);
        let known = |(place, key): (usize, &VerifierKey)| {
            of_log(key) && (signed(place) || self.chain.keys().any(|own| own == key))
        };
        let known = self.keys.given.iter().enumerate().any(known);
        (!known).then(|| format!("{}: the log's own keys are others", self.keys.untrusted(origin)))
    }

    fn ending(&mut self, report: &LogReport) {
        if let Some((stated, count)) = self.wrong.take() {
            let (size, held) = (stated.size, self.held);
            let others =
                if count > 1 { format!("; {} later ones do not hold either", count - 1) } else { String::new() };
            let problem = if size > held {
                format!("entries {held} to {size} are not those that were committed to here{others}")
            } else {
                format!("the first {size} entries are not those that were committed to here{others}")
            };
            let entry = Some(if size > held { held } else { 0 });
            self.findings.add(Finding { file: Some(stated.file), byte: Some(stated.byte), entry, problem });
        }
        if self.unchecked > 0 {
            let problem =
                format!("{} commitments cannot be checked, since entries before them are missing", self.unchecked);
            self.findings.add(Finding::general(problem));
        }
        if report.ending == Ending::Stopped && report.uncovered > 0 && !self.broken {
            let problem =
                format!("the log was closed in order, and no checkpoint covers its last {} entries", report.uncovered);
            self.findings.add(Finding { entry: Some(self.end - report.uncovered), ..Finding::general(problem) });
        }
        let told: u64 = report.gaps.values().fold(0, |sum, count| sum.saturating_add(*count));
        if report.ending == Ending::Stopped && report.open > told {
            let first = self.open.values().min().copied();
            let problem = format!("the log was closed in order, and {} predictions began without an end", report.open);
            self.findings.add(Finding { entry: first, ..Finding::general(problem) });
        }
    }

    fn tally(&mut self, part: &mut Part) {
        let tally: Tally = std::mem::take(&mut part.tally);
        for (index, offset, said) in tally.keys {
            if let Err(problem) = self.chain.take(index, said) {
                part.found(offset, Some(index), problem);
            }
        }
        for (kind, count) in tally.kinds {
            *self.report.kinds.entry(kind).or_default() += count;
        }
        for (reason, count) in tally.gaps {
            let sum = self.report.gaps.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
        self.report.starts.0 += tally.starts.0;
        self.report.starts.1 += tally.starts.1;
        self.report.follows = tally.follows.or(self.report.follows.take());
        for (digest, index) in tally.missing {
            if !self.documents.contains(&digest) {
                let problem = format!("no lineage document {} stands before the entry that names it", hex(digest));
                let file = Some(part.job.name.clone());
                self.findings.add(Finding { file, byte: None, entry: Some(index), problem });
            }
        }
        self.documents.extend(tally.documents);
        if !self.open.is_empty() {
            for id in &tally.ended {
                self.open.remove(id);
            }
        }
        for (id, index) in tally.begun {
            if self.open.len() < OPEN_MAX {
                self.open.insert(id, index);
            } else {
                self.unpaired += 1;
            }
        }
        match (&mut self.times, tally.times) {
            (Some(times), Some(next)) => times.join(next),
            (none, times) => *none = none.take().or(times),
        }
    }

    /// Holds what a segment states against the tree.
    fn heads(&mut self, stated: Vec<Stated>, here: Option<(&Range, &Leaves)>) {
        let before = self.before.take();
        let mut older = before.as_ref().map(|(base, leaves)| leaves.roots(base));
        let mut newer = here.map(|(base, leaves)| leaves.roots(base));
        for mut stated in stated {
            self.signers(&mut stated);
            let size = stated.size;
            let root = newer.as_mut().and_then(|roots| roots.root(size));
            let root = root.or_else(|| older.as_mut().and_then(|roots| roots.root(size)));
            match root.or_else(|| self.recent.get(&size).copied()) {
                Some(root) => self.compare(stated, Some(root)),
                None if size <= self.range.end() => self.late.push(stated),
                None => self.unchecked += 1,
            }
        }
        self.before = before;
    }

    /// Whether a key that may signed it: each that could is known by now.
    fn signers(&mut self, stated: &mut Stated) {
        let Some(signed) = &mut stated.signed else { return };
        signed.problem = self.chain.problem(self.keys, signed);
        if let Some(problem) = &signed.problem {
            let problem = format!("the checkpoint of {} entries does not hold: {problem}", stated.size);
            let (file, byte) = (Some(stated.file.clone()), Some(stated.byte));
            self.findings.add(Finding { file, byte, entry: None, problem });
        }
    }

    fn compare(&mut self, stated: Stated, root: Option<Hash>) {
        let Some(root) = root else {
            self.unchecked += u64::from(!stated.claim);
            return;
        };
        if stated.claim {
            self.claimed = Some(stated.root == root);
            return;
        }
        self.recent.insert(stated.size, root);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
        if stated.root != root {
            match &mut self.wrong {
                Some((first, count)) => {
                    *count += 1;
                    if stated.size < first.size {
                        *first = stated;
                    }
                }
                None => self.wrong = Some((stated, 1)),
            }
            return;
        }
        self.held = self.held.max(stated.size);
        let Some(signed) = stated.signed else { return };
        self.report.unknown_signatures += signed.unknown;
        if signed.problem.is_none() {
            self.report.checkpoints += 1;
            self.report.origin.get_or_insert_with(|| signed.checkpoint.origin.clone());
            if self.anchor.is_none_or(|(size, _)| size <= stated.size) {
                self.anchor = Some((stated.size, root));
            }
        }
        for (place, time) in signed.by {
            self.cosigned(place, stated.size, time);
        }
    }

    fn cosigned(&mut self, place: usize, size: u64, time: Option<u64>) {
        let (Some(slot), Some(key)) = (self.cosigned.get_mut(place), self.keys.given.get(place)) else { return };
        let cosigner = slot.get_or_insert_with(|| Cosigner {
            key: key.to_string(),
            first: None,
            last: (size, time),
            checkpoints: 0,
        });
        cosigner.checkpoints += 1;
        if let Some(time) = time {
            self.clock.cosigned(place, size, time);
        }
        if let Some(time) = time
            && cosigner.first.is_none_or(|(first, _)| size < first)
        {
            cosigner.first = Some((size, time));
        }
        if size >= cosigner.last.0 {
            cosigner.last = (size, time);
        }
    }
}
