//! Finding entries, while another thread or process writes.
//!
//! A reader takes no lock and changes nothing. It believes a frame only when its CRC fits, and an entry of the
//! segment that is being written only once a commit frame follows it. What a poisoned segment holds beyond the
//! first index of the next is passed over. Damage in older segments is reported as an error in the results, which
//! then go on after it: a missing match is never silent.

mod follow;
mod query;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use follow::Follow;
use memchr::memmem::Finder;
pub use query::Query;

use crate::ledger::frame::{FRAME_BYTES_MAX, FrameKind};
use crate::ledger::index::Index;
use crate::ledger::segment::{Disk, File, Header, Scanner, Step, Storage, parse_name, segment_name};

/// Bytes read for one entry that an index points to; a larger one takes a second read.
const ENTRY_READ_BYTES: usize = 2048;

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The id of the log that holds it.
    pub log: [u8; 16],
    /// Its place in that log.
    pub index: u64,
    /// Its bytes, verbatim.
    pub entry: Vec<u8>,
}

/// A file of the ledger could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// A ledger, open for reading.
#[derive(Clone, Debug)]
pub struct Reader {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl Reader {
    /// Opens the ledger in a data directory.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let path = dir.join(super::FOLDER);
        let reader = Self::over(Arc::new(Disk::read_only(&path)), path);
        reader.storage.list().map_err(|source| reader.error("", source))?;
        Ok(reader)
    }

    pub(crate) fn over(storage: Arc<dyn Storage>, path: PathBuf) -> Self {
        Self { storage, path }
    }

    /// Every match, oldest log first, in the order of indices. Reads as it goes.
    pub fn find(&self, query: &Query) -> Find {
        let (segments, failed) = match self.segments() {
            Ok(segments) => (segments, None),
            Err(error) => (VecDeque::new(), Some(error)),
        };
        Find {
            reader: self.clone(),
            left: query.limit.unwrap_or(usize::MAX),
            needle: query.needle().map(|needle| Finder::new(&needle).into_owned()),
            query: query.clone(),
            segments,
            current: Current::None,
            ready: VecDeque::new(),
            failed,
        }
    }

    /// The entry with this index of the current log.
    pub fn entry(&self, index: u64) -> Result<Option<Found>, ReadError> {
        let segments = self.segments()?;
        let Some(segment) = segments.into_iter().rfind(|segment| !segment.old && segment.first <= index) else {
            return Ok(None);
        };
        let mut find = self.find(&Query::default());
        find.segments = VecDeque::from([segment]);
        for found in find {
            let found = found?;
            if found.index == index {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Entries as they are written, from index `from` of the current log on, or from its present end.
    pub fn follow(&self, query: &Query, from: Option<u64>) -> Result<Follow, ReadError> {
        Follow::new(self.clone(), query.clone(), from)
    }

    fn segments(&self) -> Result<VecDeque<Segment>, ReadError> {
        let mut names = self.storage.list().map_err(|error| self.error("", error))?;
        // `old-…` sorts before `seg-…`.
        names.sort_unstable();
        let mut segments: VecDeque<Segment> = VecDeque::new();
        for name in names {
            let (log, plain) = name.split_once("seg-").unwrap_or(("", ""));
            let Some(first) = parse_name(&format!("seg-{plain}")) else { continue };
            if let Some(before) = segments.back_mut()
                && before.name.split_once("seg-").is_some_and(|(other, _)| other == log)
            {
                before.limit = Some(first);
            }
            segments.push_back(Segment { old: !log.is_empty(), first, limit: None, name });
        }
        Ok(segments)
    }

    fn error(&self, name: &str, source: io::Error) -> ReadError {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        ReadError { path, source }
    }
}

/// A segment in a listing.
#[derive(Clone, Debug)]
struct Segment {
    name: String,
    first: u64,
    /// The next segment's first index; entries from there on are that one's.
    limit: Option<u64>,
    /// It belongs to a log that was set aside.
    old: bool,
}

/// The matches of a query.
#[derive(Debug)]
pub struct Find {
    reader: Reader,
    query: Query,
    needle: Option<Finder<'static>>,
    segments: VecDeque<Segment>,
    current: Current,
    ready: VecDeque<Found>,
    failed: Option<ReadError>,
    left: usize,
}

#[derive(Debug)]
enum Current {
    None,
    /// Offsets from an index, still to be read and checked.
    Offsets {
        segment: Segment,
        log: [u8; 16],
        file: Arc<dyn File>,
        offsets: std::vec::IntoIter<u32>,
    },
    /// Every frame in turn.
    Scan {
        segment: Segment,
        log: [u8; 16],
        scanner: Scanner,
        held: Vec<Found>,
        torn: bool,
    },
}

impl Iterator for Find {
    type Item = Result<Found, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            if self.left == 0 {
                return None;
            }
            if let Some(found) = self.ready.pop_front() {
                self.left -= 1;
                return Some(Ok(found));
            }
            let (name, result) = match std::mem::replace(&mut self.current, Current::None) {
                Current::None => {
                    let segment = self.segments.pop_front()?;
                    (segment.name.clone(), self.enter(segment))
                }
                Current::Offsets { segment, log, file, offsets } => {
                    (segment.name.clone(), self.look_up(segment, log, file, offsets))
                }
                Current::Scan { segment, log, scanner, held, torn } => {
                    (segment.name.clone(), self.scan(segment, log, scanner, (held, torn)))
                }
            };
            if let Err(error) = result {
                self.failed = Some(self.reader.error(&name, error));
            }
        }
    }
}

impl Find {
    /// Opens a segment and decides how to search it.
    fn enter(&mut self, segment: Segment) -> io::Result<()> {
        let storage = &*self.reader.storage;
        let file = storage.open(&segment.name)?;
        let Ok(header) = Header::read(&*file)? else {
            self.current = scan_of(segment, [0; 16], file);
            return Err(invalid("its header is damaged"));
        };
        let index = if segment.old { None } else { Index::open(storage, &header) };
        if let Some(index) = index.filter(|index| segment.limit.is_none_or(|limit| limit == index.end)) {
            if index.summary().is_some_and(|summary| !self.query.may_match(&summary)) {
                return Ok(());
            }
            if let Some(Ok(offsets)) = self.query.key().map(|key| index.find(key)) {
                let offsets = offsets.into_iter();
                self.current = Current::Offsets { segment, log: header.log, file, offsets };
                return Ok(());
            }
        }
        self.current = scan_of(segment, header.log, file);
        Ok(())
    }

    fn look_up(
        &mut self,
        segment: Segment,
        log: [u8; 16],
        file: Arc<dyn File>,
        mut offsets: std::vec::IntoIter<u32>,
    ) -> io::Result<()> {
        let Some(offset) = offsets.next() else { return Ok(()) };
        let mut scanner = Scanner::at(Arc::clone(&file), u64::from(offset), ENTRY_READ_BYTES);
        let step = scanner.step()?;
        let Step::Frame { kind: FrameKind::Entry, index, payload, .. } = step else {
            // Either the entry is damaged or the index is wrong: only a scan can tell what there is.
            self.current = scan_of(segment, log, file);
            return Ok(());
        };
        let payload = scanner.payload(payload);
        if segment.limit.is_none_or(|limit| index < limit) && self.query.matches(payload) {
            self.ready.push_back(Found { log, index, entry: payload.to_vec() });
        }
        self.current = Current::Offsets { segment, log, file, offsets };
        Ok(())
    }

    /// Scans on to the next match, commit, or end.
    fn scan(
        &mut self,
        segment: Segment,
        log: [u8; 16],
        mut scanner: Scanner,
        (mut held, mut torn): (Vec<Found>, bool),
    ) -> io::Result<()> {
        // Only the segment being written may hold entries that are not committed.
        let last = segment.limit.is_none() && !segment.old;
        loop {
            match scanner.step()? {
                Step::Frame { kind: FrameKind::Entry, index, payload, .. } => {
                    if segment.limit.is_some_and(|limit| index >= limit) {
                        return Ok(());
                    }
                    torn = false;
                    let payload = scanner.payload(payload);
                    let may = self.needle.as_ref().is_none_or(|needle| needle.find(payload).is_some());
                    if may && self.query.matches(payload) {
                        held.push(Found { log, index, entry: payload.to_vec() });
                    }
                    if last || held.is_empty() {
                        continue;
                    }
                }
                Step::Frame { kind: FrameKind::Seal { .. }, .. } => {
                    self.ready.extend(held);
                    return Ok(());
                }
                Step::Frame { .. } => {}
                Step::End | Step::Torn if last => return Ok(()),
                step @ (Step::End | Step::Torn) => {
                    let at = scanner.offset();
                    if !scanner.resume()? {
                        let whole = step == Step::End && (segment.limit.is_none() || segment.old);
                        return if whole || torn { Ok(()) } else { self.ended(&segment, at) };
                    }
                    self.current = Current::Scan { segment, log, scanner, held, torn: true };
                    return if torn { Ok(()) } else { Err(invalid(&format!("it is damaged at byte {at}"))) };
                }
            }
            if !held.is_empty() {
                self.ready.extend(held.drain(..));
                self.current = Current::Scan { segment, log, scanner, held, torn };
                return Ok(());
            }
        }
    }

    /// A poisoned segment may end anywhere, after what the next one begins with; any other ends with its seal.
    fn ended(&self, segment: &Segment, _at: u64) -> io::Result<()> {
        let replaced = || {
            let file = self.reader.storage.open(&segment_name(segment.limit?)).ok()?;
            Header::read(&*file).ok()?.ok()?.replaces
        };
        if replaced().is_some() || segment.old { Ok(()) } else { Err(invalid("its end is missing")) }
    }
}

fn scan_of(segment: Segment, log: [u8; 16], file: Arc<dyn File>) -> Current {
    Current::Scan { segment, log, scanner: Scanner::new(file), held: Vec::new(), torn: false }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

const _: () = assert!(ENTRY_READ_BYTES < FRAME_BYTES_MAX);
