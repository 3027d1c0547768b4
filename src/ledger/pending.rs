//! Entries that nobody writes yet, and whose turn it is to write them: the state that the ledger's lock guards.
//!
//! Nothing here waits, allocates much or touches a file, so the lock is held for some hundred nanoseconds.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::exchange::{NotRecorded, Unrecorded};
use crate::ledger::entry::{Gap, Kind};
use crate::ledger::integrator::Published;
use crate::ledger::segment::File;
use crate::ledger::tail::{Group, Synced, Tail};

/// Checkpoints that wait to be written, at most; the newest count.
const CHECKPOINTS_MAX: usize = 8;

/// What waits, who leads, and how far the log is.
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
    /// Checkpoints that are not in the log yet, or not with all that signed them; bounded.
    pub(crate) checkpoints: Vec<Arc<Published>>,
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

impl Pending {
    /// Nothing pending after what the tail has.
    pub(crate) fn new(tail: Tail, known: Vec<[u8; 32]>) -> Self {
        let written = Synced { size: tail.size, offset: tail.offset };
        Self {
            group: Group::default(),
            next: tail.size,
            file: Arc::clone(&tail.file),
            written,
            synced: tail.synced,
            tail: Some(Box::new(tail)),
            known: known.into_iter().collect(),
            state: State::Writing,
            stuck: false,
            keeper: Keeping::Busy,
            attention: false,
            closing: false,
            owed: [None; Unrecorded::ALL.len()],
            reason: String::new(),
            checkpoints: Vec::new(),
        }
    }

    /// Moves what is pending into the leader's hand.
    pub(crate) fn take(&mut self, tail: &mut Tail) {
        std::mem::swap(&mut self.group, &mut tail.group);
        tail.synced = self.synced;
    }

    /// Publishes where the tail stands.
    pub(crate) fn note(&mut self, tail: &Tail) {
        if !Arc::ptr_eq(&self.file, &tail.file) {
            self.file = Arc::clone(&tail.file);
        }
        self.written = Synced { size: tail.size, offset: tail.offset };
        self.synced = tail.synced;
    }

    /// Adds predictions to those that a `gap` must cover.
    pub(crate) fn owe(&mut self, gap: &Gap) {
        let Some(at) = Unrecorded::ALL.iter().position(|reason| reason.as_str() == gap.reason) else { return };
        match &mut self.owed[at] {
            Some(owed) => owed.merge(gap),
            owed => *owed = Some(*gap),
        }
    }

    /// Has a checkpoint written; of the same one, the version that more have signed.
    pub(crate) fn owe_checkpoint(&mut self, published: Arc<Published>) {
        self.checkpoints.retain(|other| other.head != published.head);
        if self.checkpoints.len() == CHECKPOINTS_MAX {
            self.checkpoints.remove(0);
        }
        self.checkpoints.push(published);
    }

    /// Appends an entry, under the next index.
    pub(crate) fn push(&mut self, kind: Kind, payload: &[u8], crc: u32) {
        self.group.push(kind, self.next, payload, crc);
        self.next += 1;
    }

    /// A ticket's other half, for whoever waits for the last entry.
    pub(crate) fn wait(&mut self) -> oneshot::Receiver<Result<(), NotRecorded>> {
        let (sender, receiver) = oneshot::channel();
        self.group.waiters.push(sender);
        receiver
    }

    /// After entries were lost, what is pending moves up to where they were.
    pub(crate) fn renumber(&mut self, tail: &Tail) {
        let next = tail.size + u64::from(self.group.count);
        if next != self.next {
            self.group.renumber(tail.size);
            self.next = next;
        }
    }
}
