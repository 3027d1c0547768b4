//! The load over gRPC: one `ModelInfer` a stream, some streams a connection, all in one thread.
//!
//! By the crate that Touchmark's own HTTP/2 comes from. That costs the client and the backend more than their event
//! loops for HTTP/1.1 cost, so that times of answers are not to be compared with those; a proxy's own time on its
//! core, which is what is asked for, is measured apart from both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::client::{Limit, SILENCE_MAX};
use crate::interrupt;
use crate::message::{ANSWER, METHOD, STREAM_WINDOW_BYTES, WINDOW_BYTES};

/// Streams that share a connection.
const STREAMS_PER_CONNECTION: usize = 8;
/// Between the half of a message and its end that never comes.
const BEFORE_LEAVING: Duration = Duration::from_millis(2);

/// So many streams to one peer at a time, and the message that each sends.
pub(crate) struct Load {
    runtime: Runtime,
    senders: Vec<SendRequest<Bytes>>,
    streams: usize,
    call: Call,
    latencies_ns: Vec<u32>,
}

/// What each stream asks for.
#[derive(Clone)]
struct Call {
    uri: String,
    message: Bytes,
    /// Fields that the head of every answer must have.
    stamps: &'static [&'static str],
}

impl Load {
    /// Connects.
    pub(crate) fn connect(
        peer: SocketAddr,
        streams: usize,
        message: &[u8],
        stamps: &'static [&'static str],
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let senders = (0..streams.div_ceil(STREAMS_PER_CONNECTION))
            .map(|_| runtime.block_on(open(peer)).with_context(|| format!("connecting to {peer}")))
            .collect::<anyhow::Result<_>>()?;
        let call = Call { uri: format!("http://{peer}{METHOD}"), message: Bytes::copy_from_slice(message), stamps };
        Ok(Self { runtime, senders, streams, call, latencies_ns: Vec::with_capacity(1 << 16) })
    }

    /// Calls until the limit, waits for the last answers, and gives each call's time in ns.
    pub(crate) fn run(&mut self, limit: Limit) -> anyhow::Result<&mut [u32]> {
        self.latencies_ns.clear();
        let turns = Arc::new(Turns { begun: AtomicUsize::new(0), start: Instant::now(), limit });
        let mut workers = JoinSet::new();
        for sender in self.senders.iter().cycle().take(self.streams.min(limit.requests)) {
            workers.spawn_on(worker(sender.clone(), self.call.clone(), Arc::clone(&turns)), self.runtime.handle());
        }
        self.runtime.block_on(async {
            while let Some(done) = workers.join_next().await {
                self.latencies_ns.extend(done??);
            }
            Ok(&mut self.latencies_ns[..])
        })
    }
}

impl Load {
    /// Begins so many calls, sends half a message for each, and gives them up.
    pub(crate) fn leave(&mut self, calls: usize) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            for sender in self.senders.iter().cycle().take(calls) {
                let mut sender = sender.clone().ready().await.context("waiting for a stream to leave")?;
                let (_answer, mut body) = sender.send_request(self.call.request()?, false)?;
                body.send_data(self.call.message.slice(..self.call.message.len() / 2), false)?;
                // So that what was said is sent before it is taken back.
                tokio::time::sleep(BEFORE_LEAVING).await;
            }
            Ok(())
        })
    }
}

/// Who may begin a call.
struct Turns {
    begun: AtomicUsize,
    start: Instant,
    limit: Limit,
}

impl Turns {
    fn begin(&self) -> bool {
        self.start.elapsed() < self.limit.time && self.begun.fetch_add(1, Ordering::Relaxed) < self.limit.requests
    }
}

async fn open(peer: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(peer).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(socket)
        .await?;
    // What ends it, its streams are told.
    tokio::spawn(connection);
    Ok(sender)
}

/// One stream after the other.
async fn worker(mut sender: SendRequest<Bytes>, call: Call, turns: Arc<Turns>) -> anyhow::Result<Vec<u32>> {
    let mut latencies_ns = Vec::new();
    while turns.begin() {
        interrupt::check()?;
        let since = Instant::now();
        let answered = tokio::time::timeout(SILENCE_MAX, call.once(sender)).await;
        sender = answered.with_context(|| format!("no answer for {SILENCE_MAX:?}"))??;
        latencies_ns.push(u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Ok(latencies_ns)
}

impl Call {
    fn request(&self) -> anyhow::Result<Request<()>> {
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "peers/1")
            .header("x-request-id", "7f9c0b0e-req-17");
        Ok(request.body(())?)
    }

    /// One call; gives the connection back.
    async fn once(&self, sender: SendRequest<Bytes>) -> anyhow::Result<SendRequest<Bytes>> {
        let mut sender = sender.ready().await.context("waiting for a stream")?;
        let (answer, mut body) = sender.send_request(self.request()?, false).context("sending a call")?;
        body.send_data(self.message.clone(), true).context("sending a message")?;
        let answer = answer.await.context("waiting for an answer")?;
        let (head, mut body) = answer.into_parts();
        for stamp in self.stamps {
            ensure!(head.headers.contains_key(*stamp), "an answer has no {stamp}: {head:?}");
        }
        let mut bytes = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.context("reading an answer")?;
            bytes += chunk.len();
            body.flow_control().release_capacity(chunk.len())?;
        }
        let trailers = body.trailers().await.context("reading the trailers")?;
        ensure!(is_ok(trailers.as_ref()) && bytes == ANSWER.len(), "no good answer: {head:?}, {bytes} B, {trailers:?}");
        Ok(sender)
    }
}

fn is_ok(trailers: Option<&HeaderMap>) -> bool {
    trailers.and_then(|trailers| trailers.get("grpc-status")).is_some_and(|status| status == "0")
}
