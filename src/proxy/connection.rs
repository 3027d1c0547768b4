//! One client connection from its first byte to its last: which HTTP it speaks, and what becomes of it after a switch.
//!
//! ALPN says which, under TLS; else the first bytes do: HTTP/2 begins with its preface (RFC 9113, section 3.4). hyper
//! reads everything else. An HTTP/1.1 connection on which nothing happens comes to `rest`, without hyper; one that hyper gives back after a 101 is a `tunnel`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBuf};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioTimer;
use tower::Service as _;

use super::body::AnswerBody;
use super::client::{ClientConn, ClientIo, ClientSocket, Order};
use super::config::Config;
use super::forward::LocalFuture;
use super::listener::LocalExec;
use super::rest::rest;
use super::stack::stack;
use super::transport::Transport;
use super::worker::Worker;

/// How every HTTP/2 connection begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A silent HTTP/2 client is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What hyper allows by itself. Told so, it would set up the room for them with each head, at a fiftieth of all that a
/// request costs here.
const HYPER_HEADERS: usize = 100;
/// Bytes waiting to be sent on one HTTP/2 stream, at most.
const SEND_BYTES_MAX: usize = 256 << 10;

/// Both versions, set up.
#[derive(Debug)]
pub(super) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<LocalExec>,
}

impl Http {
    pub(super) fn new(config: &Config) -> Self {
        let head = usize::try_from(config.limits.head.0).unwrap_or(usize::MAX);
        let mut http1 = http1::Builder::new();
        http1
            // Housekeeping sees to heads that do not come.
            .header_read_timeout(None)
            .half_close(config.half_close)
            .max_buf_size(head.max(8 << 10));
        if config.limits.headers != HYPER_HEADERS {
            http1.max_headers(config.limits.headers);
        }
        let mut http2 = http2::Builder::new(LocalExec);
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(config.http2.streams)
            .initial_stream_window_size(window(config.http2.stream_window.0))
            .initial_connection_window_size(window(config.http2.connection_window.0))
            .max_header_list_size(window(config.limits.head.0))
            .max_send_buf_size(SEND_BYTES_MAX);
        Self { http1, http2 }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(&self, transport: Transport, worker: &Rc<Worker>, conn: &Rc<ClientConn>) {
        let socket = ClientSocket::new(transport);
        let mut io = ClientIo::new(socket.clone(), Rc::clone(conn));
        let Some(over_http2) = is_http2(&socket, &mut io, conn).await else { return };
        let service = || {
            let stack = stack(worker, conn);
            service_fn(move |request| stack.clone().call(request))
        };
        if over_http2 {
            // Boxed: a task is as large as the largest thing that it ever holds.
            Box::pin(self.serve_http2(io, &socket, conn, service())).await;
        } else {
            self.serve_http1(io, &socket, conn, service).await;
        }
    }

    async fn serve_http2(&self, io: ClientIo, socket: &ClientSocket, conn: &ClientConn, service: impl Serves) {
        let connection = pin!(self.http2.serve_connection(io, service));
        drive(conn, socket, connection, http2::Connection::graceful_shutdown, |_, _| Poll::Pending).await;
    }

    /// Serves HTTP/1.1 in turns: with hyper while the client is at work, without while it rests.
    pub(super) async fn serve_http1<S: Serves>(
        &self,
        mut io: ClientIo,
        socket: &ClientSocket,
        conn: &ClientConn,
        service: impl Fn() -> S,
    ) {
        loop {
            // Boxed, so that at rest it takes no room.
            let awake = Box::pin(self.serve_awake(io, socket, conn, service()));
            let Some(idle) = awake.await else { return };
            io = idle;
            if !rest(&mut io, conn).await {
                return;
            }
        }
    }

    /// Serves HTTP/1.1 until the connection may rest: it is given back. `None` where it has come to its end.
    async fn serve_awake(
        &self,
        io: ClientIo,
        socket: &ClientSocket,
        conn: &ClientConn,
        service: impl Serves,
    ) -> Option<ClientIo> {
        let switch = conn.switch();
        let mut connection = self.http1.serve_connection(io, service);
        let pinned = Pin::new(&mut connection);
        let end = drive(conn, socket, pinned, http1::Connection::graceful_shutdown, poll_idle).await;
        let tunnel = switch.take();
        if end == End::Broken {
            // The tunnel of a 101 that could not be sent ends here.
            return None;
        }
        let mut parts = connection.into_parts();
        if end == End::Idle {
            // Where the next head has begun to come.
            parts.io.unread(&parts.read_buf);
            return Some(parts.io);
        }
        match tunnel {
            // Boxed: few connections become one, and all would be larger.
            Some(tunnel) => Box::pin(tunnel.run(parts.io, parts.read_buf, conn)).await,
            // hyper says no word to the socket at its end, once an upgrade was asked for; TLS has to say one.
            None => parts.io.end().await,
        }
        None
    }
}

/// The stack as hyper calls it.
pub(super) trait Serves:
    Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible, Future = Served> + Unpin
{
}

impl<S> Serves for S where
    S: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible, Future = Served> + Unpin
{
}

type Served = LocalFuture<Result<Response<AnswerBody>, Infallible>>;

/// How driving a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It came to its end by itself, and in order.
    Whole,
    /// Nothing is on it: it may rest.
    Idle,
    /// Otherwise.
    Broken,
}

/// Drives a connection to its end, by the listener's orders. `idle` ends it in order where it is between two exchanges.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    conn: &ClientConn,
    socket: &ClientSocket,
    mut connection: Pin<&mut C>,
    drain: impl Fn(Pin<&mut C>),
    idle: impl Fn(Pin<&mut C>, &mut Context<'_>) -> Poll<hyper::Result<()>>,
) -> End {
    let mut drained = false;
    poll_fn(|cx| {
        let order = conn.order(cx);
        match order {
            Order::Serve => {}
            Order::Rest => conn.go_on(),
            Order::Drain if drained => {}
            Order::Drain => {
                drained = true;
                drain(connection.as_mut());
            }
            Order::Close | Order::Stop => return Poll::Ready(End::Broken),
        }
        // A client that breaks off or off the rules is no event of ours.
        let ended = |result: hyper::Result<()>, end| if result.is_ok() { end } else { End::Broken };
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended(result, End::Whole));
        }
        if conn.is_waiting() && socket.is_reset(cx) {
            return Poll::Ready(End::Broken);
        }
        if order == Order::Rest && conn.may_rest() {
            return idle(connection.as_mut(), cx).map(|result| ended(result, End::Idle));
        }
        Poll::Pending
    })
    .await
}

/// hyper ends a connection that it finds between two exchanges, without a word to its client. One that it does not, against
/// what [`ClientConn::may_rest`] promises, would be told so with its next answer, and closed.
fn poll_idle<S: Serves>(
    mut connection: Pin<&mut http1::Connection<ClientIo, S>>,
    cx: &mut Context<'_>,
) -> Poll<hyper::Result<()>> {
    connection.as_mut().graceful_shutdown();
    connection.poll_without_shutdown(cx)
}

/// Whether the client speaks HTTP/2. `None` where it leaves, or has to, before that is clear.
async fn is_http2(socket: &ClientSocket, io: &mut ClientIo, conn: &ClientConn) -> Option<bool> {
    if let Some(protocol) = socket.alpn() {
        return Some(protocol == b"h2");
    }
    let mut begun = [0; PREFACE.len()];
    let mut filled = 0;
    let sniffed = poll_fn(|cx| match conn.order(cx) {
        Order::Serve | Order::Rest => poll_preface(io, &mut begun, &mut filled, cx).map(Some),
        Order::Drain | Order::Close | Order::Stop => Poll::Ready(None),
    });
    let over_http2 = sniffed.await?;
    io.unread(&begun[..filled]);
    over_http2
}

/// Reads as long as it may be the preface. `None` where the connection breaks.
fn poll_preface(
    io: &mut ClientIo,
    begun: &mut [u8; PREFACE.len()],
    filled: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Option<bool>> {
    while *filled < PREFACE.len() {
        let mut buf = ReadBuf::new(&mut begun[*filled..]);
        if ready!(Pin::new(&mut *io).poll_read(cx, buf.unfilled())).is_err() {
            return Poll::Ready(None);
        }
        let read = buf.filled().len();
        let fits = buf.filled() == &PREFACE[*filled..*filled + read];
        *filled += read;
        if read == 0 || !fits {
            return Poll::Ready(Some(false));
        }
    }
    Poll::Ready(Some(true))
}

/// A size as HTTP/2 can express it.
fn window(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).min((1 << 31) - 1)
}
