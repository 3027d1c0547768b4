//! Who made this model: the identity behind a stamp and the document that explains it.
//!
//! The proxy sees only what is resolved here ([`Identity`]), never how it was found. Today's one resolver,
//! [`resolve()`], freezes what the configuration declares; it reads no network and no file.

pub mod ask;
pub mod catalog;
mod checks;
mod config;
mod content;
mod document;
mod facts;
mod header;
mod identity;
pub mod mlflow;
pub mod openlineage;
mod remote;
mod resolve;
mod section;

pub use checks::{completeness, reproducible};
#[cfg(test)]
pub(crate) use config::DatasetMapping;
pub use config::{CodeConfig, DatasetConfig, Declared, EnvironmentConfig, RunConfig};
pub use content::{Code, Content, Dataset, Environment, Model, Reproducible, Role, Run, Source};
pub use document::{Document, Identity};
pub use facts::{
    About, DatasetFact, DeploymentFact, EnvironmentFact, Facts, FactsError, ImageFact, ModelFact, RunFact, RunKind,
    Stage, Used,
};
pub use header::dataset_version;
pub use identity::{DatasetId, EntityId, IdentityError, ModelId};
pub use remote::{Remote, RemoteError};
pub use resolve::{ResolveError, freeze, observe, resolve};
pub use section::{CATALOG_FILE, CatalogConfig, Config, MlflowConfig, SourceKind};
