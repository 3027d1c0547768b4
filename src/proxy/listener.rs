//! Client connections: accepted by single-threaded workers from one shared socket, served, watched and drained.
//!
//! A connection never changes threads. One round of housekeeping a worker watches over all of its connections (heads that
//! do not come, clients that do not read, stopping), so that a request registers no timer of its own.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::client::{ClientConn, Order};
use super::config::Config;
use super::connection::Http;
use super::snapshot::Deadlines;
use super::transport::Transport;
use super::worker::Worker;

/// Between two rounds of housekeeping; deadlines of clients are met that late at most.
const ROUND: Duration = Duration::from_millis(250);
/// How long nothing is on a connection before its buffers are taken back. A client that asks again sooner, as most that
/// are at work do, never pays for it.
const REST_AFTER: Duration = ROUND;
/// Connections brought to rest in one round, at most: as many as a worker does in a millisecond or two, so that a crowd
/// that falls silent does not keep the others waiting.
const RESTS_MAX: usize = 1000;
/// Wait after a failed accept: as a rule no file descriptor is free, and one is bound to become so.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Spawns onto the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExec;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepting.
    Serving,
    /// No new connections; what is under way ends.
    Draining,
    /// Whatever is still under way is dropped.
    Stopped,
}

/// One worker's part of the listener.
#[derive(Debug)]
pub(super) struct Listener {
    worker: Rc<Worker>,
    places: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
    conns: Rc<RefCell<Vec<Weak<ClientConn>>>>,
    http: Rc<Http>,
    half_close: bool,
}

impl Listener {
    pub(super) fn new(
        config: &Config,
        worker: Rc<Worker>,
        places: Arc<Semaphore>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let http = Rc::new(Http::new(config));
        Self { worker, places, phase, conns: Rc::default(), http, half_close: config.half_close }
    }

    /// Accepts and serves until the process stops.
    pub(super) async fn run(mut self, socket: std::net::TcpListener) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut phase = self.phase.clone();
        while *phase.borrow_and_update() == Phase::Serving {
            tokio::select! {
                accepted = accept(&self.places, &socket) => match accepted {
                    Ok((stream, peer, place)) => self.serve(stream, peer, place),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = rounds.tick() => self.keep_house(),
                changed = phase.changed() => if changed.is_err() { break },
            }
        }
        drop(socket);
        self.drain(rounds).await;
        Ok(())
    }

    async fn drain(&mut self, mut rounds: tokio::time::Interval) {
        self.order_all(Order::Drain);
        while !self.conns.borrow().is_empty() && *self.phase.borrow_and_update() < Phase::Stopped {
            tokio::select! {
                _ = rounds.tick() => {}
                changed = self.phase.changed() => if changed.is_err() { break },
            }
            self.keep_house();
        }
        self.order_all(Order::Stop);
        // Lets the connections' tasks see it. What is left is dropped, and so recorded, with the runtime.
        let began = Instant::now();
        while began.elapsed() < ROUND && self.conns.borrow().iter().any(|conn| conn.strong_count() > 0) {
            tokio::task::yield_now().await;
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let tls = self.worker.shared.snapshot.load().tls.clone();
        let conn = ClientConn::new(peer, tls.is_some(), Instant::now(), self.half_close);
        self.conns.borrow_mut().push(Rc::downgrade(&conn));
        let (worker, http) = (Rc::clone(&self.worker), Rc::clone(&self.http));
        tokio::task::spawn_local(async move {
            if let Some(transport) = secure(stream, tls, &conn).await {
                http.serve(transport, &worker, &conn).await;
            }
            drop(place);
        });
    }

    fn order_all(&self, order: Order) {
        self.conns.borrow().iter().filter_map(Weak::upgrade).for_each(|conn| conn.give(order));
    }

    fn keep_house(&self) {
        let now = Instant::now();
        let deadlines = self.worker.shared.snapshot.load().deadlines;
        let mut rests = 0;
        self.conns.borrow_mut().retain(|conn| {
            let Some(conn) = conn.upgrade() else { return false };
            match judge(&conn, &deadlines, now) {
                None => {}
                Some(Order::Rest) if rests == RESTS_MAX => {}
                Some(order) => {
                    rests += usize::from(order == Order::Rest);
                    conn.give(order);
                }
            }
            true
        });
        self.worker.sweep(now);
    }
}

/// The TLS handshake, where there is one. `None` where it fails or takes too long: housekeeping sees to that.
async fn secure(stream: TcpStream, tls: Option<Arc<ServerConfig>>, conn: &ClientConn) -> Option<Transport> {
    let Some(config) = tls else { return Some(Transport::Plain(stream)) };
    // Boxed: it is large, and soon over.
    let mut handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
    let secured = poll_fn(|cx| match conn.order(cx) {
        Order::Close | Order::Stop => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        Order::Serve | Order::Rest | Order::Drain => handshake.as_mut().poll(cx),
    });
    match secured.await {
        Ok(stream) => Some(Transport::Tls(Box::new(stream.into()))),
        Err(error) => {
            tracing::debug!(client = %conn.peer, %error, "a client's TLS handshake failed");
            None
        }
    }
}

/// What becomes of a connection that makes us wait: closed where its client does not read; drained, then closed, where it
/// has nothing under way. Long before that it rests.
fn judge(conn: &ClientConn, deadlines: &Deadlines, now: Instant) -> Option<Order> {
    let past = |since: Option<Instant>, patience: Option<Duration>| {
        since.zip(patience).is_some_and(|(since, patience)| now.duration_since(since) > patience)
    };
    if past(conn.stalled_since(), deadlines.client) {
        return Some(Order::Close);
    }
    if past(conn.idle_since(), deadlines.head) {
        let warned = conn.was_told(Order::Drain);
        return Some(if warned { Order::Close } else { Order::Drain });
    }
    let may_rest = conn.was_told(Order::Serve) && conn.may_rest();
    (may_rest && past(conn.idle_since(), Some(REST_AFTER))).then_some(Order::Rest)
}

async fn accept(
    places: &Arc<Semaphore>,
    socket: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // At the limit a connection waits in the kernel's queue.
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = socket.accept().await?;
    Ok((stream, peer, place))
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn deadlines() -> Deadlines {
        let patience = Some(Duration::from_mins(1));
        Deadlines {
            client: patience,
            head: patience,
            connect: Duration::ZERO,
            first_byte: None,
            idle: None,
            stream_idle: None,
            total: None,
            upstream_idle: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_idle_rests_then_is_drained_then_closed() {
        let conn = ClientConn::new(SocketAddr::from(([127, 0, 0, 1], 1)), false, Instant::now(), true);
        let after = |wait: Duration| judge(&conn, &deadlines(), Instant::now() + wait);
        let (soon, later) = (REST_AFTER + ROUND, Duration::from_secs(61));
        assert_eq!(after(soon), None, "it has not said anything yet");
        let exchange = conn.enter(Version::HTTP_11);
        assert_eq!(after(later), None, "it has something under way");
        drop(exchange);
        assert_eq!(after(Duration::ZERO), None);
        assert_eq!(after(soon), Some(Order::Rest));
        conn.give(Order::Rest);
        assert_eq!(after(soon), None, "it is told once");
        conn.go_on();
        conn.note_rest();
        assert_eq!(after(soon), None, "it rests");
        assert_eq!(after(later), Some(Order::Drain));
        conn.give(Order::Drain);
        assert_eq!(after(later), Some(Order::Close));
    }

    #[test]
    fn over_http2_it_does_not_rest() {
        let conn = ClientConn::new(SocketAddr::from(([127, 0, 0, 1], 1)), false, Instant::now(), true);
        drop(conn.enter(Version::HTTP_2));
        assert_eq!(judge(&conn, &deadlines(), Instant::now() + REST_AFTER + ROUND), None);
    }
}
