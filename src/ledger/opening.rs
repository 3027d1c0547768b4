//! Opening a ledger: what is on disk becomes a log that goes on, its first entries durable before anything else is.
//!
//! Here the parts are put together; what each does stands with it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::{Event, Inner, Ledger, OpenError, Origin};
use crate::ledger::anchor::{Anchor, Folder, Local, contradiction};
use crate::ledger::config::Config;
use crate::ledger::entry::{self, Kind, OriginJson};
use crate::ledger::indexer::Indexer;
use crate::ledger::integrator::Integrator;
use crate::ledger::json::Clock;
use crate::ledger::keeper::Keeper;
use crate::ledger::parse::{Entry, unhex};
use crate::ledger::pending::Pending;
use crate::ledger::publisher::{Publisher, Receivers};
use crate::ledger::quarantine;
use crate::ledger::read::Reader;
use crate::ledger::recover::{self, Failure, Recovered, begin_anew, recover, root_of_entries};
use crate::ledger::rotation::{self, Change, Incoming};
use crate::ledger::segment::{Lock, Storage};
use crate::ledger::signing::{self, Keys};
use crate::ledger::submission::Witness;
use crate::ledger::tail::{Stuck, Tail};
use crate::ledger::tree::{Tree, TreeReader};
use crate::ledger::writer::{Beginning, Shared, Submission, nonce};
use crate::sha256::hex;
use crate::telemetry::Metrics;
use crate::tlog::{Checkpoint, Signer, VerifierKey};

/// What a ledger is opened with.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) config: &'a Config,
    pub(crate) origin: &'a Origin,
    pub(crate) keys: &'a Keys,
    pub(crate) metrics: &'a Metrics,
    pub(crate) anchor: Option<Arc<dyn Anchor>>,
}

impl Opening<'_> {
    /// Recovers what is there, writes the `start` entry, and starts the ledger's threads.
    pub(crate) fn open(self, storage: Arc<dyn Storage>, lock: Option<Lock>, path: &Path) -> Result<Ledger, OpenError> {
        self.open_with(storage, lock, (path, None)).map(|(ledger, _)| ledger)
    }

    /// The same, and the log takes another key where there is one: the old one is given, and the new.
    pub(crate) fn open_with(
        self,
        storage: Arc<dyn Storage>,
        lock: Option<Lock>,
        (path, incoming): (&Path, Option<&Incoming>),
    ) -> Result<(Ledger, Option<(VerifierKey, VerifierKey)>), OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let recovered = recover(&storage, nonce()).map_err(|failure| match failure {
            Failure::Io(name, source) => OpenError::Io { path: path.join(name), source },
            Failure::Foreign(name) => OpenError::Foreign { path: path.join(name) },
            Failure::Newer(name, version) => OpenError::Newer { path: path.join(name), version },
        })?;
        let (mut found, tree) = self.believed(&storage, recovered)?;
        if found.follows.is_some() {
            self.metrics.ledger_integrity_failures.inc();
        }
        let log = found.log;
        let name = signing::origin(&*storage, &self.origin.deployment, log).map_err(failed)?;
        let reader = Reader::over(Arc::clone(&storage), path.to_owned());
        let (keys, earlier) = rotation::settle(&reader, self.keys, &name, incoming.is_some())?;
        let signer = keys.ed25519_under(&name).map_err(|error| failed(io::Error::other(error)))?;
        let new = incoming.map(|incoming| incoming.admit(signer.verifier(), &earlier)).transpose()?;
        let start = (found.next, found.replaces, (tree.size() > 0).then(|| tree.head()));
        let tail = Tail::start(Arc::clone(&storage), log, start, self.config.segment_size.0).map_err(failed)?;
        let notary = keys.under(&name).map_err(|error| failed(io::Error::other(error)))?;
        let verifiers: Vec<VerifierKey> = notary.verifiers().cloned().collect();
        let active = (found.next, Arc::clone(&tail.file));
        let beginning = Beginning { tail, known: std::mem::take(&mut found.known) };
        let origin = OriginJson::new(&self.origin.deployment, &self.origin.instance);
        let config = self.config.clone();
        let shared = Arc::new(Shared::new(config, origin, Arc::clone(&storage), (log, self.metrics), beginning));
        let change = new.as_ref().map(|new| (&signer, new));
        first_entries(&shared, (&found, &verifiers, change), self.metrics).map_err(failed)?;
        let change = new.map(|new| (signer.verifier().clone(), new));
        let receipts = self.config.receipt.then_some(signer);
        let integrator = Integrator::start(Arc::clone(&shared), (tree, notary), active).map_err(failed)?;
        if found.follows.is_some() {
            quarantine::done(&*storage).map_err(failed)?;
        }
        let publisher = self.publisher(&shared).map_err(failed)?;
        let indexer = Indexer::start(storage, found.open).map_err(failed)?;
        let keeper = Keeper::new(Arc::clone(&shared), indexer, integrator);
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(|| keeper.run()).map_err(failed)?;
        let keeper = Mutex::new(Some((thread, lock)));
        let inner = Inner { shared, verifiers, receipts, publisher: Mutex::new(publisher), keeper };
        Ok((Ledger { inner: Arc::new(inner) }, change))
    }

    /// The log that was found, unless an anchor says that it is not the one that it should be: then a new one.
    fn believed(
        &self,
        storage: &Arc<dyn Storage>,
        (found, tree): (Recovered, Tree),
    ) -> Result<(Recovered, Tree), OpenError> {
        let Some(anchor) = &self.anchor else { return Ok((found, tree)) };
        let failed = |source| OpenError::Anchor { name: anchor.name(), source };
        let Some(note) = anchor.newest().map_err(failed)? else { return Ok((found, tree)) };
        let anchored = Checkpoint::parse(&note.text).map_err(|error| failed(io::Error::other(error)))?;
        let follows = follows(&**storage, &found).map_err(failed)?;
        let local = Local { log: hex(found.log), size: found.next, follows };
        let root_at = |size| {
            let derived = TreeReader::new(Arc::clone(storage)).root(size).ok();
            // The hashes beside the segments may be wrong where the segments are right.
            derived.filter(|root| *root == anchored.root).map_or_else(|| root_of_entries(&**storage, size), Ok)
        };
        let Some(reason) = contradiction(&anchored, &local, root_at).map_err(failed)? else { return Ok((found, tree)) };
        tracing::error!(anchor = anchor.name(), reason, "the log is not the one that was anchored; a new one begins");
        let reason = format!("anchor {}: {reason}", anchor.name());
        let old = if found.next == 0 { anchored.origin.rsplit('/').next().and_then(unhex) } else { Some(found.log) };
        begin_anew(storage, (old, nonce()), "", &reason).map_err(failed)
    }

    fn publisher(&self, shared: &Arc<Shared>) -> io::Result<Option<Publisher>> {
        let mut receivers = Receivers { interval: self.config.witness_interval.0, ..Receivers::default() };
        for witness in &self.config.witnesses {
            let key: VerifierKey = witness.key.parse().map_err(io::Error::other)?;
            let age = self.metrics.ledger_cosignature_age.with_label_values(&[key.name()]);
            receivers.witnesses.push((Witness::new(&witness.url, key)?, age));
        }
        if let Some(anchor) = &self.anchor {
            receivers.anchors.push((Arc::clone(anchor), self.metrics.ledger_anchor_age.clone()));
        }
        if receivers.witnesses.is_empty() && receivers.anchors.is_empty() {
            return Ok(None);
        }
        Publisher::start(shared, receivers).map(Some)
    }
}

/// Where the configuration has checkpoints kept.
pub(crate) fn anchor(config: &Config, origin: &Origin) -> Option<Arc<dyn Anchor>> {
    let dir = config.anchor.as_deref()?;
    Some(Arc::new(Folder::new(dir, &origin.deployment, &origin.instance)))
}

/// The log that the found one says it follows, in hexadecimal.
fn follows(storage: &dyn Storage, found: &Recovered) -> io::Result<Option<String>> {
    if let Some(note) = &found.follows {
        return Ok(note.log.clone());
    }
    let first = recover::read_entries(storage, std::iter::once(0).collect())?;
    let start = first.first().and_then(|entry| serde_json::from_slice::<serde_json::Value>(entry).ok());
    Ok(start.and_then(|start| Some(start.pointer("/detail/follows/log")?.as_str()?.to_owned())))
}

/// `start`, a change of the key, and the end of each prediction that a crash interrupted: on stable storage before
/// anything else is.
fn first_entries(
    shared: &Shared,
    (found, keys, change): (&Recovered, &[VerifierKey], Option<(&Signer, &VerifierKey)>),
    metrics: &Metrics,
) -> io::Result<()> {
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
    if let Some((old, new)) = change {
        // Right after the `start`, where whoever verifies looks for it first.
        let change =
            Change::sign(old, new, found.next + 1).ok_or_else(|| io::Error::other("the old key cannot sign"))?;
        let detail = serde_json::to_vec(&change)?;
        entry::lifecycle(&mut payload, clock, nonce(), &shared.origin, now, (Event::Key.as_str(), &detail));
        push(&mut pending, Kind::Lifecycle, &payload);
    }
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

pub(crate) fn start_detail(found: &Recovered, keys: &[VerifierKey]) -> Vec<u8> {
    let detail = StartDetail {
        unclean: found.unclean,
        recovered: found.unsynced,
        interrupted: (!found.open.is_empty()).then_some(found.open.len()),
        follows: found.follows.as_ref(),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    serde_json::to_vec(&detail).unwrap_or_default()
}
