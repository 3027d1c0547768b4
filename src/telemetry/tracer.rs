//! What the proxy calls: ids and the decision at a request's head, spans at its end.
//!
//! Spans are not kept open while a request runs: their ids are made and the sampler is asked in [`Tracer::begin`],
//! everything else happens in [`Tracer::finish`] and only for what is exported (ADR 0002).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::InstrumentationScope;

use super::context::{Parent, TraceContext, random_id};
use super::export::{Env, Exporter, Service, Settings, TraceError, TracesConfig};
use super::metrics::Metrics;
use super::sampling::{SamplerKind, Sampling};
use super::spans;
use super::trace::{RequestSpan, SCOPE};

/// The `signal` of `telemetry_dropped_total`.
const SIGNAL: &str = "traces";

/// Makes trace contexts and exports spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sampling: Sampling,
    exporter: Option<Exporter>,
    scope: InstrumentationScope,
    input_hash: bool,
}

impl Tracer {
    /// The tracer that the configuration and the standard `OTEL_…` variables ask for. Starts the exporter's threads
    /// where an endpoint is configured.
    pub fn start(config: &TracesConfig, service: &Service<'_>, metrics: &Metrics) -> Result<Self, TraceError> {
        Self::start_in(config, service, metrics, &|name| std::env::var(name).ok())
    }

    pub(super) fn start_in(
        config: &TracesConfig,
        service: &Service<'_>,
        metrics: &Metrics,
        env: Env<'_>,
    ) -> Result<Self, TraceError> {
        let settings = Settings::resolve(config, service, env)?;
        let Some(endpoint) = &settings.endpoint else { return Ok(Self::disabled()) };
        let dropped = metrics.telemetry_dropped.with_label_values(&[SIGNAL]);
        let exporter = Exporter::start(&settings, endpoint, dropped)?;
        let sampling = Sampling::new(settings.sampler, settings.ratio);
        Ok(Self::with(sampling, Some(exporter), config.input_hash))
    }

    /// A tracer that exports nothing. Ids are made and contexts propagated all the same; a trace that begins here is
    /// not sampled, since nobody would ever see its root.
    pub fn disabled() -> Self {
        Self::with(Sampling::new(SamplerKind::ParentBasedAlwaysOff, 0.0), None, false)
    }

    fn with(sampling: Sampling, exporter: Option<Exporter>, input_hash: bool) -> Self {
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        Self(Arc::new(Inner { sampling, exporter, scope, input_hash }))
    }

    /// The context of a request with these headers: the caller's trace continued, or one begun.
    pub fn begin(&self, headers: &HeaderMap) -> TraceContext {
        let parent = Parent::read(headers);
        let trace_id = parent.as_ref().map_or_else(random_id, |parent| parent.trace_id);
        TraceContext {
            trace_id,
            parent_span: parent.as_ref().map(|parent| parent.span_id),
            server_span: random_id(),
            client_span: random_id(),
            sampled: self.0.sampling.sampled(parent.as_ref(), trace_id),
        }
    }

    /// Hands a finished request's spans to the exporter: the SERVER span, and the CLIENT span where the request
    /// reached the model server. Does nothing for what is not sampled, and never waits: what does not fit the queue is
    /// counted in `telemetry_dropped_total`.
    pub fn finish(&self, context: &TraceContext, span: &RequestSpan<'_>) {
        let inner = &*self.0;
        let Some(exporter) = inner.exporter.as_ref().filter(|_| context.sampled) else { return };
        // The SERVER span first: where one place is left, it says more.
        exporter.push(spans::server(context, span, &inner.scope, inner.input_hash));
        if let Some(leg) = &span.upstream {
            exporter.push(spans::client(context, span, leg, &inner.scope));
        }
    }

    /// Sends what is queued now. Blocks the calling thread, for `deadline` at most; `false` where it passed.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.0.exporter.as_ref().is_none_or(|exporter| exporter.flush(deadline))
    }

    /// Sends what is queued, for `deadline` at most, counts the rest as dropped and ends the exporter's threads.
    /// Blocks the calling thread; `false` where the deadline passed.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.0.exporter.as_ref().is_none_or(|exporter| exporter.shutdown(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(flags: &str) -> HeaderMap {
        let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_callers_trace_is_continued() {
        let tracer = Tracer::disabled();
        for (flags, sampled) in [("00", false), ("01", true)] {
            let context = tracer.begin(&headers(flags));
            assert_eq!(context.trace_id[..2], [0x4b, 0xf9]);
            assert_eq!(context.parent_span.unwrap()[7], 0xb7);
            assert_eq!(context.sampled, sampled);
            assert_ne!(context.server_span, context.client_span);
            assert_ne!(Some(context.server_span), context.parent_span);
            let sent = context.traceparent().to_str().unwrap().to_owned();
            assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && sent.ends_with(flags), "{sent}");
        }
    }

    #[test]
    fn a_bad_parent_begins_a_trace() {
        let tracer = Tracer::disabled();
        let mut bad = headers("01");
        bad.insert("traceparent", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
        let (one, other) = (tracer.begin(&bad), tracer.begin(&HeaderMap::new()));
        for context in [&one, &other] {
            assert!(context.parent_span.is_none() && !context.sampled);
            assert_ne!(context.trace_id[..2], [0x4b, 0xf9]);
        }
        assert_ne!(one.trace_id, other.trace_id);
    }
}
