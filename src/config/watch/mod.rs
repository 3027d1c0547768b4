//! When to load the configuration again, and whether what was loaded may replace what runs.
//!
//! SIGHUP asks for it, and so does the file when its content changes. The folder is watched, not the file: editors
//! and Kubernetes replace a file rather than write into it, and a `ConfigMap` swaps a symbolic link beside it. What
//! happens elsewhere in the folder wakes nobody, since contents are compared. Nothing is applied here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{Config, ConfigError, Source};
use crate::sha256::Sha256;

/// Quiet after the last event, before the file is looked at: it may be half written.
const QUIET: Duration = Duration::from_millis(100);
/// The longest wait for quiet: a folder in which something is always written must not hide a change.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Symbolic links followed from the file on; the kernel's own limit is 40.
const LINKS_MAX: usize = 40;

/// Waits for a reason to load again. Keep it in one task of a tokio runtime.
#[derive(Debug)]
pub struct Watch {
    file: Option<PathBuf>,
    seen: Option<[u8; 32]>,
    folders: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    /// Held so that `events` never ends.
    _events_open: mpsc::Sender<()>,
    hangup: Signal,
    /// An event came, and the file was not looked at since.
    woken: bool,
}

/// Why the configuration should be loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Hangup,
    /// The file's content changed, or it is gone.
    File,
}

/// Watching cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// SIGHUP cannot be heard.
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(std::io::Error),
    /// The folder cannot be watched. SIGHUP still works after [`Watch::new`] with no file.
    #[error("cannot watch the configuration's folder: {0}")]
    Folder(#[from] notify::Error),
}

/// What a new configuration would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Something that can change while running.
    Apply,
    /// These keys, which cannot.
    Refused(Vec<&'static str>),
}

/// The configuration in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be loaded.
    #[error("{0}")]
    Load(#[from] ConfigError),
    /// It changes what cannot change.
    #[error("{} cannot change while running: undo it, or restart", .0.join(", "))]
    Fixed(Vec<&'static str>),
}

/// A key and whether two configurations differ in it.
type Fixed = (&'static str, fn(&Config, &Config) -> bool);

/// What cannot change while running: sockets and files that are open, threads that run, names in open spans.
const FIXED: &[Fixed] = &[
    ("deployment", |old, new| old.deployment != new.deployment),
    ("proxy.listen", |old, new| old.proxy.listen != new.proxy.listen),
    ("proxy.workers", |old, new| old.proxy.workers != new.proxy.workers),
    ("proxy.connections", |old, new| old.proxy.connections != new.proxy.connections),
    ("proxy.half_close", |old, new| old.proxy.half_close != new.proxy.half_close),
    ("proxy.http2", |old, new| old.proxy.http2 != new.proxy.http2),
    ("proxy.limits.head", |old, new| old.proxy.limits.head != new.proxy.limits.head),
    ("proxy.limits.headers", |old, new| old.proxy.limits.headers != new.proxy.limits.headers),
    ("ledger", |old, new| old.ledger != new.ledger),
    ("telemetry", |old, new| old.telemetry != new.telemetry),
    ("admin", |old, new| old.admin != new.admin),
];

/// Loads again. `None` where nothing changed.
pub fn reload(source: &Source, current: &Config) -> Result<Option<Config>, ReloadError> {
    let new = source.load()?;
    match Change::classify(current, &new) {
        Change::None => Ok(None),
        Change::Apply => Ok(Some(new)),
        Change::Refused(keys) => Err(ReloadError::Fixed(keys)),
    }
}

impl Change {
    /// What replacing one configuration by another would change.
    pub fn classify(old: &Config, new: &Config) -> Self {
        let fixed: Vec<_> = FIXED.iter().filter(|(_, differ)| differ(old, new)).map(|(key, _)| *key).collect();
        if !fixed.is_empty() {
            Self::Refused(fixed)
        } else if old == new {
            Self::None
        } else {
            Self::Apply
        }
    }
}

impl Watch {
    /// Begins to watch. Without a file only SIGHUP is heard. Call it inside a tokio runtime, before the first load,
    /// so that no change is missed.
    pub fn new(file: Option<&Path>) -> Result<Self, WatchError> {
        let hangup = signal(SignalKind::hangup()).map_err(WatchError::Signal)?;
        let (sender, events) = mpsc::channel(1);
        let mut watch = Self {
            file: file.map(Path::to_owned),
            seen: None,
            folders: Vec::new(),
            watcher: None,
            events,
            _events_open: sender.clone(),
            hangup,
            woken: false,
        };
        if let Some(file) = file {
            watch.watcher = Some(notify::recommended_watcher(move |event| {
                if matters(&event) {
                    // One is enough: full means that a wake-up is already on its way.
                    let _one_is_waiting = sender.try_send(());
                }
            })?);
            watch.follow(folders(file))?;
            watch.seen = digest(file);
        }
        Ok(watch)
    }

    /// Waits until there is a reason. Cancel-safe: a reason that was not given is given next time.
    pub async fn changed(&mut self) -> Cause {
        loop {
            if self.woken {
                self.quiet().await;
                self.woken = false;
                if self.differs() {
                    return Cause::File;
                }
            }
            tokio::select! {
                _ = self.hangup.recv() => return Cause::Hangup,
                _ = self.events.recv() => self.woken = true,
            }
        }
    }

    async fn quiet(&mut self) {
        let end = Instant::now() + QUIET_WAIT_MAX;
        loop {
            let pause = end.min(Instant::now() + QUIET);
            if timeout_at(pause, self.events.recv()).await.is_err() {
                return;
            }
        }
    }

    /// Looks at the file, and watches where its links lead now.
    fn differs(&mut self) -> bool {
        let Some(file) = self.file.clone() else { return false };
        // A folder that just went cannot be watched; the folder of the link that led there still is.
        let _lost = self.follow(folders(&file));
        let now = digest(&file);
        std::mem::replace(&mut self.seen, now) != now
    }

    fn follow(&mut self, folders: Vec<PathBuf>) -> notify::Result<()> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        for gone in self.folders.iter().filter(|folder| !folders.contains(folder)) {
            let _already_gone = watcher.unwatch(gone);
        }
        let mut result = Ok(());
        for folder in &folders {
            // Again, even where it is watched already: it may have been replaced under its name.
            result = result.and(watcher.watch(folder, RecursiveMode::NonRecursive));
        }
        self.folders = folders;
        result
    }
}

/// Whether an event may mean that a content changed. Reading is none, our own above all.
fn matters(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            _ => true,
        },
        // Events were lost: look.
        Err(_) => true,
    }
}

/// The folders in which the file and every link on the way to it stand.
fn folders(file: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut path = file.to_owned();
    for _ in 0..LINKS_MAX {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folders.contains(&folder) {
            folders.push(folder.clone());
        }
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => break,
        }
    }
    folders
}

fn digest(file: &Path) -> Option<[u8; 32]> {
    fs::read(file).ok().map(Sha256::digest)
}

#[cfg(test)]
mod tests;
