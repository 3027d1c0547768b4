//! The thread of the control plane: it holds the catalog, opened in the background and closed last, asks the source of
//! the lineage, and tells the catalog what this deployment serves.
//!
//! Nothing that a request needs runs here.

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

use super::lineage::{FIRST_PATIENCE, PATIENCE, Sourced};
use super::register::Registration;
use crate::config::Config;
use crate::lineage::SourceKind;
use crate::lineage::catalog::Opening;
use crate::lineage::mlflow::webhook::Receiver;
use crate::lineage::openlineage::Rules;

/// What its connections may still take at the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a start waits for the catalog, where stamps come from it.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);

/// Told when the lineage is known otherwise than before.
type Changed = Box<dyn Fn() + Send + Sync>;

/// The catalog and the runtime that it lives on.
pub(super) struct Control {
    /// There until the drop, which may happen where a runtime must not be waited for.
    runtime: Option<Runtime>,
    handle: Handle,
    catalog: Opening,
    /// The configuration in force, once there is something to follow.
    config: Arc<OnceLock<ArcSwap<Config>>>,
    changed: Arc<OnceLock<Changed>>,
    webhooks: Receiver,
    openlineage: Arc<Rules>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl Control {
    /// Begins to open the catalog.
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let webhooks = Receiver::load(config.lineage.mlflow.webhook_secret_file.as_deref())
            .map_err(|error| io::Error::new(error.kind(), format!("lineage.mlflow.webhook_secret_file: {error}")))?;
        let openlineage = Arc::new(Rules::new(&config.lineage.openlineage).map_err(io::Error::other)?);
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
        let catalog = Opening::default();
        let (opening, lineage) = (catalog.clone(), config.lineage.catalog.clone());
        let location = lineage.location(&config.ledger.dir);
        runtime.spawn(async move {
            opening.open(&location, lineage.causality).await;
        });
        let handle = runtime.handle().clone();
        let (config, changed) = Default::default();
        Ok(Self { runtime: Some(runtime), handle, catalog, config, changed, webhooks, openlineage })
    }

    /// The catalog, once it is open.
    pub(super) fn catalog(&self) -> Opening {
        self.catalog.clone()
    }

    /// What MLflow tells; it wakes who follows.
    pub(super) fn webhooks(&self) -> Receiver {
        self.webhooks.clone()
    }

    /// How the events of pipelines are read.
    pub(super) fn openlineage(&self) -> Arc<Rules> {
        Arc::clone(&self.openlineage)
    }

    /// Asks the source before the first prediction, for as long as it may take.
    pub(super) fn first(&self, sourced: &Sourced, config: &Config) {
        if config.lineage.source == SourceKind::Static {
            return;
        }
        let (catalog, sourced, config) = (self.catalog.clone(), sourced.clone(), config.clone());
        // What was last known stands where it takes longer, which is told by the refresh.
        self.wait(async move {
            let source = config.lineage.source;
            let own = matches!(source, SourceKind::Catalog | SourceKind::Mlflow) && config.lineage.server.is_none();
            if own {
                let _late = timeout(OPEN_PATIENCE, catalog.wait()).await;
            }
            sourced.refresh(&config, FIRST_PATIENCE).await;
        });
    }

    /// Where whatever asks the catalog runs.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    /// Waits for work of the control plane, which bounds its own time.
    fn wait(&self, work: impl Future<Output = ()> + Send + 'static) {
        let (done, over) = sync_channel(1);
        self.spawn(async move {
            work.await;
            let _ = done.send(());
        });
        // Closed where the work panicked: that is over too.
        let _ = over.recv();
    }

    /// Keeps both current: the catalog's word on this deployment, and what stands behind its stamps.
    pub(super) fn keep(&self, registration: &Registration, sourced: &Sourced, config: &Config) {
        self.spawn(registration.clone().keep(self.catalog.clone()));
        self.follow(sourced, config);
    }

    /// Asks the source again and again, by the configuration in force, and at once when a webhook tells of news.
    fn follow(&self, sourced: &Sourced, config: &Config) {
        let webhooks = self.webhooks();
        let (sourced, in_force, changed) = (sourced.clone(), Arc::clone(&self.config), Arc::clone(&self.changed));
        let config = in_force.get_or_init(|| ArcSwap::from_pointee(config.clone())).load_full();
        self.spawn(async move {
            let mut pending = false;
            let mut pause = config.lineage.refresh.0;
            loop {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = webhooks.news() => {}
                }
                let Some(config) = in_force.get().map(ArcSwap::load_full) else { return };
                pending |= sourced.refresh(&config, PATIENCE).await;
                if let Some(tell) = changed.get().filter(|_| pending) {
                    tell();
                    pending = false;
                }
                sourced.import(&config).await;
                sourced.look(&config).await;
                pause = config.lineage.refresh.0;
            }
        });
    }

    /// Takes over another configuration.
    pub(super) fn take_over(&self, config: &Config) {
        if let Some(in_force) = self.config.get() {
            in_force.store(Arc::new(config.clone()));
        }
    }

    /// Whom to tell that the lineage is known otherwise than before.
    pub(super) fn on_change(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _once = self.changed.set(Box::new(tell));
    }

    /// Closes the catalog, after what is under way and a last word on what was served.
    pub(super) fn stop(self, last: Option<Registration>) {
        if let Ok(catalog) = self.catalog.get().cloned() {
            self.wait(async move {
                let end = async {
                    if let Some(registration) = last {
                        registration.tell(&catalog).await;
                    }
                    catalog.close().await;
                };
                if timeout(CLOSE_PATIENCE, end).await.is_err() {
                    tracing::warn!("the catalog was still in use: its database takes back what was not finished");
                }
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // In the background: whoever drops this may itself be a task, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
