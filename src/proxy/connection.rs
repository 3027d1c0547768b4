//! One client connection from its first byte to its last: which HTTP it speaks, and what becomes of it after a switch.
//!
//! ALPN says which, under TLS; else the first bytes do: HTTP/2 begins with its preface (RFC 9113, section 3.4). hyper
//! reads everything else. An HTTP/1.1 connection that hyper gives back after a 101 is a `tunnel`.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tower::Service as _;

use super::client::{ClientConn, ClientIo, ClientSocket, Order};
use super::config::Config;
use super::listener::LocalExec;
use super::stack::stack;
use super::transport::Transport;
use super::worker::Worker;

/// How every HTTP/2 connection begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A silent HTTP/2 client is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
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
            .max_buf_size(head.max(8 << 10))
            .max_headers(config.limits.headers);
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
        let stack = stack(worker, conn);
        let service = service_fn(move |request| stack.clone().call(request));
        let socket = ClientSocket::new(transport);
        let mut io = ClientIo::new(socket.clone(), Rc::clone(conn));
        let Some(over_http2) = is_http2(&socket, &mut io, conn).await else { return };
        if over_http2 {
            let mut connection = pin!(self.http2.serve_connection(io, service));
            drive(conn, &socket, connection.as_mut(), http2::Connection::graceful_shutdown).await;
            return;
        }
        let switch = conn.switch();
        let mut connection = self.http1.serve_connection(io, service);
        let whole = drive(conn, &socket, Pin::new(&mut connection), http1::Connection::graceful_shutdown).await;
        let tunnel = switch.take();
        if !whole {
            // The tunnel of a 101 that could not be sent ends here.
            return;
        }
        let mut parts = connection.into_parts();
        match tunnel {
            // Boxed: few connections become one, and all would be larger.
            Some(tunnel) => Box::pin(tunnel.run(parts.io, parts.read_buf, conn)).await,
            // hyper says no word to the socket at its end, once an upgrade was asked for; TLS has to say one.
            None => say_end(&mut parts.io).await,
        }
    }
}

/// Drives a connection to its end, by the listener's orders. Whether it came to it by itself and in order.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    conn: &ClientConn,
    socket: &ClientSocket,
    mut connection: Pin<&mut C>,
    drain: impl Fn(Pin<&mut C>),
) -> bool {
    let mut drained = false;
    poll_fn(|cx| {
        match conn.order(cx) {
            Order::Serve => {}
            Order::Drain if drained => {}
            Order::Drain => {
                drained = true;
                drain(connection.as_mut());
            }
            Order::Close | Order::Stop => return Poll::Ready(false),
        }
        // A client that breaks off or off the rules is no event of ours.
        let polled = connection.as_mut().poll(cx).map(|ended| ended.is_ok());
        if polled.is_pending() && conn.is_waiting() && socket.is_reset(cx) {
            return Poll::Ready(false);
        }
        polled
    })
    .await
}

/// Ends our side in order, as far as the client takes it at once.
async fn say_end(io: &mut ClientIo) {
    poll_fn(|cx| {
        let _ = Pin::new(&mut *io).poll_shutdown(cx);
        Poll::Ready(())
    })
    .await;
}

/// Whether the client speaks HTTP/2. `None` where it leaves, or has to, before that is clear.
async fn is_http2(socket: &ClientSocket, io: &mut ClientIo, conn: &ClientConn) -> Option<bool> {
    if let Some(protocol) = socket.alpn() {
        return Some(protocol == b"h2");
    }
    let mut begun = [0; PREFACE.len()];
    let mut filled = 0;
    let sniffed = poll_fn(|cx| match conn.order(cx) {
        Order::Serve => poll_preface(io, &mut begun, &mut filled, cx).map(Some),
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
