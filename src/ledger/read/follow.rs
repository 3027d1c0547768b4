//! `tail -f` for the ledger: entries as they are committed, from one segment to the next.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Found, Query, ReadError, Reader};
use crate::ledger::frame::FrameKind;
use crate::ledger::segment::{Header, Scanner, Step, list, segment_name};

/// Follows the current log's end.
#[derive(Debug)]
pub struct Follow {
    reader: Reader,
    query: Query,
    /// The next index to give.
    next: u64,
    segment: Option<(Header, Scanner)>,
    /// Matches that no commit frame covers yet, and the index after them.
    held: (Vec<Found>, u64),
    ready: VecDeque<Found>,
}

impl Follow {
    /// How long to wait before asking again where there was nothing.
    pub const INTERVAL: Duration = Duration::from_millis(200);

    pub(super) fn new(reader: Reader, query: Query, from: Option<u64>) -> Result<Self, ReadError> {
        let start = match from {
            Some(from) => from,
            None => list(&*reader.storage).map_err(|error| reader.error("", error))?.pop().unwrap_or(0),
        };
        let held = (Vec::new(), start);
        let mut follow = Self { reader, query, next: start, segment: None, held, ready: VecDeque::new() };
        if from.is_none() {
            while follow.poll()?.is_some() {}
        }
        Ok(follow)
    }

    /// The next match that is committed; `None` where there is none yet.
    pub fn poll(&mut self) -> Result<Option<Found>, ReadError> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            let name = self.segment.as_ref().map(|(header, _)| segment_name(header.first)).unwrap_or_default();
            if !self.advance().map_err(|error| self.reader.error(&name, error))? {
                return Ok(None);
            }
        }
    }

    /// Reads up to the next commit; false where there is no more to read now.
    fn advance(&mut self) -> io::Result<bool> {
        if self.segment.is_none() && !self.enter()? {
            return Ok(false);
        }
        let Some((header, scanner)) = &mut self.segment else { return Ok(false) };
        match scanner.step()? {
            Step::Frame { kind: FrameKind::Entry, index, payload, .. } => {
                if index == self.held.1 {
                    self.held.1 += 1;
                    let payload = scanner.payload(payload);
                    if self.query.matches(payload) {
                        self.held.0.push(Found { log: header.log, index, entry: payload.to_vec() });
                    }
                }
                Ok(true)
            }
            Step::Frame { .. } => {
                self.next = self.held.1;
                self.ready.extend(self.held.0.drain(..));
                Ok(true)
            }
            // Torn may be half written: it is read again next time.
            Step::End | Step::Torn => self.moved_on(),
        }
    }

    /// Whether another segment has taken over; if so, leaves this one.
    fn moved_on(&mut self) -> io::Result<bool> {
        let Some((header, _)) = &self.segment else { return Ok(false) };
        let taken = self.newest()?.is_some_and(|newest| newest != *header);
        if taken {
            // What was not committed here is discarded; what was, begins where the next one does at the latest.
            self.segment = None;
            self.held = (Vec::new(), self.next);
        }
        Ok(taken)
    }

    fn enter(&mut self) -> io::Result<bool> {
        let Some(header) = self.newest()? else { return Ok(false) };
        let file = self.reader.storage.open(&segment_name(header.first))?;
        self.segment = Some((header, Scanner::new(Arc::clone(&file))));
        self.held = (Vec::new(), self.next);
        Ok(true)
    }

    /// The header of the segment that holds, or will hold, the next entry.
    fn newest(&self) -> io::Result<Option<Header>> {
        let storage = &*self.reader.storage;
        let Some(first) = list(storage)?.into_iter().rfind(|first| *first <= self.next) else { return Ok(None) };
        let file = storage.open(&segment_name(first))?;
        Header::read(&*file)?.map(Some).map_err(|_| io::Error::other("its header is damaged"))
    }
}
