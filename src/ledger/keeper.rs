//! The ledger's own thread: everything that takes long, so that no worker has to.
//!
//! It leads under `queue` and `sync`, syncs at least each `ledger.sync_interval`, makes the next segment ahead of
//! need, rotates, mends what an I/O error broke or tries again each second, writes the gaps that are owed, has
//! indices built, and seals at the end. It decides nothing about entries.

use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::ledger::config::Durability;
use crate::ledger::entry::{self, Gap, Kind};
use crate::ledger::indexer::Indexer;
use crate::ledger::integrator::Integrator;
use crate::ledger::json::Clock;
use crate::ledger::linger::linger;
use crate::ledger::pending::{Keeping, Pending, State};
use crate::ledger::segment::{File, SPARE_NAME};
use crate::ledger::tail::{Done, Stuck, Synced, Tail, create_spare, rotation_mark, spare_mark};
use crate::ledger::writer::{Shared, Submission, nonce};

/// The least between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(1) };
/// The longest between two looks at gauges, gaps and the spare segment.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Between two attempts to open a new segment while the ledger fails.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(1) };

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    indexer: Indexer,
    integrator: Integrator,
    /// The next segment, made ahead of need.
    spare: Option<Arc<dyn File>>,
    /// The next look around, and the next sync.
    due: Instant,
    sync_due: Instant,
    retry: Instant,
    spare_due: Instant,
    /// The size up to which a commit frame says that it is synced.
    marked: u64,
    /// When the integrator is to be told of what is synced.
    checkpoint_due: Instant,
    /// How long the last group's write and sync took.
    last_sync: Duration,
    began: Instant,
}

type Guard<'a> = MutexGuard<'a, Pending>;

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, indexer: Indexer, integrator: Integrator) -> Self {
        let now = Instant::now();
        Self {
            // Opening has just synced whatever there is.
            sync_due: now + shared.config().sync_interval.0,
            shared,
            indexer,
            integrator,
            spare: None,
            due: now,
            retry: now,
            spare_due: now,
            marked: 0,
            checkpoint_due: now,
            last_sync: Duration::ZERO,
            began: now,
        }
    }

    /// Runs until the ledger is closed.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut pending = shared.lock();
        loop {
            let (now, failing) = (Instant::now(), pending.state == State::Failing);
            // What is poisoned is neither synced nor marked.
            let sound = !failing && !pending.stuck;
            // Work comes last: under load it never ends.
            pending = if pending.closing {
                drop(pending);
                return self.close();
            } else if failing && now >= self.retry {
                self.try_again(&shared, pending)
            } else if sound && now >= self.due {
                self.tick(&shared, pending)
            } else if sound && !pending.checkpoints.is_empty() {
                self.mark(&shared, pending)
            } else if !failing && self.has_work(&pending) {
                let pending = self.prepared(&shared, pending);
                let pending = self.linger(&shared, pending);
                self.drain(&shared, pending)
            } else {
                let until = if failing { self.retry } else { self.due };
                sleep(&shared, pending, until - now)
            };
        }
    }

    fn has_work(&self, pending: &Pending) -> bool {
        let leads = self.shared.config().durability != Durability::Write;
        pending.stuck || pending.attention || (leads && !pending.group.is_empty())
    }

    /// Whether something else is due that a row of groups must not put off. At the end nothing is.
    fn is_wanted(&self, pending: &Pending) -> bool {
        !pending.closing && (!pending.checkpoints.is_empty() || Instant::now() >= self.due)
    }

    /// Lets entries gather unless many have.
    fn linger<'a>(&self, shared: &'a Shared, pending: Guard<'a>) -> Guard<'a> {
        let time = linger(shared.config().durability, shared.calls(), self.last_sync);
        if time.is_zero() || pending.attention || pending.closing {
            return pending;
        }
        wait(shared, pending, time)
    }

    /// Takes the tail, from whoever leads if need be.
    fn claim<'a>(&mut self, shared: &'a Shared, mut pending: Guard<'a>) -> (Guard<'a>, Box<Tail>) {
        loop {
            if let Some(mut tail) = pending.tail.take() {
                pending.keeper = Keeping::Busy;
                tail.synced = pending.synced;
                tail.tree = shared.checkpoint().map(|checkpoint| checkpoint.head).or(tail.tree);
                tail.segment_bytes = shared.config().segment_size.0;
                tail.set_spare(self.spare.take());
                return (pending, tail);
            }
            pending.keeper = Keeping::Claiming;
            pending = shared.wake.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Gives the tail back, with what everyone may know of it.
    fn restore<'a>(&mut self, mut pending: Guard<'a>, mut tail: Box<Tail>) -> Guard<'a> {
        self.spare = tail.take_spare();
        pending.note(&tail);
        pending.tail = Some(tail);
        pending
    }

    /// Writes whatever is pending or stuck, and rotates where that is due.
    fn drain<'a>(&mut self, shared: &'a Shared, mut pending: Guard<'a>) -> Guard<'a> {
        let mut tail;
        (pending, tail) = self.claim(shared, pending);
        let mut mending = std::mem::take(&mut pending.stuck);
        loop {
            pending.attention = false;
            if !mending {
                pending.take(&mut tail);
            }
            drop(pending);
            let taken = Instant::now();
            let result = self.commit(&mut tail, mending);
            if result.is_ok() {
                shared.publish(&mut tail, taken);
            }
            pending = shared.lock();
            if let Err(error) = result {
                self.give_up(&mut pending, &mut tail, &error);
                break;
            }
            pending.note(&tail);
            pending.renumber(&tail);
            // With nothing in hand, mending is rotating.
            mending = tail.wants_rotation() && tail.has_spare();
            if mending {
                continue;
            }
            if pending.group.is_empty() || self.is_wanted(&pending) {
                pending.attention |= !pending.group.is_empty();
                break;
            }
            pending = self.linger(shared, pending);
        }
        self.restore(pending, tail)
    }

    /// Makes the group in hand as durable as the mode promises, in this segment or another.
    fn commit(&mut self, tail: &mut Tail, stuck: bool) -> io::Result<()> {
        if !stuck && !tail.group.is_empty() {
            match self.write(tail) {
                Ok(()) => return Ok(()),
                Err(Stuck::Full) => {}
                Err(Stuck::Io(error)) => {
                    tracing::error!(%error, segment = tail.first, "writing the ledger failed; the segment is given up");
                }
            }
        } else if !stuck {
            return Ok(());
        }
        self.mend(tail)
    }

    fn write(&mut self, tail: &mut Tail) -> Result<(), Stuck> {
        match self.shared.config().durability {
            Durability::Sync => {
                let begun = Instant::now();
                let result = tail.write_and_sync();
                self.last_sync = begun.elapsed();
                result
            }
            Durability::Write | Durability::Queue => tail.write(),
        }
    }

    /// Goes on in a new segment: after a full one, or in the place of a poisoned one. One failure on the way is
    /// borne: what it broke is left behind too.
    fn mend(&mut self, tail: &mut Tail) -> io::Result<()> {
        self.move_on(tail).or_else(|error| {
            tracing::error!(%error, segment = tail.first, "a new ledger segment could not be begun; trying once more");
            self.move_on(tail)
        })
    }

    fn move_on(&mut self, tail: &mut Tail) -> io::Result<()> {
        if tail.poisoned {
            let done = tail.replace()?;
            self.finished(done, tail);
            return Ok(());
        }
        let done = tail.rotate()?;
        self.finished(done, tail);
        if tail.group.is_empty() {
            return Ok(());
        }
        self.write(tail).map_err(|stuck| match stuck {
            Stuck::Full => io::Error::other("a new segment took no entries"),
            Stuck::Io(error) => error,
        })
    }

    fn finished(&mut self, done: Done, tail: &Tail) {
        self.integrator.segment(tail.first, &tail.file);
        if done.lost > 0 {
            let now = SystemTime::now();
            self.shared.lock().owe(&Gap { from: now, to: now, count: done.lost, reason: "failed" });
            self.shared.meters.integrity_failures.inc();
            tracing::error!(
                segment = done.first,
                entries = done.lost,
                "recorded entries could not be read back from a failed segment"
            );
        }
        // A segment that was replaced from its first entry on has lost its name to the new one.
        if done.first != tail.first {
            self.indexer.add(done.first);
        }
    }

    /// Fails what waits, and refuses more until a new segment can be opened.
    fn give_up(&mut self, pending: &mut Pending, tail: &mut Tail, error: &io::Error) {
        tracing::error!(%error, "the ledger cannot write; predictions are refused or go unrecorded until it can");
        self.shared.fail(pending, &mut tail.group);
        let mut group = std::mem::take(&mut pending.group);
        self.shared.fail(pending, &mut group);
        pending.reason = error.to_string();
        pending.stuck = false;
        self.shared.set_state(pending, State::Failing);
        self.retry = Instant::now() + RETRY;
    }

    /// Tries to open a new segment after a failure.
    fn try_again<'a>(&mut self, shared: &'a Shared, pending: Guard<'a>) -> Guard<'a> {
        let (pending, mut tail) = self.claim(shared, pending);
        drop(pending);
        let result = self.mend(&mut tail);
        let mut pending = shared.lock();
        match result {
            Ok(()) => {
                tracing::warn!(size = tail.size, "the ledger writes again");
                pending.next = tail.size;
                pending.reason.clear();
                if pending.state == State::Failing {
                    shared.set_state(&mut pending, State::Writing);
                }
                self.owe_entries(&mut pending);
            }
            Err(error) => {
                pending.reason = error.to_string();
                self.retry = Instant::now() + RETRY;
            }
        }
        self.restore(pending, tail)
    }

    /// What is due at least once a second.
    fn tick<'a>(&mut self, shared: &'a Shared, mut pending: Guard<'a>) -> Guard<'a> {
        let now = Instant::now();
        let interval = shared.config().sync_interval.0;
        self.due = now + interval.min(TICK_MAX);
        let sync = now >= self.sync_due;
        if sync {
            self.sync_due = now + interval;
        }
        let (file, written, synced) = (Arc::clone(&pending.file), pending.written, pending.synced);
        self.owe_entries(&mut pending);
        drop(pending);
        let (entries, bytes) = shared.queue();
        shared.meters.queue_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        shared.meters.queue_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        shared.meters.checkpoint_age.set(self.checkpoint_age(written.size));
        self.prepare(written.offset);
        let rotate = self.spare.is_some() && written.offset >= rotation_mark(shared.config().segment_size.0);
        // Without the tail: workers go on writing meanwhile.
        let stale = written.size > synced.size;
        let result = if sync && stale { file.sync() } else { Ok(()) };
        let mut pending = shared.lock();
        pending.attention |= rotate;
        let written = if sync { written } else { synced };
        self.after_sync(shared, pending, result, written)
    }

    /// Seconds since the newest checkpoint, or since the start; 0 where it covers everything.
    fn checkpoint_age(&self, written: u64) -> f64 {
        let newest = self.shared.checkpoint();
        if newest.as_ref().is_some_and(|newest| newest.head.size >= written) {
            return 0.0;
        }
        newest.map_or(self.began, |newest| newest.at).elapsed().as_secs_f64()
    }

    fn after_sync<'a>(
        &mut self,
        shared: &'a Shared,
        mut pending: Guard<'a>,
        result: io::Result<()>,
        written: Synced,
    ) -> Guard<'a> {
        if let Err(error) = result {
            tracing::error!(%error, "syncing the ledger failed; the segment is given up");
            let mut tail;
            (pending, tail) = self.claim(shared, pending);
            tail.poisoned = true;
            pending.stuck = true;
            return self.restore(pending, tail);
        }
        if written.size > pending.synced.size {
            pending.synced = written;
        }
        let now = Instant::now();
        if now >= self.checkpoint_due {
            self.checkpoint_due = now + CHECKPOINT_INTERVAL;
            self.integrator.synced(pending.synced.size);
        }
        if pending.synced.size > self.marked && pending.group.is_empty() && !pending.stuck {
            pending = self.mark(shared, pending);
        }
        pending
    }

    /// Says on disk how far the log is synced, so that later damage there cannot pass for a torn tail, and what it
    /// commits to. In a segment that is full neither is worth another: the next one's header says as much.
    fn mark<'a>(&mut self, shared: &'a Shared, pending: Guard<'a>) -> Guard<'a> {
        let (mut pending, mut tail) = self.claim(shared, pending);
        let checkpoints = std::mem::take(&mut pending.checkpoints);
        if pending.stuck {
            return self.restore(pending, tail);
        }
        drop(pending);
        self.marked = tail.synced.size;
        let failed = matches!(tail.write_mark(&checkpoints), Err(Stuck::Io(_)));
        let mut pending = shared.lock();
        pending.stuck = failed;
        pending.attention |= !pending.group.is_empty();
        self.restore(pending, tail)
    }

    /// Makes the next segment if it is time, without the lock.
    fn prepared<'a>(&mut self, shared: &'a Shared, pending: Guard<'a>) -> Guard<'a> {
        let offset = pending.written.offset;
        if self.spare.is_some() || offset < spare_mark(shared.config().segment_size.0) {
            return pending;
        }
        drop(pending);
        self.prepare(offset);
        shared.lock()
    }

    /// Makes the next segment once half of this one is written. On a full disk, tries once a second.
    fn prepare(&mut self, offset: u64) {
        let (now, size) = (Instant::now(), self.shared.config().segment_size.0);
        if self.spare.is_some() || offset < spare_mark(size) || now < self.spare_due {
            return;
        }
        match create_spare(&*self.shared.storage, size) {
            Ok(spare) => self.spare = Some(spare),
            Err(error) => {
                self.spare_due = now + RETRY;
                tracing::warn!(%error, "the next ledger segment cannot be made yet");
            }
        }
    }

    /// Turns what is owed into `gap` entries.
    fn owe_entries(&self, pending: &mut Pending) {
        let now = SystemTime::now();
        for at in 0..pending.owed.len() {
            let Some(gap) = pending.owed[at].take() else { continue };
            self.push_gap(pending, &gap, now);
        }
    }

    fn push_gap(&self, pending: &mut Pending, gap: &Gap, now: SystemTime) {
        let mut payload = Vec::new();
        entry::gap(&mut payload, &mut Clock::default(), nonce(), now, gap);
        self.push(pending, Kind::Gap, &payload, now);
        pending.group.gaps.push(*gap);
    }

    fn push(&self, pending: &mut Pending, kind: Kind, payload: &[u8], time: SystemTime) {
        let submission = Submission { kind, time, payload, document: None };
        self.shared.append(pending, &submission, crc32c::crc32c(payload));
        pending.attention = true;
    }

    /// The orderly end: everything written, a `stop` entry, sealed, synced, indexed.
    fn close(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut pending = shared.lock();
        if !pending.reason.is_empty() {
            pending = self.try_again(&shared, pending);
        }
        if pending.reason.is_empty() {
            self.owe_entries(&mut pending);
            let (now, mut payload) = (SystemTime::now(), Vec::new());
            let event = ("stop", &b""[..]);
            entry::lifecycle(&mut payload, &mut Clock::default(), nonce(), &shared.origin, now, event);
            self.push(&mut pending, Kind::Lifecycle, &payload, now);
            pending = self.drain(&shared, pending);
        }
        shared.set_state(&mut pending, State::Sealed);
        let (mut pending, mut tail) = self.claim(&shared, pending);
        let failed = (!pending.reason.is_empty()).then(|| io::Error::other(std::mem::take(&mut pending.reason)));
        drop(pending);
        let result = failed.map_or_else(|| self.seal(&mut tail), Err);
        shared.lock().note(&tail);
        if result.is_ok() {
            self.indexer.add(tail.first);
        }
        if tail.take_spare().is_some() {
            drop(shared.storage.remove(SPARE_NAME));
        }
        self.indexer.finish();
        result
    }

    /// Seals at the end, what an error leaves behind in another segment.
    fn seal(&mut self, tail: &mut Tail) -> io::Result<()> {
        self.end(tail).or_else(|error| {
            tracing::error!(%error, segment = tail.first, "sealing the ledger failed; the segment is given up");
            self.move_on(tail)?;
            self.end(tail)
        })
    }

    /// The last checkpoint, over everything, and the seal.
    fn end(&mut self, tail: &mut Tail) -> io::Result<()> {
        tail.sync()?;
        let last = self.integrator.finish(tail.synced.size);
        let last = last.map(Arc::new);
        // Nothing comes after it, so it needs no room: without it the last entries would stand under no signature.
        let room = std::mem::replace(&mut tail.segment_bytes, u64::MAX);
        let written = tail.write_mark(last.as_slice());
        tail.segment_bytes = room;
        if let Err(Stuck::Io(error)) = written {
            return Err(error);
        }
        tail.tree = last.map(|published| published.head).or(tail.tree);
        tail.seal(true)
    }
}

fn sleep<'a>(shared: &'a Shared, mut pending: Guard<'a>, time: Duration) -> Guard<'a> {
    pending.keeper = Keeping::Idle;
    pending = wait(shared, pending, time);
    pending.keeper = Keeping::Busy;
    pending
}

fn wait<'a>(shared: &'a Shared, pending: Guard<'a>, time: Duration) -> Guard<'a> {
    shared.wake.wait_timeout(pending, time).unwrap_or_else(std::sync::PoisonError::into_inner).0
}
