//! The leaf: sends a call to its backend and brings back the head of the answer, its body still to come.
//!
//! It neither records nor stamps. A call is sent again only where the model server cannot have seen it: hyper gives the
//! message back unsent, or HTTP/2 refused the stream (RFC 9113, section 8.7). Running an inference twice is no retry.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, request, response};
use hyper::client::conn::TrySendError;

use super::UpstreamProtocol;
use super::admit::Permit;
use super::body::AnswerSource;
use super::error::ProxyError;
use super::headers;
use super::health::Failure;
use super::input::{InputBody, InputError, SharedInput};
use super::meter::{Meter, Wait};
use super::snapshot::{Backend, Snapshot};
use super::upgrade::{Named, Offer};
use super::upstream::{Address, Alarm, Carrier, H1, Pool, Switched};
use super::worker::Worker;

/// Tries at a call that no server has seen, at most.
const ATTEMPTS_MAX: usize = 3;

/// A future that stays on its thread.
pub(super) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A request on its way through. Boxed, so that no layer moves it.
#[derive(Debug)]
pub(super) struct Asked {
    /// Head; once it is to be sent, cleaned and completed.
    pub parts: request::Parts,
    /// Body.
    pub input: SharedInput,
    /// The protocols that it would switch to.
    pub offer: Option<Offer>,
}

/// A call ready to be sent.
#[derive(Debug)]
pub(super) struct Outbound {
    /// The request.
    pub asked: Box<Asked>,
    /// Where to.
    pub backend: Arc<Backend>,
    /// The configuration in force when the request came.
    pub snapshot: Arc<Snapshot>,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// When the whole exchange must be over.
    pub deadline: Option<Instant>,
    /// Whether the caller chose that: a server that misses it need not be at fault.
    pub deadline_is_the_callers: bool,
    /// Where its time goes.
    pub meter: Rc<Meter>,
    /// Its place among the calls in flight; set by `admit`.
    pub permit: Option<Permit>,
}

/// An answer's head, and what is still to come.
#[derive(Debug)]
pub(super) struct Answer {
    /// Head, cleaned.
    pub parts: response::Parts,
    /// What follows it.
    pub follows: Follows,
    /// The call's place.
    pub permit: Option<Permit>,
}

/// What follows an answer's head.
#[derive(Debug)]
pub(super) enum Follows {
    /// A body.
    Body(AnswerSource),
    /// Another protocol, after a 101.
    Tunnel {
        /// The model server's side.
        far: Switched,
        /// What it switched to.
        to: Named,
        /// When the whole exchange must be over.
        deadline: Option<Instant>,
    },
}

/// Sends a call and waits for the head of its answer.
pub(super) async fn forward(worker: Rc<Worker>, mut outbound: Outbound) -> Result<Answer, ProxyError> {
    let over_http2 = match outbound.backend.protocol {
        UpstreamProtocol::Auto => outbound.grpc,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::Http1 if outbound.grpc => return Err(ProxyError::GrpcOverHttp1),
        UpstreamProtocol::Http1 => false,
    };
    let address = if outbound.grpc { &outbound.backend.grpc } else { &outbound.backend.http };
    let pool = worker.pools.to(address);
    let asked = &mut *outbound.asked;
    let version = asked.parts.version;
    address_to(&mut asked.parts, over_http2, address);
    match &asked.offer {
        Some(offer) if !over_http2 => offer.put(&mut asked.parts.headers),
        // HTTP/2 has no such switch (RFC 9113, section 8.6): the call goes on without.
        _ => asked.offer = None,
    }
    let permit = outbound.permit.take();
    // Boxed: a future is as large as the largest that it may ever hold, and is moved whole.
    let sent = if over_http2 { Box::pin(over_h2(&pool, outbound)).await } else { over_h1(&pool, outbound).await };
    let (response, follows) = sent?;
    let (mut parts, ()) = response.into_parts();
    if parts.status.is_informational() && matches!(follows, Follows::Body(_)) {
        // A 101 that nobody asked for, or that names what was not offered.
        return Err(ProxyError::BrokenOff);
    }
    let demands = parts.status == StatusCode::UPGRADE_REQUIRED && version == Version::HTTP_11;
    let demanded = demands.then(|| Named::demanded(&parts.headers)).flatten();
    headers::clean(&mut parts.headers);
    if let Follows::Tunnel { to, .. } = &follows {
        // It has no body to be framed.
        parts.headers.remove(header::CONTENT_LENGTH);
        to.put(&mut parts.headers);
    } else if let Some(demanded) = demanded {
        demanded.put(&mut parts.headers);
    }
    // Ours to say, in the version that the client speaks.
    parts.version = Version::default();
    Ok(Answer { parts, follows, permit })
}

/// Puts the request target and host into the form that the next hop expects.
fn address_to(parts: &mut request::Parts, over_http2: bool, address: &Address) {
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    // The authority of the target wins over Host (RFC 9112, section 3.2.2).
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, value);
    }
    if !parts.headers.contains_key(header::HOST)
        && let Ok(value) = HeaderValue::from_str(&format!("{}:{}", address.host, address.port))
    {
        parts.headers.insert(header::HOST, value);
    }
    if over_http2 {
        let authority = parts.headers.remove(header::HOST);
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(address.scheme());
        uri.authority = authority.and_then(|value| value.as_bytes().try_into().ok());
        uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
        parts.version = Version::HTTP_2;
    } else {
        if parts.uri.authority().is_some() {
            let path = parts.uri.path_and_query().cloned();
            parts.uri = path.map(Uri::from).unwrap_or_default();
        }
        parts.version = Version::HTTP_11;
    }
}

type Sent = Result<(Response<()>, Follows), ProxyError>;

async fn over_h1(pool: &Rc<Pool>, outbound: Outbound) -> Sent {
    let Outbound { asked, backend, snapshot, grpc, deadline, deadline_is_the_callers, meter, .. } = outbound;
    let Asked { parts, input, offer } = *asked;
    let blame = Blame { snapshot, backend, grpc, callers: deadline.filter(|_| deadline_is_the_callers) };
    let snapshot = &*blame.snapshot;
    let deadlines = &snapshot.deadlines;
    let mut request = Request::from_parts(parts, InputBody::new(&input));
    for _ in 0..ATTEMPTS_MAX {
        let now = Instant::now();
        meter.send(now);
        let mut wait = Wait::new(&meter);
        let mut conn = if let Some(conn) = pool.rested(now, deadlines.upstream_idle) {
            conn
        } else {
            wait.begin();
            let connected = Box::pin(pool.connect(patience(deadlines.connect, deadline, now), now)).await;
            wait.end();
            connected.map_err(|error| blame.no_connection(&error))?
        };
        let mut sending = pin!(conn.send(request));
        let answered = poll_fn(|cx| {
            // The client's side wakes the task too.
            if conn.has_news(cx) {
                wait.end();
                if let Poll::Ready(answered) = conn.drive(cx, |cx| sending.as_mut().poll(cx)) {
                    return Poll::Ready(Ok(answered));
                }
                wait.begin();
            }
            poll_meanwhile(&input, snapshot, deadline, &mut conn.alarm, cx).map(Err)
        })
        .await;
        match answered {
            Ok(Ok(response)) => {
                meter.answered(response.status().as_u16());
                let (parts, incoming) = response.into_parts();
                let head = Response::from_parts(parts, ());
                blame.answered(&head, now);
                let taken = || offer.as_ref()?.taken(head.headers());
                let follows = if head.status() == StatusCode::SWITCHING_PROTOCOLS
                    && let Some(to) = taken()
                {
                    let far = Box::pin(switch(conn, &input, &blame, deadline, &mut wait)).await?;
                    Follows::Tunnel { far, to, deadline }
                } else {
                    let carrier = Carrier::H1 { conn, pool: Rc::clone(pool) };
                    Follows::Body(AnswerSource::new(incoming, carrier, deadline, &meter))
                };
                return Ok((head, follows));
            }
            Ok(Err(mut failed)) => match failed.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(blame.broken_off(&input)),
            },
            Err(error) => return Err(blame.gave_up(error)),
        }
    }
    blame.note("it closes connections as soon as they are used");
    Err(ProxyError::Unreachable)
}

/// Takes a connection out of HTTP, once the request that asked for it has been sent whole: a server may answer earlier.
async fn switch(
    mut conn: Box<H1>,
    input: &SharedInput,
    blame: &Blame,
    deadline: Option<Instant>,
    wait: &mut Wait,
) -> Result<Switched, ProxyError> {
    let sent = poll_fn(|cx| {
        wait.end();
        if conn.poll_closed(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        wait.begin();
        poll_meanwhile(input, &blame.snapshot, deadline, &mut conn.alarm, cx).map(Err)
    });
    sent.await.map_err(|error| blame.gave_up(error))?;
    if !input.borrow().ended() {
        return Err(blame.broken_off(input));
    }
    Ok(conn.into_switched())
}

async fn over_h2(pool: &Rc<Pool>, outbound: Outbound) -> Sent {
    let Outbound { asked, backend, snapshot, grpc, deadline, deadline_is_the_callers, meter, .. } = outbound;
    let Asked { parts, input, .. } = *asked;
    let blame = Blame { snapshot, backend, grpc, callers: deadline.filter(|_| deadline_is_the_callers) };
    let snapshot = &*blame.snapshot;
    input.borrow_mut().retain();
    for _ in 0..ATTEMPTS_MAX {
        let now = Instant::now();
        meter.send(now);
        let mut wait = Wait::new(&meter);
        wait.begin();
        let (mut send, mut stream) = pool
            .stream(patience(snapshot.deadlines.connect, deadline, now), now)
            .await
            .map_err(|error| blame.no_connection(&error))?;
        let mut sending = pin!(send.try_send_request(Request::from_parts(parts.clone(), InputBody::new(&input))));
        let mut yielded = false;
        let answered = poll_fn(|cx| {
            wait.end();
            if let Poll::Ready(answered) = sending.as_mut().poll(cx) {
                return Poll::Ready(Ok(answered));
            }
            wait.begin();
            if !std::mem::replace(&mut yielded, true) {
                // The connection's task sends first, then we hash.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            poll_meanwhile(&input, snapshot, deadline, &mut stream.alarm, cx).map(Err)
        })
        .await;
        match answered {
            Ok(Ok(response)) => {
                meter.answered(response.status().as_u16());
                let (parts, incoming) = response.into_parts();
                let head = Response::from_parts(parts, ());
                blame.answered(&head, now);
                let source = AnswerSource::new(incoming, Carrier::H2(stream), deadline, &meter);
                return Ok((head, Follows::Body(source)));
            }
            Ok(Err(failed)) if was_not_seen(&failed) && input.borrow().can_repeat() => {}
            Ok(Err(_)) => return Err(blame.broken_off(&input)),
            Err(error) => return Err(blame.gave_up(error)),
        }
    }
    Err(blame.broken_off(&input))
}

/// How long connecting may take: no longer than the exchange.
fn patience(connect: Duration, deadline: Option<Instant>, now: Instant) -> Duration {
    deadline.map_or(connect, |deadline| connect.min(deadline.saturating_duration_since(now)))
}

/// While there is nothing to do for the answer: hash what has been sent, and see whether time is up.
fn poll_meanwhile(
    input: &SharedInput,
    snapshot: &Snapshot,
    deadline: Option<Instant>,
    alarm: &mut Alarm,
    cx: &mut Context<'_>,
) -> Poll<ProxyError> {
    let mut input = input.borrow_mut();
    input.catch_up_at_leisure();
    let silence = input.deadline(snapshot.deadlines.client, snapshot.deadlines.first_byte);
    let (at, error) = match (silence, deadline) {
        (Some((at, error)), Some(deadline)) if at < deadline => (Some(at), error),
        (Some((at, error)), None) => (Some(at), error),
        (_, deadline) => (deadline, ProxyError::Timeout),
    };
    alarm.poll(at, cx).map(|()| error)
}

/// Whether the server says that it has not begun on it.
fn was_not_seen(failed: &TrySendError<Request<InputBody>>) -> bool {
    let reason = std::error::Error::source(failed.error()).and_then(|source| source.downcast_ref::<h2::Error>());
    failed.message().is_some()
        || reason.is_some_and(|error| {
            error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
        })
}

/// Whom what becomes of a call is put down to.
struct Blame {
    snapshot: Arc<Snapshot>,
    backend: Arc<Backend>,
    grpc: bool,
    /// The end of the caller's own patience.
    callers: Option<Instant>,
}

impl Blame {
    fn answered(&self, head: &Response<()>, now: Instant) {
        self.snapshot.note_answer(&self.backend, head, self.grpc, now);
    }

    fn note(&self, reason: impl Display) {
        self.snapshot.note_failure(&self.backend, Instant::now(), Failure::Unanswered, reason);
    }

    /// Refused, or not taken up in time.
    fn no_connection(&self, error: &std::io::Error) -> ProxyError {
        if error.kind() == std::io::ErrorKind::TimedOut {
            return self.gave_up(ProxyError::Timeout);
        }
        self.note(error);
        ProxyError::Unreachable
    }

    /// An exchange broke off: through the client, where its body did; else through the model server.
    fn broken_off(&self, input: &SharedInput) -> ProxyError {
        match input.borrow().error() {
            Some(InputError::TooLarge) => ProxyError::BodyTooLarge,
            Some(InputError::ClientGone) => ProxyError::ClientGone,
            None => {
                self.note(ProxyError::BrokenOff);
                ProxyError::BrokenOff
            }
        }
    }

    /// A caller that allows a millisecond must not put a backend out for everybody.
    fn gave_up(&self, error: ProxyError) -> ProxyError {
        if error == ProxyError::Timeout && self.callers.is_none_or(|end| Instant::now() < end) {
            self.note(error);
        }
        error
    }
}
