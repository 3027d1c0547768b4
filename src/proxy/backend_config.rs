//! The `backends` section: the model servers, and which version of which model each one serves.
//!
//! `name` and `version` are the lineage's words, `served_as` the server's own, since a server's "1" is the
//! lineage's "v1.2.3". What a model was made from is handed to `lineage` as [`Declared`]; it is not judged here.

use serde::{Deserialize, Serialize};

use super::health::{HealthCheckConfig, HealthConfig};
use crate::lineage::{DatasetConfig, Declared, RunConfig};
use crate::tls::BackendTlsConfig;

/// One model server, or several behind one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackendConfig {
    /// The name in entries, metrics and spans; unique.
    pub name: String,
    /// `http://HOST:PORT` or `https://HOST:PORT` of the server. A path is not allowed: requests pass through with the path they came with.
    pub url: String,
    /// The same for gRPC calls, where it is another than `url`.
    #[serde(default)]
    pub grpc_url: Option<String>,
    /// TLS, where a URL begins with `https://`. Default: the system's authorities, and no certificate of ours.
    #[serde(default)]
    pub tls: Option<BackendTlsConfig>,
    /// How the server is spoken to.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// The share of calls among the backends that serve the same model; 0 takes none.
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// The image that the server runs, `NAME@sha256:…`, for the catalog.
    #[serde(default)]
    pub image: Option<String>,
    /// The models that it serves.
    #[serde(default)]
    pub models: Vec<ModelConfig>,
    /// When its calls show that it fails.
    #[serde(default)]
    pub health: HealthConfig,
    /// How it is asked whether it can take calls. Left out: it is not asked.
    #[serde(default)]
    pub health_check: Option<HealthCheckConfig>,
}

/// Every backend counts alike.
const fn weight_default() -> u32 {
    1
}

/// `backends[].protocol`: how a model server is spoken to, by prior knowledge; under TLS it is told so (ALPN).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1 for HTTP calls and HTTP/2 for gRPC.
    #[default]
    Auto,
    /// HTTP/1.1 for every call. gRPC calls fail.
    Http1,
    /// HTTP/2 for every call.
    Http2,
}

/// `backends[].models[]`: one version of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelConfig {
    /// The model's name in the lineage; `X-Model-Name`.
    pub name: String,
    /// The model's version in the lineage, such as `v1.2.3`; `X-Model-Version`.
    pub version: String,
    /// What the server calls it. Default: the same name, any version.
    #[serde(default)]
    pub served_as: Option<ServedAs>,
    /// Whether calls that name no model are this one's. A backend's only model needs no word.
    #[serde(default)]
    pub default: bool,
    /// A JSON pointer (RFC 6901) to the decision in a held answer, such as `/outputs/0/data/0`; kept in the entry.
    #[serde(default)]
    pub decision: Option<String>,
    /// Where the model's files lie.
    #[serde(default)]
    pub uri: Option<String>,
    /// The digest of the model's files, `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    pub digest: Option<String>,
    /// What it was made from, as `[NAMESPACE/]NAME@VERSION` or as a mapping.
    #[serde(default)]
    pub datasets: Vec<DatasetConfig>,
    /// The training run that made it.
    #[serde(default)]
    pub run: Option<RunConfig>,
}

impl ModelConfig {
    /// A model of which the name and version are known.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            served_as: None,
            default: false,
            decision: None,
            uri: None,
            digest: None,
            datasets: Vec::new(),
            run: None,
        }
    }

    /// The name that the server knows it by.
    pub fn served_name(&self) -> &str {
        self.served_as.as_ref().and_then(|served| served.name.as_deref()).unwrap_or(&self.name)
    }

    /// The labels that the server has for it.
    pub fn served_labels(&self) -> &[String] {
        self.served_as.as_ref().map_or(&[], |served| &served.labels)
    }

    /// The version that the server knows it by; `None` fits any.
    pub fn served_version(&self) -> Option<&str> {
        self.served_as.as_ref().and_then(|served| served.version.as_deref())
    }

    /// What is declared of its lineage.
    pub fn declared(&self) -> Declared<'_> {
        Declared {
            name: &self.name,
            version: &self.version,
            uri: self.uri.as_deref(),
            digest: self.digest.as_deref(),
            datasets: &self.datasets,
            run: self.run.as_ref(),
        }
    }
}

/// `backends[].models[].served_as`: what the server calls a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServedAs {
    /// Default: the model's `name`.
    pub name: Option<String>,
    /// Default: any.
    pub version: Option<String>,
    /// Labels that stand for it, where calls name one in place of a version, as `TensorFlow` Serving lets them.
    pub labels: Vec<String>,
}
