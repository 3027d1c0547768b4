//! Health, metrics, the API's description, and which process this is. All of it is at hand: nothing here waits.

use std::time::{Instant, SystemTime};

use http::{HeaderValue, StatusCode};
use prometheus::TextEncoder;
use serde::Serialize;

use super::answer::{Answer, JSON, json, problem, whole};
use super::readiness::Reason;
use super::routes::{Asked, Parts};

/// The Prometheus text format, version 0.0.4.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The description of what is here and nothing more; a test holds it against the table of routes.
const OPENAPI: &str = include_str!("openapi.json");

/// Who this process is.
#[derive(Clone, Debug)]
pub struct Status {
    deployment: String,
    instance: String,
    started: SystemTime,
    since: Instant,
}

impl Status {
    /// A process that starts now, by `deployment.name` and `deployment.instance`.
    pub fn new(deployment: &str, instance: &str) -> Self {
        Self {
            deployment: deployment.to_owned(),
            instance: instance.to_owned(),
            started: SystemTime::now(),
            since: Instant::now(),
        }
    }
}

pub(super) fn livez(_: &Parts, _: &Asked) -> Answer {
    json(StatusCode::OK, &serde_json::json!({ "live": true }))
}

pub(super) fn readyz(parts: &Parts, _: &Asked) -> Answer {
    #[derive(Serialize)]
    struct Body {
        ready: bool,
        reasons: Vec<Reason>,
    }
    let reasons = parts.readiness.objections();
    let ready = reasons.is_empty();
    json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &Body { ready, reasons })
}

pub(super) fn metrics(parts: &Parts, _: &Asked) -> Answer {
    match TextEncoder::new().encode_to_string(&parts.metrics.registry().gather()) {
        Ok(text) => whole(StatusCode::OK, TEXT_FORMAT, text),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be rendered");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered; the log says why")
        }
    }
}

pub(super) fn openapi(_: &Parts, _: &Asked) -> Answer {
    whole(StatusCode::OK, JSON, OPENAPI)
}

pub(super) fn status(parts: &Parts, _: &Asked) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        version: &'a str,
        commit: Option<&'a str>,
        deployment: &'a str,
        instance: &'a str,
        started: Option<String>,
        uptime_seconds: u64,
        ready: bool,
    }
    let Status { deployment, instance, started, since } = &parts.status;
    let started = jiff::Timestamp::try_from(*started).ok().map(|time| format!("{time:.6}"));
    json(
        StatusCode::OK,
        &Body {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("TOUCHMARK_COMMIT"),
            deployment,
            instance,
            started,
            uptime_seconds: since.elapsed().as_secs(),
            ready: parts.readiness.objections().is_empty(),
        },
    )
}
