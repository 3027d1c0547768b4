//! Who leads: entries wait in [`Pending`], and whoever holds the tail writes all of them at once.
//!
//! Under `write` the worker that has an entry takes the tail itself if it is free: one positioned write, no other
//! thread. Whoever finds it taken leaves its entry and a ticket, which the leader settles. Under `queue` and `sync`
//! the keeper's thread leads. The lock guards memory only and is never held across I/O; file work other than that
//! one write is the keeper's (see `keeper`).
//!
//! Invariants: `next` = entries written + in the leader's hand + pending, so frames carry their final indices; an
//! entry is counted in `ledger_entries_total` when it is written or in `ledger_unrecorded_total` when it fails,
//! never both; gaps are owed until a `gap` entry for them is written.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use prometheus::{Histogram, IntCounter, IntGauge};
use rand::RngExt as _;
use tokio::sync::oneshot;

use crate::exchange::{NotRecorded, OnFailure, Refusal, Ticket, Unrecorded};
use crate::ledger::config::{Config, Durability};
use crate::ledger::entry::{self, Gap, Kind, OriginJson};
use crate::ledger::json::Clock;
use crate::ledger::segment::{File, Storage};
use crate::ledger::tail::{Group, Stuck, Synced, Tail, Waiter};
use crate::lineage::Document;
use crate::telemetry::Metrics;

/// Groups that a worker writes for others before it leaves the rest to the keeper.
const LEAD_ROUNDS: u32 = 4;
/// Pending bytes at which the keeper stops waiting for more.
const HIGH_WATER_BYTES: usize = 256 * 1024;
/// Places that one prediction reserves: its `begin` and its `prediction`.
const PLACES: u64 = 2;

/// What everyone who uses the ledger shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) log: [u8; 16],
    pub(crate) origin: OriginJson,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) meters: Meters,
    pending: Mutex<Pending>,
    /// Wakes the keeper.
    pub(crate) wake: Condvar,
    /// Places reserved, and entries pending.
    places: AtomicU64,
    queued_entries: AtomicU64,
    queued_bytes: AtomicU64,
    /// Entries written, as told before any ticket says so.
    size: AtomicU64,
    /// [`State`], readable without the lock.
    state: AtomicU8,
}

/// Entries that nobody writes yet, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) group: Group,
    /// The index of the next entry.
    pub(crate) next: u64,
    /// The tail, unless somebody leads.
    pub(crate) tail: Option<Box<Tail>>,
    /// Documents that the log holds, or will with what is pending.
    pub(crate) known: HashSet<[u8; 32], BuildHasherDefault<DigestHasher>>,
    pub(crate) state: State,
    /// The tail holds a group that its leader could not write; the keeper must.
    pub(crate) stuck: bool,
    pub(crate) keeper: Keeping,
    /// The keeper should look at the tail: rotation is due, or a leader left entries.
    pub(crate) attention: bool,
    /// The process is stopping.
    pub(crate) closing: bool,
    /// The active segment and how far it is written, for the keeper's sync.
    pub(crate) file: Arc<dyn File>,
    pub(crate) written: Synced,
    pub(crate) synced: Synced,
    /// Predictions without an entry that no `gap` covers yet, by [`Unrecorded`].
    pub(crate) owed: [Option<Gap>; Unrecorded::ALL.len()],
    /// Why it is failing.
    pub(crate) reason: String,
}

/// What the keeper does, as far as others must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It will look before it sleeps.
    Busy,
    /// It sleeps with nothing to do.
    Idle,
    /// It waits for the tail: nobody else takes it.
    Claiming,
}

/// Whether entries are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Writing = 0,
    Failing = 1,
    Sealed = 2,
}

/// A digest is its own hash.
#[derive(Debug, Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(chunk) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*chunk);
        }
    }

    fn write_usize(&mut self, _len: usize) {}
}

/// The ledger's metrics, their labels resolved once.
#[derive(Debug)]
pub(crate) struct Meters {
    entries: [IntCounter; Kind::ALL.len()],
    unrecorded: [IntCounter; Unrecorded::ALL.len()],
    pub(crate) commit: Histogram,
    pub(crate) queue_entries: IntGauge,
    pub(crate) queue_bytes: IntGauge,
    pub(crate) tree_size: IntGauge,
    pub(crate) integrity_failures: IntCounter,
}

impl Meters {
    /// Resolves the labels.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            entries: Kind::ALL.map(|kind| metrics.ledger_entries.with_label_values(&[kind.as_str()])),
            unrecorded: Unrecorded::ALL.map(|reason| metrics.ledger_unrecorded.with_label_values(&[reason.as_str()])),
            commit: metrics.ledger_commit.clone(),
            queue_entries: metrics.ledger_queue_entries.clone(),
            queue_bytes: metrics.ledger_queue_bytes.clone(),
            tree_size: metrics.ledger_tree_size.clone(),
            integrity_failures: metrics.ledger_integrity_failures.clone(),
        }
    }

    /// Counts what was written.
    pub(crate) fn count(&self, group: &Group) {
        for (counter, count) in self.entries.iter().zip(group.kinds) {
            if count > 0 {
                counter.inc_by(u64::from(count));
            }
        }
    }
}

/// An entry on its way in.
#[derive(Debug)]
pub(crate) struct Submission<'a> {
    pub(crate) kind: Kind,
    pub(crate) time: SystemTime,
    pub(crate) payload: &'a [u8],
    /// The document that it refers to.
    pub(crate) document: Option<&'a Document>,
}

/// What a recovered log starts with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) tail: Tail,
    pub(crate) known: Vec<[u8; 32]>,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        origin: OriginJson,
        storage: Arc<dyn Storage>,
        (log, metrics): ([u8; 16], &Metrics),
        beginning: Beginning,
    ) -> Self {
        let tail = beginning.tail;
        let written = Synced { size: tail.size, offset: tail.offset };
        let pending = Pending {
            group: Group::default(),
            next: tail.size,
            file: Arc::clone(&tail.file),
            written,
            synced: tail.synced,
            tail: Some(Box::new(tail)),
            known: beginning.known.into_iter().collect(),
            state: State::Writing,
            stuck: false,
            keeper: Keeping::Busy,
            attention: false,
            closing: false,
            owed: [None; Unrecorded::ALL.len()],
            reason: String::new(),
        };
        Self {
            config,
            log,
            origin,
            storage,
            meters: Meters::new(metrics),
            pending: Mutex::new(pending),
            wake: Condvar::new(),
            places: AtomicU64::new(0),
            queued_entries: AtomicU64::new(0),
            queued_bytes: AtomicU64::new(0),
            size: AtomicU64::new(written.size),
            state: AtomicU8::new(State::Writing as u8),
        }
    }

    /// The lock. A thread that panicked under it left counts and buffers whole: nothing in there can panic half way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves two places. Bounded by what is reserved and what is pending together.
    pub(crate) fn reserve(&self) -> Result<(), Refusal> {
        match self.state.load(Ordering::Relaxed) {
            0 => {}
            1 => return Err(Refusal::Failing),
            _ => return Err(Refusal::Sealed),
        }
        let reserved = self.places.fetch_add(PLACES, Ordering::Relaxed) + PLACES;
        let entries = reserved + self.queued_entries.load(Ordering::Relaxed);
        let full = entries > self.config.queue_entries
            || self.queued_bytes.load(Ordering::Relaxed) >= self.config.queue_bytes.0;
        if full {
            self.release();
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Gives two places back.
    pub(crate) fn release(&self) {
        self.places.fetch_sub(PLACES, Ordering::Relaxed);
    }

    /// Places reserved and entries pending; bytes pending.
    pub(crate) fn queue(&self) -> (u64, u64) {
        let entries = self.places.load(Ordering::Relaxed) + self.queued_entries.load(Ordering::Relaxed);
        (entries, self.queued_bytes.load(Ordering::Relaxed))
    }

    /// Entries written.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Takes an entry; the ticket settles when it is as durable as the mode promises.
    pub(crate) fn submit(&self, entry: &Submission<'_>) -> Ticket {
        let crc = crc32c::crc32c(entry.payload);
        let mut pending = self.lock();
        if pending.state != State::Writing {
            self.fail_one(&mut pending, entry);
            return Ticket::Settled(Err(NotRecorded));
        }
        self.append(&mut pending, entry, crc);
        match self.config.durability {
            Durability::Write => {
                let free = pending.keeper != Keeping::Claiming && !pending.stuck;
                match if free { pending.tail.take() } else { None } {
                    Some(tail) => self.lead(pending, tail),
                    None => Ticket::Waiting(wait(&mut pending)),
                }
            }
            Durability::Queue => {
                self.rouse(pending);
                Ticket::Settled(Ok(()))
            }
            Durability::Sync => {
                let receiver = wait(&mut pending);
                self.rouse(pending);
                Ticket::Waiting(receiver)
            }
        }
    }

    /// Puts an entry, and the document that it is the first to name, at the end of what is pending.
    pub(crate) fn append(&self, pending: &mut Pending, entry: &Submission<'_>, crc: u32) {
        let before = pending.group.bytes;
        let mut entries = 1;
        if let Some(document) = entry.document.filter(|document| !pending.known.contains(&document.digest)) {
            let mut payload = Vec::new();
            entry::lineage(&mut payload, &mut Clock::default(), nonce(), entry.time, document);
            push(pending, Kind::Lineage, &payload, crc32c::crc32c(&payload));
            pending.known.insert(document.digest);
            pending.group.digests.push(document.digest);
            entries += 1;
        }
        push(pending, entry.kind, entry.payload, crc);
        if entry.kind == Kind::Prediction {
            pending.group.note_time(entry.time);
        }
        self.queued_entries.fetch_add(entries, Ordering::Relaxed);
        self.queued_bytes.fetch_add(pending.group.bytes - before, Ordering::Relaxed);
    }

    /// Writes what is pending, on the thread that brought the last of it.
    fn lead<'a>(&'a self, mut pending: MutexGuard<'a, Pending>, mut tail: Box<Tail>) -> Ticket {
        for round in 0..LEAD_ROUNDS {
            take(&mut pending, &mut tail);
            drop(pending);
            let taken = Instant::now();
            if let Err(stuck) = tail.write() {
                return self.hand_over(tail, &stuck, round == 0);
            }
            self.publish(&mut tail, taken);
            pending = self.lock();
            pending.written = Synced { size: tail.size, offset: tail.offset };
            if pending.group.is_empty() || pending.keeper == Keeping::Claiming {
                break;
            }
        }
        let leftover = !pending.group.is_empty() || tail.wants_rotation();
        let call = pending.keeper == Keeping::Claiming || (leftover && !pending.attention);
        pending.attention |= leftover;
        pending.tail = Some(tail);
        drop(pending);
        if call {
            self.wake.notify_one();
        }
        Ticket::Settled(Ok(()))
    }

    /// Leaves a group that could not be written to the keeper. In the first round the leader's own entry is in it.
    fn hand_over(&self, mut tail: Box<Tail>, stuck: &Stuck, own: bool) -> Ticket {
        if let Stuck::Io(error) = stuck {
            tracing::error!(%error, segment = tail.first, "writing the ledger failed; the segment is given up");
        }
        let ticket = if own {
            let (sender, receiver) = oneshot::channel();
            tail.group.waiters.push(sender);
            Ticket::Waiting(receiver)
        } else {
            Ticket::Settled(Ok(()))
        };
        let mut pending = self.lock();
        pending.stuck = true;
        pending.tail = Some(tail);
        drop(pending);
        self.wake.notify_one();
        ticket
    }

    /// Counts a group that is as durable as promised, and settles its tickets.
    pub(crate) fn publish(&self, tail: &mut Tail, taken: Instant) {
        let group = &mut tail.group;
        self.size.store(tail.size, Ordering::Relaxed);
        self.meters.count(group);
        self.meters.tree_size.set(i64::try_from(tail.size).unwrap_or(i64::MAX));
        self.meters.commit.observe(taken.elapsed().as_secs_f64());
        self.unqueue(group);
        settle(&mut group.waiters, Ok(()));
        group.clear();
    }

    /// Gives up a group: nothing of it is in the log. Its gaps are owed again, its predictions counted and owed.
    pub(crate) fn fail(&self, pending: &mut Pending, group: &mut Group) {
        for digest in &group.digests {
            pending.known.remove(digest);
        }
        for gap in &group.gaps {
            owe(pending, gap);
        }
        if let (Some((from, to)), count @ 1..) = (group.span, group.predictions()) {
            let reason = self.failure();
            self.meters.unrecorded[reason as usize].inc_by(count);
            owe(pending, &Gap { from, to, count, reason: reason.as_str() });
        }
        self.unqueue(group);
        settle(&mut group.waiters, Err(NotRecorded));
        group.clear();
    }

    /// Counts a prediction that has no entry; a `gap` covers it later.
    pub(crate) fn unrecorded(&self, reason: Unrecorded, time: SystemTime) {
        self.meters.unrecorded[reason as usize].inc();
        owe(&mut self.lock(), &Gap { from: time, to: time, count: 1, reason: reason.as_str() });
    }

    fn fail_one(&self, pending: &mut Pending, entry: &Submission<'_>) {
        if entry.kind == Kind::Prediction {
            let reason = self.failure();
            self.meters.unrecorded[reason as usize].inc();
            owe(pending, &Gap { from: entry.time, to: entry.time, count: 1, reason: reason.as_str() });
        }
    }

    fn failure(&self) -> Unrecorded {
        match self.config.on_failure {
            OnFailure::Pass => Unrecorded::Passed,
            OnFailure::Reject => Unrecorded::Failed,
        }
    }

    /// Wakes the keeper if it sleeps, or lingers while much is pending.
    fn rouse(&self, mut pending: MutexGuard<'_, Pending>) {
        let high = pending.group.frames.len() >= HIGH_WATER_BYTES && !pending.attention;
        pending.attention |= high;
        let call = pending.keeper == Keeping::Idle || high;
        if call {
            pending.keeper = Keeping::Busy;
        }
        drop(pending);
        if call {
            self.wake.notify_one();
        }
    }

    /// Takes no more entries, and tells the keeper to end.
    pub(crate) fn close(&self) {
        let mut pending = self.lock();
        pending.closing = true;
        self.set_state(&mut pending, State::Sealed);
        drop(pending);
        self.wake.notify_one();
    }

    /// Changes the state, for those with and without the lock.
    pub(crate) fn set_state(&self, pending: &mut Pending, state: State) {
        pending.state = state;
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn unqueue(&self, group: &Group) {
        self.queued_entries.fetch_sub(u64::from(group.count), Ordering::Relaxed);
        self.queued_bytes.fetch_sub(group.bytes, Ordering::Relaxed);
    }
}

/// Moves what is pending into the leader's hand.
pub(crate) fn take(pending: &mut Pending, tail: &mut Tail) {
    std::mem::swap(&mut pending.group, &mut tail.group);
    tail.synced = pending.synced;
}

/// Publishes where the tail stands.
pub(crate) fn note(pending: &mut Pending, tail: &Tail) {
    if !Arc::ptr_eq(&pending.file, &tail.file) {
        pending.file = Arc::clone(&tail.file);
    }
    pending.written = Synced { size: tail.size, offset: tail.offset };
    pending.synced = tail.synced;
}

/// Adds predictions to those that a `gap` must cover.
pub(crate) fn owe(pending: &mut Pending, gap: &Gap) {
    let Some(at) = Unrecorded::ALL.iter().position(|reason| reason.as_str() == gap.reason) else { return };
    match &mut pending.owed[at] {
        Some(owed) => owed.merge(gap),
        owed => *owed = Some(*gap),
    }
}

/// Sixteen fresh random bytes.
pub(crate) fn nonce() -> [u8; 16] {
    rand::rng().random()
}

fn push(pending: &mut Pending, kind: Kind, payload: &[u8], crc: u32) {
    pending.group.push(kind, pending.next, payload, crc);
    pending.next += 1;
}

fn wait(pending: &mut Pending) -> oneshot::Receiver<Result<(), NotRecorded>> {
    let (sender, receiver) = oneshot::channel();
    pending.group.waiters.push(sender);
    receiver
}

fn settle(waiters: &mut Vec<Waiter>, result: Result<(), NotRecorded>) {
    for waiter in waiters.drain(..) {
        // A dropped ticket is a client that went away; its entry stays.
        let _ = waiter.send(result);
    }
}
