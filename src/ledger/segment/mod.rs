//! Segments: the ledger's files, and the only place that touches them.
//!
//! A segment is `seg-<index of its first entry, 20 digits>.log`: a header of 128 bytes, then frames. It is made
//! under a temporary name, written, synced and only then renamed, so that a file with a segment's name always has
//! a whole header. [`Storage`] is what the rest of the ledger may ask of a file system; tests put one behind it
//! that loses power.

mod aside;
mod disk;
mod scan;
#[cfg(test)]
pub(crate) mod sim;
mod storage;

use std::io;

pub(crate) use aside::Aside;
pub(crate) use disk::{Disk, Lock, LockError};
pub(crate) use scan::{Scanner, Step, later_marks};
pub(crate) use storage::{File, Storage, read_exact_at};

use crate::ledger::frame::{u32_at, u64_at};
use crate::tlog::Hash;

/// Bytes of a segment's header.
pub(crate) const HEADER_BYTES: usize = 128;
/// Where the first frame stands.
pub(crate) const DATA_START: u64 = HEADER_BYTES as u64;
/// The name under which the next segment is made.
pub(crate) const SPARE_NAME: &str = "next.tmp";
const MAGIC: [u8; 8] = *b"TOUCHMRK";
const VERSION: u32 = 1;
/// Says "replaces nothing" in a header.
const NOTHING: u64 = u64::MAX;

/// What a segment says about itself.
///
/// ```text
/// 0 magic | 8 version u32 | 12 header length u32 | 16 log id [16] | 32 first index u64
/// 40 previous tree size u64 | 48 previous tree root [32] | 80 first index replaced u64 | 88 salt u64 | 96 zeros | 124 crc32c u32
/// ```
/// The previous tree head is the newest that was known when the segment began; its size may be less than the first
/// index, and zero where there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The same for every segment of a log.
    pub(crate) log: [u8; 16],
    /// The index of the first entry.
    pub(crate) first: u64,
    /// Set where the segment before was poisoned by an I/O error: its entries from here on are a discarded tail.
    pub(crate) replaces: Option<u64>,
    /// Random: tells two segments that began at the same index apart.
    pub(crate) salt: u64,
    /// The tree over entries before this segment.
    pub(crate) tree: Option<Head>,
}

/// A tree's size and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Entries in it.
    pub(crate) size: u64,
    /// RFC 6962's `MTH` over them.
    pub(crate) root: Hash,
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// The file is something else.
    Foreign,
    /// A later Touchmark wrote it, in this format version.
    Newer(u32),
    /// It was a header once.
    Damaged,
}

impl Header {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&(128_u32).to_le_bytes());
        out[16..32].copy_from_slice(&self.log);
        out[32..40].copy_from_slice(&self.first.to_le_bytes());
        if let Some(tree) = self.tree {
            out[40..48].copy_from_slice(&tree.size.to_le_bytes());
            out[48..80].copy_from_slice(&tree.root);
        }
        out[80..88].copy_from_slice(&self.replaces.unwrap_or(NOTHING).to_le_bytes());
        out[88..96].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&out[..124]);
        out[124..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header. Its length and the place of its CRC are the same in every format version.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        if bytes[..4] != MAGIC[..4] && bytes[..8] != [0; 8] {
            return Err(BadHeader::Foreign);
        }
        if bytes[..8] != MAGIC || u32_at(bytes, 124) != Some(crc32c::crc32c(&bytes[..124])) {
            return Err(BadHeader::Damaged);
        }
        let version = u32_at(bytes, 8).unwrap_or_default();
        if version != VERSION {
            return Err(BadHeader::Newer(version));
        }
        let mut log = [0; 16];
        log.copy_from_slice(&bytes[16..32]);
        let replaces = u64_at(bytes, 80).filter(|first| *first != NOTHING);
        let mut root = [0; 32];
        root.copy_from_slice(&bytes[48..80]);
        let size = u64_at(bytes, 40).unwrap_or_default();
        Ok(Self {
            tree: (root != [0; 32]).then_some(Head { size, root }),
            log,
            first: u64_at(bytes, 32).unwrap_or_default(),
            replaces,
            salt: u64_at(bytes, 88).unwrap_or_default(),
        })
    }

    /// Reads a file's header.
    pub(crate) fn read(file: &dyn File) -> io::Result<Result<Self, BadHeader>> {
        let mut bytes = [0; HEADER_BYTES];
        match read_exact_at(file, &mut bytes, 0) {
            Ok(()) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(BadHeader::Damaged)),
            Err(error) => Err(error),
        }
    }
}

/// A segment's file name.
pub(crate) fn segment_name(first: u64) -> String {
    format!("seg-{first:020}.log")
}

/// The name of the index beside a segment.
pub(crate) fn index_name(first: u64) -> String {
    format!("seg-{first:020}.idx")
}

/// The first index in a segment's file name; `None` for other files.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

/// Every segment's first index, in order.
pub(crate) fn list(storage: &dyn Storage) -> io::Result<Vec<u64>> {
    let mut firsts: Vec<u64> = storage.list()?.iter().filter_map(|name| parse_name(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_every_flip_is_seen() {
        let tree = Some(Head { size: 40, root: [3; 32] });
        let header = Header { log: [7; 16], first: 42, replaces: Some(42), salt: 9, tree };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 0x10;
            assert!(Header::decode(&changed).is_err(), "byte {at}");
        }
        let mut newer = bytes;
        newer[8] = 9;
        let crc = crc32c::crc32c(&newer[..124]);
        newer[124..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&newer), Err(BadHeader::Newer(9)));
        let mut foreign = bytes;
        foreign[..8].copy_from_slice(b"SQLite f");
        assert_eq!(Header::decode(&foreign), Err(BadHeader::Foreign));
    }

    #[test]
    fn names_sort_as_their_indices() {
        assert_eq!(segment_name(7), "seg-00000000000000000007.log");
        assert_eq!(parse_name(&segment_name(u64::MAX)), Some(u64::MAX));
        assert_eq!(parse_name("seg-7.log"), None);
        assert_eq!(parse_name("seg-00000000000000000007.idx"), None);
    }
}
