//! The answer's body: as it comes from the model server, and as hyper's server sends it on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::admit::Permit;
use super::client::{InExchange, Patience};
use super::meter::{Meter, Wait};
use super::passage::Passage;
use super::recorded::Recorded;
use super::upstream::{Carrier, UpstreamBody};

/// Why an answer was cut after its head.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// The model server broke off.
    #[error("the model server broke off its answer")]
    Upstream(#[source] hyper::Error),
    /// Silence, or the exchange's deadline.
    #[error("the answer took too long")]
    Timeout,
    /// Its end could not be recorded.
    #[error("the answer's end could not be recorded")]
    Unrecorded,
}

/// The answer's body as it comes, with its deadlines.
#[derive(Debug)]
pub(super) struct AnswerSource {
    body: UpstreamBody,
    wait: Wait,
    silence: Option<Duration>,
    deadline: Option<Instant>,
}

impl AnswerSource {
    pub(super) fn new(incoming: Incoming, carrier: Carrier, deadline: Option<Instant>, meter: &Rc<Meter>) -> Self {
        let body = UpstreamBody::new(incoming, carrier);
        Self { body, wait: Wait::new(meter), silence: None, deadline }
    }

    /// How long it may be silent.
    pub(super) fn allow_silence(&mut self, silence: Option<Duration>) {
        self.silence = silence;
    }

    /// Whether nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        self.body.is_end()
    }

    /// Gives the connection back where there is no body that would do so at its end.
    pub(super) fn settle(&mut self) {
        self.body.settle();
    }

    /// The next frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Poll::Ready(frame) = self.body.poll_frame(cx) {
            self.wait.end();
            // One that never pauses must not outlast its time.
            if frame.is_some() && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Poll::Ready(Some(Err(Cut::Timeout)));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Cut::Upstream)));
        }
        let since = self.wait.begin();
        let silent = self.silence.map(|silence| since + silence);
        let deadline = match (silent, self.deadline) {
            (Some(silent), Some(deadline)) => Some(silent.min(deadline)),
            (silent, deadline) => silent.or(deadline),
        };
        if let Some(alarm) = self.body.alarm() {
            ready!(alarm.poll(deadline, cx));
        }
        self.wait.end();
        Poll::Ready(Some(Err(Cut::Timeout)))
    }
}

/// A whole answer at hand.
#[derive(Debug)]
pub(super) struct Held {
    /// Its data.
    pub chunks: VecDeque<Bytes>,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
    /// The call's place, until the answer has left.
    #[expect(dead_code, reason = "held for its Drop")]
    pub permit: Option<Permit>,
    /// The exchange on the client's connection.
    pub exchange: InExchange,
}

/// An answer that passes unrecorded: it is no prediction.
#[derive(Debug)]
pub(super) struct Passing {
    /// As it comes.
    pub source: AnswerSource,
    /// Its span, ended with it.
    pub passage: Passage,
    /// The call's place, until the answer has left.
    #[expect(dead_code, reason = "held for its Drop")]
    pub permit: Option<Permit>,
}

/// The body that hyper's server sends.
#[derive(Debug)]
pub(super) struct AnswerBody {
    kind: Kind,
    /// Since when the client has not asked for more.
    patience: Option<Patience>,
}

#[derive(Debug)]
enum Kind {
    Held(Held),
    Passing(Box<Passing>),
    Recorded(Box<Recorded>),
}

impl AnswerBody {
    /// A whole answer.
    pub(super) fn held(held: Held) -> Self {
        Self { patience: held.exchange.conn().watch(), kind: Kind::Held(held) }
    }

    /// An answer as it comes, unrecorded.
    pub(super) fn passing(passing: Passing) -> Self {
        Self { patience: passing.passage.exchange.conn().watch(), kind: Kind::Passing(Box::new(passing)) }
    }

    /// An answer as it comes, recorded.
    pub(super) fn recorded(recorded: Recorded) -> Self {
        Self { patience: recorded.exchange().conn().watch(), kind: Kind::Recorded(Box::new(recorded)) }
    }

    fn wait_for_client(&self, since: Option<Instant>) {
        if let Some(patience) = &self.patience {
            patience.set(since);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        this.wait_for_client(None);
        let frame = ready!(match &mut this.kind {
            Kind::Held(held) => Poll::Ready(held.next().map(Ok)),
            Kind::Passing(passing) => passing.poll_frame(cx),
            Kind::Recorded(recorded) => recorded.poll_frame(cx),
        });
        if this.patience.is_some() {
            this.wait_for_client(Some(Instant::now()));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Held(held) => held.chunks.is_empty() && held.trailers.is_none(),
            Kind::Passing(passing) => passing.source.is_end(),
            Kind::Recorded(recorded) => recorded.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Held(held) if held.trailers.is_none() => {
                SizeHint::with_exact(held.chunks.iter().map(|chunk| chunk.len() as u64).sum())
            }
            _ => SizeHint::default(),
        }
    }
}

impl Held {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        self.chunks.pop_front().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers))
    }
}

impl Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut frame = ready!(self.source.poll_frame(cx));
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    super::headers::clean_trailers(trailers);
                    self.passage.note_end(trailers);
                }
            }
            Some(Err(_)) => self.passage.note_error("upstream_abort"),
            None => {}
        }
        Poll::Ready(frame)
    }
}
