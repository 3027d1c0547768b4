//! Verification of a whole ledger: what `audit verify` runs, and the server and the tests with it.
//!
//! It believes nothing but bytes that lead to a root that a key signed. Segments are read side by side, each into a
//! `part`, frame by frame; `judge` joins the parts in order, grows the one tree over them and holds every
//! checkpoint, header and seal against it. Both are pure; `walk` and `plan` read. Derived files (`seg-….idx`,
//! `tree-….hash`) prove nothing and are not believed: `derived` compares them.
//!
//! Memory: 32 bytes an entry of the segments in hand, two a thread, and what is open across them (`begin` entries,
//! digests of documents). A log that is being written is read up to its last commit, without a lock.

mod chain;
mod clock;
mod derived;
mod judge;
mod keys;
mod leaves;
mod part;
mod plan;
mod report;
mod tally;
mod times;
mod walk;

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

pub use report::{Anchor, Cosigner, Ending, Finding, Follows, LogReport, OldLog, Report, Rotation, Since};

use crate::ledger::read::{ReadError, Reader};
use crate::ledger::segment::Storage;
use crate::ledger::time::micros;
use crate::sha256::hex;
use crate::tlog::{SignedCheckpoint, VerifierKey};
use chain::Chain;
use judge::Judge;
use keys::Keys;
use part::{Job, Part};
use plan::{Files, Plan};

/// How often a ledger is looked at anew whose segments changed while something was found in it.
const ATTEMPTS: u32 = 3;
/// How far beyond the present a time may lie: another machine's clock.
const AHEAD_US_MAX: i64 = 3_600_000_000;

/// What to verify with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keys that the auditor was handed: the log's own, witnesses'. Without a log's key, those count that the log names.
    pub keys: Vec<VerifierKey>,
    /// A checkpoint that was seen earlier, and that today's log must extend.
    pub since: Option<SignedCheckpoint>,
    /// The time now; times beyond it are told.
    pub now: Option<SystemTime>,
    /// Threads, else one a core.
    pub threads: Option<NonZero<usize>>,
}

/// How far a verification is, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes read, and bytes in all.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Reader {
    /// Verifies everything that is in the ledger's folder.
    ///
    /// # Errors
    /// Where the folder cannot be listed. Files that cannot be read stand in the report.
    pub fn verify(&self, options: &Options, progress: &Progress) -> Result<Report, ReadError> {
        let mut attempts = 1;
        loop {
            let logs = plan::logs(&**self.storage()).map_err(|error| self.failed(error))?;
            let report = verify(&**self.storage(), &logs, options, progress);
            // A writer may have replaced or set aside what was being read.
            let changed = plan::logs(&**self.storage()).map_err(|error| self.failed(error))? != logs;
            if report.intact && report.unreadable.is_empty() || !changed || attempts == ATTEMPTS {
                return Ok(report);
            }
            attempts += 1;
        }
    }
}

fn verify(storage: &dyn Storage, logs: &[Files], options: &Options, progress: &Progress) -> Report {
    // Before the segments: a writer may add to both meanwhile.
    let hashed = derived::leaves_hashed(storage);
    let plans: Vec<Plan> = logs.iter().map(|files| plan::plan(storage, files)).collect();
    progress.done.store(0, Ordering::Relaxed);
    progress.total.store(plans.iter().map(|plan| plan.bytes).sum(), Ordering::Relaxed);
    let mut report = Report::default();
    for (files, plan) in logs.iter().zip(plans) {
        let strict = files.old.is_none();
        let id = plan.log.map(hex);
        let keys = Keys {
            given: options.keys.clone(),
            named: plan.named.clone(),
            introduced: plan.introduced.clone(),
            strict,
        };
        let seen = options.since.as_ref().filter(|seen| is_of(seen, id.as_deref()));
        let (mut log, chain) = log(storage, (plan, &keys), (options, seen), progress, &mut report);
        log.log = id;
        if let Some((number, before)) = &files.old {
            let old = OldLog { number: *number, before: before.clone(), followed: false, report: log };
            report.older.push(old);
            continue;
        }
        let origin = log.origin.clone();
        report.vouches_for_itself = keys.log_vouches_for_itself(origin.as_deref());
        report.keys = chain.all().map(ToString::to_string).collect();
        report.remarks.extend(before_the_given(&keys, &chain));
        report.log = log;
        derived::hints(&mut report, (hashed, &files.orphans));
    }
    conclude(&mut report, options);
    report
}

/// Whether a checkpoint is of the log with this id.
fn is_of(seen: &SignedCheckpoint, id: Option<&str>) -> bool {
    id.is_some() && seen.checkpoint.origin.rsplit('/').next() == id
}

/// Verifies one log.
fn log(
    storage: &dyn Storage,
    (plan, keys): (Plan, &Keys),
    (options, seen): (&Options, Option<&SignedCheckpoint>),
    progress: &Progress,
    report: &mut Report,
) -> (LogReport, Chain) {
    let threads = options.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let mut judge = Judge::new(keys);
    let (mut unreadable, mut upper) = (Vec::new(), derived::Upper::default());
    each(storage, &plan.jobs, (keys, progress, threads), |job, part| {
        match part {
            Ok(part) => {
                judge.join(part);
                let nodes = judge.take_nodes();
                if !job.old {
                    judge.remark(upper.compare(storage, &nodes));
                }
            }
            Err(error) => {
                unreadable.push(format!("{}: {error}", job.name));
                judge.unread(job);
            }
        }
        settle(storage, &mut judge, keys, false, &mut unreadable);
    });
    if let Some(seen) = seen {
        judge.claim((seen.checkpoint.size, seen.checkpoint.root));
    }
    settle(storage, &mut judge, keys, true, &mut unreadable);
    report.unreadable.append(&mut unreadable);
    let claimed = judge.claimed();
    let (log, chain) = judge.end();
    if let Some(seen) = seen {
        compare_seen(report, (keys, &chain), (seen, claimed), &log);
    }
    (log, chain)
}

/// Every segment, read side by side and given in order. No thread is more than two segments ahead.
fn each(
    storage: &dyn Storage,
    jobs: &[Job],
    (keys, progress, threads): (&Keys, &Progress, usize),
    mut take: impl FnMut(&Job, io::Result<Part>),
) {
    let threads = threads.clamp(1, jobs.len().max(1));
    thread::scope(|scope| {
        let work = |number: usize| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || {
                for job in jobs.iter().skip(number).step_by(threads) {
                    if sender.send(walk::walk(storage, job.clone(), keys, progress)).is_err() {
                        return;
                    }
                }
            });
            receiver
        };
        let receivers: Vec<_> = (0..threads).map(work).collect();
        for (job, receiver) in jobs.iter().zip(receivers.iter().cycle()) {
            take(job, receiver.recv().unwrap_or_else(|_| Err(io::Error::other("its thread panicked"))));
        }
    });
}

/// Reads segments again that older sizes are named of.
fn settle(storage: &dyn Storage, judge: &mut Judge<'_>, keys: &Keys, now: bool, unreadable: &mut Vec<String>) {
    for (job, base, heads) in judge.late(now) {
        let name = job.name.clone();
        match walk::walk(storage, job, keys, &Progress::default()) {
            Ok(part) => judge.resolve(heads, (&base, &part.leaves)),
            Err(error) => unreadable.push(format!("{name}: {error}")),
        }
    }
}

fn compare_seen(
    report: &mut Report,
    (keys, chain): (&Keys, &Chain),
    (seen, claimed): (&SignedCheckpoint, Option<bool>),
    log: &LogReport,
) {
    let checkpoint = &seen.checkpoint;
    let signed = keys.signatures(&seen.note, checkpoint.clone());
    let problem = chain.problem(keys, &signed);
    let size = checkpoint.size;
    let mut found = |problem: String| report.findings.push(Finding::general(problem));
    if let Some(problem) = &problem {
        found(format!("the checkpoint seen earlier does not hold: {problem}"));
    }
    match claimed {
        Some(true) => {}
        Some(false) => found(format!(
            "the first {size} entries are not those of the checkpoint seen earlier: the log was rewritten"
        )),
        None if size > log.entries => {
            found(format!("the log has {} entries, and had {size} at the checkpoint seen earlier", log.entries));
        }
        None => found(format!(
            "the checkpoint seen earlier, of {size} entries, cannot be checked: entries before it are missing"
        )),
    }
    let mut signed_by: Vec<String> =
        signed.by.iter().filter_map(|(place, _)| keys.given.get(*place)).map(ToString::to_string).collect();
    if problem.is_none() {
        let named = signed.named.iter().filter_map(|place| keys.named.get(*place)).map(ToString::to_string);
        let named: Vec<String> = named.filter(|key| !signed_by.contains(key)).collect();
        signed_by.extend(named);
    }
    report.since = Some(Since { origin: checkpoint.origin.clone(), size, signed_by, extended: claimed == Some(true) });
}

/// Where the auditor has a later key alone, what that means for the earlier ones.
fn before_the_given(keys: &Keys, chain: &Chain) -> Option<String> {
    let first = chain.keys().position(|key| keys.given.contains(key)).filter(|first| *first > 0)?;
    let (entry, old, new) = chain.changes().nth(first - 1)?;
    Some(format!(
        "checkpoints up to entry {entry} are signed by keys that were not given, {old} last; {new}, which was given, \
         vouches for the entries before it, and for who signed them by the log's word alone"
    ))
}

/// What can only be said of all logs together.
fn conclude(report: &mut Report, options: &Options) {
    if report.log.segments == 0 {
        report.findings.push(Finding::general("there is no log: no file seg-….log is in the folder"));
    }
    if let Some(seen) = options.since.as_ref().filter(|_| report.since.is_none()) {
        let problem =
            format!("the checkpoint seen earlier is of the log {}, which is not here", seen.checkpoint.origin);
        report.findings.push(Finding::general(problem));
    }
    chain(report);
    for given in &options.keys {
        let key = given.to_string();
        // What a witness cosigned may be the copy seen earlier alone; what a log's key signs stands in the log.
        let cosigned =
            report.since.as_ref().is_some_and(|since| since.origin != given.name() && since.signed_by.contains(&key));
        // Who trusts the key before it trusts it too, and it may not have signed yet.
        let introduced = report.log.rotations.iter().position(|rotation| rotation.new == key);
        let introduced = introduced.is_some_and(|at| {
            let before = report.log.rotations.iter().take(at + 1).map(|rotation| &rotation.old);
            before.into_iter().any(|old| options.keys.iter().any(|given| given.to_string() == *old))
        });
        let logs = || std::iter::once(&report.log).chain(report.older.iter().map(|old| &old.report));
        if !logs().flat_map(|log| &log.cosigners).any(|signer| signer.key == key) && !cosigned && !introduced {
            report.findings.push(Finding::general(format!("the given key {key} signed no checkpoint in this ledger")));
        }
    }
    let keys = report.keys.clone();
    report.log.cosigners.retain(|signer| !keys.contains(&signer.key));
    let now = options.now.and_then(|now| now.duration_since(UNIX_EPOCH).ok());
    let now = now.and_then(|now| i64::try_from(now.as_micros()).ok());
    if let (Some(now), Some(latest)) = (now, &report.log.to)
        && micros(latest).is_ok_and(|latest| latest > now.saturating_add(AHEAD_US_MAX))
    {
        report.remarks.push(format!("times go up to {latest}, which is yet to come"));
    }
    report.intact = report.findings_total() == 0;
}

/// Whether each log that was set aside is named by the log after it, and each that is named is there.
fn chain(report: &mut Report) {
    let mut findings = Vec::new();
    let mut before: Option<usize> = None;
    for place in 0..=report.older.len() {
        let log = report.older.get(place).map_or(&report.log, |old| &old.report);
        let follows = log.follows.clone();
        let current = place == report.older.len();
        let id = log.log.clone();
        match (before.and_then(|before| report.older.get_mut(before)), follows) {
            (None, None) => {}
            (None, Some(follows)) => {
                let old = follows.log.unwrap_or_else(|| "without a readable id".to_owned());
                findings.push(format!("the log {old}, which was set aside ({}), is not here", follows.reason));
            }
            (Some(old), Some(follows)) => {
                old.followed = follows.new == old.before
                    && follows.number == old.number
                    && id.is_none_or(|id| id == old.before)
                    && (follows.log.is_none() || old.report.log.is_none() || follows.log == old.report.log);
                if !old.followed {
                    findings.push(format!(
                        "the log set aside as number {} is not the one that its successor follows",
                        old.number
                    ));
                }
            }
            // What was set aside itself may have lost the entry that would say so.
            (Some(old), None) if current => {
                findings.push(format!("no log says that it follows the one set aside as number {}", old.number));
            }
            (Some(old), None) => {
                report.remarks.push(format!(
                    "the log after number {} lost its first entry, which said what it follows",
                    old.number
                ));
            }
        }
        before = Some(place);
    }
    report.findings.extend(findings.into_iter().map(Finding::general));
}
