//! Entries on their way to a segment together: framed, counted, with whoever waits for them.

use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::exchange::NotRecorded;
use crate::ledger::entry::{Gap, Kind};
use crate::ledger::frame::{self, Parsed};

/// A buffer that grew past this in a burst is given back to the allocator rather than kept.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Settles a ticket.
pub(crate) type Waiter = oneshot::Sender<Result<(), NotRecorded>>;

/// Frames for consecutive indices, and what is known of them without reading them back.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Entry frames; a commit frame follows while they are being written.
    pub(crate) frames: Vec<u8>,
    /// Entries, by [`Kind::index`].
    pub(crate) kinds: [u32; Kind::ALL.len()],
    /// Entries in all.
    pub(crate) count: u32,
    /// Bytes of the entries' frames.
    pub(crate) bytes: u64,
    /// Who waits.
    pub(crate) waiters: Vec<Waiter>,
    /// Documents that these entries name for the first time in this log.
    pub(crate) digests: Vec<[u8; 32]>,
    /// `gap` entries among them, to be owed again if they cannot be written.
    pub(crate) gaps: Vec<Gap>,
    /// The first and last time of the `prediction` entries.
    pub(crate) span: Option<(SystemTime, SystemTime)>,
}

impl Group {
    /// Appends an entry as `index`.
    pub(crate) fn push(&mut self, kind: Kind, index: u64, payload: &[u8], payload_crc: u32) {
        self.bytes += frame::frame_len(payload.len()) as u64;
        frame::put_entry(&mut self.frames, index, payload, payload_crc);
        self.kinds[kind.index()] += 1;
        self.count += 1;
    }

    /// Notes a `prediction` entry's time, in case the group fails.
    pub(crate) fn note_time(&mut self, time: SystemTime) {
        self.span = Some(match self.span {
            None => (time, time),
            Some((from, to)) => (from.min(time), to.max(time)),
        });
    }

    /// `prediction` entries in it.
    pub(crate) fn predictions(&self) -> u64 {
        u64::from(self.kinds[Kind::Prediction.index()])
    }

    /// Whether nothing waits in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts the entries' indices from `first`.
    pub(crate) fn renumber(&mut self, first: u64) {
        let mut frames = Vec::with_capacity(self.frames.len());
        let (mut at, mut index) = (0, first);
        while let Parsed::Frame(frame) = frame::parse(&self.frames[at..]) {
            frame::put_entry(&mut frames, index, frame.payload, crc32c::crc32c(frame.payload));
            at += frame.len();
            index += 1;
        }
        self.frames = frames;
    }

    /// Empties it, keeping its buffers.
    pub(crate) fn clear(&mut self) {
        if self.frames.capacity() > KEPT_BYTES_MAX {
            self.frames = Vec::new();
        }
        self.frames.clear();
        self.kinds = [0; Kind::ALL.len()];
        self.count = 0;
        self.bytes = 0;
        self.waiters.clear();
        self.digests.clear();
        self.gaps.clear();
        self.span = None;
    }
}
