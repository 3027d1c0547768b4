//! The admin listener's thread: accept, serve HTTP/1.1, in the clear or under TLS, stop.
//!
//! Every connection is bounded in number, in the time that its heads and bodies may take, in its buffer and in its age;
//! one that is idle or slow makes room for who comes (`seats`), so that it cannot keep a health check out.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::AdminError;
use super::answer::finish;
use super::dispatch::{Room, WORK_MAX};
use super::routes::Parts;
use super::seats::{Seat, Seats};
use super::tls::Tls;
use crate::tls::TlsConfig;

/// Connections at once; beyond them who has kept us waiting the longest makes room.
const CONNECTIONS_MAX: usize = 64;
// There is always somebody who can make room.
const _: () = assert!(WORK_MAX < CONNECTIONS_MAX);
/// What a TLS handshake may take, and, from a connection's begin, or its last answer, to the next head's end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a head; a connection's read buffer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What a connection may live; scrapers open another.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(1);
/// What an answer that is under way may still take when the listener stops or the connection is too old.
const GRACE: Duration = Duration::from_secs(2);
/// Threads that read tiles, write the access log and unpack bodies, at most; what is asked for meanwhile waits for one.
/// Each holds a bundle of entries, some 250 KB, or a body; never more than 16 MiB.
const READERS_MAX: usize = 4;
/// The pause after a failed accept: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running listener. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    tls: Option<Tls>,
}

impl Handle {
    /// The address that it listens on, the port chosen where the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is reached under TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the certificate's files again. Whether they hold something else; where they cannot be used, what is in
    /// force stays.
    pub fn renew_tls(&self) -> Result<bool, AdminError> {
        self.tls.as_ref().map_or(Ok(false), Tls::renew)
    }

    /// Stops accepting, lets answers that are under way end, and waits for the thread: two seconds at most.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the admin listener's thread panicked");
        }
    }
}

/// Serves `parts` on a socket from [`bind`](super::bind), on a thread of its own; under TLS where it is given.
pub fn serve(listener: TcpListener, parts: Parts, tls: Option<&TlsConfig>) -> Result<Handle, AdminError> {
    let tls = tls.map(Tls::load).transpose()?;
    if !parts.auth.required() {
        tracing::info!(
            "no token is configured for the admin listener: whoever reaches loopback may read and record, as may every \
             container of a pod; nobody may operate (admin.tokens)"
        );
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS_MAX)
        .thread_name("admin-files")
        .build()
        .map_err(AdminError::Thread)?;
    let address = listener.local_addr().map_err(AdminError::Thread)?;
    let (stop, stopped) = watch::channel(false);
    let given = (parts, tls.clone());
    let thread = std::thread::Builder::new()
        .name("touchmark-admin".to_owned())
        .spawn(move || run(runtime, listener, given, stopped))
        .map_err(AdminError::Thread)?;
    Ok(Handle { address, stop, thread, tls })
}

fn run(runtime: Runtime, listener: TcpListener, (parts, tls): (Parts, Option<Tls>), stop: watch::Receiver<bool>) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, Arc::new(Room::new(parts)), tls, stop).await,
            Err(error) => tracing::error!(error = %error, "the admin listener cannot be served"),
        }
    });
    // Not for a disk that does not answer: nothing that reads here has to come to an end.
    runtime.shutdown_background();
}

async fn accept(listener: tokio::net::TcpListener, room: Arc<Room>, tls: Option<Tls>, mut stop: watch::Receiver<bool>) {
    let seats = Seats::new(CONNECTIONS_MAX);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = next(&listener, &seats) => {
                if let Some((stream, peer, seat)) = accepted {
                    let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.current()));
                    tokio::spawn(connection(stream, peer, tls, Arc::clone(&room), stop.clone(), seat));
                }
            }
        }
    }
    // New connections are refused from here on; each of those open ends within its grace.
    drop(listener);
    let _ = timeout(GRACE, seats.empty(CONNECTIONS_MAX)).await;
}

async fn next(listener: &tokio::net::TcpListener, seats: &Arc<Seats>) -> Option<(TcpStream, SocketAddr, Seat)> {
    match listener.accept().await {
        Ok((stream, peer)) => seats.take().await.map(|seat| (stream, peer, seat)),
        Err(error) => {
            tracing::warn!(error = %error, "the admin listener cannot accept");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    room: Arc<Room>,
    mut stop: watch::Receiver<bool>,
    seat: Seat,
) {
    let Some(tls) = tls else { return talk(stream, peer, room, stop, seat).await };
    let shaken = tokio::select! {
        shaken = timeout(HEAD_TIMEOUT, tls.accept(stream)) => shaken,
        () = seat.wanted() => return,
        () = stopped(&mut stop) => return,
    };
    // What a caller did wrong is no news for the log.
    if let Ok(Ok(stream)) = shaken {
        talk(stream, peer, room, stop, seat).await;
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    room: Arc<Room>,
    mut stop: watch::Receiver<bool>,
    seat: Seat,
) {
    let (seat, room) = (&seat, &*room);
    let service = service_fn(|request: Request<Incoming>| async move {
        seat.works();
        let answer = room.answer(seat, peer, request).await;
        seat.waits();
        Ok::<_, Infallible>(finish(answer))
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // What a caller did wrong is no news for the log.
        _ = connection.as_mut() => return,
        () = seat.wanted() => return,
        () = stopped(&mut stop) => {}
        () = sleep(CONNECTION_AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = timeout(GRACE, connection) => {}
        () = seat.wanted() => {}
    }
}

/// Waits until the listener is told to stop, or its handle is dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
