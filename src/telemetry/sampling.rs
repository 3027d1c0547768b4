//! Whether a trace is kept: the SDK's own samplers, asked once a request.
//!
//! The SDK's parent-based sampler reads the parent from a `Context` on the heap. The samplers that
//! `OTEL_TRACES_SAMPLER` can name need nothing of it but whether a parent is there and its flag, so that flag is
//! applied here and only the root's question goes to the SDK, which then allocates nothing. A test holds the two equal.
//! Sampling never affects the ledger.

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use serde::{Deserialize, Serialize};

use super::context::Parent;

/// A sampler by its OpenTelemetry name, as in `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// A share of the traces, whatever the caller decided.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the caller decided; every trace begun here.
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the caller decided; no trace begun here.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the caller decided; a share of the traces begun here.
    #[default]
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

impl SamplerKind {
    /// The sampler of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => Self::TraceIdRatio,
            "parentbased_always_on" => Self::ParentBasedAlwaysOn,
            "parentbased_always_off" => Self::ParentBasedAlwaysOff,
            "parentbased_traceidratio" => Self::ParentBasedTraceIdRatio,
            _ => return None,
        })
    }
}

/// A sampler ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    parent_based: bool,
    root: Sampler,
}

impl Sampling {
    /// The sampler of that kind; `ratio` is from 0 to 1.
    pub(super) fn new(kind: SamplerKind, ratio: f64) -> Self {
        use SamplerKind as Kind;
        let root = match kind {
            Kind::AlwaysOn | Kind::ParentBasedAlwaysOn => Sampler::AlwaysOn,
            Kind::AlwaysOff | Kind::ParentBasedAlwaysOff => Sampler::AlwaysOff,
            Kind::TraceIdRatio | Kind::ParentBasedTraceIdRatio => Sampler::TraceIdRatioBased(ratio),
        };
        let parent_based =
            matches!(kind, Kind::ParentBasedAlwaysOn | Kind::ParentBasedAlwaysOff | Kind::ParentBasedTraceIdRatio);
        Self { parent_based, root }
    }

    /// The decision for a request whose caller said `parent`.
    pub(super) fn sampled(&self, parent: Option<&Parent>, trace_id: [u8; 16]) -> bool {
        if let (true, Some(parent)) = (self.parent_based, parent) {
            return parent.sampled;
        }
        let trace_id = TraceId::from_bytes(trace_id);
        let result = self.root.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceState};
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::context::random_id;

    const NAMES: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];

    /// The same sampler put together from the SDK's parts.
    fn sdk(name: &str, ratio: f64) -> Sampler {
        match name {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(ratio),
            based => Sampler::ParentBased(Box::new(sdk(based.trim_start_matches("parentbased_"), ratio))),
        }
    }

    #[test]
    fn names_are_opentelemetrys() {
        for name in NAMES {
            let kind = SamplerKind::named(name).unwrap();
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
            assert_eq!(serde_json::from_value::<SamplerKind>(name.into()).unwrap(), kind);
        }
        assert_eq!(SamplerKind::named("jaeger_remote"), None);
    }

    proptest! {
        #[test]
        fn every_decision_is_the_sdks(
            name in proptest::sample::select(&NAMES[..]),
            ratio in 0.0..=1.0f64,
            trace_id: [u8; 16],
            parent in proptest::option::of(any::<([u8; 8], bool)>()),
        ) {
            prop_assume!(trace_id != [0; 16] && parent.is_none_or(|(span, _)| span != [0; 8]));
            let parent = parent.map(|(span_id, sampled)| Parent { trace_id, span_id, sampled });
            let context = parent.map(|parent| {
                let flags = TraceFlags::default().with_sampled(parent.sampled);
                let (trace, span) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(parent.span_id));
                let remote = SpanContext::new(trace, span, flags, true, TraceState::default());
                Context::new().with_remote_span_context(remote)
            });
            let id = TraceId::from_bytes(trace_id);
            let expected = sdk(name, ratio).should_sample(context.as_ref(), id, "", &SpanKind::Server, &[], &[]);
            let ours = Sampling::new(SamplerKind::named(name).unwrap(), ratio).sampled(parent.as_ref(), trace_id);
            prop_assert_eq!(ours, expected.decision == SamplingDecision::RecordAndSample);
        }
    }

    #[test]
    fn a_ratio_keeps_about_its_share() {
        let sampling = Sampling::new(SamplerKind::default(), 0.25);
        let kept = (0..20_000).filter(|_| sampling.sampled(None, random_id())).count();
        // 5,000 expected, standard deviation 61: ten of them never happen.
        assert!((4_390..=5_610).contains(&kept), "{kept}");
    }
}
