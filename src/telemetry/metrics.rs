//! Every metric, with its name, help, unit, labels and buckets together, in one struct.
//!
//! Label values come from the configuration; anything else is [`OTHER`]. Handles that the data path needs are
//! resolved once, when the configuration is loaded: looking a label up costs more than counting.
//! This file does not serve `/metrics`; `admin` renders the [`Registry`].

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

/// The label value for whatever the configuration does not name.
pub const OTHER: &str = "other";

/// What a registration that fails would mean, said where it is expected not to.
const UNIQUE: &str = "every metric is registered once, under a valid name";

/// Seconds: the data path's own work, from a few microseconds up.
const OVERHEAD_BUCKETS: &[f64] =
    &[5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0];
/// Seconds: inference, from a decision tree's to a language model's.
const DURATION_BUCKETS: &[f64] =
    &[5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Seconds: a group's way to the disk.
const COMMIT_BUCKETS: &[f64] = &[2e-6, 5e-6, 1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0, 5.0];

/// Every metric of the process. Field names are the metrics' names without prefix and unit.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// `predictions_total{model,version,dataset_version,backend,protocol,outcome}`
    pub predictions: IntCounterVec,
    /// `prediction_duration_seconds{model,version}`
    pub prediction_duration: HistogramVec,
    /// `upstream_duration_seconds{backend}`
    pub upstream_duration: HistogramVec,
    /// `overhead_seconds`
    pub overhead: Histogram,
    /// `input_bytes_total{model,version}`
    pub input_bytes: IntCounterVec,
    /// `output_bytes_total{model,version}`
    pub output_bytes: IntCounterVec,
    /// `inflight_predictions`
    pub inflight_predictions: IntGauge,
    /// `unresolved_predictions_total`
    pub unresolved_predictions: IntCounter,
    /// `version_mismatch_total{model,declared,observed}`
    pub version_mismatch: IntCounterVec,
    /// `reproducible{model,version}`
    pub reproducible: IntGaugeVec,
    /// `lineage_completeness_ratio{model,version}`
    pub lineage_completeness: GaugeVec,
    /// `ledger_entries_total{kind}`
    pub ledger_entries: IntCounterVec,
    /// `ledger_queue_entries`
    pub ledger_queue_entries: IntGauge,
    /// `ledger_queue_bytes`
    pub ledger_queue_bytes: IntGauge,
    /// `ledger_commit_seconds`
    pub ledger_commit: Histogram,
    /// `ledger_tree_size`
    pub ledger_tree_size: IntGauge,
    /// `ledger_unrecorded_total{reason}`
    pub ledger_unrecorded: IntCounterVec,
    /// `ledger_integrity_failures_total`
    pub ledger_integrity_failures: IntCounter,
    /// `deployment_traceable_ratio`
    pub deployment_traceable: Gauge,
    /// `telemetry_dropped_total{signal}`
    pub telemetry_dropped: IntCounterVec,
    /// `config_reloads_total{result}`
    pub config_reloads: IntCounterVec,
}

impl Metrics {
    /// Registers every metric in a registry of its own, `build_info` set.
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let model = &["model", "version"];
        build_info(r);
        Self {
            predictions: counters(
                r,
                "predictions_total",
                "Recognised predictions that ended.",
                &["model", "version", "dataset_version", "backend", "protocol", "outcome"],
            ),
            prediction_duration: histograms(
                r,
                "prediction_duration_seconds",
                "From the request's head to the end of the answer.",
                DURATION_BUCKETS,
                model,
            ),
            upstream_duration: histograms(
                r,
                "upstream_duration_seconds",
                "Waiting for the model server, per prediction.",
                DURATION_BUCKETS,
                &["backend"],
            ),
            overhead: register(
                r,
                Histogram::with_opts(histogram(
                    "overhead_seconds",
                    "What the proxy itself added to a prediction: its time less the time waiting for the model server and the client.",
                    OVERHEAD_BUCKETS,
                )),
            ),
            input_bytes: counters(r, "input_bytes_total", "Bytes of prediction inputs.", model),
            output_bytes: counters(r, "output_bytes_total", "Bytes of prediction outputs.", model),
            inflight_predictions: gauge(r, "inflight_predictions", "Predictions that have begun and not ended."),
            unresolved_predictions: counter(
                r,
                "unresolved_predictions_total",
                "Predictions that no configured model fits: stamped with their id alone.",
            ),
            version_mismatch: counters(
                r,
                "version_mismatch_total",
                "Answers that named another version than declared.",
                &["model", "declared", "observed"],
            ),
            reproducible: register(
                r,
                IntGaugeVec::new(
                    opts("reproducible", "Whether every reproducibility check on the model's lineage has passed."),
                    model,
                ),
            ),
            lineage_completeness: register(
                r,
                GaugeVec::new(
                    opts("lineage_completeness_ratio", "Share of the lineage's fields that are known."),
                    model,
                ),
            ),
            ledger_entries: counters(r, "ledger_entries_total", "Entries written to the ledger.", &["kind"]),
            ledger_queue_entries: gauge(r, "ledger_queue_entries", "Entries reserved or waiting to be written."),
            ledger_queue_bytes: gauge(r, "ledger_queue_bytes", "Bytes waiting to be written to the ledger."),
            ledger_commit: register(
                r,
                Histogram::with_opts(histogram(
                    "ledger_commit_seconds",
                    "A group of entries from taken to as durable as the mode promises.",
                    COMMIT_BUCKETS,
                )),
            ),
            ledger_tree_size: gauge(r, "ledger_tree_size", "Entries in the ledger."),
            ledger_unrecorded: counters(
                r,
                "ledger_unrecorded_total",
                "Predictions without an entry; a gap entry covers them.",
                &["reason"],
            ),
            ledger_integrity_failures: counter(
                r,
                "ledger_integrity_failures_total",
                "Damage found in what had been committed.",
            ),
            deployment_traceable: register(
                r,
                Gauge::with_opts(opts(
                    "deployment_traceable_ratio",
                    "Share of the configured models whose training dataset is known.",
                )),
            ),
            telemetry_dropped: counters(
                r,
                "telemetry_dropped_total",
                "Telemetry given up: a full queue or a failing collector.",
                &["signal"],
            ),
            config_reloads: counters(r, "config_reloads_total", "Configuration reloads.", &["result"]),
            registry,
        }
    }

    /// The registry to render.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn build_info(registry: &Registry) {
    let info = register(registry, IntGaugeVec::new(opts("build_info", "Which build this is."), &["version", "commit"]));
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("TOUCHMARK_COMMIT").unwrap_or("unknown")]).set(1);
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("touchmark")
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(name, help), labels))
}

fn histograms(registry: &Registry, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    register(registry, HistogramVec::new(histogram(name, help, buckets), labels))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::with_opts(opts(name, help)))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(opts(name, help)))
}

#[expect(clippy::expect_used, reason = "a clash or a bad name shows at the first start and in every test")]
fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect(UNIQUE);
    registry.register(Box::new(metric.clone())).expect(UNIQUE);
    metric
}
