//! The configuration as the data path reads it: compiled once, immutable, swapped whole on reload.
//!
//! Whatever can be worked out before a request comes is worked out here: header values, addresses, metric handles.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use prometheus::{Histogram, IntCounter};

use super::config::{Config, OnMismatch};
use super::health::{Health, HealthCheckConfig, Kept};
use super::route::Observed;
use super::sticky::Sticky;
use super::upstream::Address;
use super::{BackendConfig, UpstreamProtocol};
use crate::exchange::Outcome;
use crate::lineage::Identity;
use crate::protocol::{Patterns, Protocol};
use crate::telemetry::{Metrics, OTHER};
use crate::tls::{self, BackendTlsConfig, TlsError};

/// Everything that a request needs to know of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// The model servers, in the configuration's order.
    pub backends: Vec<Arc<Backend>>,
    /// Routes of the user's own that are predictions.
    pub patterns: Patterns,
    /// Whether the choice of a backend can depend on the model that a call names.
    pub routes_by_model: bool,
    /// What is stamped when an answer contradicts the declaration.
    pub on_mismatch: OnMismatch,
    /// Whether the caller's `X-Forwarded-*` are believed.
    pub trust_forwarded: bool,
    /// Longest request target, in bytes.
    pub uri_bytes_max: usize,
    /// Longest request body, in bytes; 0 for no limit.
    pub body_bytes_max: u64,
    /// Longest answer that is held, in bytes.
    pub hold_bytes_max: u64,
    /// Calls in flight, at most.
    pub inflight_max: usize,
    /// What `Retry-After` says.
    pub retry_after: Duration,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// What a caller is known by, so that it keeps its backend.
    pub sticky: Option<Sticky>,
    /// TLS on the clients' side.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// A hash over the files that TLS was made from.
    pub tls_files: [u8; 32],
    /// Metrics of predictions that no configured model fits.
    pub unresolved: ModelMetrics,
    /// Held while a backend is left out for its share of failed calls, so that no two go where one may.
    ejecting: Mutex<()>,
}

/// `proxy.timeouts` with zeros taken as "none".
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// A client that neither sends nor reads.
    pub client: Option<Duration>,
    /// Reading a head, and an idle connection.
    pub head: Option<Duration>,
    /// Connecting to a model server.
    pub connect: Duration,
    /// From the request's end to the answer's head.
    pub first_byte: Option<Duration>,
    /// Silence within an answer of known length.
    pub idle: Option<Duration>,
    /// Silence within a stream.
    pub stream_idle: Option<Duration>,
    /// The whole exchange.
    pub total: Option<Duration>,
    /// Rest of an upstream connection.
    pub upstream_idle: Duration,
}

/// A model server.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens for HTTP calls.
    pub http: Address,
    /// Where it listens for gRPC calls.
    pub grpc: Address,
    /// How it is spoken to.
    pub protocol: UpstreamProtocol,
    /// Its share among the backends that fit; moved by hand while it runs.
    weight: AtomicU32,
    /// The models that it serves.
    pub models: Vec<Arc<Model>>,
    /// Whether it takes calls.
    pub health: Health,
    /// How it is asked whether it can.
    pub check: Option<HealthCheckConfig>,
    /// `upstream_duration_seconds` for it.
    pub upstream_duration: Histogram,
}

/// A model version that a backend serves.
#[derive(Debug)]
pub struct Model {
    /// Who it is in the lineage.
    pub identity: Arc<Identity>,
    /// Its stamps.
    pub stamps: ModelStamps,
    /// The server's name for it.
    pub served_name: String,
    /// The server's version for it; `None` fits any.
    pub served_version: Option<String>,
    /// The server's labels for it.
    pub served_labels: Vec<String>,
    /// Whether calls that name no model are its.
    pub is_default: bool,
    /// Its place among the backend's models.
    pub place: usize,
    /// JSON pointer to the decision in a held answer.
    pub decision: Option<String>,
    /// Its metrics.
    pub metrics: ModelMetrics,
    /// What its answers last claimed against the declaration, so that a change is logged once.
    pub last_mismatch: AtomicU64,
}

/// A model's stamps as header values.
#[derive(Clone, Debug)]
pub struct ModelStamps {
    /// `X-Model-Name`
    pub name: HeaderValue,
    /// `X-Model-Version`
    pub version: HeaderValue,
    /// `X-Dataset-Version`
    pub dataset: Option<HeaderValue>,
    /// `X-Reproducible`
    pub reproducible: HeaderValue,
}

/// A model's metric handles on one backend.
#[derive(Debug)]
pub struct ModelMetrics {
    ended: Vec<OnceLock<IntCounter>>,
    labels: [String; 4],
    metrics: Arc<Metrics>,
    /// `prediction_duration_seconds`
    pub duration: Histogram,
    /// `input_bytes_total`
    pub input_bytes: IntCounter,
    /// `output_bytes_total`
    pub output_bytes: IntCounter,
}

impl Snapshot {
    /// Compiles the configuration. `identities` are those of `backends[].models[]`, in their order.
    pub fn new(
        config: &Config,
        backends: &[BackendConfig],
        identities: &[Vec<Arc<Identity>>],
        hold_bytes_max: u64,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SnapshotError> {
        let mut maker = tls::Maker::new();
        let tls = config.tls.as_ref().map(|tls| maker.server("proxy.tls", tls, &[tls::H2, tls::HTTP11])).transpose()?;
        let backends: Vec<Arc<Backend>> = (0..)
            .zip(backends.iter().zip(identities))
            .map(|(at, (backend, identities))| Backend::new(at, backend, identities, metrics, &mut maker).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sticky: Sticky::new(&config.sticky),
            tls,
            tls_files: maker.digest(),
            patterns: Patterns::compile(&config.patterns).map_err(|error| SnapshotError(error.to_string()))?,
            routes_by_model: backends.len() > 1 && backends.iter().any(|backend| !backend.models.is_empty()),
            backends,
            on_mismatch: config.on_mismatch,
            trust_forwarded: config.forwarded.trust,
            uri_bytes_max: usize::try_from(config.limits.uri.0).unwrap_or(usize::MAX),
            body_bytes_max: config.limits.body.0,
            hold_bytes_max,
            inflight_max: config.inflight,
            retry_after: config.retry_after.0,
            deadlines: Deadlines::new(config),
            unresolved: ModelMetrics::new(metrics, OTHER, OTHER, OTHER, OTHER),
            ejecting: Mutex::default(),
        })
    }

    /// Goes on with what is known of those model servers that stay: of the same name and address. To be called before the
    /// snapshot comes into force.
    pub fn keep_health(&mut self, before: &Self) {
        for backend in self.backends.iter_mut().filter_map(Arc::get_mut) {
            let same = |other: &&Arc<Backend>| {
                other.name == backend.name
                    && other.http.is_at(&backend.http)
                    && other.grpc.is_at(&backend.grpc)
                    && other.protocol == backend.protocol
            };
            if let Some(before) = before.backends.iter().find(same) {
                let kept = match (before.check.is_some(), backend.check.is_some()) {
                    (true, false) => Kept::Calls,
                    (true, true) if before.served() != backend.served() => Kept::Verdict,
                    _ => Kept::All,
                };
                backend.health.adopt(&before.health, kept);
            }
        }
    }

    /// Whether any call may still go to an address.
    pub(super) fn leads_to(&self, address: &Address) -> bool {
        let mut backends = self.backends.iter().filter(|backend| backend.weight() > 0);
        backends.any(|backend| backend.http == *address || backend.grpc == *address)
    }

    /// One ejection for a share of failed calls at a time.
    pub(super) fn ejecting(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration that passed its checks and still cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SnapshotError(String);

impl From<TlsError> for SnapshotError {
    fn from(error: TlsError) -> Self {
        Self(error.to_string())
    }
}

impl Deadlines {
    fn new(config: &Config) -> Self {
        let timeouts = &config.timeouts;
        Self {
            client: timeouts.client.limit(),
            head: timeouts.head.limit(),
            connect: timeouts.connect.limit().unwrap_or(Duration::MAX),
            first_byte: timeouts.first_byte.limit(),
            idle: timeouts.idle.limit(),
            stream_idle: timeouts.stream_idle.limit(),
            total: timeouts.total.limit(),
            upstream_idle: timeouts.upstream_idle.0,
        }
    }
}

impl Backend {
    fn new(
        at: usize,
        config: &BackendConfig,
        identities: &[Arc<Identity>],
        metrics: &Arc<Metrics>,
        maker: &mut tls::Maker,
    ) -> Result<Self, SnapshotError> {
        let mut address = |url: &str| address(url, config.tls.as_ref(), &format!("backends[{at}].tls"), maker);
        let http = address(&config.url)?;
        let grpc = config.grpc_url.as_deref().map_or_else(|| Ok(http.clone()), address)?;
        let models = config.models.iter().zip(identities);
        let models = models
            .enumerate()
            .map(|(place, (model, identity))| Model::new(place, model, identity, &config.name, metrics).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: config.name.clone(),
            http,
            grpc,
            protocol: config.protocol,
            weight: AtomicU32::new(config.weight),
            models,
            health: Health::new(&config.health),
            check: config.health_check.clone(),
            upstream_duration: metrics.upstream_duration.with_label_values(&[&config.name]),
        })
    }
}

impl Backend {
    /// Its share among the backends that fit.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Whether calls for some model could go to either; one without models takes any.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        let serves = |name: &str| self.models.iter().any(|model| model.served_name == name);
        self.models.is_empty() || other.models.is_empty() || other.models.iter().any(|model| serves(&model.served_name))
    }

    /// Whether checks of it would be the same: of the same place, in the same way, for the same models, into the same
    /// memory.
    pub fn is_asked_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self.http == other.http
            && self.grpc == other.grpc
            && self.protocol == other.protocol
            && self.check == other.check
            && self.served() == other.served()
            && self.health.is_one_with(&other.health)
    }

    /// Its models, in its own words.
    fn served(&self) -> Vec<(&str, Option<&str>)> {
        self.models.iter().map(|model| (model.served_name.as_str(), model.served_version.as_deref())).collect()
    }

    /// Whether it takes calls, for one of its models at least.
    pub fn is_in(&self, now: Instant) -> bool {
        self.health.is_in(now) && self.health.is_ready_for_any(self.models.len())
    }

    /// Gives it another share, from the next call on.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }
}

/// Where a URL leads, and under what TLS. Connections to one host and port under the same TLS are shared.
fn address(
    url: &str,
    tls: Option<&BackendTlsConfig>,
    section: &str,
    maker: &mut tls::Maker,
) -> Result<Address, SnapshotError> {
    let wrong = || SnapshotError(format!("'{url}' is no http://HOST:PORT or https://HOST:PORT"));
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let secure = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    let default = BackendTlsConfig::default();
    let tls = secure.then(|| maker.client(section, tls.unwrap_or(&default), &host)).transpose()?;
    Ok(Address { host, port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }), tls })
}

impl Model {
    fn new(
        place: usize,
        config: &super::ModelConfig,
        identity: &Arc<Identity>,
        backend: &str,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SnapshotError> {
        let dataset = identity.dataset_version.as_deref();
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| SnapshotError(format!("'{text}' cannot stand in a header")))
        };
        Ok(Self {
            stamps: ModelStamps {
                name: value(&identity.model)?,
                version: value(&identity.version)?,
                dataset: dataset.map(value).transpose()?,
                reproducible: HeaderValue::from_static(if identity.reproducible { "true" } else { "false" }),
            },
            served_name: config.served_name().to_owned(),
            served_version: config.served_version().map(str::to_owned),
            served_labels: config.served_labels().to_vec(),
            is_default: config.default,
            place,
            decision: config.decision.clone(),
            // An unknown dataset is an empty label, which in Prometheus is the same as none.
            metrics: ModelMetrics::new(metrics, &identity.model, &identity.version, dataset.unwrap_or(""), backend),
            last_mismatch: AtomicU64::new(0),
            identity: Arc::clone(identity),
        })
    }
}

impl Model {
    /// Whether the answers' claim against the declaration is another than the last one.
    pub fn claims_anew(&self, observed: Observed<'_>) -> bool {
        let mut hasher = std::hash::DefaultHasher::new();
        (observed.model, observed.version).hash(&mut hasher);
        let claim = hasher.finish() | 1;
        self.last_mismatch.swap(claim, Ordering::Relaxed) != claim
    }
}

impl ModelMetrics {
    fn new(metrics: &Arc<Metrics>, model: &str, version: &str, dataset: &str, backend: &str) -> Self {
        let labels = &[model, version];
        Self {
            ended: std::iter::repeat_with(OnceLock::new).take(Protocol::ALL.len() * Outcome::ALL.len()).collect(),
            labels: [model, version, dataset, backend].map(str::to_owned),
            duration: metrics.prediction_duration.with_label_values(labels),
            input_bytes: metrics.input_bytes.with_label_values(labels),
            output_bytes: metrics.output_bytes.with_label_values(labels),
            metrics: Arc::clone(metrics),
        }
    }

    /// `predictions_total` for one protocol and outcome. The handle is looked up once.
    pub fn ended(&self, protocol: Protocol, outcome: Outcome) -> &IntCounter {
        let place = protocol.index() * Outcome::ALL.len() + outcome.index();
        self.ended[place].get_or_init(|| {
            let [model, version, dataset, backend] = &self.labels;
            let labels = [model, version, dataset, backend, protocol.as_str(), outcome.as_str()];
            self.metrics.predictions.with_label_values(&labels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |url: &str| {
            let address = address(url, None, "backends[0].tls", &mut tls::Maker::new()).unwrap();
            (address.host.clone(), address.port, address.scheme().to_string())
        };
        assert_eq!(read("http://h:1"), ("h".into(), 1, "http".into()));
        assert_eq!(read("http://[::1]:9"), ("::1".into(), 9, "http".into()));
        assert_eq!(read("https://h"), ("h".into(), 443, "https".into()));
    }
}
