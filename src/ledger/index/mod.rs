//! The index beside a segment that is written no more: `seg-….idx`, immutable, derived, made again where missing.
//!
//! ```text
//! 0 magic | 8 version u32 | 12 segment header's crc u32 | 16 log id [16] | 32 first index u64 | 40 end index u64
//! 48 end of data u64 | 56 four arrays: start u64, pages u32, zero u32 | 120 summary start u64 | 128 its length u32
//! 132 its crc32c u32 | 136 zeros | 252 crc32c of 0..252 | 256 pages | summary (JSON)
//! ```
//! It is evidence of nothing. An entry that it points to is read and checked as if found by a scan; if any part of
//! it is damaged, the segment is scanned instead.

mod pages;
mod summary;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;

pub(crate) use pages::Pages;
pub(crate) use summary::{Summary, Values};
use uuid::Uuid;

use crate::ledger::entry::Kind;
use crate::ledger::frame::{u32_at, u64_at};
use crate::ledger::glance::{Glance, Glances};
use crate::ledger::parse::{Entry, unhex};
use crate::ledger::segment::{File, Header, Storage, index_name, read_exact_at};
use crate::ledger::time::TimeReader;

const HEADER_BYTES: usize = 256;
const MAGIC: [u8; 8] = *b"TOUCHIDX";
const VERSION: u32 = 1;
const CRC_AT: usize = HEADER_BYTES - 4;
const ARRAYS_AT: usize = 56;
const ARRAY_BYTES: usize = 16;
const SUMMARY_AT: usize = 120;
/// The most bytes of a summary that a reader takes into memory.
const SUMMARY_BYTES_MAX: usize = 64 << 20;

/// What entries can be looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Input([u8; 32]),
    Output([u8; 32]),
    Prediction(Uuid),
    Trace([u8; 16]),
}

impl Key {
    fn array(self) -> usize {
        match self {
            Self::Input(_) => 0,
            Self::Output(_) => 1,
            Self::Prediction(_) => 2,
            Self::Trace(_) => 3,
        }
    }

    /// Eight bytes of the key. A UUIDv7 begins with the time; its random bits are at the end.
    fn prefix(self) -> u64 {
        match self {
            Self::Input(hash) | Self::Output(hash) => prefix(&hash),
            Self::Prediction(id) => prefix(&id.as_bytes()[8..]),
            Self::Trace(id) => prefix(&id),
        }
    }
}

/// Gathers an index while a segment is scanned.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    arrays: [Vec<pages::Pair>; 4],
    pub(crate) summary: Summary,
    glances: Glances,
    times: TimeReader,
}

impl Builder {
    /// Begins where an earlier segment left `begin` entries open.
    pub(crate) fn new(open: std::collections::BTreeMap<Uuid, u64>) -> Self {
        Self { summary: Summary { open, ..Summary::default() }, ..Self::default() }
    }

    /// Adds an entry. What cannot be read as one has no keys, and is still found by scans.
    pub(crate) fn note(&mut self, offset: u64, index: u64, payload: &[u8]) {
        let Ok(offset) = u32::try_from(offset) else { return };
        let Ok(glance) = self.glances.read(payload) else { return };
        let time = self.times.micros(&glance.own.time).ok();
        self.summary.note(index, time, &glance);
        if glance.common.kind == Kind::Lineage.as_str() {
            self.summary.digests.extend(Entry::parse(payload).ok().and_then(|entry| Some(entry.digest?.to_string())));
        }
        for (pairs, prefix) in self.arrays.iter_mut().zip(prefixes(&glance)) {
            pairs.extend(prefix.map(|prefix| (prefix, offset)));
        }
    }

    /// Writes the index of the segment with this header, whose data end at `end` entries and `data_end` bytes.
    pub(crate) fn write(
        self,
        storage: &dyn Storage,
        header: &Header,
        (end, data_end): (u64, u64),
    ) -> io::Result<Summary> {
        let mut out = vec![0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&crc32c::crc32c(&header.encode()).to_le_bytes());
        out[16..32].copy_from_slice(&header.log);
        out[32..40].copy_from_slice(&header.first.to_le_bytes());
        out[40..48].copy_from_slice(&end.to_le_bytes());
        out[48..56].copy_from_slice(&data_end.to_le_bytes());
        for (number, (pairs, at)) in (0..).zip(self.arrays.into_iter().zip((ARRAYS_AT..).step_by(ARRAY_BYTES))) {
            let pages = pages::put(&mut out, number, pairs);
            out[at..at + 8].copy_from_slice(&pages.start.to_le_bytes());
            out[at + 8..at + 12].copy_from_slice(&pages.count.to_le_bytes());
        }
        let summary = serde_json::to_vec(&self.summary)?;
        let start = out.len() as u64;
        let len = u32::try_from(summary.len()).map_err(io::Error::other)?;
        out[SUMMARY_AT..SUMMARY_AT + 8].copy_from_slice(&start.to_le_bytes());
        out[SUMMARY_AT + 8..SUMMARY_AT + 12].copy_from_slice(&len.to_le_bytes());
        out[SUMMARY_AT + 12..SUMMARY_AT + 16].copy_from_slice(&crc32c::crc32c(&summary).to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&summary);
        put_file(storage, &index_name(header.first), &out)?;
        Ok(self.summary)
    }
}

/// An index, open.
#[derive(Debug)]
pub(crate) struct Index {
    file: Arc<dyn File>,
    /// The index after the segment's last entry.
    pub(crate) end: u64,
    /// Where the segment's data end.
    pub(crate) data_end: u64,
    arrays: [Pages; 4],
    summary: (u64, usize, u32),
}

impl Index {
    /// Opens the index of the segment with this header; `None` where there is none that can be trusted.
    pub(crate) fn open(storage: &dyn Storage, header: &Header) -> Option<Self> {
        let file = storage.open(&index_name(header.first)).ok()?;
        let mut bytes = [0; HEADER_BYTES];
        read_exact_at(&*file, &mut bytes, 0).ok()?;
        let whole = u32_at(&bytes, CRC_AT) == Some(crc32c::crc32c(&bytes[..CRC_AT]));
        let fits = bytes[..8] == MAGIC
            && u32_at(&bytes, 8) == Some(VERSION)
            && u32_at(&bytes, 12) == Some(crc32c::crc32c(&header.encode()));
        if !whole || !fits {
            return None;
        }
        let mut arrays = [Pages::default(); 4];
        for (pages, (array, at)) in arrays.iter_mut().zip((0..).zip((ARRAYS_AT..).step_by(ARRAY_BYTES))) {
            *pages = Pages { array, start: u64_at(&bytes, at)?, count: u32_at(&bytes, at + 8)? };
        }
        let len = usize::try_from(u32_at(&bytes, SUMMARY_AT + 8)?).ok().filter(|len| *len <= SUMMARY_BYTES_MAX)?;
        Some(Self {
            file,
            end: u64_at(&bytes, 40)?,
            data_end: u64_at(&bytes, 48)?,
            arrays,
            summary: (u64_at(&bytes, SUMMARY_AT)?, len, u32_at(&bytes, SUMMARY_AT + 12)?),
        })
    }

    /// What the segment holds; `None` where that part is damaged.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let (start, len, crc) = self.summary;
        let mut bytes = vec![0; len];
        read_exact_at(&*self.file, &mut bytes, start).ok()?;
        (crc32c::crc32c(&bytes) == crc).then(|| serde_json::from_slice(&bytes).ok())?
    }

    /// The sum of [`entry_sum`] over the entries that it was made of.
    pub(crate) fn sum(&self, seed: &Seed) -> io::Result<u64> {
        let mut sum = 0_u64;
        for (array, pages) in (0..).zip(&self.arrays) {
            pages.each(&*self.file, |(prefix, offset)| sum = sum.wrapping_add(seed.number(array, prefix, offset)))?;
        }
        Ok(sum)
    }

    /// The offsets of entries that may have this key, ascending.
    pub(crate) fn find(&self, key: Key) -> io::Result<Vec<u32>> {
        let mut offsets = self.arrays[key.array()].find(&*self.file, key.prefix())?;
        offsets.sort_unstable();
        Ok(offsets)
    }
}

/// What makes [`entry_sum`] unforeseeable for whoever wrote an index.
#[derive(Debug)]
pub(crate) struct Seed([u64; 3]);

impl Default for Seed {
    fn default() -> Self {
        let random = RandomState::new();
        Self([0, 1, 2].map(|number: u64| random.hash_one(number)))
    }
}

impl Seed {
    /// A number for one key of an entry: multiplied twice with what nobody knows, which is quick, and enough where an
    /// index was made before this was drawn.
    fn number(&self, array: u32, prefix: u64, offset: u32) -> u64 {
        let folded = |left: u64, right: u64| {
            let (low, high) = left.carrying_mul(right, 0);
            low ^ high
        };
        let place = u64::from(array) << 32 | u64::from(offset);
        folded(folded(prefix ^ self.0[0], place ^ self.0[1]), self.0[2] | 1)
    }
}

/// A number for what an index holds of an entry; the sum over a segment's entries is that of its index, in any order.
pub(crate) fn entry_sum(seed: &Seed, offset: u32, glance: &Glance<'_>) -> u64 {
    let numbers = (0..).zip(prefixes(glance)).filter_map(|(array, prefix)| Some(seed.number(array, prefix?, offset)));
    numbers.fold(0, u64::wrapping_add)
}

/// [`Key::prefix`] of each key that an entry has, in the order of [`Key::array`].
fn prefixes(Glance { own, .. }: &Glance<'_>) -> [Option<u64>; 4] {
    let id = || Uuid::parse_str(own.id.as_deref()?).ok();
    [
        own.input.as_deref().and_then(hex_prefix::<32>),
        own.output.as_deref().and_then(hex_prefix::<32>),
        id().map(|id| Key::Prediction(id).prefix()),
        own.trace.as_deref().and_then(hex_prefix::<16>),
    ]
}

/// The prefix of `N` bytes in hexadecimal; `None` where it is anything else.
fn hex_prefix<const N: usize>(text: &str) -> Option<u64> {
    // All of them, rather than up to the first bad one: that goes through the processor's vectors.
    let whole = text.bytes().fold(text.len() == 2 * N, |whole, digit| whole & digit.is_ascii_hexdigit());
    whole.then(|| unhex(&text[..16]).map(u64::from_be_bytes))?
}

fn prefix(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

/// Puts a whole file in its place: written and synced under another name first.
pub(crate) fn put_file(storage: &dyn Storage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = match storage.create(&temporary, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove(&temporary)?;
            storage.create(&temporary, 0)?
        }
        result => result?,
    };
    file.write_at(bytes, 0)?;
    file.sync()?;
    storage.rename(&temporary, name)?;
    storage.sync_dir()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_is_that_of_the_whole_hash(hash: [u8; 32], at in 0_usize..64, odd: char) {
            let text = crate::sha256::hex(hash);
            prop_assert_eq!(hex_prefix::<32>(&text), Some(Key::Input(hash).prefix()));
            prop_assert_eq!(hex_prefix::<16>(&text[..32]), Some(prefix(&hash)));
            prop_assert_eq!(hex_prefix::<16>(&text), None);
            let changed = format!("{}{odd}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(hex_prefix::<32>(&changed).is_some(), unhex::<32>(&changed).is_some());
        }
    }
}
