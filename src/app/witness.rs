//! `witness` as a process: logging, signals, and reloads of the logs that it knows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::ServeError;
use super::run::{EVENTS_MAX, Ended, Event, listen};
use crate::config::{Config, ConfigError, Source};
use crate::telemetry::{self, Metrics};
use crate::witness::{self, Handle, Witness};

/// Why a witness could not run.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] witness::StartError),
    /// Logging or signals could not be set up.
    #[error(transparent)]
    Process(#[from] ServeError),
}

/// Why new logs are not taken over; those that were known stay.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Load(#[from] ConfigError),
    #[error("only witness.logs can change while running: undo the rest, or restart")]
    Fixed,
    #[error(transparent)]
    Logs(#[from] witness::StartError),
}

/// A running witness.
#[derive(Debug)]
pub struct Witnessing {
    config: Config,
    source: Source,
    events: Receiver<Event>,
    witness: Arc<Witness>,
    handle: Handle,
    // Last, so that the last lines are written.
    _log: telemetry::LogGuard,
}

impl Witnessing {
    /// Starts everything. The configuration has been validated. `new` says that a key may be there without a memory.
    ///
    /// # Errors
    /// Where the memory is not whole, a key cannot be had, or the address is taken.
    pub fn start(config: &Config, source: &Source, new: bool) -> Result<Self, WitnessError> {
        let log = telemetry::init(&config.telemetry.log, &Metrics::new()).map_err(ServeError::from)?;
        let (sender, events) = sync_channel(EVENTS_MAX);
        let files: Vec<PathBuf> = source.path().map(Path::to_owned).into_iter().collect();
        listen(files, sender)?;
        let socket = witness::bind(config.witness.listen)?;
        let witness = Arc::new(Witness::open(&config.witness, new)?);
        if config.witness.logs.is_empty() {
            tracing::warn!("witness.logs is empty: every checkpoint is refused until a log is named there");
        }
        let handle = witness::serve(socket, Arc::clone(&witness))?;
        let vkeys: Vec<String> = witness.verifiers().iter().map(ToString::to_string).collect();
        tracing::info!(listen = %handle.address(), vkeys = vkeys.join(" "), remembered = witness.remembered(),
            memory = %config.witness.folder().display(), "witnessing");
        Ok(Self { config: config.clone(), source: source.clone(), events, witness, handle, _log: log })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.handle.address()
    }

    /// Its verifier keys, the Ed25519 one first.
    pub fn vkeys(&self) -> Vec<String> {
        self.witness.verifiers().iter().map(ToString::to_string).collect()
    }

    /// Serves on until a signal ends it.
    pub fn wait(mut self) -> Ended {
        while self.events.recv() == Ok(Event::Reload) {
            match self.reload() {
                Ok(()) => tracing::info!(logs = self.config.witness.logs.len(), "the configuration was loaded again"),
                Err(error) => tracing::error!(%error, "the new configuration is refused; the old one stays in force"),
            }
        }
        self.handle.stop();
        tracing::info!("stopped");
        Ended::InOrder
    }

    fn reload(&mut self) -> Result<(), ReloadError> {
        let new = self.source.load_for_witness()?;
        let logs = new.witness.logs.clone();
        let allowed = witness::Config { logs, ..self.config.witness.clone() };
        if new.witness != allowed || new.telemetry.log != self.config.telemetry.log {
            return Err(ReloadError::Fixed);
        }
        self.witness.know(&new.witness)?;
        self.config = new;
        Ok(())
    }
}

/// Its verifier keys without serving; keys and memory are made where nothing is there yet.
///
/// # Errors
/// As [`Witnessing::start`].
pub fn verifier_keys(config: &Config, new: bool) -> Result<Vec<String>, WitnessError> {
    let witness = Witness::open(&config.witness, new)?;
    Ok(witness.verifiers().iter().map(ToString::to_string).collect())
}
