//! Reads a segment's frames in order, in large pieces, and never further than they are whole.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{DATA_START, File};
use crate::ledger::frame::{FRAME_BYTES_MAX, FrameKind, HEADER_BYTES, Mark, Parsed, parse};

/// Bytes read at once; also what a scan holds in memory.
const CHUNK_BYTES: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES >= 2 * FRAME_BYTES_MAX);

/// Where a scan stands in a segment.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Arc<dyn File>,
    /// Where `buf` begins in the file.
    base: u64,
    buf: Vec<u8>,
    /// The next frame's place in `buf`.
    at: usize,
    chunk: usize,
}

/// What a scan found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A frame; its payload is had from [`Scanner::payload`] until the next step.
    Frame {
        /// Where it begins in the file.
        offset: u64,
        /// What it holds.
        kind: FrameKind,
        /// The entry's index, or for a mark the number of entries before it.
        index: u64,
        /// What a commit or seal frame says.
        mark: Option<Mark>,
        /// Where the payload stands; opaque.
        payload: Range<usize>,
    },
    /// The data ends here. More may be written later.
    End,
    /// What stands here is no whole frame: torn, damaged, or being written just now.
    Torn,
}

impl Scanner {
    /// Scans from the first frame.
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self::at(file, DATA_START, CHUNK_BYTES)
    }

    /// Scans from a frame's place, reading `chunk` bytes at once.
    pub(crate) fn at(file: Arc<dyn File>, offset: u64, chunk: usize) -> Self {
        Self { file, base: offset, buf: Vec::new(), at: 0, chunk }
    }

    /// Where the next frame begins, or would.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The next frame. After `End` or `Torn` it can be asked again and reads the file anew.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let mut fresh = false;
        loop {
            let wanted = match parse(&self.buf[self.at..]) {
                Parsed::Frame(frame) => {
                    let start = self.at + HEADER_BYTES;
                    let step = Step::Frame {
                        offset: self.offset(),
                        kind: frame.kind,
                        index: frame.index,
                        mark: frame.mark(),
                        payload: start..start + frame.payload.len(),
                    };
                    self.at += frame.len();
                    return Ok(step);
                }
                Parsed::Short(wanted) => wanted,
                Parsed::End if fresh => return Ok(Step::End),
                Parsed::Bad if fresh => return Ok(Step::Torn),
                // What was read before may have been written since.
                Parsed::End | Parsed::Bad => HEADER_BYTES,
            };
            if fresh && self.buf.len() - self.at < wanted {
                // The file ends within a frame, or at one's end.
                return Ok(if self.buf.len() == self.at { Step::End } else { Step::Torn });
            }
            self.refill(wanted)?;
            fresh = true;
        }
    }

    /// After `End` or `Torn`, goes on at the next whole frame; false where there is none.
    pub(crate) fn resume(&mut self) -> io::Result<bool> {
        let len = self.file.len()?;
        loop {
            let from = (self.offset() + 8).next_multiple_of(8);
            if from >= len {
                return Ok(false);
            }
            if self.at + 8 + FRAME_BYTES_MAX > self.buf.len() {
                (self.base, self.at) = (from, 0);
                self.buf.clear();
                self.refill(CHUNK_BYTES)?;
            } else {
                self.at += 8;
            }
            if matches!(parse(&self.buf[self.at..]), Parsed::Frame(_)) {
                return Ok(true);
            }
        }
    }

    /// A frame's payload, as long as no step was taken since.
    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        &self.buf[range]
    }

    fn refill(&mut self, wanted: usize) -> io::Result<()> {
        self.base = self.offset();
        self.at = 0;
        self.buf.resize(self.chunk.max(wanted), 0);
        let read = self.file.read_at(&mut self.buf, self.base)?;
        self.buf.truncate(read);
        Ok(())
    }
}

/// Looks for whole commit and seal frames anywhere after a place where the frames stop, and gives the largest
/// `synced` and `size` that they swear to.
///
/// A torn tail has none, or only such as speak of less than what was found: they were written after the tail was
/// lost from memory, never before. Damage in what had been committed leaves them behind.
pub(crate) fn later_marks(file: &dyn File, from: u64) -> io::Result<Mark> {
    let len = file.len()?;
    let mut found = Mark { size: 0, synced: 0, root: None };
    let mut buf = vec![0; CHUNK_BYTES];
    let mut base = from.next_multiple_of(8);
    while base < len {
        let read = file.read_at(&mut buf, base)?;
        let bytes = &buf[..read];
        // Most of what follows the end is the zeros of a preallocated file.
        if bytes.iter().any(|byte| *byte != 0) {
            for at in (0..bytes.len()).step_by(8) {
                let (Some(&[48, 0, 0, 0, 2 | 3, _]), rest) = (bytes[at..].first_chunk::<6>(), &bytes[at..]) else {
                    continue;
                };
                let Parsed::Frame(frame) = parse(rest) else { continue };
                let Some(mark) = frame.mark() else { continue };
                found.synced = found.synced.max(mark.synced);
                found.size = found.size.max(mark.size);
            }
        }
        if read < buf.len() {
            break;
        }
        // Overlap, so that a mark on the seam is seen whole.
        base += (CHUNK_BYTES - FRAME_BYTES_MAX.next_multiple_of(8)) as u64;
    }
    Ok(found)
}
