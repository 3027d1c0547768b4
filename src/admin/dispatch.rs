//! A request's way through the room: who asks, may they, what do they bring, who answers.
//!
//! In this order, so that a caller without token learns nothing and has no body read: the route; the caller; how often;
//! its role; the body's head; a place to work; the body; the access log; the handler, within a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::access::{Caller, Right};
use super::access_log::Line;
use super::answer::{Answer, later, not_allowed, problem, unauthorized};
use super::body::{Announced, Bodies};
use super::rates::Rates;
use super::routes::{Asked, Handler, Parts, ROUTES, Route, methods};
use super::seats::Seat;

/// Requests that are worked on at once, health checks aside: half of the connections, so that another one can always
/// be let in.
pub(super) const WORK_MAX: usize = 32;
/// What an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a body that nobody wants that are still read, and the time that this may take.
const REST_BYTES_MAX: usize = 256 << 10;
const REST_TIMEOUT: Duration = Duration::from_millis(500);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Room {
    parts: Arc<Parts>,
    rates: Rates,
    bodies: Bodies,
    work: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(parts: Parts) -> Self {
        let rates = Rates::new(parts.rate);
        Self { parts: Arc::new(parts), rates, bodies: Bodies::default(), work: Arc::new(Semaphore::new(WORK_MAX)) }
    }

    /// Answers one request of a caller at `peer`. Of its body, what was not wanted is thrown away.
    pub(super) async fn answer<B>(&self, seat: &Seat, peer: SocketAddr, mut request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = self.take(seat, peer, &mut request).await;
        if !request.body().is_end_stream() && !request.headers().contains_key(EXPECT) {
            // Closed with bytes unread, the connection would be reset, and with it the answer that says why.
            let rest = Limited::new(request.body_mut(), REST_BYTES_MAX).collect();
            seat.waits();
            let _thrown_away = timeout(REST_TIMEOUT, rest).await;
        }
        answer
    }

    async fn take<B>(&self, seat: &Seat, peer: SocketAddr, request: &mut Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let uri = request.uri().clone();
        let path = uri.path();
        let route = ROUTES.iter().find(|route| route.answers(request.method()) && route.fit(path).is_some());
        let open = ROUTES.iter().any(|route| route.right == Right::Open && route.fit(path).is_some());
        if open {
            let Some(route) = route else { return not_allowed(&methods(path)) };
            let nobody = Caller { name: "".into(), role: None };
            let asked = asked(nobody, route, request, Bytes::new());
            return self.work(route, asked, Vec::new()).await;
        }
        let signed = route.is_some_and(|route| route.right == Right::Signed);
        let sender = || Caller { name: peer.ip().to_string().into(), role: None };
        let caller = if signed { Some(sender()) } else { self.parts.auth.caller(request.headers(), peer.ip()) };
        let Some(caller) = caller else {
            let refused = self.rated(&peer.ip().to_string(), unauthorized());
            if let Some(route) = route.filter(|route| route.is_logged()) {
                let line = Line::new(None, peer.to_string(), request.method(), path);
                return self.logged(route, line, refused).await;
            }
            return refused;
        };
        if let Err(wait) = self.rates.take(&caller.name, Instant::now()) {
            return too_often(wait);
        }
        let Some(route) = route else {
            let methods = methods(path);
            let nothing = "nothing is here; /api/v1/openapi.json says what is";
            return if methods.is_empty() { problem(StatusCode::NOT_FOUND, nothing) } else { not_allowed(&methods) };
        };
        if !route.is_logged() {
            return self.guarded(seat, route, caller, request, None).await;
        }
        let author = (&*caller.name, caller.role);
        let line = Line::new(Some(author), peer.to_string(), request.method(), path);
        let answer = self.guarded(seat, route, caller, request, Some(&line)).await;
        self.logged(route, line, answer).await
    }

    /// What a known caller gets. `line` begins what the access log is told.
    async fn guarded<B>(
        &self,
        seat: &Seat,
        route: &'static Route,
        caller: Caller,
        request: &mut Request<B>,
        line: Option<&Line>,
    ) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !caller.may(route.right) {
            return forbidden(&caller, route.right);
        }
        let announced = match route.body_max {
            0 => None,
            max => match Announced::new(request.headers(), max) {
                Ok(announced) => Some(announced),
                Err(refusal) => return *refusal,
            },
        };
        let Ok(place) = Arc::clone(&self.work).try_acquire_owned() else {
            return later(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being answered: ask again", 1);
        };
        let (mut bytes, mut room) = (Bytes::new(), vec![place]);
        if let Some(announced) = announced {
            // While the caller sends, its place is another's if need be.
            seat.waits();
            let read = self.bodies.read(request.body_mut(), announced).await;
            seat.works();
            match read {
                Ok(read) => {
                    bytes = read.bytes;
                    room.extend(read.room);
                }
                Err(refusal) => return *refusal,
            }
        }
        if let (true, Some(line)) = (route.is_write(), line)
            && !self.parts.access_log.write(line).await
        {
            return unlogged();
        }
        self.work(route, asked(caller, route, request, bytes), room).await
    }

    /// Has it answered. `room` is given back once that has ended, even if the caller does not wait for it.
    async fn work(&self, route: &Route, asked: Asked, room: Vec<OwnedSemaphorePermit>) -> Answer {
        let parts = Arc::clone(&self.parts);
        let answering = match route.handler {
            Handler::Now(answer) => return answer(&parts, &asked),
            Handler::File(answer) => timeout(ANSWER_TIMEOUT, answer(parts, asked)).await,
            Handler::Control(answer) => {
                let task = self.parts.control.spawn(async move {
                    let answer = answer(parts, asked).await;
                    drop(room);
                    answer
                });
                timeout(ANSWER_TIMEOUT, task).await.map(|ended| {
                    ended.unwrap_or_else(|error| {
                        tracing::error!(%error, "a request of the admin listener was not answered");
                        problem(StatusCode::INTERNAL_SERVER_ERROR, "it failed; the log says how")
                    })
                })
            }
        };
        answering.unwrap_or_else(|_elapsed| {
            later(StatusCode::SERVICE_UNAVAILABLE, "it took too long; what was sent may still be recorded", 5)
        })
    }

    /// Tells the access log of an answer. What reads the ledger is not answered unheard; what is done cannot be undone.
    async fn logged(&self, route: &Route, line: Line, answer: Answer) -> Answer {
        let told = self.parts.access_log.write(&line.answered(answer.status())).await;
        if told || route.is_write() { answer } else { unlogged() }
    }

    /// The answer for somebody unknown, who may not ask too often either.
    fn rated(&self, peer: &str, answer: Answer) -> Answer {
        self.rates.take(peer, Instant::now()).map_or_else(too_often, |()| answer)
    }
}

fn asked<B>(caller: Caller, route: &Route, request: &Request<B>, body: Bytes) -> Asked {
    let path = request.uri().path();
    Asked {
        caller,
        rest: route.fit(path).unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: if route.right == Right::Signed { request.headers().clone() } else { HeaderMap::new() },
        body,
    }
}

fn forbidden(caller: &Caller, right: Right) -> Answer {
    let detail = match caller.role {
        Some(_) => format!("'{}' may not: it takes the role {}", caller.name, right.roles()),
        None => format!("without tokens nobody may: configure one with the role {} in admin.tokens", right.roles()),
    };
    problem(StatusCode::FORBIDDEN, &detail)
}

fn unlogged() -> Answer {
    let detail = "the access log cannot be written, and nothing is done without it; the log says why";
    later(StatusCode::SERVICE_UNAVAILABLE, detail, 5)
}

fn too_often(wait: Duration) -> Answer {
    let seconds = wait.as_secs().saturating_add(1);
    later(StatusCode::TOO_MANY_REQUESTS, "that is more than admin.rate lets one caller ask", seconds)
}
