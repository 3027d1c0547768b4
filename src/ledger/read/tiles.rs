//! Entries by their place in the log, in C2SP tlog-tiles' bundles.
//!
//! A segment says where it begins and nothing of where its entries stand: finding one is a scan of that segment at
//! most, and whoever reads bundles in a row goes on where the last one ended.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ReadError, Reader, Segment, invalid};
use crate::ledger::frame::FrameKind;
use crate::ledger::segment::{Scanner, Step};
use crate::tlog::{TILE_WIDTH, Tile};

/// Places that are remembered at most, at some 40 bytes each: those of the bundles of 16 million entries. When they are
/// full they are forgotten, and found again.
const STARTS_MAX: usize = 1 << 16;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// Where bundles begin in their segments, as far as it was seen. What is on stable storage keeps its place.
#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<BTreeMap<u64, u64>>);

impl Starts {
    /// The nearest entry up to `index` whose place is known.
    fn before(&self, index: u64) -> Option<(u64, u64)> {
        self.lock().range(..=index).next_back().map(|(index, offset)| (*index, *offset))
    }

    fn note(&self, index: u64, offset: u64) {
        let mut starts = self.lock();
        if starts.len() >= STARTS_MAX {
            starts.clear();
        }
        starts.insert(index, offset);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The entries of a tile of level 0, each after its length as a big-endian `u16` (C2SP tlog-tiles). All of them must
    /// be on stable storage.
    ///
    /// # Errors
    /// Where one is missing or damaged, or a segment cannot be read.
    pub(crate) fn bundle(&self, tile: Tile, starts: &Starts) -> Result<Vec<u8>, ReadError> {
        let (mut next, mut out) = (tile.index * TILE_WIDTH, Vec::new());
        let end = next + tile.width;
        let segments = self.segments()?;
        while next < end {
            let Some(segment) = segments.iter().rfind(|segment| !segment.old && segment.first <= next) else {
                return Err(self.error("", invalid(&format!("no segment holds entry {next}"))));
            };
            self.append(segment, (&mut next, end), starts, &mut out)
                .map_err(|error| self.error(&segment.name, error))?;
        }
        Ok(out)
    }

    /// Appends what a segment holds of the entries that are wanted.
    fn append(
        &self,
        segment: &Segment,
        (next, end): (&mut u64, u64),
        starts: &Starts,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let end = segment.limit.map_or(end, |limit| limit.min(end));
        let file = self.storage.open(&segment.name)?;
        let mut scanner = match starts.before(*next).filter(|(index, _)| *index >= segment.first) {
            Some((_, offset)) => Scanner::at(file, offset, READ_BYTES),
            None => Scanner::new(file),
        };
        while *next < end {
            let Step::Frame { kind, index, offset, payload, .. } = scanner.step()? else {
                return Err(invalid(&format!("it is damaged at byte {}", scanner.offset())));
            };
            if kind != FrameKind::Entry {
                continue;
            }
            if index % TILE_WIDTH == 0 {
                starts.note(index, offset);
            }
            if index > *next {
                return Err(invalid(&format!("entries before {index} are missing")));
            }
            if index == *next {
                let entry = scanner.payload(payload);
                let len = u16::try_from(entry.len()).map_err(|_| invalid(&format!("entry {index} is too long")))?;
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(entry);
                *next += 1;
            }
        }
        Ok(())
    }
}
