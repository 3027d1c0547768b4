//! The second layer: around every call, before its request leaves and until its answer has ended.
//!
//! A prediction's answer is held or streamed (see `ledger`): held answers leave whole, once their entry is as durable as
//! the mode promises; of all others the `begin` is durable before the head leaves. What is no prediction passes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, header, response};
use http_body::Frame;
use tower::{Layer, Service};

use super::admit::Permit;
use super::body::{AnswerBody, AnswerSource, Cut, Held, Passing};
use super::digest::BodyDigest;
use super::error::ProxyError;
use super::forward::{Answer, Asked, Follows, LocalFuture, Outbound};
use super::identify::Inbound;
use super::input::{Input, SharedInput};
use super::passage::Passage;
use super::recorded::Recorded;
use super::recording::Recording;
use super::refuse;
use super::route::{self, Wanted};
use super::stamp::stamp;
use super::tunnel::{Account, Tunnel};
use super::upstream::Alarm;
use super::worker::Worker;
use crate::exchange::{OnFailure, Outcome, Refusal};
use crate::protocol::{Reader, Shape, grpc, json};

/// Records the predictions of a worker.
#[derive(Clone, Debug)]
pub(super) struct RecordLayer(pub Rc<Worker>);

/// See [`RecordLayer`].
#[derive(Clone, Debug)]
pub(super) struct Record<S> {
    worker: Rc<Worker>,
    inner: S,
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Record<S> {
        Record { worker: Rc::clone(&self.0), inner }
    }
}

/// What comes of sending a call.
type Answered = LocalFuture<Result<Answer, ProxyError>>;

impl<S> Service<Inbound> for Record<S>
where
    S: Service<Outbound, Response = Answer, Error = ProxyError, Future = Answered> + Clone + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = LocalFuture<Result<Response<AnswerBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Nothing below keeps anybody waiting here: `admit` refuses instead.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, inbound: Inbound) -> Self::Future {
        let mut inner = self.inner.clone();
        let passage = Passage::begin(&self.worker, &inbound);
        let Inbound { parts, body, snapshot, call, offer, refused, began, .. } = inbound;
        let digest = call
            .as_ref()
            .map(|call| BodyDigest::new(call.shape, call.request_reader(&parts.headers), &self.worker.lanes));
        let mut input = Input::new(body, digest, snapshot.body_bytes_max, began);
        if offer.is_some() {
            input.go_on();
        }
        let asked = Box::new(Asked { parts, input: Rc::new(RefCell::new(input)), offer });
        match call {
            Some(call) => {
                let recording = Recording::begin(passage, call, &asked.parts, Rc::clone(&asked.input));
                Box::pin(async move { Ok(predict(recording, asked, refused, |outbound| inner.call(outbound)).await) })
            }
            None => Box::pin(async move { Ok(pass(passage, asked, refused, |outbound| inner.call(outbound)).await) }),
        }
    }
}

/// A call that is no prediction: forwarded and answered as it is.
async fn pass(
    mut passage: Passage,
    mut asked: Box<Asked>,
    refused: Option<ProxyError>,
    send: impl FnOnce(Outbound) -> Answered,
) -> Response<AnswerBody> {
    if let Some(error) = refused {
        return refuse::call(passage, error);
    }
    let deal = passage.deal(&asked.parts.headers);
    passage.backend = route::backend(&passage.snapshot, Wanted::default(), passage.began, deal).cloned();
    passage.complete(&mut asked.parts, None);
    let answered = match outbound(&passage, asked) {
        Some(outbound) => send(outbound).await,
        None => Err(ProxyError::Unreachable),
    };
    match answered {
        Err(error) => refuse::call(passage, error),
        Ok(Answer { parts, follows, permit }) => {
            passage.note_head(parts.status.as_u16(), &parts.headers);
            match follows {
                Follows::Body(mut source) => {
                    source.allow_silence(passage.snapshot.deadlines.stream_idle);
                    source.settle();
                    Response::from_parts(parts, AnswerBody::passing(Passing { source, passage, permit }))
                }
                Follows::Tunnel { far, deadline, .. } => {
                    let account = Account::Passing(Box::new(passage));
                    switch(parts, Tunnel { far, account, permit, deadline })
                }
            }
        }
    }
}

/// A prediction: recorded whatever becomes of it, stamped when its answer leaves.
async fn predict(
    mut recording: Box<Recording>,
    mut asked: Box<Asked>,
    refused: Option<ProxyError>,
    send: impl FnOnce(Outbound) -> Answered,
) -> Response<AnswerBody> {
    if let Some(error) = refused {
        return refuse::prediction(recording, error).await;
    }
    let on_failure = recording.passage.worker.shared.recorder.on_failure();
    if let (Some(refusal), OnFailure::Reject) = (recording.refusal(), on_failure) {
        return refuse::prediction(recording, ProxyError::Unrecorded(refusal)).await;
    }
    if recording.passage.snapshot.routes_by_model
        && recording.call.states_model_in_body()
        && let Err(error) = read_ahead(&recording, &asked.input).await
    {
        return refuse::prediction(recording, error).await;
    }
    recording.resolve(&asked.parts.headers);
    recording.passage.complete(&mut asked.parts, Some(&recording.id_value));
    let answered = match outbound(&recording.passage, asked) {
        Some(outbound) => send(outbound).await,
        None => Err(ProxyError::Unreachable),
    };
    match answered {
        Err(error) => refuse::prediction(recording, error).await,
        Ok(Answer { mut parts, follows, permit }) => {
            recording.note_head(&parts);
            match follows {
                Follows::Body(source) => answer(recording, parts, source, permit).await,
                Follows::Tunnel { far, deadline, .. } => {
                    recording.note_switch();
                    let recording = match Box::pin(begin(recording, &mut parts)).await {
                        Ok(recording) => recording,
                        Err(refused) => return refused,
                    };
                    switch(parts, Tunnel { far, account: Account::Recorded(recording), permit, deadline })
                }
            }
        }
    }
}

/// Reads of the body what routing needs, and no more than a bounded prefix.
async fn read_ahead(recording: &Recording, input: &SharedInput) -> Result<(), ProxyError> {
    let mut alarm = Alarm::default();
    let patience = recording.passage.snapshot.deadlines.client;
    let known = |digest: &BodyDigest| digest.reader().model().is_some() || Reader::is_done(digest.reader());
    poll_fn(|cx| {
        let mut input = input.borrow_mut();
        if input.poll_prefix(cx, known).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let deadline = input.deadline(patience, None).map(|(at, _)| at);
        alarm.poll(deadline, cx).map(|()| Err(ProxyError::ClientGone))
    })
    .await
}

fn outbound(passage: &Passage, asked: Box<Asked>) -> Option<Outbound> {
    let timeout = || asked.parts.headers.get("grpc-timeout").and_then(grpc::parse_timeout);
    let callers = if passage.grpc { timeout() } else { None };
    let total = passage.snapshot.deadlines.total;
    let patience = match (callers, total) {
        (Some(callers), Some(total)) => Some(callers.min(total)),
        (callers, total) => callers.or(total),
    };
    let deadline_is_the_callers = callers.is_some_and(|callers| total.is_none_or(|total| callers < total));
    Some(Outbound {
        asked,
        backend: Arc::clone(passage.backend.as_ref()?),
        snapshot: Arc::clone(&passage.snapshot),
        grpc: passage.grpc,
        deadline: patience.and_then(|patience| passage.began.checked_add(patience)),
        deadline_is_the_callers,
        meter: Rc::clone(&passage.meter),
        permit: None,
    })
}

/// Holds an answer or streams it, by what its head says.
async fn answer(
    recording: Box<Recording>,
    parts: response::Parts,
    mut source: AnswerSource,
    permit: Option<Permit>,
) -> Response<AnswerBody> {
    let snapshot = Arc::clone(&recording.passage.snapshot);
    let length = content_length(&parts.headers);
    let unary = recording.call.shape == Shape::GrpcUnary;
    if !unary && !source.is_end() && length.is_none_or(|length| length > snapshot.hold_bytes_max) {
        let known = length.is_some() && recording.call.shape == Shape::Http;
        source.allow_silence(if known { snapshot.deadlines.idle } else { snapshot.deadlines.stream_idle });
        let remaining = length.filter(|_| known);
        return Box::pin(stream(recording, parts, source, VecDeque::new(), remaining, permit)).await;
    }
    source.allow_silence(snapshot.deadlines.idle);
    match hold(&mut source, snapshot.hold_bytes_max).await {
        Ok(Kept::Whole(chunks, trailers)) => held(recording, parts, chunks, trailers, permit).await,
        Ok(Kept::TooLong(ahead)) => {
            source.allow_silence(snapshot.deadlines.stream_idle);
            Box::pin(stream(recording, parts, source, ahead, None, permit)).await
        }
        // Its head has not left: the client can still be told.
        Err(Cut::Timeout) => refuse::prediction(recording, ProxyError::Timeout).await,
        Err(_) => {
            if let Some(error) = recording.input_error() {
                return refuse::prediction(recording, error.into()).await;
            }
            recording.passage.note_break();
            refuse::prediction_as(recording, ProxyError::BrokenOff, Outcome::UpstreamAbort).await
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What came of holding.
enum Kept {
    Whole(VecDeque<Bytes>, Option<HeaderMap>),
    TooLong(VecDeque<Frame<Bytes>>),
}

async fn hold(source: &mut AnswerSource, bytes_max: u64) -> Result<Kept, Cut> {
    let mut chunks = VecDeque::new();
    let mut trailers = None;
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|cx| source.poll_frame(cx)).await.transpose()? {
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                chunks.push_back(data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if bytes > bytes_max {
            let data = chunks.into_iter().map(Frame::data);
            return Ok(Kept::TooLong(data.chain(trailers.map(Frame::trailers)).collect()));
        }
        if source.is_end() {
            break;
        }
    }
    Ok(Kept::Whole(chunks, trailers))
}

/// A held answer leaves once its entry is as durable as the mode promises; if it cannot be, the client gets 503.
async fn held(
    mut recording: Box<Recording>,
    mut parts: response::Parts,
    mut chunks: VecDeque<Bytes>,
    mut trailers: Option<HeaderMap>,
    permit: Option<Permit>,
) -> Response<AnswerBody> {
    if let Some(output) = &mut recording.output {
        output.feed_all(chunks.make_contiguous(), true);
        if output.waits() {
            let lanes = Rc::clone(&recording.passage.worker.lanes);
            lanes.turn().await;
        }
    }
    if let Some(trailers) = &mut trailers {
        super::headers::clean_trailers(trailers);
        recording.passage.note_end(trailers);
    }
    recording.observe(true);
    recording.decision = recording.model.as_ref().and_then(|model| {
        let pointer = model.decision.as_deref()?;
        match (chunks.len(), chunks.front()) {
            (1, Some(whole)) => json::pointer(whole, pointer),
            _ => json::pointer(&chunks.iter().flatten().copied().collect::<Vec<u8>>(), pointer),
        }
    });
    let kept = recording.finish_held().await;
    if kept.is_err() && recording.passage.worker.shared.recorder.on_failure() == OnFailure::Reject {
        return refuse::prediction(recording, ProxyError::Unrecorded(Refusal::Failing)).await;
    }
    recording.count(Outcome::Complete);
    stamp(&mut parts.headers, &recording.id_value, recording.model.as_deref(), recording.version_known);
    if let Some(receipt) = recording.receipt.take() {
        parts.headers.insert(super::headers::LINEAGE_RECEIPT, receipt);
    }
    let exchange = recording.passage.exchange.again();
    Response::from_parts(parts, AnswerBody::held(Held { chunks, trailers, permit, exchange }))
}

/// A streamed answer's head leaves once its `begin` is as durable as the mode promises.
async fn stream(
    recording: Box<Recording>,
    mut parts: response::Parts,
    source: AnswerSource,
    ahead: VecDeque<Frame<Bytes>>,
    remaining: Option<u64>,
    permit: Option<Permit>,
) -> Response<AnswerBody> {
    let recording = match begin(recording, &mut parts).await {
        Ok(recording) => recording,
        Err(refused) => return refused,
    };
    let recorded = Recorded::new(recording, source, ahead, remaining, permit);
    Response::from_parts(parts, AnswerBody::recorded(recorded))
}

/// Makes the `begin` as durable as the mode promises, and stamps the head that may leave then; the refusal where it
/// cannot be.
async fn begin(recording: Box<Recording>, parts: &mut response::Parts) -> Result<Box<Recording>, Response<AnswerBody>> {
    if let Some(begun) = recording.begin_entry()
        && begun.await.is_err()
        && recording.passage.worker.shared.recorder.on_failure() == OnFailure::Reject
    {
        return Err(refuse::prediction(recording, ProxyError::Unrecorded(Refusal::Failing)).await);
    }
    stamp(&mut parts.headers, &recording.id_value, recording.model.as_deref(), recording.version_known);
    Ok(recording)
}

/// Leaves a tunnel to the client's connection, which runs it once this 101 has been sent.
fn switch(parts: response::Parts, mut tunnel: Tunnel) -> Response<AnswerBody> {
    let exchange = tunnel.account.passage().exchange.again();
    let conn = Rc::clone(exchange.conn());
    conn.leave(tunnel);
    Response::from_parts(
        parts,
        AnswerBody::held(Held { chunks: VecDeque::new(), trailers: None, permit: None, exchange }),
    )
}
