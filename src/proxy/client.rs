//! One client connection: its socket as hyper sees it, and what its exchanges tell of it.
//!
//! A client may shut its writing side down and still wait for its answer. hyper, told so, no longer looks whether a
//! client that waits is still there: [`ClientSocket`] does, and finds a reset at once. [`ClientIo`] notes since when the
//! client has not taken bytes, so that the listener can end connections that only hold places.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::ReadBuf;

use super::headers::ClientNames;
use super::transport::Transport;
use super::tunnel::Tunnel;

/// Since when an answer's body has waited for the client to take more; `None` while it does not.
pub(super) type Patience = Rc<Cell<Option<Instant>>>;

/// What the listener wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Give back what only an exchange needs, where none is under way; then go on.
    Rest,
    /// End what is under way, then close.
    Drain,
    /// Close: it only holds a place.
    Close,
    /// Close: the process ends, and its patience is over.
    Stop,
}

/// What is known of one client connection, shared by its socket, its exchanges and the listener.
#[derive(Debug)]
pub(super) struct ClientConn {
    /// The peer.
    pub peer: SocketAddr,
    /// The peer's address as header values.
    pub names: ClientNames,
    exchanges: Cell<u32>,
    http1: Cell<bool>,
    /// Whether an exchange has been on it since it rested last.
    used: Cell<bool>,
    half_close: bool,
    order: Cell<Order>,
    task: RefCell<Option<Waker>>,
    idle_since: Cell<Instant>,
    blocked_since: Cell<Option<Instant>>,
    bodies: RefCell<Vec<Weak<Cell<Option<Instant>>>>>,
    switch: RefCell<Weak<Switch>>,
}

/// Where an exchange leaves the tunnel that its 101 opens, for the connection's task. The task alone holds it: a tunnel
/// holds the connection.
pub(super) type Switch = RefCell<Option<Tunnel>>;

impl ClientConn {
    /// A connection that has just been accepted.
    pub(super) fn new(peer: SocketAddr, secure: bool, now: Instant, half_close: bool) -> Rc<Self> {
        Rc::new(Self {
            peer,
            names: ClientNames::new(peer.ip(), secure),
            exchanges: Cell::new(0),
            http1: Cell::new(false),
            used: Cell::new(false),
            half_close,
            order: Cell::new(Order::Serve),
            task: RefCell::new(None),
            idle_since: Cell::new(now),
            blocked_since: Cell::new(None),
            bodies: RefCell::new(Vec::new()),
            switch: RefCell::default(),
        })
    }

    /// Where a tunnel will be left. Asked for once, by the connection's task.
    pub(super) fn switch(&self) -> Rc<Switch> {
        let switch = Rc::default();
        self.switch.replace(Rc::downgrade(&switch));
        switch
    }

    /// Leaves a tunnel to be run once its 101 has been sent. Dropped, and so recorded, where nobody waits for it.
    pub(super) fn leave(&self, tunnel: Tunnel) {
        if let Some(switch) = self.switch.borrow().upgrade() {
            switch.replace(Some(tunnel));
        }
    }

    /// An exchange begins on it, in the given version of HTTP.
    pub(super) fn enter(self: &Rc<Self>, version: http::Version) -> InExchange {
        self.http1.set(version < http::Version::HTTP_2);
        self.used.set(true);
        self.exchanges.set(self.exchanges.get() + 1);
        InExchange(Rc::clone(self))
    }

    /// Whether hyper's state of it is worth giving back: over HTTP/1.1, with an exchange behind it, none under way, and
    /// nothing left that the client has not taken. A first head that comes in pieces is not behind it.
    pub(super) fn may_rest(&self) -> bool {
        self.http1.get() && self.used.get() && self.exchanges.get() == 0 && self.blocked_since.get().is_none()
    }

    /// It rests, until the client speaks again.
    pub(super) fn note_rest(&self) {
        self.used.set(false);
    }

    /// Whether a client that is owed an answer must be watched: hyper does not, where it may half-close.
    pub(super) fn is_waiting(&self) -> bool {
        self.half_close && self.http1.get() && self.exchanges.get() > 0
    }

    /// Tells the connection's task what to do.
    pub(super) fn give(&self, order: Order) {
        if self.order.replace(order) != order
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// What its task was told last; remembers the task.
    pub(super) fn order(&self, cx: &Context<'_>) -> Order {
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(cx.waker().clone());
        }
        self.order.get()
    }

    /// Goes on after [`Order::Rest`], unless told otherwise meanwhile.
    pub(super) fn go_on(&self) {
        if self.was_told(Order::Rest) {
            self.order.set(Order::Serve);
        }
    }

    /// Whether it was told so last.
    pub(super) fn was_told(&self, order: Order) -> bool {
        self.order.get() == order
    }

    /// A body that may come to wait for the client. Over HTTP/1.1 the socket itself tells: `None`.
    pub(super) fn watch(&self) -> Option<Patience> {
        if self.http1.get() {
            return None;
        }
        let patience = Rc::new(Cell::new(Some(Instant::now())));
        let mut bodies = self.bodies.borrow_mut();
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Rc::downgrade(&patience));
        Some(patience)
    }

    /// Since when no exchange has been on it; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.exchanges.get() == 0).then(|| self.idle_since.get())
    }

    /// Since when the client has not taken what we have for it.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let bodies = self.bodies.borrow();
        let stalled = bodies.iter().filter_map(Weak::upgrade).filter_map(|patience| patience.get());
        stalled.chain(self.blocked_since.get()).min()
    }
}

/// An exchange on a connection; over when dropped.
#[derive(Debug)]
pub(super) struct InExchange(Rc<ClientConn>);

impl InExchange {
    /// One more part of the same exchange, with an end of its own.
    pub(super) fn again(&self) -> Self {
        let version = if self.0.http1.get() { http::Version::HTTP_11 } else { http::Version::HTTP_2 };
        self.0.enter(version)
    }

    /// Whether it is us who cut it off, since the process ends.
    pub(super) fn is_cut_by_stop(&self) -> bool {
        self.0.was_told(Order::Stop)
    }

    /// The connection.
    pub(super) fn conn(&self) -> &Rc<ClientConn> {
        &self.0
    }
}

impl Drop for InExchange {
    fn drop(&mut self) {
        let left = self.0.exchanges.get() - 1;
        self.0.exchanges.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// The socket of a client connection, shared by hyper and the look-out for a client that breaks off.
#[derive(Clone, Debug)]
pub(super) struct ClientSocket(Rc<RefCell<TokioIo<Transport>>>);

impl ClientSocket {
    /// Wraps an accepted connection.
    pub(super) fn new(transport: Transport) -> Self {
        Self(Rc::new(RefCell::new(TokioIo::new(transport))))
    }

    /// The protocol that the TLS handshake agreed on, where there was one.
    pub(super) fn alpn(&self) -> Option<Vec<u8>> {
        self.0.borrow().inner().alpn().map(<[u8]>::to_vec)
    }

    /// Whether the client has broken the connection; else the task is woken when it does.
    pub(super) fn is_reset(&self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let polled = self.0.borrow().inner().tcp().poll_peek(cx, &mut ReadBuf::new(&mut byte));
        matches!(polled, Poll::Ready(Err(_)))
    }
}

/// The socket as hyper sees it.
#[derive(Debug)]
pub(super) struct ClientIo {
    socket: ClientSocket,
    conn: Rc<ClientConn>,
    /// Read already, and to be read again.
    ahead: Bytes,
}

impl ClientIo {
    /// The socket of a connection.
    pub(super) fn new(socket: ClientSocket, conn: Rc<ClientConn>) -> Self {
        Self { socket, conn, ahead: Bytes::new() }
    }

    /// Puts back what was read, before what was put back already.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead = if self.ahead.is_empty() {
            Bytes::copy_from_slice(bytes)
        } else {
            Bytes::from([bytes, &self.ahead].concat())
        };
    }

    /// Ends our side in order, as far as the client takes it at once.
    pub(super) async fn end(&mut self) {
        poll_fn(|cx| {
            let _ = Pin::new(&mut *self).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Makes a reset of its close.
    pub(super) fn break_off(&self) {
        self.socket.0.borrow().inner().break_off();
    }

    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.conn.blocked_since.set(None);
        } else if self.conn.blocked_since.get().is_none() {
            self.conn.blocked_since.set(Some(Instant::now()));
        }
        polled
    }
}

impl Read for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.socket.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.socket.0.borrow_mut()).poll_write(cx, buf);
        self.noted(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.socket.0.borrow_mut()).poll_write_vectored(cx, bufs);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.socket.0.borrow_mut()).poll_flush(cx);
        // TLS gathers what the socket does not take.
        self.noted(polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.socket.0.borrow_mut()).poll_shutdown(cx);
        self.noted(polled)
    }
}
