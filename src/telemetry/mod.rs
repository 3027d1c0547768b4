//! What on-call sees: every metric, every span, every log line.
//!
//! [`Metrics`] is Prometheus's alone and pulled through the admin listener; spans are pushed over OTLP by
//! [`Tracer`]'s own threads; log lines go to standard error. None of the three ever makes a request wait: what does
//! not fit a bounded queue is dropped and counted in `telemetry_dropped_total`.

mod context;
mod export;
mod logging;
mod metrics;
mod sampling;
mod spans;
mod trace;
mod tracer;

pub use context::TraceContext;
pub use export::{Protocol, Service, TraceError, TracesConfig};
pub use logging::{LogConfig, LogError, LogFormat, LogGuard, LogLevel, Predictions, init, log_exchange};
pub use metrics::{Metrics, OTHER};
pub use sampling::SamplerKind;
pub use trace::{GenAi, RequestSpan, UpstreamLeg};
pub use tracer::Tracer;

use serde::{Deserialize, Serialize};

/// The section `telemetry`. Environment variables named `OTEL_…` override `traces`, as every OpenTelemetry SDK has it;
/// `TOUCHMARK_LOG` overrides `log.level` with filter directives.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "TelemetryConfig"))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Log lines.
    pub log: LogConfig,
    /// Spans.
    pub traces: TracesConfig,
}
