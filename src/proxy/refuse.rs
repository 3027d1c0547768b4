//! Answers of our own: what a caller gets where the model server's answer cannot be had.
//!
//! In the caller's own shape: JSON for HTTP callers, Trailers-Only for gRPC callers. Stamped with the prediction's id
//! alone, since no model answered.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{AnswerBody, Held};
use super::client::InExchange;
use super::error::ProxyError;
use super::forward::LocalFuture;
use super::input::InputError;
use super::passage::Passage;
use super::recording::Recording;
use super::stamp::stamp;
use crate::exchange::Outcome;
use crate::protocol::{Protocol, grpc};

impl From<InputError> for ProxyError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::ClientGone => Self::ClientGone,
            InputError::TooLarge => Self::BodyTooLarge,
        }
    }
}

/// Answers a call that is no prediction.
pub(super) fn call(mut passage: Passage, error: ProxyError) -> Response<AnswerBody> {
    answer(&mut passage, error, None)
}

/// Answers a prediction, once its entry is as durable as the mode promises.
pub(super) fn prediction(recording: Box<Recording>, error: ProxyError) -> LocalFuture<Response<AnswerBody>> {
    prediction_as(recording, error, error.verdict().outcome)
}

/// Answers a prediction that ended otherwise than its error says by itself.
///
/// Boxed, since it may happen anywhere on the way and seldom does: each of those futures would be larger by it.
pub(super) fn prediction_as(
    mut recording: Box<Recording>,
    error: ProxyError,
    outcome: Outcome,
) -> LocalFuture<Response<AnswerBody>> {
    Box::pin(async move {
        let protocol = recording.call.protocol;
        let mut response = answer(&mut recording.passage, error, Some(protocol));
        // An entry that cannot be kept is counted by the recorder; the caller gets an error in any case.
        let _ = recording.finish(outcome).await;
        recording.count(outcome);
        stamp(response.headers_mut(), &recording.id_value, None, false);
        response
    })
}

fn answer(passage: &mut Passage, error: ProxyError, protocol: Option<Protocol>) -> Response<AnswerBody> {
    let verdict = error.verdict();
    let message = error.to_string();
    tracing::debug!(error = verdict.label, source = ?verdict.source, "answered by the proxy itself");
    let mut response = if passage.grpc {
        passage.grpc_status = Some(verdict.grpc.code());
        let mut response = whole(StatusCode::OK, "application/grpc", Bytes::new(), passage.exchange.again());
        let headers = response.headers_mut();
        headers.insert("grpc-status", verdict.grpc.header());
        headers.insert("grpc-message", grpc::percent_encode_message(&message));
        response
    } else {
        let body = match protocol {
            Some(Protocol::OpenAi) => {
                serde_json::json!({"error": {"message": message, "type": verdict.label, "param": null, "code": verdict.label}})
            }
            _ => serde_json::json!({"error": message}),
        };
        whole(verdict.status, "application/json", Bytes::from(body.to_string()), passage.exchange.again())
    };
    if let Some(wait) = error.retry_after(passage.snapshot.retry_after) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    passage.status = Some(response.status().as_u16());
    passage.note_error(verdict.label);
    response
}

fn whole(status: StatusCode, media_type: &'static str, body: Bytes, exchange: InExchange) -> Response<AnswerBody> {
    let chunks: VecDeque<Bytes> = (!body.is_empty()).then_some(body).into_iter().collect();
    let held = Held { chunks, trailers: None, permit: None, exchange };
    let mut response = Response::new(AnswerBody::held(held));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
