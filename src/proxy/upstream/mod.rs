//! Connections to model servers: a worker's own pool, so that a request never changes threads.
//!
//! It knows addresses and connections, not models: which backend a call goes to is `route`'s matter.

mod alarm;
mod h1;
mod h2;
mod waker;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Scheme;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::net::TcpStream;

pub(super) use alarm::Alarm;
pub(super) use h2::Stream;

pub(super) use h1::{H1, Switched};
use h2::H2;

use super::transport::Transport;
use crate::tls::ClientTls;

/// HTTP/1.1 connections at rest in one worker's pool, per address, at most.
const IDLE_MAX: usize = 512;

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How TLS is spoken to it; `None` in the clear.
    pub(in crate::proxy) tls: Option<ClientTls>,
}

impl Address {
    /// Whether it is the same place, reached as securely, whatever certificates are in force.
    pub fn is_at(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port && self.tls.is_some() == other.tls.is_some()
    }

    /// A new connection, with its TLS handshake.
    pub(super) async fn dial(&self, over_http2: bool) -> io::Result<Transport> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Transport::Plain(socket)),
            Some(tls) => Ok(Transport::Tls(Box::new(tls.connect(socket, over_http2).await?))),
        }
    }

    /// As a URL.
    pub fn url(&self) -> String {
        let Self { host, port, .. } = self;
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{}://{}{host}{}:{port}", self.scheme(), brackets.0, brackets.1)
    }

    /// The scheme of its URLs.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }
}

/// A worker's connections to one address.
#[derive(Debug)]
pub(super) struct Pool {
    address: Address,
    /// At rest, the longest first.
    #[expect(clippy::vec_box, reason = "connections come and go boxed; moving 500 bytes each time would cost more")]
    resting: RefCell<Vec<Box<H1>>>,
    shared: RefCell<Vec<H2>>,
    /// Held while an HTTP/2 connection is made, so that a burst makes one, not many.
    connecting: tokio::sync::Mutex<()>,
}

/// A worker's pools.
#[derive(Debug, Default)]
pub(super) struct Pools(RefCell<Vec<Rc<Pool>>>);

impl Pools {
    /// The pool for an address. A handful of addresses: a scan beats hashing.
    pub(super) fn to(&self, address: &Address) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| pool.address == *address) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool {
            address: address.clone(),
            resting: RefCell::default(),
            shared: RefCell::default(),
            connecting: tokio::sync::Mutex::new(()),
        });
        pools.push(Rc::clone(&pool));
        pool
    }

    /// Closes what has rested for too long, or at all where no call leads any more, and forgets addresses without
    /// connections that nobody holds. What carries a call is left to end it.
    pub(super) fn sweep(&self, now: Instant, idle: Duration, leads_to: impl Fn(&Address) -> bool) {
        self.0.borrow_mut().retain(|pool| {
            let idle = if leads_to(&pool.address) { idle } else { Duration::ZERO };
            pool.resting
                .borrow_mut()
                .retain_mut(|conn| now.duration_since(conn.idle_since) < idle && conn.is_still_usable());
            pool.shared.borrow_mut().retain(|conn| conn.is_worth_keeping(now, idle));
            Rc::strong_count(pool) > 1 || !pool.resting.borrow().is_empty() || !pool.shared.borrow().is_empty()
        });
    }
}

impl Pool {
    /// A connection at rest that is still good, the warmest first.
    pub(super) fn rested(&self, now: Instant, idle: Duration) -> Option<Box<H1>> {
        loop {
            let mut conn = self.resting.borrow_mut().pop()?;
            if now.duration_since(conn.idle_since) < idle && conn.is_still_usable() {
                return Some(conn);
            }
        }
    }

    /// A new HTTP/1.1 connection.
    pub(super) async fn connect(&self, patience: Duration, now: Instant) -> io::Result<Box<H1>> {
        let transport = tokio::time::timeout(patience, self.address.dial(false)).await??;
        H1::handshake(transport, now).await.map_err(io::Error::other)
    }

    /// A place on an HTTP/2 connection.
    pub(super) async fn stream(
        &self,
        patience: Duration,
        now: Instant,
    ) -> io::Result<(hyper::client::conn::http2::SendRequest<super::input::InputBody>, Stream)> {
        if let Some(place) = self.place() {
            return Ok(place);
        }
        // Waiting for another's attempt counts too, else a burst would wait for one deadline after the other.
        tokio::time::timeout(patience, self.connect_h2(now)).await?
    }

    async fn connect_h2(
        &self,
        now: Instant,
    ) -> io::Result<(hyper::client::conn::http2::SendRequest<super::input::InputBody>, Stream)> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(place) = self.place() {
            return Ok(place);
        }
        let conn = H2::handshake(self.address.dial(true).await?, now).await.map_err(io::Error::other)?;
        let place = conn.open();
        self.shared.borrow_mut().push(conn);
        place.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    fn place(&self) -> Option<(hyper::client::conn::http2::SendRequest<super::input::InputBody>, Stream)> {
        self.shared.borrow().iter().find_map(H2::open)
    }

    fn take_back(&self, mut conn: Box<H1>, now: Instant) {
        let mut resting = self.resting.borrow_mut();
        if resting.len() < IDLE_MAX {
            conn.idle_since = now;
            resting.push(conn);
        }
    }
}

/// An answer's body as it comes from the model server. Dropped early, it takes its connection or stream down.
#[derive(Debug)]
pub(super) struct UpstreamBody {
    incoming: Incoming,
    carrier: Option<Carrier>,
}

/// What an answer comes over.
#[derive(Debug)]
pub(super) enum Carrier {
    H1 { conn: Box<H1>, pool: Rc<Pool> },
    H2(Stream),
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, carrier: Carrier) -> Self {
        Self { incoming, carrier: Some(carrier) }
    }

    /// The next frame. At the end the connection goes back to its pool.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = match &mut self.carrier {
            Some(Carrier::H1 { conn, .. }) => conn.poll_body(&mut self.incoming, cx),
            Some(Carrier::H2(_)) => Pin::new(&mut self.incoming).poll_frame(cx),
            None => return Poll::Ready(None),
        };
        let frame = ready!(polled);
        if frame.is_none() || self.incoming.is_end_stream() {
            self.let_go();
        }
        Poll::Ready(frame)
    }

    /// The deadline that the answer's user may set; `None` once nothing more will come.
    pub(super) fn alarm(&mut self) -> Option<&mut Alarm> {
        self.carrier.as_mut().map(|carrier| match carrier {
            Carrier::H1 { conn, .. } => &mut conn.alarm,
            Carrier::H2(stream) => &mut stream.alarm,
        })
    }

    /// Whether nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        self.carrier.is_none() || self.incoming.is_end_stream()
    }

    /// Gives the connection back where the answer has no body at all.
    pub(super) fn settle(&mut self) {
        if self.incoming.is_end_stream() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(Carrier::H1 { mut conn, pool }) = self.carrier.take()
            && conn.is_usable()
        {
            pool.take_back(conn, Instant::now());
        }
    }
}
