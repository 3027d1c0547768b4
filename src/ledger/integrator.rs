//! Grows the tree over what is synced and signs checkpoints: a thread of its own, so that no answer waits for a hash.
//!
//! It reads entries back from their segments, never further than the keeper says that they are on stable storage; so
//! the tree never has to go back, and no checkpoint can speak of what a crash takes away. What it signs the keeper
//! writes into the log. It decides nothing about entries.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::ledger::frame::FrameKind;
use crate::ledger::segment::{File, Head, Scanner, Step};
use crate::ledger::signing::Notary;
use crate::ledger::tree::Tree;
use crate::ledger::writer::Shared;
use crate::tlog::{LeafBatch, Note};

/// What the thread may still have to hear, at most. It is told some times a second, and hears all of it at once; where
/// a disk holds it up for so long, the keeper waits for it.
const TOLD_MAX: usize = 1024;

/// A head and the checkpoint that commits to it.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) head: Head,
    pub(crate) note: Note,
    pub(crate) at: Instant,
}

/// What the thread is told.
#[derive(Debug)]
enum Told {
    /// The log goes on in a new segment from this index on; what others hold from there on is discarded.
    Segment(u64, Arc<dyn File>),
    /// So many entries are on stable storage.
    Synced(u64),
}

/// The thread's handle.
#[derive(Debug)]
pub(crate) struct Integrator {
    sender: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<Integration>>,
    /// What was told last.
    synced: u64,
    /// What the thread left behind.
    last: Option<Published>,
}

impl Integrator {
    /// Starts the thread over a tree that covers everything before the segment that begins at `first`. All that was
    /// written so far is on stable storage, and stands under a checkpoint when this returns.
    pub(crate) fn start(
        shared: Arc<Shared>,
        (tree, notary): (Tree, Notary),
        (first, file): (u64, Arc<dyn File>),
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(TOLD_MAX);
        let mut integration = Integration {
            shared,
            tree,
            notary,
            batch: LeafBatch::default(),
            sources: VecDeque::new(),
            signed: None,
            failed: false,
        };
        integration.begin(first, file);
        let synced = integration.shared.size();
        integration.grow(synced);
        let run = move || {
            integration.run(&receiver);
            integration
        };
        let thread = std::thread::Builder::new().name("ledger-tree".to_owned()).spawn(run)?;
        Ok(Self { sender: Some(sender), thread: Some(thread), synced, last: None })
    }

    /// The log goes on in another segment. Waits where too much is untold: not under the ledger's lock.
    pub(crate) fn segment(&mut self, first: u64, file: &Arc<dyn File>) {
        if let Some(sender) = &self.sender
            && sender.send(Told::Segment(first, Arc::clone(file))).is_err()
        {
            tracing::error!("the thread that grows the ledger's tree is gone");
        }
    }

    /// So many entries are on stable storage: they are integrated and committed to. Never waits; what could not be told
    /// is told the next time.
    pub(crate) fn synced(&mut self, size: u64) {
        if self.synced < size
            && let Some(sender) = &self.sender
            && sender.try_send(Told::Synced(size)).is_ok()
        {
            self.synced = size;
        }
    }

    /// Integrates the first `synced` entries, and ends. Gives the last checkpoint.
    pub(crate) fn finish(&mut self, synced: u64) -> Option<Published> {
        if let Some(sender) = self.sender.take() {
            drop(sender.send(Told::Synced(synced)));
        }
        if let Some(thread) = self.thread.take() {
            let mut integration = thread.join().ok()?;
            // One failure is borne: the log should not end in entries that no checkpoint covers.
            if let Err(error) = integration.integrate(synced) {
                tracing::error!(%error, "the last entries stand under no checkpoint until the next start");
            }
            if let Err(error) = integration.tree.sync() {
                tracing::warn!(%error, "the tree's hashes could not be synced; the next start may make them again");
            }
            self.last = integration.signed;
        }
        self.last.clone()
    }
}

impl Drop for Integrator {
    fn drop(&mut self) {
        self.finish(self.synced);
    }
}

/// The thread's state.
#[derive(Debug)]
struct Integration {
    shared: Arc<Shared>,
    tree: Tree,
    notary: Notary,
    batch: LeafBatch,
    /// Segments with entries that are not in the tree, oldest first.
    sources: VecDeque<Source>,
    signed: Option<Published>,
    /// A failure was told already.
    failed: bool,
}

#[derive(Debug)]
struct Source {
    first: u64,
    scanner: Scanner,
}

impl Integration {
    fn run(&mut self, receiver: &Receiver<Told>) {
        while let Ok(told) = receiver.recv() {
            let mut synced = 0;
            // Whatever came meanwhile is one piece of work.
            for told in std::iter::once(told).chain(receiver.try_iter()) {
                match told {
                    Told::Segment(first, file) => self.begin(first, file),
                    Told::Synced(size) => synced = synced.max(size),
                }
            }
            self.grow(synced);
        }
    }

    /// Integrates and commits, or says why not.
    fn grow(&mut self, synced: u64) {
        match self.integrate(synced) {
            Ok(()) => self.failed = false,
            Err(error) if self.failed => tracing::debug!(%error, "the ledger's tree still cannot grow"),
            Err(error) => {
                self.failed = true;
                self.shared.meters.integrity_failures.inc();
                tracing::error!(%error, size = self.tree.size(), "the ledger's tree cannot grow; checkpoints wait");
            }
        }
    }

    fn begin(&mut self, first: u64, file: Arc<dyn File>) {
        // A segment replaced from its first entry on holds nothing that counts.
        self.sources.retain(|source| source.first < first);
        self.sources.push_back(Source { first, scanner: Scanner::new(file) });
    }

    fn integrate(&mut self, synced: u64) -> io::Result<()> {
        self.tree.flush()?;
        while self.tree.size() < synced {
            let read = self.read(synced);
            self.tree.extend(&self.batch.take())?;
            read?;
        }
        self.tree.flush()?;
        self.sign();
        Ok(())
    }

    /// Reads entries that follow the tree's into the batch, until it is full or there are `synced` of them.
    fn read(&mut self, synced: u64) -> io::Result<()> {
        let mut size = self.tree.size();
        while size < synced && !self.batch.is_full() {
            let limit = self.sources.get(1).map_or(synced, |next| next.first.min(synced));
            if size >= limit {
                self.sources.pop_front();
                continue;
            }
            let Some(source) = self.sources.front_mut() else { return Err(missing(size)) };
            match source.scanner.step()? {
                Step::Frame { kind: FrameKind::Entry, index, payload, .. } if index == size => {
                    self.batch.push(source.scanner.payload(payload));
                    size += 1;
                }
                Step::Frame { kind: FrameKind::Entry, index, .. } if index > size => return Err(missing(size)),
                Step::Frame { .. } => {}
                Step::End | Step::Torn => return Err(missing(size)),
            }
        }
        Ok(())
    }

    fn sign(&mut self) {
        let head = self.tree.head();
        if self.signed.as_ref().is_some_and(|signed| signed.head.size >= head.size) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Some(note) = self.notary.checkpoint(head, now) else {
            return tracing::error!("a checkpoint could not be signed");
        };
        let published = Published { head, note, at: Instant::now() };
        self.signed = Some(published.clone());
        self.shared.publish_checkpoint(published);
    }
}

fn missing(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("entry {index} was synced and cannot be read back"))
}
