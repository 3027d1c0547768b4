//! One HTTP/1.1 connection to a model server, driven by the request that uses it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::Request;
use http_body::{Body, Frame};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;

use super::alarm::Alarm;
use super::waker::LoopWaker;
use crate::proxy::input::InputBody;
use crate::proxy::transport::Transport;

/// Bytes of an answer's head, and of its body read at once, at most.
const BUF_BYTES_MAX: usize = 32 << 10;

/// A connection, at rest in the pool or owned by one exchange.
pub(in crate::proxy) struct H1 {
    send: http1::SendRequest<InputBody>,
    conn: http1::Connection<TokioIo<Transport>, InputBody>,
    waker: Arc<LoopWaker>,
    task: Waker,
    closed: bool,
    /// Its user's deadline. Kept with the connection, so that a request need not register a timer.
    pub(in crate::proxy) alarm: Alarm,
    pub(super) idle_since: Instant,
}

/// A connection that HTTP has been left on.
#[derive(Debug)]
pub(in crate::proxy) struct Switched {
    /// Its bytes from here on.
    pub io: TokioIo<Transport>,
    /// What came right behind the 101.
    pub ahead: Bytes,
}

impl std::fmt::Debug for H1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H1").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl H1 {
    pub(super) async fn handshake(transport: Transport, now: Instant) -> hyper::Result<Box<Self>> {
        let (send, conn) = http1::Builder::new().max_buf_size(BUF_BYTES_MAX).handshake(TokioIo::new(transport)).await?;
        let waker = LoopWaker::new();
        let task = Waker::from(Arc::clone(&waker));
        Ok(Box::new(Self { send, conn, waker, task, closed: false, alarm: Alarm::default(), idle_since: now }))
    }

    /// Whether it may carry another request: both messages of the last one have been read and written whole, and the
    /// server has not closed it meanwhile. Looks at the socket, does not wait. To be asked outside an exchange alone.
    pub(super) fn is_usable(&mut self) -> bool {
        self.waker.enter_alone();
        let task = self.task.clone();
        self.turn(&mut Context::from_waker(&task));
        self.waker.pool();
        !self.closed && self.send.is_ready()
    }

    /// The same of one that was usable when it was put into the pool: looks only where its socket has said something.
    pub(super) fn is_still_usable(&mut self) -> bool {
        self.waker.is_untouched() || self.is_usable()
    }

    /// Sends a request. The future is to be polled through [`H1::drive`] alone.
    pub(in crate::proxy) fn send(
        &mut self,
        request: Request<InputBody>,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<Request<InputBody>>>> + use<> {
        self.send.try_send_request(request)
    }

    /// Whether anything has happened since [`H1::drive`] said that it waits.
    pub(in crate::proxy) fn has_news(&self, cx: &Context<'_>) -> bool {
        self.waker.was_woken(cx.waker())
    }

    /// Turns connection and `step` in turns until `step` is ready or both wait for the world.
    pub(in crate::proxy) fn drive<T>(
        &mut self,
        cx: &Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.poll_turns(cx, |conn, cx| {
            conn.turn(cx);
            step(cx)
        })
    }

    /// Ready once the connection has come to the end of HTTP: after a 101, when the whole request has been sent.
    pub(in crate::proxy) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll_turns(cx, |conn, cx| {
            conn.turn(cx);
            if conn.closed { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// The next frame of an answer's body.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.poll_turns(cx, |conn, cx| {
            // First what is there: the connection reads no more before it is asked to.
            let polled = Pin::new(&mut *body).poll_frame(cx);
            if polled.is_pending() {
                conn.turn(cx);
            }
            polled
        })
    }

    /// Polls as long as that asks for another turn.
    fn poll_turns<T>(
        &mut self,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.waker.enter(cx.waker());
        let task = self.task.clone();
        let mut inner = Context::from_waker(&task);
        loop {
            if let Poll::Ready(value) = poll(self, &mut inner) {
                self.waker.pause();
                return Poll::Ready(value);
            }
            if !self.waker.again() {
                self.waker.leave();
                return Poll::Pending;
            }
        }
    }

    /// What is left of the connection after a 101.
    pub(in crate::proxy) fn into_switched(self) -> Switched {
        let parts = self.conn.into_parts();
        Switched { io: parts.io, ahead: parts.read_buf }
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.conn).poll(cx).is_ready() {
            self.closed = true;
        }
    }
}
