//! The ledger: a record of every prediction that can be searched, and that cannot be changed unseen.
//!
//! # Life of an entry
//!
//! A worker finishes a prediction and calls [`Recorder::finish`]. `entry` writes it as compact JSON into the
//! thread's buffer; `writer` appends it as a frame to what is pending and, under the default durability, writes all
//! that is pending to the active segment there and then, with one `pwrite`. The answer may leave now: the process can
//! be killed and the entry is found. Within a second `keeper` syncs the segment, `integrator` makes the entry a leaf of
//! the `tree` and signs a checkpoint over it, which the keeper writes into the log. When the segment is nearly full, the
//! keeper seals it, goes on in the next, and `indexer` builds the index that [`read::Reader`] looks entries up in.
//!
//! # What it protects against
//!
//! Losing entries: the process may be killed at any instant (`write`), the power may fail (`sync`), a disk may
//! return errors or fill up; each either keeps an entry or says that it did not (the caller's ticket, a counter, a
//! `gap` entry). Torn and changed bytes: every frame carries a CRC, every file a checked header, padding is checked.
//! Two writers: the data directory is locked. Someone who rewrites files with fresh CRCs: their entries do not lead to
//! the roots that checkpoints signed. Someone who has the key too can sign another history; what stands elsewhere (a
//! witness, an anchor, an auditor's copy of a checkpoint) shows it.
//!
//! # Invariants
//!
//! Indices are dense and never fork. What is committed is never rewritten. A segment has its name only once its
//! header and everything in the segment before it are on stable storage. A segment that saw an I/O error is never
//! synced again. Memory is bounded by reservations made before a request is forwarded.
//!
//! # On disk
//!
//! `DIR/lock`, and in `DIR/ledger/`: `seg-<first index>.log` (see `segment`, `frame`), `seg-<first index>.idx` (see
//! `index`), `tree-<level>.hash` (see `tree`), `origin` (the log's name), `old-<number>-<id of the log after it>-seg-….log` (a damaged log
//! set aside, see `quarantine`), and while they are
//! being made, `*.tmp`.

mod anchor;
mod config;
mod entry;
mod frame;
mod glance;
mod index;
mod indexer;
mod integrator;
mod json;
mod keeper;
mod linger;
mod meters;
mod opening;
mod parse;
mod pending;
mod publisher;
mod quarantine;
mod recover;
mod rotate;
mod rotation;
mod segment;
mod signing;
mod submission;
mod tail;
#[cfg(test)]
mod tests;
mod tiles;
mod time;
mod tree;
mod writer;

pub mod proof;
pub mod read;
pub mod verify;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

pub use config::{Config, Durability, WitnessConfig};
pub use entry::Kind;
pub use parse::{Body, Entry, Text};
pub use rotate::{RotateError, Rotated};
pub use tiles::Tiles;

use crate::exchange::{Exchange, OnFailure, Prediction, Recorder, Refusal, Ticket, Unrecorded};
use crate::key_file::KeyFileError;
use crate::ledger::json::Clock;
use crate::ledger::opening::{Opening, anchor};
use crate::ledger::pending::State as Phase;
use crate::ledger::publisher::Publisher;
use crate::ledger::segment::{Disk, Lock, LockError};
use crate::ledger::signing::Keys;
use crate::ledger::writer::{Shared, Submission, nonce};
use crate::sha256::hex;
use crate::telemetry::Metrics;
use crate::tlog::{Note, Receipt, Signer, VerifierKey, leaf_hash};

/// The folder under the data directory.
const FOLDER: &str = "ledger";

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `deployment.name`.
    pub deployment: String,
    /// `deployment.instance`: one running copy of it.
    pub instance: String,
}

/// What a `lifecycle` entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process began. Written by [`Ledger::open`].
    Start,
    /// The process ended in order. Written by [`Ledger::close`].
    Stop,
    /// The configuration changed.
    Config,
    /// A model's identity changed.
    Identity,
    /// Traffic moved between backends.
    Traffic,
    /// Another key signs from here on. Written by [`Ledger::rotate`].
    Key,
}

impl Event {
    /// The name in entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Config => "config",
            Self::Identity => "identity",
            Self::Traffic => "traffic",
            Self::Key => "key",
        }
    }
}

/// Whether the ledger takes entries, for readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Writing,
    /// It cannot write; it tries again each second.
    Failing {
        /// The error.
        reason: String,
    },
    /// It is closed.
    Sealed,
}

/// How the ledger stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it takes entries.
    pub state: State,
    /// The log's id in hexadecimal.
    pub log: String,
    /// Entries written.
    pub size: u64,
    /// Entries on stable storage.
    pub synced: u64,
}

/// Why the ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes there.
    #[error(
        "ledger.dir: {dir} is locked by another touchmark{}; stop it, or give this one a directory of its own",
        holder(*.pid)
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The process that holds the lock.
        pid: Option<u32>,
    },
    /// A call failed.
    #[error("ledger.dir: {path}: {}", mend(.source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has a segment's name and is none.
    #[error("ledger.dir: {path} is no ledger segment; move it away")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The anchor cannot be read, so nobody knows whether this is the log that it should be.
    #[error("ledger.anchor: {name}: {source}; mount it, or take the key out of the configuration")]
    Anchor {
        /// The anchor.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A key that the log has had before.
    #[error("the key {key} signs this log already, or was retired: take one that never did")]
    Used {
        /// The verifier key.
        key: String,
    },
    /// The configured key was retired.
    #[error(
        "ledger.signing_key: the key {key} was retired, {new} took its place: name that one's file; what the old one \
         signs now would count for nothing"
    )]
    Retired {
        /// The verifier key.
        key: String,
        /// The one that took its place.
        new: String,
    },
    /// The log that is there cannot be read.
    #[error(transparent)]
    Read(#[from] read::ReadError),
    /// A later Touchmark wrote it.
    #[error("ledger.dir: {path} has format version {version}, this touchmark reads 1; run the newer one again")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        version: u32,
    },
}

/// The ledger could not be closed in order.
#[derive(Debug, thiserror::Error)]
#[error("the ledger was not sealed: {source}; its entries are recovered at the next start")]
pub struct CloseError {
    source: io::Error,
}

/// The ledger, open for writing. Clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

/// The ledger's thread, and the lock on its directory.
type Running = (JoinHandle<io::Result<()>>, Option<Lock>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    verifiers: Vec<VerifierKey>,
    /// Signs receipts, where they are wanted.
    receipts: Option<Signer>,
    publisher: Mutex<Option<Publisher>>,
    /// Taken by whoever closes the ledger; the lock goes with it.
    keeper: Mutex<Option<Running>>,
}

impl Ledger {
    /// Locks the directory, recovers what is there, and writes the `start` entry.
    pub fn open(config: &Config, origin: &Origin, metrics: &Arc<Metrics>) -> Result<Self, OpenError> {
        let dir = &config.dir;
        let path = dir.join(FOLDER);
        let failed = |source| OpenError::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(|source| OpenError::Io { path: dir.clone(), source })?;
        let lock = lock(dir)?;
        let disk = Disk::create(&path).map_err(failed)?;
        let keys = Keys::open(dir, config.signing_key.as_deref(), config.ml_dsa_44)?;
        let opening = Opening { config, origin, keys: &keys, metrics, anchor: anchor(config, origin) };
        opening.open(Arc::new(disk), Some(lock), &path)
    }

    /// Writes a `lifecycle` entry. `detail` is an object without floats, or null.
    pub fn lifecycle(&self, event: Event, detail: serde_json::Value) {
        let shared = &self.inner.shared;
        let (time, mut payload) = (SystemTime::now(), Vec::new());
        let detail = match detail {
            serde_json::Value::Null => Vec::new(),
            detail => detail.to_string().into_bytes(),
        };
        let content = (event.as_str(), detail.as_slice());
        entry::lifecycle(&mut payload, &mut Clock::default(), nonce(), &shared.origin, time, content);
        let ticket = shared.submit(&Submission { kind: Kind::Lifecycle, time, payload: &payload, document: None });
        if matches!(ticket, Ticket::Settled(Err(_))) {
            tracing::error!(event = event.as_str(), "a lifecycle event could not be recorded");
        }
    }

    /// Takes a reloaded configuration. `dir` stays as it was.
    pub fn reconfigure(&self, config: &Config) {
        self.inner.shared.reconfigure(config.clone());
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let pending = self.inner.shared.lock();
        let state = match pending.state {
            Phase::Writing => State::Writing,
            Phase::Failing => State::Failing { reason: pending.reason.clone() },
            Phase::Sealed => State::Sealed,
        };
        Status { state, log: hex(&self.inner.shared.log), size: self.inner.shared.size(), synced: pending.synced.size }
    }

    /// The newest checkpoint that this process signed, as a signed note (C2SP tlog-checkpoint).
    pub fn checkpoint(&self) -> Option<Note> {
        self.inner.shared.checkpoint().map(|published| published.note.clone())
    }

    /// The keys that check its checkpoints; the Ed25519 key first.
    pub fn verifiers(&self) -> &[VerifierKey] {
        &self.inner.verifiers
    }

    /// Writes what is pending and a `stop` entry, seals the log and ends its thread. Later entries are refused.
    /// Waits for the disk; call it once no request is in flight. A second call does nothing.
    pub fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}

impl Inner {
    fn close(&self) -> Result<(), CloseError> {
        let taken = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((thread, _lock)) = taken else { return Ok(()) };
        self.shared.close();
        let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
        // After the last checkpoint was signed.
        drop(self.publisher.lock().unwrap_or_else(PoisonError::into_inner).take());
        result.map_err(|source| CloseError { source })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the ledger failed");
        }
    }
}

/// A worker's buffer and calendar, so that an entry costs no allocation.
#[derive(Debug, Default)]
struct Scratch {
    payload: Vec<u8>,
    clock: Clock,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Recorder for Ledger {
    fn reserve(&self) -> Result<(), Refusal> {
        self.inner.shared.reserve()
    }

    fn release(&self) {
        self.inner.shared.release();
    }

    fn begin(&self, prediction: &Prediction<'_>) -> Ticket {
        let shared = &self.inner.shared;
        SCRATCH.with_borrow_mut(|Scratch { payload, clock }| {
            entry::begin(payload, clock, nonce(), &shared.origin, prediction);
            shared.submit(&submission(Kind::Begin, prediction, payload))
        })
    }

    fn finish(&self, exchange: &Exchange<'_>) -> Ticket {
        let shared = &self.inner.shared;
        SCRATCH.with_borrow_mut(|Scratch { payload, clock }| {
            entry::prediction(payload, clock, nonce(), &shared.origin, exchange);
            shared.submit(&submission(Kind::Prediction, &exchange.prediction, payload))
        })
    }

    fn finish_with_receipt(&self, exchange: &Exchange<'_>) -> (Ticket, Option<String>) {
        let Some(signer) = &self.inner.receipts else { return (self.finish(exchange), None) };
        let shared = &self.inner.shared;
        SCRATCH.with_borrow_mut(|Scratch { payload, clock }| {
            entry::prediction(payload, clock, nonce(), &shared.origin, exchange);
            let ticket = shared.submit(&submission(Kind::Prediction, &exchange.prediction, payload));
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let receipt = Receipt::sign(leaf_hash(payload), now, signer);
            (ticket, receipt.as_ref().map(ToString::to_string))
        })
    }

    fn unrecorded(&self, reason: Unrecorded, time: SystemTime) {
        self.inner.shared.unrecorded(reason, time);
    }

    fn on_failure(&self) -> OnFailure {
        self.inner.shared.config().on_failure
    }
}

fn lock(dir: &Path) -> Result<Lock, OpenError> {
    Lock::take(dir).map_err(|error| match error {
        LockError::Held(pid) => OpenError::Locked { dir: dir.to_owned(), pid },
        LockError::Io(source) => OpenError::Io { path: dir.to_owned(), source },
    })
}

fn submission<'a>(kind: Kind, call: &Prediction<'a>, payload: &'a [u8]) -> Submission<'a> {
    let document = call.identity.map(|identity| &*identity.document);
    Submission { kind, time: call.time, payload, document }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn mend(error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        io::ErrorKind::ReadOnlyFilesystem => "; it must be on a writable volume",
        io::ErrorKind::PermissionDenied => "; it must be writable by this user",
        _ => "",
    };
    format!("{error}{mend}")
}
