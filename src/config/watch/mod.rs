//! When to load the configuration again, and whether what was loaded may replace what runs.
//!
//! SIGHUP asks for it, and so does a file when its content changes: the configuration's own, and those that it names
//! (certificates, keys). Folders are watched, not files: editors and Kubernetes replace a file rather than write into
//! it, and a `ConfigMap` or a `Secret` swaps a symbolic link beside it. What happens elsewhere in a folder wakes nobody,
//! since contents are compared. Nothing is applied here.

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
    /// Each file, and what it held when it was looked at last.
    files: Vec<(PathBuf, Option<[u8; 32]>)>,
    folders: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    /// For the watcher; held so that `events` never ends.
    sender: mpsc::Sender<()>,
    hangup: Signal,
    /// An event came, and the files were not looked at since.
    woken: bool,
}

/// Why the configuration should be loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Hangup,
    /// A file's content changed, or it is gone.
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
    ("lineage.catalog", |old, new| old.lineage.catalog != new.lineage.catalog),
    ("lineage.openlineage", |old, new| old.lineage.openlineage != new.lineage.openlineage),
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
    /// Begins to watch. Without files only SIGHUP is heard. Call it inside a tokio runtime, before the first load, so
    /// that no change is missed.
    pub fn new(files: &[PathBuf]) -> Result<Self, WatchError> {
        let hangup = signal(SignalKind::hangup()).map_err(WatchError::Signal)?;
        let (sender, events) = mpsc::channel(1);
        let (folders, watcher) = (Vec::new(), None);
        let mut watch = Self { files: Vec::new(), folders, watcher, events, sender, hangup, woken: false };
        watch.look_after(files)?;
        for (file, seen) in &mut watch.files {
            *seen = digest(file);
        }
        watch.woken = false;
        Ok(watch)
    }

    /// Watches these files from here on. A new one counts as changed: nobody knows what it held before.
    pub fn look_after(&mut self, files: &[PathBuf]) -> Result<(), WatchError> {
        let before = std::mem::take(&mut self.files);
        for file in files {
            let seen = before.iter().find(|(known, _)| known == file);
            self.woken |= seen.is_none();
            self.files.push((file.clone(), seen.and_then(|(_, seen)| *seen)));
        }
        if self.watcher.is_none() && !files.is_empty() {
            let sender = self.sender.clone();
            self.watcher = Some(notify::recommended_watcher(move |event| {
                if matters(&event) {
                    // One is enough: full means that a wake-up is already on its way.
                    let _one_is_waiting = sender.try_send(());
                }
            })?);
        }
        Ok(self.follow()?)
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

    /// Looks at the files, and watches where their links lead now.
    fn differs(&mut self) -> bool {
        // A folder that just went cannot be watched; the folder of the link that led there still is.
        let _lost = self.follow();
        let mut any = false;
        for (file, seen) in &mut self.files {
            let now = digest(file);
            any |= std::mem::replace(seen, now) != now;
        }
        any
    }

    fn follow(&mut self) -> notify::Result<()> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        let mut folders = Vec::new();
        for (file, _) in &self.files {
            add_folders(file, &mut folders);
        }
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

/// Adds the folders in which the file and every link on the way to it stand.
fn add_folders(file: &Path, folders: &mut Vec<PathBuf>) {
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
}

fn digest(file: &Path) -> Option<[u8; 32]> {
    fs::read(file).ok().map(Sha256::digest)
}

#[cfg(test)]
mod tests;
