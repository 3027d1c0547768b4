//! The admin listener's thread: accept, serve HTTP/1.1, stop.
//!
//! Every connection is bounded in number, in the time that its heads may take, in its buffer and in its age, so that
//! slow or idle callers cannot keep a health check out for longer than [`CONNECTION_AGE_MAX`].

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::AdminError;
use super::routes::{BODY_BYTES_MAX, Body, Parts, Reply, finish, take};
use super::tiles;

/// Connections at once; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 64;
/// From a connection's begin, or its last answer, to the next head's end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a head; a connection's read buffer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What a connection may live; scrapers open another.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(1);
/// What an answer that is under way may still take when the listener stops or the connection is too old.
const GRACE: Duration = Duration::from_secs(2);
/// Threads that read tiles, at most; what is asked for meanwhile waits for one. Each holds a bundle of entries, some
/// 250 KB and never more than 16 MiB.
const READERS_MAX: usize = 4;
/// The pause after a failed accept: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running listener. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// The address that it listens on, the port chosen where the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets answers that are under way end, and waits for the thread: two seconds at most.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the admin listener's thread panicked");
        }
    }
}

/// Serves `parts` on a socket from [`bind`](super::bind), on a thread of its own.
pub fn serve(listener: TcpListener, parts: Parts) -> Result<Handle, AdminError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS_MAX)
        .thread_name("admin-tiles")
        .build()
        .map_err(AdminError::Thread)?;
    let address = listener.local_addr().map_err(AdminError::Thread)?;
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("touchmark-admin".to_owned())
        .spawn(move || run(runtime, listener, parts, stopped))
        .map_err(AdminError::Thread)?;
    Ok(Handle { address, stop, thread })
}

fn run(runtime: Runtime, listener: TcpListener, parts: Parts, stop: watch::Receiver<bool>) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, Arc::new(parts), stop).await,
            Err(error) => tracing::error!(error = %error, "the admin listener cannot be served"),
        }
    });
    // Not for a disk that does not answer: nothing that reads here has to come to an end.
    runtime.shutdown_background();
}

async fn accept(listener: tokio::net::TcpListener, parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = next(&listener, &places) => {
                if let Some((stream, place)) = accepted {
                    tokio::spawn(connection(stream, Arc::clone(&parts), stop.clone(), place));
                }
            }
        }
    }
    // New connections are refused from here on; each of those open ends within its grace.
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(GRACE, places.acquire_many(all)).await;
}

async fn next(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(error = %error, "the admin listener cannot accept");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    parts: Arc<Parts>,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let parts = Arc::clone(&parts);
        async move {
            let body = if request.method() == Method::PUT { read(request.body_mut()).await } else { Body::Unread };
            let answer = match take(&parts, &request, &body) {
                Reply::Whole(answer) => answer,
                Reply::Read(asked) => tiles::answer(&parts.tiles, asked).await,
            };
            Ok::<_, Infallible>(finish(answer))
        }
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
        () = stopped(&mut stop) => {}
        () = sleep(CONNECTION_AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

/// Reads a small body.
async fn read(body: &mut Incoming) -> Body {
    match timeout(HEAD_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(whole)) => Body::Whole(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Body::TooLong,
        Ok(Err(_)) | Err(_) => Body::Broken,
    }
}

/// Waits until the listener is told to stop, or its handle is dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
