//! The composition root of `serve`: the only file that knows every part. That of `witness`, which shares logging,
//! signals and reloads with it and nothing else, is [`Witnessing`].
//!
//! **Start**: sockets are bound before anything else, so that an address in use costs nothing; then the lineage is
//! resolved, the ledger opened (which recovers it), and the data path starts last.
//!
//! **Stop**: readiness fails at once; after `shutdown.delay` the listener closes; exchanges under way end within
//! `shutdown.grace`, what is left is cut and recorded as that; the ledger is sealed; spans are flushed; the admin
//! listener goes last, so that the end can be watched.

mod catalog;
mod cataloging;
mod health;
mod lineage;
mod mlflow;
mod register;
mod reload;
mod run;
mod traceable;
mod traffic;
mod witness;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::admin::{self, AdminError, Readiness};
use crate::config::Config;
use crate::ledger::{self, Ledger};
use crate::lineage::Identity;
use crate::proxy::{Admission, BackendConfig, Phase, Server, Shared, Snapshot, SnapshotError};
use crate::telemetry::{Metrics, Service, TraceError, Tracer};

pub use cataloging::Cataloging;
pub use reload::ReloadError;
pub use run::{Ended, ServeError, Signals, serve, take_small_pages};
pub use witness::{WitnessError, Witnessing, verifier_keys};

/// What telemetry still has to send may take so long at the end.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether the last exchange has ended.
const DRAIN_STEP: Duration = Duration::from_millis(10);
/// The component that readiness names while the process stops.
const STOPPING: &str = "process";

/// Why `serve` cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The proxy's address cannot be listened on.
    #[error("proxy.listen: cannot listen on {listen}: stop what listens there, or set another address")]
    Listen {
        /// The configured address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin listener cannot start.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A declared lineage cannot stand.
    #[error("{0}")]
    Lineage(String),
    /// The configuration cannot be compiled.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] ledger::OpenError),
    /// Spans cannot be exported as configured.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A thread cannot be started, or a file not be written.
    #[error("{what}")]
    Io {
        /// What could not be done.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A running Touchmark.
#[derive(Debug)]
pub struct App {
    config: Config,
    listen: SocketAddr,
    server: Server,
    admin: admin::Handle,
    readiness: Readiness,
    shared: Shared,
    ledger: Arc<Ledger>,
    weights: Arc<traffic::Weights>,
    checks: health::Checks,
    control: catalog::Control,
    registration: register::Registration,
    sourced: lineage::Sourced,
    identities: Vec<Arc<Identity>>,
    data: run::DataDir,
}

impl App {
    /// Starts everything. The configuration has been validated.
    pub fn start(config: Config, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let socket = listen(config.proxy.listen)?;
        let listening = socket.local_addr().map_err(io_error("cannot read the listening address"))?;
        let admin_socket = admin::bind(&config.admin)?;
        let auth = admin::Auth::load(&config.admin)?;

        let control = catalog::Control::start(&config).map_err(io_error("cannot start the control plane"))?;
        let sourced = lineage::Sourced::new(&config.ledger.dir, control.catalog(), metrics);
        control.first(&sourced, &config);
        let Compiled { snapshot, identities, backends } = compile(&config, &sourced, metrics)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        crate::lineage::observe(metrics, &identities);

        let instance = config.deployment.instance.clone().unwrap_or_default();
        let service = Service { deployment: &config.deployment.name, instance: &instance };
        let origin = ledger::Origin { deployment: config.deployment.name.clone(), instance: instance.clone() };
        let ledger = Arc::new(Ledger::open(&config.ledger, &origin, metrics)?);
        let tracer = Tracer::start(&config.telemetry.traces, &service, metrics)?;

        let readiness = Readiness::default();
        probe(&readiness, &ledger, &snapshot);
        let registration = register::Registration::new((&config, &backends), &snapshot, &ledger, metrics);
        let weights = Arc::new(traffic::Weights::new(&snapshot, &ledger, &registration));
        let parts = admin::Parts {
            metrics: Metrics::clone(metrics),
            readiness: readiness.clone(),
            status: admin::Status::new(&config.deployment.name, &instance),
            auth,
            rate: config.admin.rate,
            access_log: admin::AccessLog::new(&config.ledger.dir),
            serving: Some(serving(&config, &weights, &snapshot, &ledger)),
            catalog: control.catalog(),
            webhooks: control.webhooks(),
            openlineage: control.openlineage(),
            control: control.handle(),
        };
        let admin = admin::serve(admin_socket, parts, config.admin.tls.as_ref())?;
        let data = run::DataDir::announce(&config.ledger.dir, &admin, Some((listening, config.proxy.tls.is_some())))
            .map_err(io_error("cannot write serve.json in the data directory"))?;

        let checks = health::Checks::start(snapshot.load_full())
            .map_err(io_error("cannot start the thread of the health checks"))?;
        let shared = Shared {
            snapshot,
            recorder: Arc::clone(&ledger) as _,
            metrics: Arc::clone(metrics),
            tracer,
            log: config.telemetry.log.predictions,
            admission: Arc::<Admission>::default(),
        };
        let server =
            Server::start(&config.proxy, &socket, &shared).map_err(io_error("cannot start the proxy's threads"))?;
        control.keep(&registration, &sourced, &config);
        tracing::info!(listen = %listening, admin = %admin.address(), ledger = %config.ledger.dir.display(),
            deployment = %config.deployment.name, instance = %instance, "serving");
        Ok(Self {
            config,
            listen: listening,
            server,
            admin,
            readiness,
            shared,
            ledger,
            weights,
            checks,
            control,
            registration,
            sourced,
            identities,
            data,
        })
    }

    /// Where predictions are served.
    pub fn listening_on(&self) -> SocketAddr {
        self.listen
    }

    /// Where the admin listener is.
    pub fn admin_on(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Stops in order. `true` where every exchange ended by itself.
    pub fn stop(self) -> bool {
        let Self { config, server, admin, readiness, shared, ledger, checks, control, registration, data, .. } = self;
        readiness.set(STOPPING, Err("stopping".to_owned()));
        std::thread::sleep(config.shutdown.delay.0);
        server.enter(Phase::Draining);
        let began = Instant::now();
        while !server.is_over() && began.elapsed() < config.shutdown.grace.0 {
            std::thread::sleep(DRAIN_STEP);
        }
        let whole = server.is_over();
        if !whole {
            tracing::warn!(inflight = shared.admission.inflight(), "shutdown.grace is over: cutting what is under way");
        }
        server.enter(Phase::Stopped);
        server.join();
        checks.stop();
        if let Err(error) = ledger.close() {
            tracing::error!(%error, "the ledger could not be sealed; the next start recovers it");
        }
        shared.tracer.shutdown(FLUSH_PATIENCE);
        drop(data);
        admin.stop();
        control.stop(Some(registration));
        tracing::info!("stopped");
        whole
    }
}

/// The configuration as the data path takes it.
struct Compiled {
    snapshot: Snapshot,
    identities: Vec<Arc<Identity>>,
    /// The backends with the versions that aliases name; a model whose alias names none is left out.
    backends: Vec<BackendConfig>,
}

/// Compiles the configuration for the data path, with the lineage that its source knows.
fn compile(config: &Config, sourced: &lineage::Sourced, metrics: &Arc<Metrics>) -> Result<Compiled, StartError> {
    let mut backends = config.backends.clone();
    let mut identities: Vec<Vec<Arc<Identity>>> = Vec::with_capacity(backends.len());
    for (at, backend) in backends.iter_mut().enumerate() {
        let mut resolved = Vec::with_capacity(backend.models.len());
        for (model_at, mut model) in std::mem::take(&mut backend.models).into_iter().enumerate() {
            let identity = sourced.identity(config.lineage.source, &model.declared()).map_err(|errors| {
                let key = format!("backends[{at}].models[{model_at}]");
                let lines: Vec<String> = errors.iter().map(|error| format!("{key}.{error}")).collect();
                StartError::Lineage(lines.join("\n"))
            })?;
            let Some(identity) = identity else {
                tracing::warn!(
                    model = model.name,
                    version = model.version,
                    "no version has this alias: calls to this model are unresolved"
                );
                continue;
            };
            model.version.clone_from(&identity.version);
            backend.models.push(model);
            resolved.push(Arc::new(identity));
        }
        identities.push(resolved);
    }
    let hold = config.ledger.hold_limit.0;
    let snapshot = Snapshot::new(&config.proxy, &backends, &identities, hold, metrics)?;
    Ok(Compiled { snapshot, identities: identities.into_iter().flatten().collect(), backends })
}

/// The data path and the ledger, as the admin listener shows them.
fn serving(
    config: &Config,
    weights: &Arc<traffic::Weights>,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    ledger: &Ledger,
) -> admin::Serving {
    let dir = config.ledger.dir.clone();
    admin::Serving {
        traffic: Arc::clone(weights) as _,
        backends: Arc::new(health::Known(Arc::clone(snapshot))) as _,
        tiles: Arc::new(ledger.tiles(&dir)),
        dir,
    }
}

/// What readiness asks: can the ledger take entries, and is there a model server that takes calls?
fn probe(readiness: &Readiness, ledger: &Arc<Ledger>, snapshot: &Arc<ArcSwap<Snapshot>>) {
    let ledger = Arc::clone(ledger);
    readiness.register("ledger", move || match ledger.status().state {
        ledger::State::Writing => Ok(()),
        ledger::State::Failing { reason } => Err(reason),
        ledger::State::Sealed => Err("sealed: the process is stopping".to_owned()),
    });
    let snapshot = Arc::clone(snapshot);
    readiness.register("backends", move || health::objection(&snapshot.load(), Instant::now()));
}

fn listen(listen: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen).map_err(|source| StartError::Listen { listen, source })
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}
