//! `/api/v1/backends`: what on-call asks first: which model server takes calls, which does not, why, and since when.
//!
//! What is known, and how, is for whoever implements [`Backends`]; here is only the form. Behind the token, since it names
//! addresses and what servers say of themselves.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;

use super::answer::{Answer, alone, json};
use super::routes::{Asked, Parts};

/// Knows the model servers.
pub trait Backends: Send + Sync + std::fmt::Debug {
    /// Every backend, in the configuration's order. Must answer at once.
    fn backends(&self) -> Vec<BackendState>;
}

/// One model server. Times are RFC 3339 in UTC; what is not known is null.
#[derive(Clone, Debug, Serialize)]
pub struct BackendState {
    /// Its name in the configuration.
    pub name: String,
    /// Where HTTP calls go.
    pub url: String,
    /// Where gRPC calls go.
    pub grpc_url: String,
    /// Its share in force.
    pub weight: u32,
    /// Whether it takes calls, where another fits too: it is neither out nor without weight.
    pub takes_calls: bool,
    /// Why not.
    pub reason: Option<String>,
    /// What its health checks found; null where it is not asked.
    pub check: Option<CheckState>,
    /// The time out in force for what its calls tell.
    pub ejection: Option<EjectionState>,
    /// The models declared for it.
    pub models: Vec<ModelState>,
    /// What it says that it serves.
    pub served: Option<ServedState>,
}

/// What health checks found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckState {
    /// How it is asked: of `auto`, what was found.
    pub protocol: Option<&'static str>,
    /// The verdict; null before the first check.
    pub healthy: Option<bool>,
    /// Since when it is that.
    pub since: Option<String>,
    /// When it was last asked.
    pub last: Option<String>,
    /// Why the last check failed.
    pub failure: Option<String>,
}

/// A time out.
#[derive(Clone, Debug, Serialize)]
pub struct EjectionState {
    /// Why.
    pub cause: &'static str,
    /// Since when.
    pub since: Option<String>,
    /// Seconds until it is tried again.
    pub seconds_left: f64,
    /// Which one in a row it is; each is longer.
    pub repeat: u32,
}

/// A declared model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelState {
    /// The lineage's name.
    pub model: String,
    /// The lineage's version.
    pub version: String,
    /// The server's name.
    pub served_name: String,
    /// The server's version; null fits any.
    pub served_version: Option<String>,
    /// Whether health checks find it ready; null where they do not tell.
    pub ready: Option<bool>,
}

/// What a server says that it serves, in its own words.
#[derive(Clone, Debug, Serialize)]
pub struct ServedState {
    /// When it said so.
    pub time: Option<String>,
    /// Versions by model; none where the server does not count versions.
    pub models: BTreeMap<String, Vec<String>>,
    /// Declared and not served.
    pub not_served: Vec<String>,
    /// Served and not declared.
    pub not_declared: Vec<String>,
}

pub(super) fn get(parts: &Parts, _: &Asked) -> Answer {
    #[derive(Serialize)]
    struct Body {
        backends: Vec<BackendState>,
    }
    let Some(serving) = &parts.serving else { return alone() };
    json(StatusCode::OK, &Body { backends: serving.backends.backends() })
}
