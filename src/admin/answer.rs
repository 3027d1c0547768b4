//! Answers, whole: JSON, or problem details (RFC 9457) that name what is wrong.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="touchmark""#);
/// What the type of every problem begins with.
const PROBLEM_TYPE: &str = "urn:touchmark:problem:";
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// An answer that is there whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer that is given in the place of the one that was asked for.
pub(super) type Refusal = Box<Answer>;

/// Puts in what every answer carries.
pub(super) fn finish(mut answer: Answer) -> Answer {
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(NO_STORE);
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    answer
}

pub(super) fn whole(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(text) => whole(status, JSON, text),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written as JSON"),
    }
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    Problem::new(status, detail).answer()
}

/// A parameter of the query that is not right, by its name.
pub(super) fn bad_parameter(name: &str, detail: &str) -> Refusal {
    let detail = format!("{name}: {detail}");
    Problem { kind: "parameter", parameter: Some(name), ..Problem::new(StatusCode::BAD_REQUEST, &detail) }
        .answer()
        .into()
}

/// What went wrong, as callers are told it.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) status: StatusCode,
    /// The end of its `type`, which stays the same for ever.
    pub(super) kind: &'static str,
    pub(super) detail: &'a str,
    /// The parameter that is not right.
    pub(super) parameter: Option<&'a str>,
    /// What could have been meant.
    pub(super) candidates: &'a [String],
}

impl<'a> Problem<'a> {
    pub(super) fn new(status: StatusCode, detail: &'a str) -> Self {
        let kind = match status.as_u16() {
            401 => "token",
            403 => "role",
            404 => "missing",
            405 => "method",
            413 => "too-long",
            415 => "media-type",
            422 => "refused",
            429 => "rate",
            503 => "unavailable",
            500.. => "failed",
            _ => "request",
        };
        Self { status, kind, detail, parameter: None, candidates: &[] }
    }

    pub(super) fn answer(&self) -> Answer {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            parameter: Option<&'a str>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            candidates: &'a [String],
        }
        let &Self { status, kind, detail, parameter, candidates } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let r#type = format!("{PROBLEM_TYPE}{kind}");
        let body = Body { r#type, title, status: status.as_u16(), detail, parameter, candidates };
        // Strings and a number can always be written.
        whole(status, PROBLEM, serde_json::to_string(&body).unwrap_or_default())
    }
}

/// What the data path would answer, where there is none.
pub(super) fn alone() -> Answer {
    problem(StatusCode::NOT_FOUND, "the catalog is served here alone: no predictions, no ledger")
}

/// A problem that goes away: ask again after so many seconds.
pub(super) fn later(status: StatusCode, detail: &str, seconds: u64) -> Answer {
    let mut answer = problem(status, detail);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

pub(super) fn not_allowed(methods: &[&str]) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("ask with {}", methods.join(" or ")));
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        answer.headers_mut().insert(ALLOW, methods);
    }
    answer
}

pub(super) fn unauthorized() -> Answer {
    let mut answer = problem(StatusCode::UNAUTHORIZED, "send a configured token as 'authorization: Bearer TOKEN'");
    answer.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    answer
}
