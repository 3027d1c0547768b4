//! The thread of the control plane that holds the catalog: opened in the background, closed last.
//!
//! Nothing that a request needs runs here.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::lineage::catalog::Opening;

/// What its connections may still take at the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The catalog and the runtime that it lives on.
#[derive(Debug)]
pub(super) struct Control {
    runtime: Runtime,
    catalog: Opening,
}

impl Control {
    /// Begins to open the catalog.
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
        let catalog = Opening::default();
        let (opening, lineage) = (catalog.clone(), config.lineage.catalog.clone());
        let location = lineage.location(&config.ledger.dir);
        runtime.spawn(async move {
            opening.open(&location, lineage.causality).await;
        });
        Ok(Self { runtime, catalog })
    }

    /// The catalog, once it is open.
    pub(super) fn catalog(&self) -> Opening {
        self.catalog.clone()
    }

    /// Where whatever asks the catalog runs.
    pub(super) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.handle().clone()
    }

    /// Closes the catalog, after what is under way.
    pub(super) fn stop(self) {
        if let Ok(catalog) = self.catalog.get() {
            // A timer is made where its runtime is.
            let closed = async { tokio::time::timeout(CLOSE_PATIENCE, catalog.close()).await };
            if self.runtime.block_on(closed).is_err() {
                tracing::warn!("the catalog was still in use: SQLite and PostgreSQL take back what was not finished");
            }
        }
        self.runtime.shutdown_background();
    }
}
