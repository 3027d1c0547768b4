//! Finding entries, while another thread or process writes.
//!
//! A reader takes no lock and changes nothing. It believes a frame only when its CRC fits, and an entry of the
//! segment that is being written only once a commit frame follows it. What a poisoned segment holds beyond the
//! first index of the next is passed over. Damage in older segments is reported as an error in the results, which
//! then go on after it: a missing match is never silent.

mod brief;
mod evidence;
mod follow;
mod heads;
mod keys;
mod leaf;
mod query;
mod tiles;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use brief::Brief;
pub use follow::Follow;
pub use heads::BySize;
use memchr::memmem::Finder;
pub use query::{Query, Touching};
pub(crate) use tiles::Starts;

use crate::ledger::frame::{FRAME_BYTES_MAX, FrameKind};
use crate::ledger::index::Index;
use crate::ledger::segment::{Aside, Disk, File, Header, Scanner, Step, Storage, parse_name};

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

    /// Every match of the current log.
    pub(crate) fn find_here(&self, query: &Query) -> Find {
        let mut find = self.find(query);
        find.segments.retain(|segment| !segment.old);
        find
    }

    /// The logs that were set aside, oldest first, each as if it were the current one, with what its files begin with.
    pub(crate) fn set_aside(&self) -> Result<Vec<(String, Self)>, ReadError> {
        let mut prefixes: Vec<String> = Vec::new();
        for segment in self.segments()?.iter().filter(|segment| segment.old) {
            let prefix = segment.name.split_once("seg-").map_or("", |(prefix, _)| prefix);
            if prefixes.last().is_none_or(|last| last != prefix) {
                prefixes.push(prefix.to_owned());
            }
        }
        let reader = |prefix: String| {
            let aside = Aside::new(Arc::clone(&self.storage), prefix.clone());
            let path = self.path.join(&prefix);
            (prefix, Self::over(Arc::new(aside), path))
        };
        Ok(prefixes.into_iter().map(reader).collect())
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

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The folder could not be read.
    pub(crate) fn failed(&self, source: io::Error) -> ReadError {
        self.error("", source)
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
    Scan(Scan),
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
                Current::Scan(scan) => (scan.segment.name.clone(), self.scan(scan)),
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
            self.current = Current::Scan(Scan::new(segment, [0; 16], file));
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
        self.current = Current::Scan(Scan::new(segment, header.log, file));
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
            self.current = Current::Scan(Scan::new(segment, log, file));
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
    fn scan(&mut self, mut scan: Scan) -> io::Result<()> {
        // Only the segment being written may hold entries that are not committed.
        let last = scan.segment.limit.is_none() && !scan.segment.old;
        loop {
            match scan.scanner.step()? {
                Step::Frame { kind: FrameKind::Entry, index, payload, .. } => {
                    if scan.segment.limit.is_some_and(|limit| index >= limit) {
                        return scan.ended(index);
                    }
                    let missing = std::mem::replace(&mut scan.next, index.wrapping_add(1)) != index;
                    let payload = scan.scanner.payload(payload);
                    let may = self.needle.as_ref().is_none_or(|needle| needle.find(payload).is_some());
                    if may && self.query.matches(payload) {
                        scan.held.push_back(Found { log: scan.log, index, entry: payload.to_vec() });
                    }
                    if missing && !std::mem::take(&mut scan.told) {
                        self.current = Current::Scan(scan);
                        return Err(invalid(&format!("entries before {index} are missing")));
                    }
                    if last || scan.held.is_empty() {
                        continue;
                    }
                }
                Step::Frame { kind: FrameKind::Seal { .. }, index, .. } => {
                    self.ready.append(&mut scan.held);
                    return scan.ended(index);
                }
                Step::Frame { .. } => {}
                Step::End | Step::Torn if last => return Ok(()),
                Step::End | Step::Torn => {
                    let at = scan.scanner.offset();
                    let whole = scan.segment.limit.is_some_and(|limit| scan.next >= limit);
                    if whole || !scan.scanner.resume()? {
                        return scan.ended(scan.next);
                    }
                    // What stood here is missing, and said to be.
                    let told = std::mem::replace(&mut scan.told, true);
                    self.current = Current::Scan(scan);
                    return if told { Ok(()) } else { Err(invalid(&format!("it is damaged at byte {at}"))) };
                }
            }
            if !scan.held.is_empty() {
                self.ready.append(&mut scan.held);
                self.current = Current::Scan(scan);
                return Ok(());
            }
        }
    }
}

/// A scan in progress.
#[derive(Debug)]
struct Scan {
    segment: Segment,
    log: [u8; 16],
    scanner: Scanner,
    /// The next entry's index, if none is missing.
    next: u64,
    /// Matches that no commit frame covers yet.
    held: VecDeque<Found>,
    /// Damage was reported, and nothing whole was read since.
    told: bool,
}

impl Scan {
    fn new(segment: Segment, log: [u8; 16], file: Arc<dyn File>) -> Self {
        let next = segment.first;
        Self { segment, log, scanner: Scanner::new(file), next, held: VecDeque::new(), told: false }
    }

    /// Nothing more is to be had from the segment; `end` entries should have been.
    fn ended(&self, end: u64) -> io::Result<()> {
        let end = self.segment.limit.unwrap_or(end);
        if self.next < end && !self.told {
            return Err(invalid(&format!("entries {} to {end} are missing", self.next)));
        }
        Ok(())
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

const _: () = assert!(ENTRY_READ_BYTES < FRAME_BYTES_MAX);
