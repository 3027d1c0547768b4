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

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use rand::RngExt as _;
use tokio::sync::{oneshot, watch};

use crate::exchange::{NotRecorded, OnFailure, Refusal, Ticket, Unrecorded};
use crate::ledger::config::{Config, Durability};
use crate::ledger::entry::{self, Gap, Kind, OriginJson};
use crate::ledger::integrator::Published;
use crate::ledger::json::Clock;
use crate::ledger::meters::Meters;
use crate::ledger::pending::{Keeping, Pending, State};
use crate::ledger::segment::Storage;
use crate::ledger::tail::{Group, Stuck, Synced, Tail, Waiter};
use crate::lineage::Document;
use crate::telemetry::Metrics;
use crate::tlog::Signature;

/// Groups that a worker writes for others before it leaves the rest to the keeper.
const LEAD_ROUNDS: u32 = 4;
/// Pending bytes at which the keeper stops waiting for more.
const HIGH_WATER_BYTES: usize = 256 * 1024;
/// Places that one prediction reserves: its `begin` and its `prediction`.
const PLACES: u64 = 2;

/// What everyone who uses the ledger shares.
#[derive(Debug)]
pub(crate) struct Shared {
    config: ArcSwap<Config>,
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
    /// The newest checkpoint.
    checkpoint: watch::Sender<Option<Arc<Published>>>,
    /// The checkpoint that witnesses signed last, with all of their signatures.
    cosigned: Mutex<Option<Published>>,
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
        Self {
            config: ArcSwap::from_pointee(config),
            log,
            origin,
            storage,
            meters: Meters::new(metrics),
            size: AtomicU64::new(beginning.tail.size),
            pending: Mutex::new(Pending::new(beginning.tail, beginning.known)),
            wake: Condvar::new(),
            places: AtomicU64::new(0),
            queued_entries: AtomicU64::new(0),
            queued_bytes: AtomicU64::new(0),
            state: AtomicU8::new(State::Writing as u8),
            checkpoint: watch::Sender::new(None),
            cosigned: Mutex::new(None),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> arc_swap::Guard<Arc<Config>> {
        self.config.load()
    }

    /// Takes another configuration. What waits under the old one is the keeper's to finish.
    pub(crate) fn reconfigure(&self, config: Config) {
        self.config.store(Arc::new(config));
        self.lock().attention = true;
        self.wake.notify_one();
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
        let config = self.config.load();
        let full = entries > config.queue_entries || self.queued_bytes.load(Ordering::Relaxed) >= config.queue_bytes.0;
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

    /// Calls under way whose end is still to come.
    pub(crate) fn calls(&self) -> u64 {
        self.places.load(Ordering::Relaxed) / PLACES
    }

    /// Takes a new checkpoint, and has it written into the log.
    pub(crate) fn publish_checkpoint(&self, published: Published) {
        let published = Arc::new(published);
        self.checkpoint.send_replace(Some(Arc::clone(&published)));
        self.write_checkpoint(published);
    }

    /// Has a checkpoint written into the log, once more where others have signed it since.
    pub(crate) fn write_checkpoint(&self, published: Arc<Published>) {
        self.lock().owe_checkpoint(published);
        self.wake.notify_one();
    }

    /// Adds a witness's signature to a checkpoint: to what others of them signed already.
    pub(crate) fn cosigned(&self, published: &Arc<Published>, signature: Signature) {
        let mut cosigned = self.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = cosigned.take().filter(|other| other.head == published.head);
        let mut more = signed.unwrap_or_else(|| Published::clone(published));
        more.note.add(signature);
        *cosigned = Some(more.clone());
        drop(cosigned);
        let more = Arc::new(more);
        self.checkpoint.send_if_modified(|newest| {
            if newest.as_ref().is_some_and(|newest| newest.head == more.head) {
                *newest = Some(Arc::clone(&more));
            }
            false
        });
        self.write_checkpoint(more);
    }

    /// The newest checkpoint of this run.
    pub(crate) fn checkpoint(&self) -> Option<Arc<Published>> {
        self.checkpoint.borrow().clone()
    }

    /// Tells of each checkpoint to come.
    pub(crate) fn checkpoints(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.checkpoint.subscribe()
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
        match self.config.load().durability {
            Durability::Write => {
                let free = pending.keeper != Keeping::Claiming && !pending.stuck;
                match if free { pending.tail.take() } else { None } {
                    Some(tail) => self.lead(pending, tail),
                    None => Ticket::Waiting(pending.wait()),
                }
            }
            Durability::Queue => {
                self.rouse(pending);
                Ticket::Settled(Ok(()))
            }
            Durability::Sync => {
                let receiver = pending.wait();
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
            pending.push(Kind::Lineage, &payload, crc32c::crc32c(&payload));
            pending.known.insert(document.digest);
            pending.group.digests.push(document.digest);
            entries += 1;
        }
        pending.push(entry.kind, entry.payload, crc);
        if entry.kind == Kind::Prediction {
            pending.group.note_time(entry.time);
        }
        self.queued_entries.fetch_add(entries, Ordering::Relaxed);
        self.queued_bytes.fetch_add(pending.group.bytes - before, Ordering::Relaxed);
    }

    /// Writes what is pending, on the thread that brought the last of it.
    fn lead<'a>(&'a self, mut pending: MutexGuard<'a, Pending>, mut tail: Box<Tail>) -> Ticket {
        let before = tail.offset;
        for round in 0..LEAD_ROUNDS {
            pending.take(&mut tail);
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
        let leftover = !pending.group.is_empty() || tail.crossed(before);
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
        if group.is_empty() {
            return;
        }
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
            pending.owe(gap);
        }
        if let (Some((from, to)), count @ 1..) = (group.span, group.predictions()) {
            let reason = self.failure();
            self.meters.unrecorded[reason as usize].inc_by(count);
            pending.owe(&Gap { from, to, count, reason: reason.as_str() });
        }
        self.unqueue(group);
        settle(&mut group.waiters, Err(NotRecorded));
        group.clear();
    }

    /// Counts a prediction that has no entry; a `gap` covers it later.
    pub(crate) fn unrecorded(&self, reason: Unrecorded, time: SystemTime) {
        self.meters.unrecorded[reason as usize].inc();
        self.lock().owe(&Gap { from: time, to: time, count: 1, reason: reason.as_str() });
    }

    fn fail_one(&self, pending: &mut Pending, entry: &Submission<'_>) {
        if entry.kind == Kind::Prediction {
            let reason = self.failure();
            self.meters.unrecorded[reason as usize].inc();
            pending.owe(&Gap { from: entry.time, to: entry.time, count: 1, reason: reason.as_str() });
        }
    }

    fn failure(&self) -> Unrecorded {
        match self.config.load().on_failure {
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

/// Sixteen fresh random bytes.
pub(crate) fn nonce() -> [u8; 16] {
    rand::rng().random()
}

fn settle(waiters: &mut Vec<Waiter>, result: Result<(), NotRecorded>) {
    for waiter in waiters.drain(..) {
        // A dropped ticket is a client that went away; its entry stays.
        let _ = waiter.send(result);
    }
}
