//! Log lines: how they look, which are written, and the one line of a failed prediction.
//!
//! Lines go to standard error through [`LogSink`], which never makes a request wait. The ledger, not the log, is the
//! record of predictions: by default the log speaks of those that failed.

mod sink;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use self::sink::LogSink;
use super::metrics::Metrics;
use super::trace::grpc_server_failed;
use crate::exchange::{Exchange, Outcome};

/// The environment variable with filter directives, such as `touchmark::ledger=debug,info`.
const FILTER: &str = "TOUCHMARK_LOG";
/// The `signal` of `telemetry_dropped_total`.
const SIGNAL: &str = "logs";
/// What dropping a [`LogGuard`] waits for lines to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// The section `telemetry.log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// The least severe level that is written; of libraries, warnings and errors at most.
    pub level: LogLevel,
    /// Which predictions get a line.
    pub predictions: Predictions,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Severities, and `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// What somebody has to mend.
    Error,
    /// What may need mending.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why it happened.
    Debug,
    /// Everything.
    Trace,
}

/// Which predictions get a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Predictions {
    /// Those that failed: any outcome but `complete`, a status from 500, or a gRPC status that blames the server.
    #[default]
    Failed,
    /// Every one.
    All,
    /// None.
    None,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `TOUCHMARK_LOG` is no filter.
    #[error("{FILTER}: '{value}' is no filter: write directives such as 'touchmark=debug,info'")]
    Filter {
        /// What the variable holds.
        value: String,
        /// What the parser said.
        source: ParseError,
    },
    /// The writing thread could not be started.
    #[error("the log's thread cannot be started")]
    Thread(#[from] io::Error),
    /// Logging is set up once a process.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Writes what is still buffered when it is dropped: hold it until the process ends.
#[derive(Debug)]
pub struct LogGuard(LogSink);

impl LogGuard {
    /// Waits until everything is written, for `deadline` at most; `false` where it passed.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.0.flush(deadline)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(FLUSH);
    }
}

/// Sets logging up for the whole process: standard error, as configured, `TOUCHMARK_LOG` before `telemetry.log.level`.
pub fn init(config: &LogConfig, metrics: &Metrics) -> Result<LogGuard, LogError> {
    let directives = std::env::var(FILTER).ok();
    let sink = LogSink::start(io::stderr(), metrics.telemetry_dropped.with_label_values(&[SIGNAL]))?;
    subscriber(*config, directives.as_deref(), sink.clone())?.try_init()?;
    Ok(LogGuard(sink))
}

fn subscriber(
    config: LogConfig,
    directives: Option<&str>,
    sink: LogSink,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError> {
    let filter = match directives.filter(|directives| !directives.is_empty()) {
        Some(value) => {
            EnvFilter::try_new(value).map_err(|source| LogError::Filter { value: value.to_owned(), source })?
        }
        None => EnvFilter::new(config.level.directives()),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(sink).with_ansi(false);
    Ok(match config.format {
        LogFormat::Text => Box::new(registry.with(lines)),
        LogFormat::Json => {
            Box::new(registry.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)))
        }
    })
}

impl LogLevel {
    /// The level as filter directives.
    const fn directives(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,touchmark=info",
            Self::Debug => "warn,touchmark=debug",
            Self::Trace => "warn,touchmark=trace",
        }
    }
}

/// Writes the line of a finished prediction, where the policy wants one: a warning where it failed.
pub fn log_exchange(exchange: &Exchange<'_>, policy: Predictions) {
    let failed = failed(exchange);
    match policy {
        Predictions::Failed | Predictions::All if failed => line::<true>(exchange),
        Predictions::All => line::<false>(exchange),
        Predictions::Failed | Predictions::None => {}
    }
}

fn failed(exchange: &Exchange<'_>) -> bool {
    exchange.outcome != Outcome::Complete
        || exchange.status.is_some_and(|status| status >= 500)
        || exchange.grpc_status.is_some_and(grpc_server_failed)
}

/// What a client sent is given as a string value, never as `Display`: both formats escape it.
fn line<const FAILED: bool>(exchange: &Exchange<'_>) {
    let prediction = &exchange.prediction;
    let identity = prediction.identity;
    macro_rules! event {
        ($level:expr, $message:literal) => {
            tracing::event!(
                target: "touchmark::prediction",
                $level,
                prediction = %prediction.id,
                trace = %Hex(&exchange.trace_id),
                model = identity.map(|identity| identity.model.as_str()),
                version = identity.filter(|_| prediction.version_known).map(|identity| identity.version.as_str()),
                stated_model = prediction.stated_model.filter(|_| identity.is_none()),
                backend = prediction.backend,
                protocol = prediction.protocol,
                route = prediction.route,
                outcome = exchange.outcome.as_str(),
                status = exchange.status,
                grpc_status = exchange.grpc_status,
                duration_us = u64::try_from(exchange.duration.as_micros()).unwrap_or(u64::MAX),
                $message
            )
        };
    }
    if FAILED {
        event!(tracing::Level::WARN, "prediction failed");
    } else {
        event!(tracing::Level::INFO, "prediction");
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
