//! `backends[].health` and `backends[].health_check`: when a model server is left out, by what its calls tell and by
//! what it answers when asked. Whether the values fit together is for `config` to check.

use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Statuses by which a server says that it, and not the call, is at fault (RFC 9110, sections 15.6.3 to 15.6.5).
const STATUSES: [u16; 3] = [502, 503, 504];

/// `backends[].health`: when calls themselves show that a backend fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HealthConfig {
    /// Failures in a row to connect or to answer, after which it is left out. 0 never leaves it out.
    pub failures: u32,
    /// How long it is left out the first time, and by how much longer each further time. Where no other fits, it is
    /// tried nevertheless.
    pub eject: Period,
    /// How long it is left out, at most.
    pub eject_max: Period,
    /// The share of calls within `window`, in percent, that must fail before it is left out. 0 never leaves it out.
    pub failure_percentage: u32,
    /// Calls within `window` below which their share says nothing.
    pub minimum_calls: u32,
    /// The time over which the share is taken.
    pub window: Period,
    /// The share, in percent, of the backends that serve the same model that may be out for `failure_percentage` to
    /// leave out one more, that one included.
    pub max_ejection_percent: u32,
    /// Statuses of answers that count as failures within `window`, beside calls without an answer, answers that break
    /// off, and gRPC's `UNAVAILABLE`.
    pub statuses: Vec<u16>,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            eject: Period::secs(10),
            eject_max: Period::secs(60),
            failure_percentage: 85,
            minimum_calls: 20,
            window: Period::secs(30),
            max_ejection_percent: 50,
            statuses: STATUSES.to_vec(),
        }
    }
}

/// `backends[].health_check`: asking a backend whether it can take calls. Left out, it is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HealthCheckConfig {
    /// How it is asked.
    pub protocol: CheckProtocol,
    /// The path to `GET`, for `http`.
    pub path: Option<String>,
    /// The status that the answer must have, for `http`. Default: any from 200 to 299.
    pub status: Option<u16>,
    /// The service to ask for, for `grpc`. Default: the server as a whole.
    pub service: Option<String>,
    /// From the end of one check to the next, a tenth more or less.
    pub interval: Period,
    /// How long a check may take, with its connection and all that it asks.
    pub timeout: Period,
    /// Checks in a row that must succeed before it takes calls again.
    pub healthy_threshold: u32,
    /// Checks in a row that must fail before it is left out. The first check of all decides alone.
    pub unhealthy_threshold: u32,
    /// How often it is asked which models and versions it serves, a tenth more or less; `0s` never asks.
    pub metadata_interval: Period,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            protocol: CheckProtocol::default(),
            path: None,
            status: None,
            service: None,
            interval: Period::secs(5),
            timeout: Period::secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            metadata_interval: Period::secs(60),
        }
    }
}

/// `backends[].health_check.protocol`: how a backend is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CheckProtocol {
    /// The first of those below that the server knows. Where it knows none, that it answers HTTP at all counts.
    #[default]
    Auto,
    /// Open Inference Protocol V2: `GET /v2/health/ready`, and `/v2/models/{model}/ready` of each declared model.
    OipRest,
    /// The same over gRPC: `ServerReady`, and `ModelReady` of each declared model.
    OipGrpc,
    /// `grpc.health.v1.Health/Check`.
    Grpc,
    /// `TensorFlow` Serving and `KServe` V1: `GET /v1/models/{model}` of each declared model.
    TfsRest,
    /// `TorchServe`, SageMaker containers, MLflow: `GET /ping`.
    Ping,
    /// `GET /v1/models`.
    #[serde(rename = "openai")]
    OpenAi,
    /// `GET` of `path`.
    Http,
    /// That it takes a connection; under TLS, with the handshake.
    Tcp,
}
