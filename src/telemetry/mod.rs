//! What on-call sees: every metric, every span, every log line.

mod metrics;

pub use metrics::Metrics;
