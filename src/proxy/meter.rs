//! Where an exchange's time goes: its own work, or waiting for the model server and the client.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One exchange's times.
#[derive(Debug, Default)]
pub(super) struct Meter {
    waited: Cell<Duration>,
    sent: Cell<Option<Instant>>,
    status: Cell<Option<u16>>,
}

impl Meter {
    /// How long it has waited for others.
    pub(super) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// The upstream leg begins.
    pub(super) fn send(&self, now: Instant) {
        if self.sent.get().is_none() {
            self.sent.set(Some(now));
        }
    }

    /// When the upstream leg began.
    pub(super) fn sent(&self) -> Option<Instant> {
        self.sent.get()
    }

    /// The model server answered.
    pub(super) fn answered(&self, status: u16) {
        self.status.set(Some(status));
    }

    /// The status that the model server answered with.
    pub(super) fn status(&self) -> Option<u16> {
        self.status.get()
    }
}

/// A wait that may be under way.
#[derive(Debug)]
pub(super) struct Wait {
    meter: Rc<Meter>,
    since: Option<Instant>,
}

impl Wait {
    /// No wait yet.
    pub(super) fn new(meter: &Rc<Meter>) -> Self {
        Self { meter: Rc::clone(meter), since: None }
    }

    /// It waits, since the returned moment.
    pub(super) fn begin(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }

    /// It waits no longer.
    pub(super) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.meter.waited.set(self.meter.waited.get() + since.elapsed());
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.end();
    }
}
