//! The few figures of `/metrics` that the tour shows.

use serde::Serialize;

/// What was read from `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Predictions that ended.
    pub(super) predictions: f64,
    /// Those that have their entry.
    pub(super) entries: f64,
    /// Those that have none, counted by reason.
    pub(super) unrecorded: f64,
    /// Half of all predictions cost no more than so many microseconds; absent where that is not known.
    pub(super) overhead_median_us: Option<f64>,
    /// 99 of 100.
    pub(super) overhead_p99_us: Option<f64>,
}

impl Figures {
    pub(super) fn read(metrics: &str) -> Self {
        let sum = |name: &str, label: &str| -> f64 {
            let fits = |(series, _): &(&str, f64)| series.split('{').next() == Some(name) && series.contains(label);
            samples(metrics).filter(fits).map(|(_, value)| value).sum()
        };
        Self {
            predictions: sum("touchmark_predictions_total", ""),
            entries: sum("touchmark_ledger_entries_total", "kind=\"prediction\""),
            unrecorded: sum("touchmark_ledger_unrecorded_total", ""),
            overhead_median_us: quantile(metrics, 0.5),
            overhead_p99_us: quantile(metrics, 0.99),
        }
    }

    /// The accounting identity: each prediction is in the ledger, or counted as not.
    pub(super) fn balance(&self) -> bool {
        (self.predictions - self.entries - self.unrecorded).abs() < 0.5
    }
}

/// The upper bound of the bucket that holds a share of the predictions, in microseconds.
fn quantile(metrics: &str, share: f64) -> Option<f64> {
    let buckets: Vec<(f64, f64)> = samples(metrics)
        .filter_map(|(series, count)| {
            let bound = series.strip_prefix("touchmark_overhead_seconds_bucket{le=\"")?.strip_suffix("\"}")?;
            Some((bound.parse().ok()?, count))
        })
        .collect();
    let all = buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    let (bound, _) = buckets.iter().find(|(_, count)| all > 0.0 && *count >= share * all)?;
    bound.is_finite().then_some((bound * 1e7).round() / 10.0)
}

/// Series and values of the Prometheus text format.
fn samples(metrics: &str) -> impl Iterator<Item = (&str, f64)> {
    metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((series, value.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
# HELP touchmark_predictions_total Recognised predictions that ended.
touchmark_predictions_total{model="fraud",version="v1"} 361
touchmark_predictions_total{model="fraud",version="v2"} 40
touchmark_ledger_entries_total{kind="lineage"} 2
touchmark_ledger_entries_total{kind="prediction"} 400
touchmark_ledger_unrecorded_total{reason="passed"} 1
touchmark_overhead_seconds_bucket{le="0.00005"} 100
touchmark_overhead_seconds_bucket{le="1e-04"} 390
touchmark_overhead_seconds_bucket{le="2.5e-04"} 399
touchmark_overhead_seconds_bucket{le="+Inf"} 401
touchmark_overhead_seconds_sum 0.03
"#;

    #[test]
    fn figures_are_summed_over_their_labels() {
        let figures = Figures::read(METRICS);
        let expected = Figures {
            predictions: 401.0,
            entries: 400.0,
            unrecorded: 1.0,
            overhead_median_us: Some(100.0),
            overhead_p99_us: Some(250.0),
        };
        assert_eq!(figures, expected);
        assert!(figures.balance());
        assert!(!Figures { unrecorded: 0.0, ..figures }.balance());
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        assert_eq!(Figures::read(""), Figures::default());
        let beyond = "touchmark_overhead_seconds_bucket{le=\"1\"} 0\ntouchmark_overhead_seconds_bucket{le=\"+Inf\"} 3";
        assert_eq!(Figures::read(beyond).overhead_median_us, None);
    }
}
