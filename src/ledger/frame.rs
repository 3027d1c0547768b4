//! Frames: how entries lie in a segment, so that a torn or changed byte is always seen.
//!
//! ```text
//! len u32 | kind u8 | flags u8 | reserved u16 | index u64 | crc32c u32 | payload | zeros up to a multiple of 8
//! ```
//! Kinds are 1 entry, 2 commit, 3 seal, 4 checkpoint. Little-endian. The CRC runs over the payload and then the sixteen bytes before the CRC itself: in this order the
//! payload's part can be computed before the entry's index is known, outside the lock that gives it. A length of
//! zero is the end of the data: segments are preallocated, so what follows is zeros. Pure: bytes in, bytes out.

use crate::tlog::Hash;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 20;
/// Bytes of a commit or seal frame's payload: size u64, synced u64, root.
const MARK_BYTES: usize = 48;
/// Where in it the root stands; zeros where there is none.
const ROOT_AT: usize = 16;
/// A mark frame's whole length.
pub(crate) const MARK_FRAME_BYTES: usize = (HEADER_BYTES + MARK_BYTES).next_multiple_of(8);
/// The most bytes of a payload; entries are at most this long.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 65_535;
/// The most bytes of a frame.
pub(crate) const FRAME_BYTES_MAX: usize = (HEADER_BYTES + PAYLOAD_BYTES_MAX).next_multiple_of(8);
/// The flag of a mark frame whose root is there.
const FLAG_ROOT: u8 = 1;
/// The flag of a seal that an orderly stop wrote.
const FLAG_STOP: u8 = 2;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// An entry; the index is its own.
    Entry,
    /// The end of a group; the index is the number of entries before it.
    Commit,
    /// A checkpoint as a signed note; the index is the number of entries before it, which may be more than its size.
    Checkpoint,
    /// The end of a segment that is never written again.
    Seal {
        /// An orderly stop wrote it: the next start is clean.
        stop: bool,
    },
}

/// What a commit or seal frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Entries in the log up to here.
    pub(crate) size: u64,
    /// Entries that were on stable storage when this was written: if fewer are found, something was damaged.
    pub(crate) synced: u64,
    /// The root of the tree over the first `size` entries, where the writer knew it: at the end of a log.
    pub(crate) root: Option<Hash>,
}

/// A frame, read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) index: u64,
    pub(crate) payload: &'a [u8],
}

/// What stands at a place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// The end of the data.
    End,
    /// A frame whose end is not among the bytes given; it would take this many.
    Short(usize),
    /// No frame, or one that was torn or changed.
    Bad,
}

impl Frame<'_> {
    /// The frame's whole length.
    pub(crate) fn len(&self) -> usize {
        frame_len(self.payload.len())
    }

    /// What a commit or seal frame says; `None` for others.
    pub(crate) fn mark(&self) -> Option<Mark> {
        if matches!(self.kind, FrameKind::Entry | FrameKind::Checkpoint) {
            return None;
        }
        let root = self.payload.get(ROOT_AT..)?.first_chunk().copied().filter(|root| *root != [0; 32]);
        Some(Mark { size: u64_at(self.payload, 0)?, synced: u64_at(self.payload, 8)?, root })
    }
}

/// A payload's frame's whole length.
pub(crate) const fn frame_len(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(8)
}

/// Appends an entry's frame. `payload_crc` is `crc32c(payload)`.
pub(crate) fn put_entry(out: &mut Vec<u8>, index: u64, payload: &[u8], payload_crc: u32) {
    put(out, (1, 0), index, payload, payload_crc);
}

/// Appends a commit or seal frame.
pub(crate) fn put_mark(out: &mut Vec<u8>, kind: FrameKind, mark: Mark) {
    let mut payload = [0; MARK_BYTES];
    payload[..8].copy_from_slice(&mark.size.to_le_bytes());
    payload[8..ROOT_AT].copy_from_slice(&mark.synced.to_le_bytes());
    payload[ROOT_AT..].copy_from_slice(&mark.root.unwrap_or_default());
    let root = if mark.root.is_some() { FLAG_ROOT } else { 0 };
    let code = match kind {
        FrameKind::Entry | FrameKind::Checkpoint | FrameKind::Commit => (2, root),
        FrameKind::Seal { stop } => (3, root | if stop { FLAG_STOP } else { 0 }),
    };
    put(out, code, mark.size, &payload, crc32c::crc32c(&payload));
}

/// Appends a checkpoint's frame, `size` entries into the log.
pub(crate) fn put_checkpoint(out: &mut Vec<u8>, size: u64, note: &[u8]) {
    put(out, (4, 0), size, note, crc32c::crc32c(note));
}

fn put(out: &mut Vec<u8>, (kind, flags): (u8, u8), index: u64, payload: &[u8], payload_crc: u32) {
    let mut header = [0; HEADER_BYTES];
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4] = kind;
    header[5] = flags;
    header[8..16].copy_from_slice(&index.to_le_bytes());
    let crc = crc32c::crc32c_append(payload_crc, &header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    let padding = frame_len(payload.len()) - HEADER_BYTES - payload.len();
    out.extend_from_slice(&[0; 8][..padding]);
}

/// Reads the frame that `bytes` begin with.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(len) = u32_at(bytes, 0) else { return Parsed::Short(HEADER_BYTES) };
    if len == 0 {
        return Parsed::End;
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > PAYLOAD_BYTES_MAX {
        return Parsed::Bad;
    }
    let Some(whole) = bytes.get(..frame_len(len)) else { return Parsed::Short(frame_len(len)) };
    let (header, rest) = whole.split_at(HEADER_BYTES);
    let (payload, padding) = rest.split_at(len);
    let kind = match (header[4], header[5]) {
        (1, 0) => FrameKind::Entry,
        (4, 0) => FrameKind::Checkpoint,
        (2, flags @ (0 | FLAG_ROOT)) if len == MARK_BYTES && has_root(payload) == (flags != 0) => FrameKind::Commit,
        (3, flags)
            if len == MARK_BYTES
                && flags & !(FLAG_ROOT | FLAG_STOP) == 0
                && has_root(payload) == (flags & FLAG_ROOT != 0) =>
        {
            FrameKind::Seal { stop: flags & FLAG_STOP != 0 }
        }
        _ => return Parsed::Bad,
    };
    let zero = header[6..8].iter().chain(padding).all(|byte| *byte == 0);
    let crc = crc32c::crc32c_append(crc32c::crc32c(payload), &header[..16]);
    match (u64_at(header, 8), u32_at(header, 16)) {
        (Some(index), Some(stored)) if zero && stored == crc => Parsed::Frame(Frame { kind, index, payload }),
        _ => Parsed::Bad,
    }
}

fn has_root(mark: &[u8]) -> bool {
    mark[ROOT_AT..].iter().any(|byte| *byte != 0)
}

/// A little-endian number at a place.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// A little-endian number at a place.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let payload = br#"{"v":1,"kind":"gap"}"#;
        let mut out = Vec::new();
        put_entry(&mut out, 7, payload, crc32c::crc32c(payload));
        out
    }

    #[test]
    fn what_is_put_is_read() {
        let mut bytes = sample();
        assert_eq!(bytes.len() % 8, 0);
        let first = bytes.len();
        put_mark(&mut bytes, FrameKind::Commit, Mark { size: 8, synced: 3, root: None });
        assert_eq!(bytes.len(), first + MARK_FRAME_BYTES);
        bytes.extend([0; 8]);
        let Parsed::Frame(entry) = parse(&bytes) else { panic!("no entry") };
        assert_eq!((entry.kind, entry.index, entry.payload), (FrameKind::Entry, 7, &br#"{"v":1,"kind":"gap"}"#[..]));
        let Parsed::Frame(commit) = parse(&bytes[first..]) else { panic!("no commit") };
        assert_eq!(commit.mark(), Some(Mark { size: 8, synced: 3, root: None }));
        assert_eq!(parse(&bytes[first + MARK_FRAME_BYTES..]), Parsed::End);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let (mut mark, mut checkpoint) = (Vec::new(), Vec::new());
        put_mark(&mut mark, FrameKind::Seal { stop: true }, Mark { size: 9, synced: 9, root: Some([5; 32]) });
        put_checkpoint(&mut checkpoint, 9, b"log\n9\n");
        for whole in [sample(), mark, checkpoint] {
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    assert!(!matches!(parse(&changed), Parsed::Frame(_)), "byte {at} bit {bit}");
                }
                assert!(!matches!(parse(&whole[..at]), Parsed::Frame(_)), "cut at {at}");
            }
        }
    }
}
