//! Every metric, with its name, help, unit, labels and buckets together, in one struct.
//!
//! Label values come from the configuration; anything else is [`OTHER`]. Handles that the data path needs are
//! resolved once, when the configuration is loaded: looking a label up costs more than counting.
//! This file does not serve `/metrics`; `admin` renders the [`Registry`].

use std::collections::BTreeMap;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

/// The label value for whatever the configuration does not name.
pub const OTHER: &str = "other";

/// What a registration that fails would mean, said where it is expected not to.
const UNIQUE: &str = "every metric is registered once, under a valid name";

/// Labels of `predictions_total`.
const PREDICTION: &[&str] = &["model", "version", "dataset_version", "backend", "protocol", "outcome"];
/// Labels of what is counted per model version.
const MODEL: &[&str] = &["model", "version"];
/// Labels of `version_mismatch_total`.
const MISMATCH: &[&str] = &["model", "declared", "observed"];

const HEAD_TO_END: &str = "From the request's head to the end of the answer.";
const UPSTREAM: &str = "Waiting for the model server, per prediction.";
const OVERHEAD: &str =
    "What the proxy added to a prediction: its time less the time waiting for the model server and the client.";
const CHECKPOINT_AGE: &str =
    "Since the newest checkpoint, while entries wait for the next; 0 while it covers them all.";
const COSIGNATURE_AGE: &str = "Since the last checkpoint that the witness cosigned, while newer ones wait; else 0.";
const ANCHOR_AGE: &str = "Since the last checkpoint that the anchor keeps, while newer ones wait; else 0.";
const QUERY: &str = "Questions to the catalog, by what they ask.";
const COMMIT: &str = "A group of entries from taken to as durable as the mode promises.";

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
    /// `lineage_age_seconds{model}`
    pub lineage_age: GaugeVec,
    /// `lineage_refresh_failures_total{source}`
    pub lineage_refresh_failures: IntCounterVec,
    /// `lineage_completeness_ratio{model,version}`
    pub lineage_completeness: GaugeVec,
    /// `lineage_query_seconds{query}`
    pub lineage_query: HistogramVec,
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
    /// `ledger_checkpoint_age_seconds`
    pub ledger_checkpoint_age: Gauge,
    /// `ledger_cosignature_age_seconds{witness}`
    pub ledger_cosignature_age: GaugeVec,
    /// `ledger_anchor_age_seconds`
    pub ledger_anchor_age: Gauge,
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
        let r = &Registering(Registry::new());
        r.build_info();
        Self {
            predictions: r.counters("predictions_total", PREDICTION, "Recognised predictions that ended."),
            prediction_duration: r.histograms("prediction_duration_seconds", MODEL, DURATION_BUCKETS, HEAD_TO_END),
            upstream_duration: r.histograms("upstream_duration_seconds", &["backend"], DURATION_BUCKETS, UPSTREAM),
            overhead: r.histogram("overhead_seconds", OVERHEAD_BUCKETS, OVERHEAD),
            input_bytes: r.counters("input_bytes_total", MODEL, "Bytes of prediction inputs."),
            output_bytes: r.counters("output_bytes_total", MODEL, "Bytes of prediction outputs."),
            inflight_predictions: r.gauge("inflight_predictions", "Predictions that have begun and not ended."),
            unresolved_predictions: r
                .counter("unresolved_predictions_total", "Predictions that no configured model fits."),
            version_mismatch: r.counters("version_mismatch_total", MISMATCH, "Answers that named another version."),
            reproducible: r.gauges("reproducible", MODEL, "Whether every check on the model's lineage has passed."),
            lineage_age: r.ratios(
                "lineage_age_seconds",
                &["model"],
                "Since the lineage was last confirmed by its source.",
            ),
            lineage_refresh_failures: r.counters(
                "lineage_refresh_failures_total",
                &["source"],
                "Times that the source of the lineage did not answer.",
            ),
            lineage_completeness: r.ratios("lineage_completeness_ratio", MODEL, "Share of the lineage that is known."),
            lineage_query: r.histograms("lineage_query_seconds", &["query"], DURATION_BUCKETS, QUERY),
            ledger_entries: r.counters("ledger_entries_total", &["kind"], "Entries written to the ledger."),
            ledger_queue_entries: r.gauge("ledger_queue_entries", "Entries reserved or waiting to be written."),
            ledger_queue_bytes: r.gauge("ledger_queue_bytes", "Bytes waiting to be written to the ledger."),
            ledger_commit: r.histogram("ledger_commit_seconds", COMMIT_BUCKETS, COMMIT),
            ledger_tree_size: r.gauge("ledger_tree_size", "Entries in the ledger."),
            ledger_checkpoint_age: r.ratio("ledger_checkpoint_age_seconds", CHECKPOINT_AGE),
            ledger_cosignature_age: r.ratios("ledger_cosignature_age_seconds", &["witness"], COSIGNATURE_AGE),
            ledger_anchor_age: r.ratio("ledger_anchor_age_seconds", ANCHOR_AGE),
            ledger_unrecorded: r.counters("ledger_unrecorded_total", &["reason"], "Predictions without an entry."),
            ledger_integrity_failures: r
                .counter("ledger_integrity_failures_total", "Damage found in committed entries."),
            deployment_traceable: r.ratio("deployment_traceable_ratio", "Share of models that lead back to a dataset."),
            telemetry_dropped: r.counters("telemetry_dropped_total", &["signal"], "Spans and log lines given up."),
            config_reloads: r.counters("config_reloads_total", &["result"], "Configuration reloads."),
            registry: r.0.clone(),
        }
    }

    /// The registry to render.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How many predictions of each `MODEL@VERSION` have ended since the process began.
    pub fn predictions_by_model(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for metric in self.predictions.collect().iter().flat_map(prometheus::proto::MetricFamily::get_metric) {
            let label = |name: &str| metric.get_label().iter().find(|label| label.name() == name);
            let [model, version] =
                ["model", "version"].map(|name| label(name).map(|label| label.value().to_owned()).unwrap_or_default());
            let count = metric.get_counter().get_value();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it counts whole predictions")]
            let count = count as u64;
            *counts.entry(format!("{model}@{version}")).or_insert(0) += count;
        }
        counts
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A registry being filled: one method a kind of metric.
struct Registering(Registry);

impl Registering {
    fn build_info(&self) {
        let commit = option_env!("TOUCHMARK_COMMIT").unwrap_or("unknown");
        let info = self.gauges("build_info", &["version", "commit"], "Which build this is.");
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), commit]).set(1);
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(opts(name, help)))
    }

    fn counters(&self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    fn gauges(&self, name: &str, labels: &[&str], help: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(name, help), labels))
    }

    fn ratio(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(opts(name, help)))
    }

    fn ratios(&self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        self.register(GaugeVec::new(opts(name, help), labels))
    }

    fn histogram(&self, name: &str, buckets: &[f64], help: &str) -> Histogram {
        self.register(Histogram::with_opts(histogram_opts(name, buckets, help)))
    }

    fn histograms(&self, name: &str, labels: &[&str], buckets: &[f64], help: &str) -> HistogramVec {
        self.register(HistogramVec::new(histogram_opts(name, buckets, help), labels))
    }

    #[expect(clippy::expect_used, reason = "a clash or a bad name shows at the first start and in every test")]
    fn register<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect(UNIQUE);
        self.0.register(Box::new(metric.clone())).expect(UNIQUE);
        metric
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("touchmark")
}

fn histogram_opts(name: &str, buckets: &[f64], help: &str) -> HistogramOpts {
    HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use prometheus::proto::MetricType;

    use super::*;

    /// Design 1.5: name → labels.
    const CONTRACT: &[(&str, &[&str])] = &[
        ("predictions_total", &["model", "version", "dataset_version", "backend", "protocol", "outcome"]),
        ("prediction_duration_seconds", &["model", "version"]),
        ("upstream_duration_seconds", &["backend"]),
        ("overhead_seconds", &[]),
        ("input_bytes_total", &["model", "version"]),
        ("output_bytes_total", &["model", "version"]),
        ("inflight_predictions", &[]),
        ("unresolved_predictions_total", &[]),
        ("version_mismatch_total", &["model", "declared", "observed"]),
        ("reproducible", &["model", "version"]),
        ("lineage_completeness_ratio", &["model", "version"]),
        ("lineage_age_seconds", &["model"]),
        ("lineage_query_seconds", &["query"]),
        ("lineage_refresh_failures_total", &["source"]),
        ("ledger_entries_total", &["kind"]),
        ("ledger_queue_entries", &[]),
        ("ledger_queue_bytes", &[]),
        ("ledger_commit_seconds", &[]),
        ("ledger_tree_size", &[]),
        ("ledger_checkpoint_age_seconds", &[]),
        // Issue 4: checkpoint and cosignature ages are metrics.
        ("ledger_cosignature_age_seconds", &["witness"]),
        ("ledger_anchor_age_seconds", &[]),
        ("ledger_unrecorded_total", &["reason"]),
        ("ledger_integrity_failures_total", &[]),
        ("deployment_traceable_ratio", &[]),
        ("telemetry_dropped_total", &["signal"]),
        ("config_reloads_total", &["result"]),
        ("build_info", &["version", "commit"]),
    ];

    /// Gives every labelled metric one child, so that it is gathered.
    fn touch(m: &Metrics) {
        m.predictions.with_label_values(&["m", "v", "d", "b", "p", "complete"]).inc();
        m.prediction_duration.with_label_values(&["m", "v"]).observe(0.1);
        m.upstream_duration.with_label_values(&["b"]).observe(0.1);
        for vec in [&m.input_bytes, &m.output_bytes] {
            vec.with_label_values(&["m", "v"]).inc();
        }
        m.version_mismatch.with_label_values(&["m", "1", "2"]).inc();
        m.reproducible.with_label_values(&["m", "v"]).set(1);
        m.ledger_cosignature_age.with_label_values(&["w"]).set(0.0);
        m.lineage_completeness.with_label_values(&["m", "v"]).set(1.0);
        m.lineage_age.with_label_values(&["m"]).set(1.0);
        m.lineage_query.with_label_values(&["document"]).observe(0.1);
        for vec in [
            &m.ledger_entries,
            &m.ledger_unrecorded,
            &m.telemetry_dropped,
            &m.config_reloads,
            &m.lineage_refresh_failures,
        ] {
            vec.with_label_values(&["x"]).inc();
        }
    }

    #[test]
    fn the_contract_is_what_is_registered() {
        let metrics = Metrics::new();
        touch(&metrics);
        let gathered: BTreeMap<String, Vec<String>> = metrics
            .registry()
            .gather()
            .iter()
            .map(|family| {
                let labels = family.get_metric()[0].get_label().iter().map(|pair| pair.name().to_owned());
                (family.name().to_owned(), labels.collect())
            })
            .collect();
        let contract: BTreeMap<String, Vec<String>> = CONTRACT
            .iter()
            .map(|(name, labels)| {
                let mut labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
                labels.sort();
                (format!("touchmark_{name}"), labels)
            })
            .collect();
        assert_eq!(gathered, contract);
    }

    #[test]
    fn counters_alone_end_in_total() {
        let metrics = Metrics::new();
        touch(&metrics);
        for family in metrics.registry().gather() {
            let counter = family.get_field_type() == MetricType::COUNTER;
            assert_eq!(family.name().ends_with("_total"), counter, "{}", family.name());
            assert!(family.help().ends_with('.'), "{} has no sentence for help", family.name());
        }
    }

    #[test]
    fn metrics_are_made_and_named_here_alone() {
        let makers = ["Counter::", "CounterVec::", "Gauge::", "GaugeVec::", "Histogram::", "HistogramVec::"];
        let mut files = 0;
        walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |path, text| {
            files += 1;
            // The command line may show metrics to people; it makes none.
            let shows = path.components().any(|part| part.as_os_str() == "cli");
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for maker in makers {
                assert!(!product.contains(maker), "{} makes a metric ({maker})", path.display());
            }
            for (name, _) in CONTRACT.iter().filter(|_| !shows) {
                assert!(!product.contains(&format!("touchmark_{name}")), "{} names {name}", path.display());
            }
        });
        assert!(files > 5, "the walk found no sources");
    }

    fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                walk(&path, visit);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !name.contains("test")
                && !path.ends_with("telemetry/metrics.rs")
            {
                visit(&path, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}
