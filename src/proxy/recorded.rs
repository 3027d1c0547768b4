//! A streamed answer on its way to the client: passed on first, hashed afterwards, its end recorded before it leaves.
//!
//! What ends the message for the client (the last byte of a known length, the trailers, the end itself) is kept back
//! until the `prediction` entry is as durable as the mode promises. If it cannot be, the stream is reset.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::admit::Permit;
use super::body::{AnswerSource, Cut};
use super::client::InExchange;
use super::input::InputError;
use super::recording::Recording;
use crate::exchange::{OnFailure, Outcome, Ticket};

/// A streamed answer of a prediction.
#[derive(Debug)]
pub(super) struct Recorded {
    recording: Box<Recording>,
    source: AnswerSource,
    /// Frames read before it was clear that the answer cannot be held.
    ahead: VecDeque<Frame<Bytes>>,
    /// Passed on, not yet hashed.
    passed: Option<Bytes>,
    /// Bytes still to come, where the head tells.
    remaining: Option<u64>,
    stage: Stage,
    on_failure: OnFailure,
    _permit: Option<Permit>,
}

#[derive(Debug)]
enum Stage {
    Streaming,
    /// The end waits for its entry.
    Ending(Ticket, Option<Frame<Bytes>>),
    Over,
}

impl Recorded {
    /// An answer whose `begin` is durable.
    pub(super) fn new(
        recording: Box<Recording>,
        source: AnswerSource,
        ahead: VecDeque<Frame<Bytes>>,
        remaining: Option<u64>,
        permit: Option<Permit>,
    ) -> Self {
        let on_failure = recording.passage.worker.shared.recorder.on_failure();
        Self { recording, source, ahead, passed: None, remaining, stage: Stage::Streaming, on_failure, _permit: permit }
    }

    /// The exchange on the client's connection.
    pub(super) fn exchange(&self) -> &InExchange {
        &self.recording.passage.exchange
    }

    /// Whether nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// The next frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Ending(ticket, last) => {
                    let kept = ready!(Pin::new(ticket).poll(cx));
                    let last = last.take();
                    self.stage = Stage::Over;
                    if kept.is_err() && self.on_failure == OnFailure::Reject {
                        self.recording.count(Outcome::Rejected);
                        return Poll::Ready(Some(Err(Cut::Unrecorded)));
                    }
                    self.recording.count(Outcome::Complete);
                    return Poll::Ready(last.map(Ok));
                }
                Stage::Streaming => {}
            }
            let frame = if let Some(frame) = self.ahead.pop_front() {
                Some(Ok(frame))
            } else {
                self.catch_up();
                ready!(self.source.poll_frame(cx))
            };
            if let Some(passed) = self.take(frame) {
                return Poll::Ready(Some(passed));
            }
        }
    }

    /// Takes a frame into account. `None` where it is the end, which has to wait.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Cut>>) -> Option<Result<Frame<Bytes>, Cut>> {
        match frame {
            None => self.end_with(None),
            Some(Err(cut)) => {
                self.cut(&cut);
                return Some(Err(cut));
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    super::headers::clean_trailers(trailers);
                    self.recording.passage.note_end(trailers);
                    self.end_with(Some(frame));
                    return None;
                }
                let data = frame.data_ref().cloned().unwrap_or_default();
                self.catch_up();
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(data.len() as u64));
                self.passed = Some(data);
                if self.ahead.is_empty() && (self.remaining == Some(0) || self.source.is_end()) {
                    self.end_with(Some(frame));
                    return None;
                }
                return Some(Ok(frame));
            }
        }
        None
    }

    fn end_with(&mut self, last: Option<Frame<Bytes>>) {
        self.catch_up();
        self.recording.observe(false);
        let ticket = self.recording.finish(Outcome::Complete);
        self.stage = Stage::Ending(ticket, last);
    }

    fn cut(&mut self, cut: &Cut) {
        self.catch_up();
        let (outcome, label) = match (cut, self.recording.input_error()) {
            (_, Some(InputError::TooLarge)) => (Outcome::Rejected, "body_too_large"),
            (_, Some(InputError::ClientGone)) => (Outcome::ClientAbort, "client_gone"),
            (Cut::Timeout, None) => (Outcome::Timeout, "timeout"),
            (_, None) => (Outcome::UpstreamAbort, "upstream_abort"),
        };
        self.recording.passage.note_error(label);
        if outcome == Outcome::UpstreamAbort {
            self.recording.passage.note_break();
        }
        drop(self.recording.finish(outcome));
        self.stage = Stage::Over;
    }

    fn catch_up(&mut self) {
        if let (Some(chunk), Some(output)) = (self.passed.take(), self.recording.output.as_mut()) {
            output.feed(&chunk, false);
        }
    }
}
