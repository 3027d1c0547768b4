//! The request's body on its way to the model server: passed on first, hashed afterwards.
//!
//! hyper's client pulls [`InputBody`]; the record layer looks at the same [`Input`] from the other side. A chunk that
//! has been handed over waits in the backlog until the request would otherwise wait for the model server, so that
//! hashing overlaps with inference. It is not buffered: the backlog is bounded, and chunks are shared, not copied.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::digest::{BodyDigest, Digested};
use super::error::ProxyError;
use super::{headers, lanes};

/// Bytes handed over and not yet hashed, at most, before hashing is no longer put off: of a body that cannot wait whole.
const BACKLOG_BYTES_MAX: usize = 16 << 10;
/// Bytes kept for a second attempt, or read ahead for routing, at most.
pub(super) const PREFIX_BYTES_MAX: u64 = 64 << 10;

/// Why the body broke off; ends the exchange with the model server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputError {
    /// The client went away or broke the protocol.
    #[error("the client broke off its request")]
    ClientGone,
    /// Longer than `proxy.limits.body`.
    #[error("the request body is longer than proxy.limits.body")]
    TooLarge,
}

/// The request's body as both sides see it.
#[derive(Debug)]
pub(super) struct Input {
    source: Incoming,
    digest: Option<BodyDigest>,
    backlog: Vec<Bytes>,
    backlog_bytes: usize,
    /// What has been passed on so far, while it is all still here; else `None`.
    retained: Option<Vec<Bytes>>,
    passed: u64,
    limit: u64,
    ended: bool,
    /// Its length, where the head tells.
    announced: Option<u64>,
    waiting: bool,
    /// More may follow the body: a tunnel's bytes.
    goes_on: bool,
    error: Option<InputError>,
    progress: Instant,
}

/// A shared [`Input`].
pub(super) type SharedInput = Rc<RefCell<Input>>;

impl Input {
    /// Wraps the body as it comes from the client. `digest` is `None` where nothing is recorded.
    pub(super) fn new(source: Incoming, digest: Option<BodyDigest>, limit: u64, now: Instant) -> Self {
        let ended = source.is_end_stream();
        let announced = source.size_hint().exact();
        Self {
            source,
            digest,
            backlog: Vec::new(),
            backlog_bytes: 0,
            retained: None,
            passed: 0,
            limit: if limit == 0 { u64::MAX } else { limit },
            ended,
            announced,
            waiting: false,
            goes_on: false,
            error: None,
            progress: now,
        }
    }

    /// The same as [`Input::catch_up`], unless the body will soon be whole and can then be hashed beside others.
    pub(super) fn catch_up_at_leisure(&mut self) {
        let waits = self.fits_a_lane() && !self.ended && self.digest.as_ref().is_some_and(BodyDigest::may_wait);
        if !waits {
            self.catch_up();
        }
    }

    fn fits_a_lane(&self) -> bool {
        let unary = || self.digest.as_ref().is_some_and(BodyDigest::is_unary);
        self.announced.map_or_else(unary, |bytes| bytes <= lanes::BODY_BYTES_MAX as u64)
    }

    /// Hashes what has been handed over meanwhile.
    pub(super) fn catch_up(&mut self) {
        if let Some(digest) = &mut self.digest
            && !self.backlog.is_empty()
        {
            digest.feed_all(&self.backlog, self.ended && !self.goes_on);
            self.backlog.clear();
            self.backlog_bytes = 0;
        }
    }

    /// Says that more may follow the body, through [`Input::take`].
    pub(super) fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// Takes into account what followed the body.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.catch_up();
        if let Some(digest) = &mut self.digest {
            digest.feed_rest(bytes);
        }
    }

    /// Closes the account of the body, as far as it went.
    pub(super) fn finish(&mut self) -> Option<Digested> {
        self.catch_up();
        self.digest.as_mut().and_then(BodyDigest::finish)
    }

    /// The running account.
    pub(super) fn digest(&self) -> Option<&BodyDigest> {
        self.digest.as_ref()
    }

    /// Why the body broke off, where it did.
    pub(super) fn error(&self) -> Option<InputError> {
        self.error
    }

    /// Whether the body has come to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// When to give up, and on whom: the client, while it owes us bytes; the model server otherwise.
    pub(super) fn deadline(&self, client: Option<Duration>, server: Option<Duration>) -> Option<(Instant, ProxyError)> {
        let (patience, error) =
            if self.waiting && !self.ended { (client, ProxyError::ClientGone) } else { (server, ProxyError::Timeout) };
        patience.map(|patience| (self.progress + patience, error))
    }

    /// Keeps what passes from here on, up to [`PREFIX_BYTES_MAX`], so that it can be sent once more.
    pub(super) fn retain(&mut self) {
        if self.passed == 0 && self.retained.is_none() {
            self.retained = Some(Vec::new());
        }
    }

    /// Whether the whole body so far can be sent once more.
    pub(super) fn can_repeat(&self) -> bool {
        (self.retained.is_some() || self.passed == 0) && self.error.is_none()
    }

    /// Whether any of the body has been handed over.
    pub(super) fn begun(&self) -> bool {
        self.passed > 0
    }

    /// Reads ahead until `enough` says so, the body ends, or the prefix is full. What was read is replayed, and hashed when
    /// its turn comes.
    pub(super) fn poll_prefix(&mut self, cx: &mut Context<'_>, enough: impl Fn(&BodyDigest) -> bool) -> Poll<()> {
        self.retain();
        loop {
            let known = self.digest.as_ref().is_none_or(&enough);
            if known || self.ended || self.passed >= PREFIX_BYTES_MAX || self.error.is_some() {
                return Poll::Ready(());
            }
            // A prefix ends where trailers begin: they cannot be replayed, and nothing is left to learn.
            let Some(Ok(frame)) = ready!(self.poll_source(cx)) else { return Poll::Ready(()) };
            let Some(data) = frame.data_ref() else { return Poll::Ready(()) };
            if let Some(digest) = &mut self.digest {
                digest.read_ahead(data);
            }
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, InputError>>> {
        if let Some(error) = self.error {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = Pin::new(&mut self.source).poll_frame(cx);
        self.waiting = polled.is_pending();
        let frame = ready!(polled);
        self.progress = Instant::now();
        let passed = match frame {
            None => None,
            Some(Err(_)) => return self.fail(InputError::ClientGone),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if self.passed + data.len() as u64 > self.limit => return self.fail(InputError::TooLarge),
                Ok(data) => {
                    self.note(&data);
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) => Some(Ok(clean_trailers(frame))),
            },
        };
        if passed.is_none() || self.source.is_end_stream() {
            self.ended = true;
        }
        Poll::Ready(passed)
    }

    fn note(&mut self, data: &Bytes) {
        self.passed += data.len() as u64;
        if let Some(retained) = &mut self.retained {
            if self.passed <= PREFIX_BYTES_MAX {
                retained.push(data.clone());
            } else {
                self.retained = None;
            }
        }
        if self.digest.is_some() {
            let most = if self.fits_a_lane() { lanes::BODY_BYTES_MAX } else { BACKLOG_BYTES_MAX };
            if self.backlog_bytes + data.len() > most {
                self.catch_up();
            }
            self.backlog_bytes += data.len();
            self.backlog.push(data.clone());
        }
    }

    fn fail(&mut self, error: InputError) -> Poll<Option<Result<Frame<Bytes>, InputError>>> {
        self.error = Some(error);
        Poll::Ready(Some(Err(error)))
    }
}

fn clean_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::clean_trailers(trailers);
    }
    frame
}

/// The body that hyper's client sends: first what was read ahead, then the rest as it comes.
#[derive(Debug)]
pub(super) struct InputBody {
    input: SharedInput,
    replayed: usize,
}

impl InputBody {
    /// The body from its first byte on. Only while [`Input::can_repeat`].
    pub(super) fn new(input: &SharedInput) -> Self {
        Self { input: Rc::clone(input), replayed: 0 }
    }
}

impl Body for InputBody {
    type Data = Bytes;
    type Error = InputError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, InputError>>> {
        let shared = Rc::clone(&self.input);
        let mut input = shared.borrow_mut();
        let again = input.retained.as_ref().and_then(|chunks| chunks.get(self.replayed).cloned());
        if let Some(chunk) = again {
            self.replayed += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if input.ended && input.source.is_end_stream() {
            return Poll::Ready(None);
        }
        let before = input.retained.as_ref().map_or(0, Vec::len);
        let polled = input.poll_source(cx);
        if input.retained.as_ref().map_or(0, Vec::len) > before {
            self.replayed += 1;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let input = self.input.borrow();
        input.source.is_end_stream() && self.replayed >= input.retained.as_ref().map_or(0, Vec::len)
    }

    fn size_hint(&self) -> SizeHint {
        let input = self.input.borrow();
        let ahead: u64 = input.retained.iter().flatten().skip(self.replayed).map(|chunk| chunk.len() as u64).sum();
        let rest = input.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}
