//! The load: a closed loop of so many connections in one thread, the same for every peer.
//!
//! Each connection sends its next request when its answer has come whole. Answers are checked for their status and,
//! where a peer should stamp, for the stamps. The loop never waits longer than [`SILENCE_MAX`] for an answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustls::ClientConfig;

use crate::interrupt;
use crate::support::{field, number};
use crate::tls::Stream;

/// No answer for so long is a failure.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Answers' bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Events taken at once.
const EVENTS: usize = 1024;

/// How long a run goes on: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Requests begun.
    pub(crate) requests: usize,
    /// Time in which requests are begun.
    pub(crate) time: Duration,
}

/// So many connections to one peer, and the request that they send.
pub(crate) struct Load<'a> {
    epoll: OwnedFd,
    peer: SocketAddr,
    tls: Option<&'a Arc<ClientConfig>>,
    conns: Vec<Conn>,
    request: &'a [u8],
    /// Fields that every answer must have.
    stamps: &'a [&'a str],
    latencies_ns: Vec<u32>,
}

struct Conn {
    stream: Stream,
    since: Instant,
    sent: usize,
    /// An answer that came in pieces.
    answer: Vec<u8>,
    waiting: bool,
}

impl<'a> Load<'a> {
    /// Connects.
    pub(crate) fn connect(
        peer: SocketAddr,
        connections: usize,
        request: &'a [u8],
        stamps: &'a [&'a str],
        tls: Option<&'a Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut load = Self { epoll, peer, tls, conns: Vec::new(), request, stamps, latencies_ns: Vec::new() };
        load.grow(connections)?;
        Ok(load)
    }

    /// Opens so many connections more.
    pub(crate) fn grow(&mut self, connections: usize) -> anyhow::Result<()> {
        for index in self.conns.len()..self.conns.len() + connections {
            let socket = TcpStream::connect(self.peer).with_context(|| format!("connecting to {}", self.peer))?;
            socket.set_nodelay(true)?;
            let stream = Stream::new(socket, self.tls)?;
            stream.socket().set_nonblocking(true)?;
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&self.epoll, stream.socket(), EventData::new_u64(index as u64), flags)?;
            self.conns.push(Conn { stream, since: Instant::now(), sent: 0, answer: Vec::new(), waiting: false });
        }
        Ok(())
    }

    /// Sends requests until the limit, waits for the last answers, and gives each request's time in ns.
    pub(crate) fn run(&mut self, limit: Limit) -> anyhow::Result<&mut [u32]> {
        self.run_on(0..self.conns.len(), limit)
    }

    /// The same on some of the connections, while the others are idle.
    pub(crate) fn run_on(&mut self, busy: Range<usize>, limit: Limit) -> anyhow::Result<&mut [u32]> {
        self.latencies_ns.clear();
        let start = Instant::now();
        let mut begun = 0;
        for conn in self.conns[busy].iter_mut().take(limit.requests) {
            conn.begin(start, self.request)?;
            begun += 1;
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(EVENTS);
        while self.latencies_ns.len() < begun {
            let timeout = Timespec::try_from(SILENCE_MAX)?;
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(0) => bail!("no answer for {SILENCE_MAX:?}"),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            interrupt::check()?;
            for event in events.drain(..) {
                let data = event.data;
                let conn = &mut self.conns[usize::try_from(data.u64())?];
                if !conn.turn(self.request, &mut buffer, self.stamps)? {
                    continue;
                }
                let now = Instant::now();
                self.latencies_ns.push(u32::try_from((now - conn.since).as_nanos()).unwrap_or(u32::MAX));
                if begun < limit.requests && now - start < limit.time {
                    conn.begin(now, self.request)?;
                    begun += 1;
                }
            }
        }
        Ok(&mut self.latencies_ns)
    }
}

impl Conn {
    fn begin(&mut self, now: Instant, request: &[u8]) -> anyhow::Result<()> {
        self.since = now;
        self.sent = 0;
        self.waiting = true;
        self.write(request)
    }

    fn write(&mut self, request: &[u8]) -> anyhow::Result<()> {
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending a request"),
            }
        }
        Ok(())
    }

    /// Goes on with what the socket allows; says whether an answer is whole.
    fn turn(&mut self, request: &[u8], buffer: &mut [u8], stamps: &[&str]) -> anyhow::Result<bool> {
        if !self.waiting {
            return Ok(false);
        }
        self.write(request)?;
        // To the end: what TLS has taken from the socket already is announced by no further event.
        while self.waiting {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("a connection was closed before its answer"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("reading an answer"),
            };
            self.waiting = if self.answer.is_empty() && is_whole(&buffer[..read], stamps)? {
                false
            } else {
                self.answer.extend_from_slice(&buffer[..read]);
                !is_whole(&self.answer, stamps)?
            };
        }
        self.answer.clear();
        Ok(true)
    }
}

/// Whether these bytes are one whole answer; an error where they are not the one that was wanted.
fn is_whole(bytes: &[u8], stamps: &[&str]) -> anyhow::Result<bool> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(false) };
    let head = &bytes[..end + 2];
    let text = || String::from_utf8_lossy(bytes);
    ensure!(head.starts_with(b"HTTP/1.1 200 "), "an answer is no 200: {}", text());
    for stamp in stamps {
        ensure!(field(head, stamp).is_some(), "an answer has no {stamp}: {}", text());
    }
    let body = number(head, "content-length").with_context(|| format!("an answer has no length: {}", text()))?;
    let whole = end + 4 + usize::try_from(body)?;
    ensure!(bytes.len() <= whole, "more than one answer came: {}", text());
    Ok(bytes.len() == whole)
}
