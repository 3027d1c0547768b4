//! `serve` as a process: logging, signals, reloads, and the file that tells other commands where it is.
//!
//! Works as PID 1 and with a read-only root: it writes to the data directory alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{App, StartError};
use crate::admin;
use crate::config::{Config, Source, Watch, WatchError};
use crate::telemetry::{self, Metrics};

/// Signals and changes waiting to be seen, at most; more of them say nothing new.
pub(super) const EVENTS_MAX: usize = 16;
/// Between two looks at whether an orderly stop is over.
const STOP_STEP: Duration = Duration::from_millis(20);
/// The file in the data directory that names a running process's addresses.
const SERVE_JSON: &str = "serve.json";

/// How `serve` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order, on a signal.
    InOrder,
    /// At once, on a second signal: the next start recovers.
    AtOnce,
}

/// Why `serve` could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Logging cannot be set up as configured.
    #[error(transparent)]
    Log(#[from] telemetry::LogError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[from] io::Error),
    /// Changes of the configuration's file cannot be noticed.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// What a process reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP, or the configuration's file has changed.
    Reload,
    /// The lineage is known otherwise than before.
    Lineage,
}

/// Asks the kernel for no huge pages in this process, for processes that run on: two megabytes for each thread's few
/// kilobytes are four fifths of what they would take (`docs/adr/0016`).
pub fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay allowed: memory may be larger than need be");
    }
}

/// Runs until a signal ends it.
pub fn serve(config: Config, source: &Source) -> Result<Ended, ServeError> {
    let metrics = Arc::new(Metrics::new());
    let _log = telemetry::init(&config.telemetry.log, &metrics)?;
    let (sender, events) = sync_channel(EVENTS_MAX);
    let files = |config: &Config| source.path().map(Path::to_owned).into_iter().chain(config.files()).collect();
    let watched = listen(files(&config), sender.clone())?;
    let mut app = App::start(config, &metrics)?;
    // A full queue holds as much already.
    app.control.on_change(move || {
        let _ = sender.try_send(Event::Lineage);
    });
    loop {
        match events.recv() {
            // Logged and counted where it is refused.
            Ok(Event::Reload) => drop(app.reload(source)),
            Ok(Event::Lineage) => app.lineage_changed(),
            Ok(Event::Stop) | Err(_) => break,
        }
        watched.send_replace(files(app.config()));
    }
    Ok(stop(app, &events))
}

fn stop(app: App, events: &Receiver<Event>) -> Ended {
    tracing::info!("stopping: a second signal ends at once");
    let stopping = thread::spawn(move || app.stop());
    loop {
        match events.recv_timeout(STOP_STEP) {
            Ok(Event::Stop) => return Ended::AtOnce,
            Ok(Event::Reload | Event::Lineage) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(STOP_STEP),
        }
        if stopping.is_finished() {
            return Ended::InOrder;
        }
    }
}

/// Signals being listened for: for a process without a configuration that could be loaded again.
#[derive(Debug)]
pub struct Signals(Receiver<Event>);

impl Signals {
    /// From here on SIGTERM and SIGINT are for [`Signals::wait`] to act on.
    pub fn listen() -> Result<Self, ServeError> {
        let (sender, events) = sync_channel(EVENTS_MAX);
        listen(Vec::new(), sender)?;
        Ok(Self(events))
    }

    /// Serves on until a signal ends it.
    pub fn wait(self, app: App) -> Ended {
        while self.0.recv() == Ok(Event::Reload) {}
        stop(app, &self.0)
    }
}

/// Listens for signals and for changes of files, on a thread of its own; it is told which files.
pub(super) fn listen(
    files: Vec<PathBuf>,
    events: SyncSender<Event>,
) -> Result<watch::Sender<Vec<PathBuf>>, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (term, int, watch) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, Watch::new(&files)?)
    };
    let (told, files) = watch::channel(files);
    let work = move || runtime.block_on(pass_on(term, int, watch, files, events));
    thread::Builder::new().name("signals".to_owned()).spawn(work)?;
    Ok(told)
}

async fn pass_on(
    mut term: Signal,
    mut int: Signal,
    mut watch: Watch,
    mut files: watch::Receiver<Vec<PathBuf>>,
    events: SyncSender<Event>,
) {
    loop {
        let event = tokio::select! {
            _ = term.recv() => Event::Stop,
            _ = int.recv() => Event::Stop,
            _ = watch.changed() => Event::Reload,
            Ok(()) = files.changed() => {
                let files = files.borrow_and_update().clone();
                if let Err(error) = watch.look_after(&files) {
                    tracing::warn!(%error, "a file cannot be watched: send SIGHUP when it has changed");
                }
                continue;
            }
        };
        // A full queue holds as much already; a closed one means that the process is ending.
        let _ = events.try_send(event);
    }
}

/// `serve.json` in the data directory, there while the process runs: what writes goes through its admin address.
#[derive(Debug)]
pub(super) struct DataDir {
    file: PathBuf,
}

impl DataDir {
    /// Writes the file whole or not at all.
    pub(super) fn announce(dir: &Path, admin: &admin::Handle, listen: Option<(SocketAddr, bool)>) -> io::Result<Self> {
        let url = |secure: bool, address| format!("{}://{address}", if secure { "https" } else { "http" });
        let file = dir.join(SERVE_JSON);
        let draft = dir.join(format!(".{SERVE_JSON}.new"));
        let says = serde_json::json!({
            "pid": std::process::id(),
            "admin": url(admin.is_secure(), admin.address()),
            "listen": listen.map(|(address, secure)| url(secure, address)),
        });
        fs::write(&draft, format!("{says}\n"))?;
        fs::rename(&draft, &file)?;
        Ok(Self { file })
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
