//! `catalog serve` as a process: the catalog and the admin listener, for a fleet of proxies that ask it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use super::catalog::Control;
use super::run::{DataDir, EVENTS_MAX, Ended, Event, listen};
use super::{ServeError, StartError, io_error};
use crate::admin::{self, Readiness};
use crate::config::{Config, Source};
use crate::telemetry::{self, Metrics};

/// A running catalog.
#[derive(Debug)]
pub struct Cataloging {
    admin: admin::Handle,
    control: Control,
    events: Receiver<Event>,
    data: DataDir,
    // Last, so that the last lines are written.
    _log: telemetry::LogGuard,
}

impl Cataloging {
    /// Starts everything. The configuration has been validated.
    ///
    /// # Errors
    /// Where the address is taken, or open to everybody, or the data directory cannot be written.
    pub fn start(config: &Config, source: &Source) -> Result<Self, ServeError> {
        let metrics = Metrics::new();
        let log = telemetry::init(&config.telemetry.log, &metrics)?;
        let (sender, events) = sync_channel(EVENTS_MAX);
        let tls = config.admin.tls.iter().flat_map(crate::tls::TlsConfig::files).cloned();
        let files: Vec<PathBuf> = source.path().map(Path::to_owned).into_iter().chain(tls).collect();
        listen(files, sender)?;
        let dir = &config.ledger.dir;
        std::fs::create_dir_all(dir).map_err(io_error("cannot make the data directory"))?;
        let socket = admin::bind(&config.admin).map_err(StartError::from)?;
        let auth = admin::Auth::load(&config.admin).map_err(StartError::from)?;
        let control = Control::start(config).map_err(io_error("cannot start the control plane's thread"))?;
        let (readiness, catalog) = (Readiness::default(), control.catalog());
        readiness.register("catalog", move || catalog.get().map(drop));
        let parts = admin::Parts {
            metrics,
            readiness,
            status: admin::Status::new(
                &config.deployment.name,
                config.deployment.instance.as_deref().unwrap_or_default(),
            ),
            auth,
            rate: config.admin.rate,
            access_log: admin::AccessLog::new(dir),
            serving: None,
            catalog: control.catalog(),
            webhooks: control.webhooks(),
            openlineage: control.openlineage(),
            control: control.handle(),
        };
        let admin = admin::serve(socket, parts, config.admin.tls.as_ref()).map_err(StartError::from)?;
        let data = DataDir::announce(dir, &admin, None).map_err(io_error("cannot write serve.json"))?;
        tracing::info!(admin = %admin.address(), catalog = %config.lineage.catalog.location(dir), "serving the catalog");
        Ok(Self { admin, control, events, data, _log: log })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Serves on until a signal ends it.
    pub fn wait(self) -> Ended {
        while self.events.recv() == Ok(Event::Reload) {
            match self.admin.renew_tls() {
                Ok(true) => tracing::info!("the certificate was read again"),
                Ok(false) => tracing::info!("nothing changes while the catalog runs but its certificate: restart it"),
                Err(error) => tracing::error!(%error, "the new certificate is refused; the old one stays in force"),
            }
        }
        let Self { admin, control, data, .. } = self;
        drop(data);
        admin.stop();
        control.stop(None);
        tracing::info!("stopped");
        Ended::InOrder
    }
}
