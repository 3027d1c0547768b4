//! HTTP/2 connections to a model server: shared by the requests of a worker, each driven by a task of its own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::alarm::Alarm;
use crate::proxy::input::InputBody;
use crate::proxy::listener::LocalExec;
use crate::proxy::transport::Transport;

/// Streams at once on one connection before another is opened.
const STREAMS_MAX: usize = 100;
/// Bytes in flight on one stream: large enough for a tensor to keep the pipe full.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes in flight on one connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes of headers or trailers accepted from a model server.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// A connection that carries streams and is silent for so long is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection in the pool.
#[derive(Debug)]
pub(super) struct H2 {
    send: http2::SendRequest<InputBody>,
    streams: Rc<Cell<usize>>,
    idle_since: Rc<Cell<Instant>>,
}

/// A stream's place on its connection.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its user's deadline.
    pub(in crate::proxy) alarm: Alarm,
    streams: Rc<Cell<usize>>,
    idle_since: Rc<Cell<Instant>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        self.idle_since.set(Instant::now());
    }
}

impl H2 {
    pub(super) async fn handshake(transport: Transport, now: Instant) -> hyper::Result<Self> {
        let (send, conn) = http2::Builder::new(LocalExec)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(transport))
            .await?;
        tokio::task::spawn_local(async move {
            // Its streams see how it ended; nobody else needs to.
            let _ = conn.await;
        });
        Ok(Self { send, streams: Rc::default(), idle_since: Rc::new(Cell::new(now)) })
    }

    /// Whether it lives and carries something, or has rested for less than `idle`.
    pub(super) fn is_worth_keeping(&self, now: Instant, idle: Duration) -> bool {
        !self.send.is_closed() && (self.streams.get() > 0 || now.duration_since(self.idle_since.get()) < idle)
    }

    /// A place for one more stream, where there is one.
    pub(super) fn open(&self) -> Option<(http2::SendRequest<InputBody>, Stream)> {
        if self.send.is_closed() || self.streams.get() >= STREAMS_MAX {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let stream = Stream {
            alarm: Alarm::default(),
            streams: Rc::clone(&self.streams),
            idle_since: Rc::clone(&self.idle_since),
        };
        Some((self.send.clone(), stream))
    }
}
