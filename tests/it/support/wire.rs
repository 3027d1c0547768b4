//! One end of a TCP connection that speaks HTTP/1.1 by hand, as client or as model server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Head, Message};
use super::soon;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In order.
    Fin,
    /// By force.
    Reset,
}

/// A connection and what came over it unread.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: TcpStream,
    unread: Vec<u8>,
    patience: Duration,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
    ToTheEnd,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, unread: Vec::new(), patience: super::PATIENCE }
    }

    /// For a server that waits for whoever comes: its test knows when to give up.
    pub(crate) fn without_patience(self) -> Self {
        Self { patience: Duration::MAX, ..self }
    }

    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::new(soon("a connection", TcpStream::connect(to)).await.unwrap())
    }

    /// Sends bytes as they are. The peer may have gone: that is then seen when reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = soon("the peer to read", self.socket.write_all(bytes.as_ref())).await;
        if let Err(error) = sent {
            assert!(is_gone(error.kind()), "sending failed: {error}");
        }
    }

    /// The same connection twice, so that it can be read from and written to at once. It closes with the last of them.
    pub(crate) fn split(self) -> (Self, Self) {
        let socket = self.socket.into_std().unwrap();
        let twin = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
        let writing = Self { socket: twin, unread: Vec::new(), patience: self.patience };
        (Self { socket: TcpStream::from_std(socket).unwrap(), ..self }, writing)
    }

    /// Whether all of it could be sent within so long, to a peer that is there.
    pub(crate) async fn sends_within(&mut self, bytes: &[u8], patience: Duration) -> bool {
        matches!(tokio::time::timeout(patience, self.socket.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Closes the sending half.
    pub(crate) async fn finish(&mut self) {
        // A peer that has reset meanwhile is seen when reading.
        let _ = self.socket.shutdown().await;
    }

    /// Breaks the connection by a TCP reset.
    pub(crate) fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    /// Reads some more; how the connection ended where it did.
    async fn fill(&mut self) -> Result<(), Ended> {
        let mut some = vec![0; 64 << 10];
        let Ok(read) = tokio::time::timeout(self.patience, self.socket.read(&mut some)).await else {
            panic!("nothing more came after {:?}", String::from_utf8_lossy(&self.unread));
        };
        match read {
            Ok(0) => Err(Ended::Fin),
            Ok(read) => {
                self.unread.extend_from_slice(&some[..read]);
                Ok(())
            }
            Err(error) if is_gone(error.kind()) => Err(Ended::Reset),
            Err(error) => panic!("reading failed: {error}"),
        }
    }

    /// Reads until the text has come; gives everything up to its end.
    pub(crate) async fn until(&mut self, text: &str) -> Vec<u8> {
        match self.split_after(text.as_bytes()).await {
            Ok(read) => read,
            Err(ended) => {
                panic!("{ended:?} before {text:?}, after {:?}", String::from_utf8_lossy(&self.unread))
            }
        }
    }

    async fn split_after(&mut self, text: &[u8]) -> Result<Vec<u8>, Ended> {
        loop {
            if let Some(at) = memmem::find(&self.unread, text) {
                return Ok(self.unread.drain(..at + text.len()).collect());
            }
            self.fill().await?;
        }
    }

    /// Reads so many bytes, or to how the connection ended before.
    pub(crate) async fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, Ended> {
        while self.unread.len() < bytes {
            self.fill().await?;
        }
        Ok(self.unread.drain(..bytes).collect())
    }

    /// Reads so many bytes and forgets them.
    pub(crate) async fn skip(&mut self, mut bytes: u64) {
        while bytes > 0 {
            if self.unread.is_empty() {
                let ended = self.fill().await.err();
                assert_eq!(ended, None, "{bytes} bytes were still to come");
            }
            let taken = self.unread.len().min(usize::try_from(bytes).unwrap());
            self.unread.drain(..taken);
            bytes -= taken as u64;
        }
    }

    /// Reads to the end of the connection.
    pub(crate) async fn read_to_end(&mut self) -> (Vec<u8>, Ended) {
        loop {
            if let Err(ended) = self.fill().await {
                return (std::mem::take(&mut self.unread), ended);
            }
        }
    }

    /// Reads to the end of the connection and forgets it.
    pub(crate) async fn pass_over(&mut self) -> Ended {
        loop {
            self.unread.clear();
            if let Err(ended) = self.fill().await {
                return ended;
            }
        }
    }

    /// The next head; `None` where the connection ended in order before it.
    pub(crate) async fn next_head(&mut self) -> Option<Head> {
        match self.split_after(b"\r\n\r\n").await {
            Ok(raw) => Some(Head::parse(&raw)),
            Err(ended) => {
                let rest = String::from_utf8_lossy(&self.unread);
                assert!(rest.is_empty() || ended == Ended::Reset, "{ended:?} within a head: {rest:?}");
                None
            }
        }
    }

    /// The next head, which must come.
    pub(crate) async fn head(&mut self) -> Head {
        self.next_head().await.expect("a head, and not the end of the connection")
    }

    /// The next request, which must come whole.
    pub(crate) async fn request(&mut self) -> Message {
        self.next_request().await.expect("a request, and not the end of the connection")
    }

    /// The next request; `None` at the end of the connection.
    pub(crate) async fn next_request(&mut self) -> Option<Message> {
        let message = self.next_message().await?;
        assert!(message.whole, "a broken request: {message:?}");
        Some(message)
    }

    /// The next request, whole or not; `None` at the end of the connection.
    pub(crate) async fn next_message(&mut self) -> Option<Message> {
        let head = self.next_head().await?;
        let framing = framing(&head).unwrap_or(Framing::None);
        Some(self.body(head, framing).await)
    }

    /// The next answer, which must come whole.
    pub(crate) async fn answer(&mut self) -> Message {
        let answer = self.some_answer().await;
        assert!(answer.whole, "the answer was cut: {answer:?}");
        answer
    }

    /// The next answer, which must be cut within its body.
    pub(crate) async fn cut_answer(&mut self) -> Message {
        let answer = self.some_answer().await;
        assert!(!answer.whole, "the answer came whole: {answer:?}");
        answer
    }

    /// The next answer, whole or cut.
    pub(crate) async fn some_answer(&mut self) -> Message {
        let head = self.head().await;
        self.rest_of(head).await
    }

    /// The body of an answer whose head has been read.
    pub(crate) async fn rest_of(&mut self, head: Head) -> Message {
        let bodiless = matches!(head.status(), 100..200 | 204 | 304);
        let framing = if bodiless { Framing::None } else { framing(&head).unwrap_or(Framing::ToTheEnd) };
        self.body(head, framing).await
    }

    async fn body(&mut self, head: Head, framing: Framing) -> Message {
        let mut message = Message { head, ..Message::default() };
        let whole = match framing {
            Framing::None => Ok(()),
            Framing::Length(bytes) => self.exactly(bytes).await.map(|body| message.body = body),
            Framing::Chunked => self.chunks(&mut message).await,
            Framing::ToTheEnd => {
                let (body, ended) = self.read_to_end().await;
                message.body = body;
                if ended == Ended::Fin { Ok(()) } else { Err(ended) }
            }
        };
        message.whole = whole.is_ok();
        if !message.whole && message.body.is_empty() && framing != Framing::Chunked {
            message.body = std::mem::take(&mut self.unread);
        }
        message
    }

    async fn chunks(&mut self, message: &mut Message) -> Result<(), Ended> {
        loop {
            let line = self.split_after(b"\r\n").await?;
            let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
            assert!(size.bytes().all(|byte| byte.is_ascii_hexdigit()), "no chunk size: {size:?}");
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n", "a chunk's end");
        }
        let mut raw = b"trailers\r\n".to_vec();
        loop {
            let line = self.split_after(b"\r\n").await?;
            raw.extend_from_slice(&line);
            if line == b"\r\n" {
                message.trailers = Head::parse(&raw).fields;
                return Ok(());
            }
        }
    }
}

fn framing(head: &Head) -> Option<Framing> {
    if let [coding] = head.all("transfer-encoding")[..] {
        assert!(coding.eq_ignore_ascii_case("chunked"), "transfer-encoding: {coding}");
        assert!(head.lacks("content-length"), "two framings: {head:?}");
        return Some(Framing::Chunked);
    }
    assert!(head.lacks("transfer-encoding"), "more than one transfer-encoding: {head:?}");
    match head.all("content-length")[..] {
        [] => None,
        [length] => Some(Framing::Length(length.parse().expect("a length"))),
        _ => panic!("more than one content-length: {head:?}"),
    }
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted | ErrorKind::NotConnected
    )
}
