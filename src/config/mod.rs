//! Composes the sections into one [`Config`]: loads it, lets the environment override it, validates and watches it.
//!
//! Each module owns its own section's type; this one knows only how they lie together and what must hold between
//! them. It reads files and the environment, and nothing of the configuration is applied here: `app` does that.

mod de;
mod env;
#[cfg(test)]
mod files;
mod health;
mod load;
mod node;
#[cfg(test)]
mod schema;
mod validate;
mod watch;

pub use load::{ConfigError, Problem, Source};
pub use watch::{Cause, Change, ReloadError, Watch, WatchError, reload};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::proxy::{self, BackendConfig};
use crate::tls::{BackendTlsConfig, TlsConfig};
use crate::units::Period;
use crate::{admin, ledger, lineage, telemetry, witness};

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Config {
    /// Which deployment this is.
    pub deployment: DeploymentConfig,
    /// Where clients are met, and every limit of the data path.
    pub proxy: proxy::Config,
    /// The model servers.
    pub backends: Vec<BackendConfig>,
    /// Where entries are kept.
    pub ledger: ledger::Config,
    /// Where stamps come from, and where the catalog lies.
    pub lineage: lineage::Config,
    /// Logs and traces.
    pub telemetry: telemetry::Config,
    /// The admin listener.
    pub admin: admin::Config,
    /// How the process goes.
    pub shutdown: ShutdownConfig,
    /// What `touchmark witness` runs; `touchmark serve` passes it over.
    pub witness: witness::Config,
}

impl Config {
    /// Files beside the configuration's own that are read again when they change: certificates, keys, facts.
    pub fn files(&self) -> Vec<PathBuf> {
        let ours = self.proxy.tls.iter().chain(&self.admin.tls).flat_map(TlsConfig::files);
        let backends = self.backends.iter().filter_map(|backend| backend.tls.as_ref());
        let tls = ours.chain(backends.flat_map(BackendTlsConfig::files));
        tls.chain(&self.lineage.file).cloned().collect()
    }
}

/// The default of `deployment.name`.
const DEPLOYMENT_DEFAULT: &str = "default";

/// The `deployment` section: names that stand in every entry. Cannot change at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DeploymentConfig {
    /// The deployment's name; `deployment:NAME`.
    pub name: String,
    /// This running copy's name. Default: the host's name, which in Kubernetes is the pod's; [`Source::load`] fills it in.
    pub instance: Option<String>,
}

impl Default for DeploymentConfig {
    fn default() -> Self {
        Self { name: DEPLOYMENT_DEFAULT.to_owned(), instance: None }
    }
}

/// The `shutdown` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ShutdownConfig {
    /// Serving on while `/readyz` already says no, so that load balancers notice before the listener closes.
    pub delay: Period,
    /// What calls in flight then have to end. Beyond it they are cut, and recorded as that.
    pub grace: Period,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { delay: Period::secs(0), grace: Period::secs(30) }
    }
}
