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

mod config;
mod entry;
mod frame;
mod glance;
mod index;
mod indexer;
mod integrator;
mod json;
mod keeper;
mod meters;
mod parse;
mod pending;
mod quarantine;
mod recover;
mod segment;
mod signing;
mod tail;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub mod read;
pub mod verify;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

pub use config::{Config, Durability};
pub use entry::Kind;
pub use parse::{Body, Entry, Text};
pub use signing::KeyFileError;

use crate::exchange::{Exchange, OnFailure, Prediction, Recorder, Refusal, Ticket, Unrecorded};
use crate::ledger::entry::OriginJson;
use crate::ledger::indexer::Indexer;
use crate::ledger::integrator::Integrator;
use crate::ledger::json::Clock;
use crate::ledger::keeper::Keeper;
use crate::ledger::pending::{Pending, State as Phase};
use crate::ledger::recover::{Failure, Recovered, recover};
use crate::ledger::segment::{Disk, Lock, LockError, Storage};
use crate::ledger::signing::Keys;
use crate::ledger::tail::{Stuck, Tail};
use crate::ledger::writer::{Beginning, Shared, Submission, nonce};
use crate::telemetry::Metrics;
use crate::tlog::{Note, VerifierKey};

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
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
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
        let lock = Lock::take(dir).map_err(|error| match error {
            LockError::Held(pid) => OpenError::Locked { dir: dir.clone(), pid },
            LockError::Io(source) => OpenError::Io { path: dir.clone(), source },
        })?;
        let disk = Disk::create(&path).map_err(failed)?;
        let keys = Keys::open(dir, config.signing_key.as_deref(), config.ml_dsa_44)?;
        Self::open_in(config, (origin, &keys, metrics), Arc::new(disk), Some(lock), &path)
    }

    fn open_in(
        config: &Config,
        (origin, keys, metrics): (&Origin, &Keys, &Metrics),
        storage: Arc<dyn Storage>,
        lock: Option<Lock>,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let (mut found, tree) = recover(&storage, nonce()).map_err(|failure| match failure {
            Failure::Io(name, source) => OpenError::Io { path: path.join(name), source },
            Failure::Foreign(name) => OpenError::Foreign { path: path.join(name) },
            Failure::Newer(name, version) => OpenError::Newer { path: path.join(name), version },
        })?;
        if found.follows.is_some() {
            metrics.ledger_integrity_failures.inc();
        }
        let log = found.log;
        let start = (found.next, (tree.size() > 0).then(|| tree.head()));
        let tail = Tail::start(Arc::clone(&storage), log, start, config.segment_size.0).map_err(failed)?;
        let name = signing::origin(&*storage, &origin.deployment, log).map_err(failed)?;
        let notary = keys.under(&name).map_err(|error| failed(io::Error::other(error)))?;
        let verifiers: Vec<VerifierKey> = notary.verifiers().cloned().collect();
        let active = (found.next, Arc::clone(&tail.file));
        let beginning = Beginning { tail, known: std::mem::take(&mut found.known) };
        let origin = OriginJson::new(&origin.deployment, &origin.instance);
        let shared = Arc::new(Shared::new(config.clone(), origin, Arc::clone(&storage), (log, metrics), beginning));
        first_entries(&shared, (&found, &verifiers), metrics).map_err(failed)?;
        let integrator = Integrator::start(Arc::clone(&shared), (tree, notary), active).map_err(failed)?;
        if found.follows.is_some() {
            quarantine::done(&*storage).map_err(failed)?;
        }
        let indexer = Indexer::start(storage, found.open).map_err(failed)?;
        let keeper = Keeper::new(Arc::clone(&shared), indexer, integrator);
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(|| keeper.run()).map_err(failed)?;
        let inner = Inner { shared, verifiers, keeper: Mutex::new(Some((thread, lock))) };
        Ok(Self { inner: Arc::new(inner) })
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
        let mut log = Vec::new();
        json::hex(&mut log, &self.inner.shared.log);
        Status {
            state,
            log: String::from_utf8_lossy(&log).into_owned(),
            size: self.inner.shared.size(),
            synced: pending.synced.size,
        }
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

    fn unrecorded(&self, reason: Unrecorded, time: SystemTime) {
        self.inner.shared.unrecorded(reason, time);
    }

    fn on_failure(&self) -> OnFailure {
        self.inner.shared.config().on_failure
    }
}

fn submission<'a>(kind: Kind, call: &Prediction<'a>, payload: &'a [u8]) -> Submission<'a> {
    let document = call.identity.map(|identity| &*identity.document);
    Submission { kind, time: call.time, payload, document }
}

/// `start`, and the end of each prediction that a crash interrupted: on stable storage before anything else is.
fn first_entries(shared: &Shared, (found, keys): (&Recovered, &[VerifierKey]), metrics: &Metrics) -> io::Result<()> {
    let now = SystemTime::now();
    let mut pending = shared.lock();
    let Some(mut tail) = pending.tail.take() else { return Ok(()) };
    let (mut payload, clock) = (Vec::new(), &mut Clock::default());
    let detail = start_detail(found, keys);
    entry::lifecycle(&mut payload, clock, nonce(), &shared.origin, now, (Event::Start.as_str(), &detail));
    let push = |pending: &mut Pending, kind, payload: &[u8]| {
        let entry = Submission { kind, time: now, payload, document: None };
        shared.append(pending, &entry, crc32c::crc32c(payload));
    };
    push(&mut pending, Kind::Lifecycle, &payload);
    for begin in recover::read_entries(&*shared.storage, found.open.values().copied().collect())? {
        let Ok(begin) = Entry::parse(&begin) else { continue };
        entry::interrupted(&mut payload, nonce(), &begin);
        push(&mut pending, Kind::Prediction, &payload);
        // Counted where every prediction is, or the books would not balance; its labels are another run's.
        let other = ["other", "other", "other", "other", "other", "interrupted"];
        metrics.predictions.with_label_values(&other).inc();
    }
    pending.take(&mut tail);
    let taken = std::time::Instant::now();
    tail.write_and_sync().map_err(|stuck| match stuck {
        Stuck::Full => io::Error::other("ledger.segment_size is too small for what a start has to write"),
        Stuck::Io(error) => error,
    })?;
    shared.publish(&mut tail, taken);
    pending.note(&tail);
    pending.tail = Some(tail);
    Ok(())
}

/// The `start` entry's detail, in this order.
#[derive(serde::Serialize)]
struct StartDetail<'a> {
    /// The last run did not stop in order.
    unclean: bool,
    /// Entries found beyond the last point that is known to have been synced.
    recovered: u64,
    /// Predictions whose end a crash took.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<usize>,
    /// The damaged log that this one follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<&'a quarantine::Note>,
    /// The verifier keys of the checkpoints to come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

fn start_detail(found: &Recovered, keys: &[VerifierKey]) -> Vec<u8> {
    let detail = StartDetail {
        unclean: found.unclean,
        recovered: found.unsynced,
        interrupted: (!found.open.is_empty()).then_some(found.open.len()),
        follows: found.follows.as_ref(),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    serde_json::to_vec(&detail).unwrap_or_default()
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
