//! The witness's listener: a thread that accepts and answers HTTP/1.1, and a few that judge and write.
//!
//! Everybody may ask. So connections are bounded in number and age, heads and bodies in size and time, and work that
//! waits for the disk in threads; more wait in the socket's backlog. An answer is small enough for the socket's buffer,
//! so that who does not read it holds a connection, and nothing else, until it is too old.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::{Refusal, StartError, Witness};

/// Connections at once; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 256;
/// From a connection's begin, or its last answer, to the next head's end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// From a head's end to its body's.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a head; a connection's read buffer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a body: 63 lines of a proof, and the largest note.
const BODY_BYTES_MAX: usize = 132 << 10;
/// Bytes of a body that is too long which are read and thrown away, so that its sender hears about it.
const DISCARD_BYTES_MAX: usize = 1 << 20;
/// What a connection may live; logs open another.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(2);
/// What an answer that is under way may still take when the listener stops or the connection is too old.
const GRACE: Duration = Duration::from_secs(2);
/// The pause after a failed accept: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Checkpoints judged or read at once; more wait.
const JUDGES: usize = 8;

const ADD_CHECKPOINT: &str = "/add-checkpoint";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");

type Answer = Response<Full<Bytes>>;

/// What connections share.
#[derive(Clone, Debug)]
struct Bench {
    witness: Arc<Witness>,
    judges: Arc<Semaphore>,
}

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

    /// Stops accepting, lets answers that are under way end, and waits for the thread: some seconds at most.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the witness's thread panicked");
        }
    }
}

/// Binds the socket.
///
/// # Errors
/// Where the address is taken.
pub fn bind(listen: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| StartError::Bind { listen, source })
}

/// Serves a witness on a socket from [`bind`], on threads of its own.
///
/// # Errors
/// Where they cannot be started.
pub fn serve(listener: TcpListener, witness: Arc<Witness>) -> Result<Handle, StartError> {
    let mut builder = Builder::new_current_thread();
    let builder = builder.enable_all().max_blocking_threads(JUDGES).thread_name("touchmark-judge");
    let runtime = builder.build().map_err(StartError::Thread)?;
    let address = listener.local_addr().map_err(StartError::Thread)?;
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("touchmark-witness".to_owned())
        .spawn(move || run(&runtime, listener, witness, stopped))
        .map_err(StartError::Thread)?;
    Ok(Handle { address, stop, thread })
}

fn run(runtime: &Runtime, listener: TcpListener, witness: Arc<Witness>, stop: watch::Receiver<bool>) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, witness, stop).await,
            Err(error) => tracing::error!(%error, "the witness's socket cannot be served"),
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, witness: Arc<Witness>, mut stop: watch::Receiver<bool>) {
    let bench = Bench { witness, judges: Arc::new(Semaphore::new(JUDGES)) };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = next(&listener, &places) => {
                if let Ok((stream, place)) = accepted {
                    tokio::spawn(connection(stream, bench.clone(), stop.clone(), place));
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
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    match listener.accept().await {
        Ok((stream, _)) => Ok((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "the witness cannot accept");
            sleep(ACCEPT_PAUSE).await;
            Err(error)
        }
    }
}

async fn connection(stream: TcpStream, bench: Bench, mut stop: watch::Receiver<bool>, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request| {
        let bench = bench.clone();
        async move { Ok::<_, Infallible>(answer(bench, request).await) }
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

/// Waits until the listener is told to stop, or its handle is dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn answer(bench: Bench, mut request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let origin = path.strip_prefix('/').and_then(|path| path.strip_suffix("/checkpoint")).map(str::to_owned);
    match (path, request.method(), origin) {
        (ADD_CHECKPOINT, &Method::POST, _) => match read(request.body_mut()).await {
            Ok(body) => bench.work(move |witness| added(witness.add_checkpoint(&body, now()))).await,
            Err(refusal) => refusal,
        },
        (ADD_CHECKPOINT, ..) => not_allowed("POST"),
        ("/livez", &Method::GET, _) => text(200, "live\n"),
        (_, &Method::GET, Some(origin)) => bench.work(move |witness| checkpoint(witness, &origin)).await,
        ("/livez", ..) | (_, _, Some(_)) => not_allowed("GET"),
        _ => text(404, "not found: there are POST /add-checkpoint and GET /ORIGIN-HASH/checkpoint\n"),
    }
}

impl Bench {
    /// Runs what may wait for the disk. Who leaves before its turn has asked for nothing.
    async fn work(self, what: impl FnOnce(&Witness) -> Answer + Send + 'static) -> Answer {
        let Self { witness, judges } = self;
        let Ok(judge) = judges.acquire_owned().await else { return text(503, "the witness stops\n") };
        let work = move || {
            let answer = what(&witness);
            drop(judge);
            answer
        };
        spawn_blocking(work).await.unwrap_or_else(|_| text(500, "the witness failed\n"))
    }
}

fn added(result: Result<String, Refusal>) -> Answer {
    result.map_or_else(|refusal| refused(&refusal), |lines| text(200, lines))
}

fn checkpoint(witness: &Witness, origin: &str) -> Answer {
    match witness.checkpoint(origin) {
        Ok(Some(note)) => text(200, note),
        Ok(None) => text(404, "no checkpoint of this log was ever cosigned\n"),
        Err(error) => {
            tracing::error!(%error, "a remembered checkpoint cannot be read");
            text(500, "the checkpoint cannot be read\n")
        }
    }
}

/// Reads a body.
async fn read(body: &mut Incoming) -> Result<Bytes, Answer> {
    match timeout(BODY_TIMEOUT, Limited::new(&mut *body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let _whatever_comes = timeout(GRACE, discard(body)).await;
            Err(text(413, "the body is too long\n"))
        }
        Ok(Err(_)) => Err(text(400, "the body is broken\n")),
        Err(_) => Err(text(408, "the body did not come\n")),
    }
}

/// Reads on for a while: closing on a client that still sends would reset it before it has read the answer.
async fn discard(body: &mut Incoming) {
    let mut left = DISCARD_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// The one table of how a refusal is answered.
fn refused(refusal: &Refusal) -> Answer {
    let status = match refusal {
        Refusal::Malformed(_) | Refusal::Backwards => 400,
        Refusal::Untrusted => 403,
        Refusal::Unknown => 404,
        Refusal::Conflict(_) => 409,
        Refusal::Inconsistent(_) => 422,
        Refusal::Failed => 500,
        Refusal::Full => 503,
    };
    let mut answer = text(status, format!("{refusal}\n"));
    if matches!(refusal, Refusal::Conflict(_)) {
        answer.headers_mut().insert(CONTENT_TYPE, SIZE);
    }
    answer
}

fn not_allowed(method: &'static str) -> Answer {
    let mut answer = text(405, "method not allowed\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}

fn text(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    answer
}

/// Seconds since 1970; a clock that stands before that is taken for one at its begin, and nothing is cosigned by it.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
