//! What the exporter is told: the section `telemetry.traces`, overridden by the standard `OTEL_…` variables.
//!
//! Pure: the environment comes in as a function. Variables that the SDK reads by itself when the exporter is built
//! (`OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_TRACES_HEADERS`, `…_TRACES_TIMEOUT`) are not repeated here. As the
//! OpenTelemetry specification wants it, a value that makes no sense in a variable is warned of and ignored; in the
//! configuration file it is an error.

use std::time::Duration;

use http::Uri;
use opentelemetry::KeyValue;
use serde::{Deserialize, Deserializer, Serialize};

use crate::telemetry::sampling::SamplerKind;
use crate::telemetry::trace;

/// Spans waiting for the exporter, where `OTEL_BSP_MAX_QUEUE_SIZE` says nothing.
const QUEUE_SPANS: usize = 2048;
/// Spans in one export, where `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says nothing.
const BATCH_SPANS: usize = 512;
/// Spans in the queue at most, whatever the environment says: at 2 KiB a span, 128 MiB.
const QUEUE_SPANS_MAX: usize = 65_536;
/// From a batch's first span to its export, where `OTEL_BSP_SCHEDULE_DELAY` says nothing.
const DELAY: Duration = Duration::from_secs(5);
/// One export with its retries, where `OTEL_BSP_EXPORT_TIMEOUT` says nothing.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// The path of OTLP over HTTP under a base URL.
const HTTP_PATH: &str = "/v1/traces";

/// The section `telemetry.traces`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// The collector, such as `http://localhost:4317`; none: spans are not exported, ids and propagation work all the
    /// same. For `http/protobuf`, `/v1/traces` is added where the URL has no path.
    pub endpoint: Option<String>,
    /// How spans travel.
    pub protocol: Protocol,
    /// Which traces are exported. Never affects the ledger.
    pub sampler: SamplerKind,
    /// The share that the ratio samplers keep, from 0 to 1.
    #[serde(deserialize_with = "ratio")]
    pub ratio: f64,
    /// Whether spans carry the input's SHA-256.
    pub input_hash: bool,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: Protocol::default(),
            sampler: SamplerKind::default(),
            ratio: 0.01,
            input_hash: false,
        }
    }
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("ratio {ratio} is no share: write a number from 0 to 1"));
    (0.0..=1.0).contains(&ratio).then_some(ratio).ok_or_else(wrong)
}

/// How spans travel, by the names of `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Protocol {
    /// OTLP over gRPC, usually port 4317.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP with Protocol Buffers, usually port 4318.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// Who speaks: what the resource of every span says.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// `deployment.name`.
    pub deployment: &'a str,
    /// `deployment.instance`.
    pub instance: &'a str,
}

/// Why spans cannot be exported as configured.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The URL is none, or of no use to us.
    #[error("{name}: '{value}' {mend}")]
    Endpoint {
        /// Where it was set: a key of the configuration or a variable.
        name: &'static str,
        /// What was set.
        value: String,
        /// What is wrong, and the mend.
        mend: &'static str,
    },
    /// The SDK refused what it was given.
    #[error("telemetry.traces: the exporter cannot be built")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// No thread could be started.
    #[error("telemetry.traces: the exporter's threads cannot be started")]
    Threads(#[from] std::io::Error),
}

/// The environment: a variable's value by its name.
pub(in crate::telemetry) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything settled, before anything starts.
#[derive(Debug, PartialEq)]
pub(in crate::telemetry) struct Settings {
    /// The URL that the exporter sends to, its path included; `None`: no export.
    pub(in crate::telemetry) endpoint: Option<String>,
    pub(in crate::telemetry) protocol: Protocol,
    pub(in crate::telemetry) sampler: SamplerKind,
    pub(in crate::telemetry) ratio: f64,
    pub(in crate::telemetry) queue_spans: usize,
    pub(in crate::telemetry) batch_spans: usize,
    pub(in crate::telemetry) delay: Duration,
    pub(in crate::telemetry) export_timeout: Duration,
    pub(in crate::telemetry) resource: Vec<KeyValue>,
}

impl Settings {
    /// The configuration under the environment.
    pub(in crate::telemetry) fn resolve(
        config: &TracesConfig,
        service: &Service<'_>,
        env: Env<'_>,
    ) -> Result<Self, TraceError> {
        // The specification: an empty variable is an unset one.
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let protocol = protocol(config, &env);
        let (sampler, ratio) = sampler(config, &env);
        let off = env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || env("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let queue_spans = number(&env, "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS).clamp(1, QUEUE_SPANS_MAX);
        Ok(Self {
            endpoint: if off { None } else { endpoint(config, protocol, &env)? },
            protocol,
            sampler,
            ratio,
            queue_spans,
            batch_spans: number(&env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SPANS).clamp(1, queue_spans),
            delay: millis(&env, "OTEL_BSP_SCHEDULE_DELAY", DELAY),
            export_timeout: millis(&env, "OTEL_BSP_EXPORT_TIMEOUT", EXPORT_TIMEOUT),
            resource: resource(service, &env),
        })
    }
}

fn protocol(config: &TracesConfig, env: Env<'_>) -> Protocol {
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        match env(name).as_deref() {
            Some("grpc") => return Protocol::Grpc,
            Some("http/protobuf") => return Protocol::HttpProtobuf,
            Some(value) => ignored(name, value, "grpc or http/protobuf"),
            None => {}
        }
    }
    config.protocol
}

fn sampler(config: &TracesConfig, env: Env<'_>) -> (SamplerKind, f64) {
    let mut kind = config.sampler;
    if let Some(name) = env("OTEL_TRACES_SAMPLER") {
        match SamplerKind::named(&name) {
            Some(named) => kind = named,
            None => {
                ignored("OTEL_TRACES_SAMPLER", &name, "always_on, always_off, traceidratio, or parentbased_ of one");
            }
        }
    }
    let mut ratio = config.ratio;
    if let Some(text) = env("OTEL_TRACES_SAMPLER_ARG") {
        match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => ratio = share,
            _ => ignored("OTEL_TRACES_SAMPLER_ARG", &text, "a number from 0 to 1"),
        }
    }
    (kind, ratio)
}

fn endpoint(config: &TracesConfig, protocol: Protocol, env: Env<'_>) -> Result<Option<String>, TraceError> {
    const EXACT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let set = env(EXACT)
        .map(|value| (EXACT, value))
        .or_else(|| env(BASE).map(|value| (BASE, value)))
        .or_else(|| config.endpoint.clone().map(|value| ("telemetry.traces.endpoint", value)));
    let Some((name, value)) = set else { return Ok(None) };
    let insecure = ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"];
    let insecure = insecure.iter().find_map(|name| env(name)).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let url = if insecure && !value.contains("://") { format!("http://{value}") } else { value.clone() };
    let wrong = |mend| TraceError::Endpoint { name, value: value.clone(), mend };
    let uri: Uri = url.parse().map_err(|_| wrong("is no URL: write one such as http://localhost:4317"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(wrong(
                "needs TLS, which the exporter does not speak: send to a collector beside it over http://",
            ));
        }
        _ => return Err(wrong("has no scheme: write http:// before it")),
    }
    if protocol == Protocol::Grpc || name == EXACT {
        return Ok(Some(url));
    }
    let base = url.trim_end_matches('/');
    let no_path = uri.path() == "/";
    Ok(Some(if no_path || name == BASE { format!("{base}{HTTP_PATH}") } else { url }))
}

fn resource(service: &Service<'_>, env: Env<'_>) -> Vec<KeyValue> {
    let mut resource = vec![
        KeyValue::new(trace::SERVICE_NAME, "touchmark"),
        KeyValue::new(trace::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(trace::SERVICE_INSTANCE_ID, service.instance.to_owned()),
        KeyValue::new(trace::DEPLOYMENT, service.deployment.to_owned()),
    ];
    // Later attributes win, and OTEL_SERVICE_NAME wins over service.name among the attributes.
    if let Some(list) = env("OTEL_RESOURCE_ATTRIBUTES") {
        resource.extend(list.split(',').filter_map(attribute));
    }
    if let Some(name) = env("OTEL_SERVICE_NAME") {
        resource.push(KeyValue::new(trace::SERVICE_NAME, name));
    }
    resource
}

fn attribute(pair: &str) -> Option<KeyValue> {
    let (key, value) = pair.split_once('=')?;
    let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some(KeyValue::new(key.trim().to_owned(), value.into_owned()))
}

fn millis(env: Env<'_>, name: &str, default: Duration) -> Duration {
    let millis = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(number(env, name, millis))
}

fn number<N: std::str::FromStr>(env: Env<'_>, name: &str, default: N) -> N {
    let Some(text) = env(name) else { return default };
    text.parse().unwrap_or_else(|_| {
        ignored(name, &text, "a whole number");
        default
    })
}

fn ignored(variable: &str, value: &str, mend: &str) {
    tracing::warn!(variable, value, mend, "environment variable ignored");
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SERVICE: Service<'_> = Service { deployment: "fraud-prod", instance: "fraud-prod-7c9d" };

    fn resolve(config: &TracesConfig, env: &[(&str, &str)]) -> Result<Settings, TraceError> {
        let env: HashMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::resolve(config, &SERVICE, &|name| env.get(name).cloned())
    }

    fn endpoint(config: Option<&str>, protocol: Protocol, env: &[(&str, &str)]) -> Option<String> {
        let config = TracesConfig { endpoint: config.map(str::to_owned), protocol, ..TracesConfig::default() };
        resolve(&config, env).unwrap().endpoint
    }

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        let settings = resolve(&TracesConfig::default(), &[]).unwrap();
        assert_eq!(settings.endpoint, None);
        assert_eq!((settings.queue_spans, settings.batch_spans), (2048, 512));
        assert_eq!((settings.sampler, settings.ratio), (SamplerKind::ParentBasedTraceIdRatio, 0.01));
        let config = TracesConfig { endpoint: Some("http://c:4317".into()), ..TracesConfig::default() };
        assert!(resolve(&config, &[]).unwrap().endpoint.is_some());
        assert_eq!(resolve(&config, &[("OTEL_SDK_DISABLED", "TRUE")]).unwrap().endpoint, None);
        assert_eq!(resolve(&config, &[("OTEL_TRACES_EXPORTER", "none")]).unwrap().endpoint, None);
    }

    #[test]
    fn the_environment_wins_and_paths_follow_the_specification() {
        use Protocol::{Grpc, HttpProtobuf as Http};
        const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const EXACT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let table: [(_, _, &[(&str, &str)], _); 10] = [
            (Some("http://c:4317"), Grpc, &[], "http://c:4317"),
            (Some("http://c:4318"), Http, &[], "http://c:4318/v1/traces"),
            (Some("http://c:4318/"), Http, &[], "http://c:4318/v1/traces"),
            (Some("http://c:4318/otlp/v1/traces"), Http, &[], "http://c:4318/otlp/v1/traces"),
            (Some("http://c:1"), Http, &[(BASE, "http://d:4318/otlp/")], "http://d:4318/otlp/v1/traces"),
            (Some("http://c:1"), Http, &[(BASE, "http://d"), (EXACT, "http://e/in")], "http://e/in"),
            (Some("http://c:1"), Grpc, &[(BASE, "http://d")], "http://d"),
            (Some("http://c:1"), Grpc, &[(BASE, "")], "http://c:1"),
            (None, Grpc, &[(BASE, "d:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")], "http://d:4317"),
            (None, Grpc, &[(BASE, "http://d"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "http://d/v1/traces"),
        ];
        for (config, protocol, env, expected) in table {
            assert_eq!(endpoint(config, protocol, env).as_deref(), Some(expected), "{config:?} {env:?}");
        }
    }

    #[test]
    fn useless_endpoints_name_the_mend() {
        for (value, mend) in [("https://c:4317", "over http://"), ("c:4317", "write http://"), ("http://a b", "no URL")]
        {
            let config = TracesConfig { endpoint: Some(value.into()), ..TracesConfig::default() };
            let error = resolve(&config, &[]).unwrap_err().to_string();
            assert!(error.contains("telemetry.traces.endpoint") && error.contains(mend), "{error}");
            let error = resolve(&TracesConfig::default(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", value)]).unwrap_err();
            assert!(error.to_string().starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: "), "{error}");
        }
    }

    #[test]
    fn nonsense_in_the_environment_is_ignored() {
        let env = [
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER_ARG", "7"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ];
        let config = TracesConfig::default();
        assert_eq!(resolve(&config, &env).unwrap(), resolve(&config, &[]).unwrap());
        let env = [
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_SCHEDULE_DELAY", "7"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ];
        let settings = resolve(&config, &env).unwrap();
        assert_eq!((settings.sampler, settings.ratio), (SamplerKind::AlwaysOn, 0.5));
        // A batch never exceeds the queue.
        assert_eq!((settings.queue_spans, settings.batch_spans), (16, 16));
        assert_eq!(settings.delay, Duration::from_millis(7));
    }

    #[test]
    fn the_resource_says_who_and_the_environment_may_say_otherwise() {
        let last = |env: &[(&str, &str)], key: &str| {
            let resource = resolve(&TracesConfig::default(), env).unwrap().resource;
            resource.iter().rev().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string())
        };
        assert_eq!(last(&[], "service.name").as_deref(), Some("touchmark"));
        assert_eq!(last(&[], "service.instance.id").as_deref(), Some("fraud-prod-7c9d"));
        assert_eq!(last(&[], "touchmark.deployment").as_deref(), Some("fraud-prod"));
        let env = [("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, team = risk%2Cfraud ,broken")];
        assert_eq!(last(&env, "service.name").as_deref(), Some("a"));
        assert_eq!(last(&env, "team").as_deref(), Some("risk,fraud"));
        let env = [env[0], ("OTEL_SERVICE_NAME", "b")];
        assert_eq!(last(&env, "service.name").as_deref(), Some("b"));
    }

    #[test]
    fn the_section_is_strict() {
        assert_eq!(serde_json::from_str::<TracesConfig>("{}").unwrap(), TracesConfig::default());
        let json = serde_json::to_string(&TracesConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<TracesConfig>(&json).unwrap(), TracesConfig::default());
        assert!(
            serde_json::from_str::<TracesConfig>(r#"{"ratio":1.5}"#).unwrap_err().to_string().contains("from 0 to 1")
        );
        assert!(serde_json::from_str::<TracesConfig>(r#"{"endpiont":"x"}"#).is_err());
    }
}
