//! What an MLflow server knows of its registered models, brought into the catalog and kept current.
//!
//! [`Client`] asks, `answers` are what it says, `mapping` turns those into [`super::Facts`] without asking anybody,
//! [`Importer`] walks the registry and records, and [`webhook`] says when it is time to do so again. What is found and cannot be placed is said, never guessed: see `mapping` for what becomes what.
//!
//! Nothing here is on a request's way, and nothing is ever written to MLflow.

mod answers;
mod around;
mod client;
mod error;
mod http;
mod import;
mod known;
mod mapping;
mod report;
mod scope;
mod version;
mod walk;
pub mod webhook;

#[cfg(test)]
mod tests;

pub use answers::parse_any;
pub use client::{Client, Credentials};
pub use error::MlflowError;
pub use import::{Importer, Settings};
pub use report::{Found, Report, Stopped, Unplaced};
pub use scope::Scope;

/// By which way it came, in the catalog's changes.
pub const SOURCE: &str = "mlflow";
