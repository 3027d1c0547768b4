//! One direction of a tunnel: bytes from one side to the other as they come, and no more of them than the other takes.

use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBuf, Write};

/// Bytes read at once.
pub(super) const READ_BYTES: usize = 16 << 10;
/// Bytes read and not yet taken by the other side, beyond which nothing more is read.
const HELD_BYTES_MAX: usize = 64 << 10;
/// Reads in one turn, after which the other direction has its own.
const READS_MAX: u32 = 16;

/// Which side broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broke {
    /// The one that is read from.
    Source,
    /// The one that is written to, in this way.
    Sink(ErrorKind),
}

/// A direction. At rest it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Pump {
    held: BytesMut,
    /// What was written may not have left yet: TLS gathers.
    unflushed: bool,
    stage: Stage,
    /// Whether anything moved since it was last asked.
    moved: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Flowing,
    /// The source has ended; what was read of it may still have to be taken.
    Ended,
    /// Nothing more will pass: the end was passed on, or the sink takes no more.
    Closed,
}

impl Pump {
    /// Begins with what was read already.
    pub(super) fn new(ahead: Bytes) -> Self {
        Self { held: BytesMut::from(ahead), ..Self::default() }
    }

    /// Whether nothing more will pass.
    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether anything moved since the last call.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Passes nothing more on.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Closed;
        self.held = BytesMut::new();
    }

    /// Moves what can be moved, by way of `space`; `passed` sees what the sink took. Ready once the source has ended and all of it was
    /// taken; the end itself is not passed on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Pin<&mut impl Read>,
        mut sink: Pin<&mut impl Write>,
        space: &mut [u8],
        mut passed: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Broke>> {
        for reads in 0.. {
            let taken = write(cx, sink.as_mut(), &self.held)?;
            passed(&self.held[..taken]);
            self.held.advance(taken);
            self.note(taken);
            if self.stage != Stage::Flowing || self.held.len() >= HELD_BYTES_MAX {
                break;
            }
            if reads == READS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
            let mut buf = ReadBuf::new(space);
            match source.as_mut().poll_read(cx, buf.unfilled()) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broke::Source)),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => self.stage = Stage::Ended,
                Poll::Ready(Ok(())) => {
                    let read = buf.filled();
                    self.moved = true;
                    // As a rule it goes out at once, from where it was read to.
                    let taken = if self.held.is_empty() { write(cx, sink.as_mut(), read)? } else { 0 };
                    passed(&read[..taken]);
                    self.note(taken);
                    self.held.extend_from_slice(&read[taken..]);
                }
            }
        }
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        self.held = BytesMut::new();
        if self.unflushed {
            ready!(sink.poll_flush(cx)).map_err(|error| Broke::Sink(error.kind()))?;
            self.unflushed = false;
        }
        if self.stage == Stage::Flowing { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn note(&mut self, taken: usize) {
        self.moved |= taken > 0;
        self.unflushed |= taken > 0;
    }
}

/// How much of `bytes` the sink takes now.
fn write(cx: &mut Context<'_>, mut sink: Pin<&mut impl Write>, bytes: &[u8]) -> Result<usize, Broke> {
    let mut taken = 0;
    while taken < bytes.len() {
        match sink.as_mut().poll_write(cx, &bytes[taken..]) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return Err(Broke::Sink(ErrorKind::WriteZero)),
            Poll::Ready(Err(error)) => return Err(Broke::Sink(error.kind())),
            Poll::Ready(Ok(more)) => taken += more,
        }
    }
    Ok(taken)
}
