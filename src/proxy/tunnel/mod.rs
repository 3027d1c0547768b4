//! After a switch of protocols: bytes both ways between a client and a model server, until they end.
//!
//! # Life of a tunnel
//!
//! 1. `forward` takes the connection to the model server out of HTTP, with what came right behind its 101.
//! 2. `record` writes a `begin` where the call is a prediction, and hands the tunnel to the client's connection.
//! 3. hyper sends the 101 and gives the client's socket back, with what came right behind the request.
//! 4. Here bytes pass; those of a prediction are counted and hashed as they are taken.
//!
//! What the bytes mean is not looked at. An end in order is passed on as such, anything else as a reset, so that neither
//! side takes what was cut for whole. Of a prediction the server's end is the end of all: it is kept back until the entry
//! is as durable as the mode promises.

mod pump;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::rt::{Read, ReadBuf, Write};
use hyper_util::rt::TokioIo;

use super::admit::Permit;
use super::client::{ClientConn, ClientIo, Order};
use super::meter::Wait;
use super::passage::Passage;
use super::recording::Recording;
use super::transport::Transport;
use super::upstream::{Alarm, Switched};
use crate::exchange::{OnFailure, Outcome};
use pump::{Broke, Pump, READ_BYTES};

/// How long a client may go on talking to nobody after the end of all. Closed at once, its unread bytes would make a
/// reset of the end that it is about to read.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away at once while it does.
const LINGER_BYTES: usize = 4 << 10;

/// A tunnel whose client's side is still to come.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// The model server's side.
    pub far: Switched,
    /// What is kept of it.
    pub account: Account,
    /// Its place among the calls in flight.
    pub permit: Option<Permit>,
    /// When it must be over.
    pub deadline: Option<Instant>,
}

/// What is kept of a tunnel.
#[derive(Debug)]
pub(super) enum Account {
    /// A span.
    Passing(Box<Passage>),
    /// An entry.
    Recorded(Box<Recording>),
}

/// Who or what cut a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Client,
    Upstream,
    Timeout,
}

impl Tunnel {
    /// Passes bytes until both sides have ended or one breaks off. `ahead` was read from the client already.
    pub(super) async fn run(self, near: ClientIo, ahead: Bytes, conn: &ClientConn) {
        let Self { far, mut account, permit, deadline } = self;
        let mut flow = Flow::new(account.passage(), ahead, far.ahead, deadline);
        let mut legs = Legs { near, far: far.io, whole: false };
        if let Err(cut) = obeying(conn, |cx| flow.poll(&mut legs, &mut account, cx)).await.flatten() {
            return account.cut(cut);
        }
        if !account.settle(conn).await {
            return;
        }
        legs.whole = true;
        drop((account, permit));
        if obeying(conn, |cx| legs.poll_shutdown(cx)).await.is_ok() {
            linger(&mut legs.near, conn).await;
        }
    }
}

impl Account {
    /// The request that opened it.
    pub(super) fn passage(&mut self) -> &mut Passage {
        match self {
            Self::Passing(passage) => passage,
            Self::Recorded(recording) => &mut recording.passage,
        }
    }

    fn is_recorded(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }

    /// The model server took these bytes.
    fn took(&mut self, bytes: &[u8]) {
        if let Self::Recorded(recording) = self {
            recording.took(bytes);
        }
    }

    /// The client took these bytes.
    fn gave(&mut self, bytes: &[u8]) {
        if let Self::Recorded(recording) = self {
            recording.gave(bytes);
        }
    }

    /// It was cut.
    fn cut(&mut self, cut: Cut) {
        let (outcome, label) = match cut {
            Cut::Client => (Outcome::ClientAbort, "client_gone"),
            Cut::Upstream => (Outcome::UpstreamAbort, "upstream_abort"),
            Cut::Timeout => (Outcome::Timeout, "timeout"),
        };
        self.passage().note_error(label);
        if let Self::Recorded(recording) = self {
            drop(recording.finish(outcome));
        }
    }

    /// It has ended. Whether its end may leave.
    async fn settle(&mut self, conn: &ClientConn) -> bool {
        let Self::Recorded(recording) = self else { return true };
        let mut ticket = recording.finish(Outcome::Complete);
        let Ok(kept) = obeying(conn, |cx| Pin::new(&mut ticket).poll(cx)).await else { return false };
        let on_failure = recording.passage.worker.shared.recorder.on_failure();
        let may_leave = kept.is_ok() || on_failure == OnFailure::Pass;
        recording.count(if may_leave { Outcome::Complete } else { Outcome::Rejected });
        may_leave
    }
}

/// Both sides. Dropped before the end of all, they are reset.
#[derive(Debug)]
struct Legs {
    near: ClientIo,
    far: TokioIo<Transport>,
    whole: bool,
}

impl Legs {
    /// Tells both sides that it is over. The client must hear it; whether the server listens is its own matter.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = Pin::new(&mut self.far).poll_shutdown(cx);
        Pin::new(&mut self.near).poll_shutdown(cx).map(|_| ())
    }
}

impl Drop for Legs {
    fn drop(&mut self) {
        if !self.whole {
            self.near.break_off();
            self.far.inner().break_off();
        }
    }
}

/// What passes, and how long it may rest.
#[derive(Debug)]
struct Flow {
    /// From the client to the model server.
    up: Pump,
    /// From the model server to the client.
    down: Pump,
    /// The model server has reset the connection, as a write to it told.
    reset: bool,
    /// When something moved last.
    since: Instant,
    /// How long nothing may move.
    silence: Option<Duration>,
    /// How long it may be once the model server has ended: only the client is waited for.
    patience: Option<Duration>,
    deadline: Option<Instant>,
    alarm: Alarm,
    wait: Wait,
}

impl Flow {
    fn new(passage: &Passage, near: Bytes, far: Bytes, deadline: Option<Instant>) -> Self {
        let deadlines = &passage.snapshot.deadlines;
        Self {
            up: Pump::new(near),
            down: Pump::new(far),
            reset: false,
            since: Instant::now(),
            silence: deadlines.stream_idle,
            patience: deadlines.client,
            deadline,
            alarm: Alarm::default(),
            wait: Wait::new(&passage.meter),
        }
    }

    /// Ready once nothing more will pass.
    fn poll(&mut self, legs: &mut Legs, account: &mut Account, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        self.wait.end();
        let mut space = [0; READ_BYTES];
        let given = self.give(legs, account, &mut space, cx);
        let ended = given.and_then(|ended| Ok(ended || self.take(legs, account, &mut space, cx)?));
        match ended {
            Err(cut) => return Poll::Ready(Err(cut)),
            Ok(true) => return Poll::Ready(Ok(())),
            Ok(false) => {}
        }
        // Both are asked, so that neither keeps its answer for the next time.
        if self.up.has_moved() | self.down.has_moved() {
            self.since = Instant::now();
        }
        if self.alarm.poll(self.limit(), cx).is_ready() {
            return Poll::Ready(Err(Cut::Timeout));
        }
        self.wait.begin();
        Poll::Pending
    }

    /// From the model server to the client, first: what a server said before it ended counts more than what it did not
    /// take. Whether this was the end of all.
    fn give(
        &mut self,
        legs: &mut Legs,
        account: &mut Account,
        space: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Result<bool, Cut> {
        if self.down.is_closed() {
            return Ok(false);
        }
        let (far, mut near) = (Pin::new(&mut legs.far), Pin::new(&mut legs.near));
        match self.down.poll(cx, far, near.as_mut(), space, |bytes| account.gave(bytes)) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(Broke::Source)) => Err(Cut::Upstream),
            Poll::Ready(Err(Broke::Sink(_))) => Err(Cut::Client),
            Poll::Ready(Ok(())) if self.reset => Err(Cut::Upstream),
            Poll::Ready(Ok(())) if account.is_recorded() => Ok(true),
            Poll::Ready(Ok(())) => match near.poll_shutdown(cx) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(_)) => Err(Cut::Client),
                Poll::Ready(Ok(())) => {
                    self.down.close();
                    Ok(self.up.is_closed())
                }
            },
        }
    }

    /// From the client to the model server. Whether this was the end of all.
    fn take(
        &mut self,
        legs: &mut Legs,
        account: &mut Account,
        space: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Result<bool, Cut> {
        if self.up.is_closed() {
            return Ok(false);
        }
        let (near, mut far) = (Pin::new(&mut legs.near), Pin::new(&mut legs.far));
        match self.up.poll(cx, near, far.as_mut(), space, |bytes| account.took(bytes)) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(Broke::Source)) => return Err(Cut::Client),
            // It takes nothing more. What it said before is passed on nevertheless: how it ended is seen there. A reset
            // is told but once, and what is read after it looks like an end in order.
            Poll::Ready(Err(Broke::Sink(kind))) => self.reset = kind == ErrorKind::ConnectionReset,
            Poll::Ready(Ok(())) => match far.poll_shutdown(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(_) => {}
            },
        }
        self.up.close();
        if self.reset {
            // Nothing else would wake us: let the other direction look.
            cx.waker().wake_by_ref();
        }
        Ok(self.down.is_closed())
    }

    fn limit(&self) -> Option<Instant> {
        let earlier = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let silence = if self.down.is_closed() { earlier(self.silence, self.patience) } else { self.silence };
        match (silence.map(|silence| self.since + silence), self.deadline) {
            (Some(silence), Some(deadline)) => Some(silence.min(deadline)),
            (silence, deadline) => silence.or(deadline),
        }
    }
}

/// Polls until ready, or until the connection is told to close.
async fn obeying<T>(conn: &ClientConn, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<T, Cut> {
    poll_fn(|cx| match conn.order(cx) {
        Order::Serve | Order::Rest | Order::Drain => poll(cx).map(Ok),
        // It takes no bytes.
        Order::Close => Poll::Ready(Err(Cut::Client)),
        // The process ends.
        Order::Stop => Poll::Ready(Err(Cut::Timeout)),
    })
    .await
}

/// Throws away what a client says after the end of all, until it ends too.
async fn linger(near: &mut ClientIo, conn: &ClientConn) {
    let mut alarm = Alarm::default();
    let until = Instant::now() + LINGER;
    let thrown_away = obeying(conn, |cx| {
        loop {
            if alarm.poll(Some(until), cx).is_ready() {
                return Poll::Ready(());
            }
            let mut space = [0; LINGER_BYTES];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut *near).poll_read(cx, buf.unfilled()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    });
    // A client that is in the middle of a sentence has heard the end nevertheless.
    let _ = thrown_away.await;
}
