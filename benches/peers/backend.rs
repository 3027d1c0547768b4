//! The model server behind every peer, and the sink for spans: a child process of this same binary.
//!
//! It answers each prediction with the same bytes and allocates nothing for it, so that it costs every peer the
//! same and little. It reads HTTP/1.1 with `Content-Length` alone, as all peers send it; anything else ends the
//! connection, and the bench says so. It ends when its standard input does, so it never outlives the bench.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::Context as _;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::support::{ANSWER, field, number};

/// The argument that makes the bench this server.
pub(crate) const COMMAND: &str = "backend";
/// The field with which a request asks for an answer of so many bytes.
pub(crate) const ANSWER_BYTES: &str = "x-answer-bytes";
/// Where the number of span exports is told.
pub(crate) const EXPORTS_PATH: &str = "/exports";

/// Where OTLP over HTTP arrives.
const TRACES_PATH: &[u8] = b"/v1/traces";
const TRACES_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

const LISTENER: u64 = u64::MAX;
const STDIN: u64 = u64::MAX - 1;
/// Bytes read, and of a large answer written, at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a head that is still arriving.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves until standard input ends; the first line on standard output is the port.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the backend")?;
    listener.set_nonblocking(true)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", listener.local_addr()?.port())?;
    stdout.flush()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    epoll::add(&epoll, std::io::stdin(), EventData::new_u64(STDIN), EventFlags::IN)?;
    let mut server = Server { epoll, conns: Vec::new(), exports: 0, chunk: vec![b' '; CHUNK_BYTES] };
    let mut events = Vec::with_capacity(256);
    loop {
        match epoll::wait(&server.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in events.drain(..) {
            let data = event.data;
            match data.u64() {
                STDIN => return Ok(()),
                LISTENER => server.accept(&listener)?,
                index => server.turn(usize::try_from(index)?),
            }
        }
    }
}

struct Server {
    epoll: OwnedFd,
    conns: Vec<Option<Conn>>,
    exports: u64,
    chunk: Vec<u8>,
}

struct Conn {
    stream: TcpStream,
    /// The beginning of a head whose end has not come.
    head: Vec<u8>,
    /// Bytes of the request's body that have not come.
    body_left: u64,
    answer: Answer,
    /// What of the answer could not be written yet: of its head, of its filling.
    unsent: Vec<u8>,
    filling_left: u64,
}

#[derive(Clone, Copy)]
enum Answer {
    Prediction,
    Filling(u64),
    Traces,
    Exports,
}

/// The connection is of no more use.
struct Over;

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.conns.iter().position(Option::is_none).unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), flags)?;
            self.conns[index] = Some(Conn {
                stream,
                head: Vec::new(),
                body_left: 0,
                answer: Answer::Prediction,
                unsent: Vec::new(),
                filling_left: 0,
            });
        }
    }

    fn turn(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index).and_then(Option::as_mut) else { return };
        if conn.turn(&mut self.chunk, &mut self.exports).is_err() {
            self.conns[index] = None;
        }
    }
}

impl Conn {
    fn turn(&mut self, chunk: &mut [u8], exports: &mut u64) -> Result<(), Over> {
        self.write(chunk)?;
        loop {
            let read = match self.stream.read(chunk) {
                Ok(0) => return Err(Over),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Over),
            };
            self.take(&chunk[..read], exports)?;
            self.write(chunk)?;
            // A short read has emptied the socket; what comes later is an event of its own.
            if read < chunk.len() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, mut data: &[u8], exports: &mut u64) -> Result<(), Over> {
        while !data.is_empty() {
            if self.body_left > 0 {
                let taken = data.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
                data = &data[taken..];
                self.body_left -= taken as u64;
            } else {
                data = self.take_head(data)?;
            }
            if self.body_left == 0 && self.head.is_empty() {
                self.answer(exports)?;
            }
        }
        Ok(())
    }

    /// Reads the head, and gives what comes after it.
    fn take_head<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], Over> {
        if self.head.is_empty()
            && let Some(end) = memchr::memmem::find(data, b"\r\n\r\n")
        {
            self.begin(&data[..end + 2])?;
            return Ok(&data[end + 4..]);
        }
        let before = self.head.len();
        self.head.extend_from_slice(data);
        let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
            return if self.head.len() > HEAD_BYTES_MAX { Err(Over) } else { Ok(&[]) };
        };
        let head = std::mem::take(&mut self.head);
        self.begin(&head[..end + 2])?;
        Ok(&data[end + 4 - before..])
    }

    fn begin(&mut self, head: &[u8]) -> Result<(), Over> {
        if field(head, "transfer-encoding").is_some() {
            return Err(Over);
        }
        self.body_left = number(head, "content-length").unwrap_or(0);
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        self.answer = match number(head, ANSWER_BYTES) {
            _ if path == TRACES_PATH => Answer::Traces,
            _ if path == EXPORTS_PATH.as_bytes() => Answer::Exports,
            Some(bytes) => Answer::Filling(bytes),
            None => Answer::Prediction,
        };
        Ok(())
    }

    fn answer(&mut self, exports: &mut u64) -> Result<(), Over> {
        match self.answer {
            Answer::Prediction => self.send(ANSWER.as_bytes()),
            Answer::Traces => {
                *exports += 1;
                self.send(TRACES_ANSWER)
            }
            Answer::Exports => {
                let text = exports.to_string();
                self.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).as_bytes())?;
                Err(Over)
            }
            Answer::Filling(bytes) => {
                self.filling_left = bytes;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {bytes}\r\n\r\n");
                self.send(head.as_bytes())
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let written = if self.unsent.is_empty() { push(&mut self.stream, bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes on where the socket was full.
    fn write(&mut self, chunk: &[u8]) -> Result<(), Over> {
        if !self.unsent.is_empty() {
            let written = push(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..written);
        }
        while self.unsent.is_empty() && self.filling_left > 0 {
            let wanted = chunk.len().min(usize::try_from(self.filling_left).unwrap_or(usize::MAX));
            let written = push(&mut self.stream, &chunk[..wanted])?;
            self.filling_left -= written as u64;
            if written < wanted {
                break;
            }
        }
        Ok(())
    }
}

/// Writes what the socket takes.
fn push(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Over> {
    match stream.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(Over),
    }
}
