//! Sorted pairs of (8-byte key prefix, frame offset) in pages of 4 KiB, each with its own CRC.
//!
//! A lookup reads the few pages that it needs, never the file: keys are hashes and random ids, spread evenly, so
//! the first guess by interpolation is nearly always the right page or its neighbour.

use std::io;

use crate::ledger::frame::{u32_at, u64_at};
use crate::ledger::segment::{File, read_exact_at};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes of a pair: key prefix u64, offset u32.
const PAIR_BYTES: usize = 12;
/// Pairs in a page; its number of pairs, its array and its CRC follow them.
const PAIRS: usize = 340;
const COUNT_AT: usize = PAIRS * PAIR_BYTES;
const ARRAY_AT: usize = COUNT_AT + 4;
const CRC_AT: usize = PAGE_BYTES - 4;
const _: () = assert!(ARRAY_AT + 4 <= CRC_AT);
/// Guesses by interpolation before plain bisection, so that skewed keys cost no more than a logarithm.
const GUESSES: u32 = 3;

/// A key's prefix and where its entry's frame begins.
pub(crate) type Pair = (u64, u32);

/// One sorted array in an index file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Which array it is.
    pub(crate) array: u32,
    /// Where the first page stands.
    pub(crate) start: u64,
    /// How many pages.
    pub(crate) count: u32,
}

/// Appends an array's pages.
pub(crate) fn put(out: &mut Vec<u8>, array: u32, mut pairs: Vec<Pair>) -> Pages {
    pairs.sort_unstable();
    pairs.dedup();
    let start = out.len() as u64;
    let mut count = 0;
    for chunk in pairs.chunks(PAIRS) {
        let mut page = [0; PAGE_BYTES];
        for (place, (key, offset)) in page.chunks_exact_mut(PAIR_BYTES).zip(chunk) {
            place[..8].copy_from_slice(&key.to_be_bytes());
            place[8..].copy_from_slice(&offset.to_le_bytes());
        }
        let pairs = u32::try_from(chunk.len()).unwrap_or_default();
        page[COUNT_AT..ARRAY_AT].copy_from_slice(&pairs.to_le_bytes());
        page[ARRAY_AT..ARRAY_AT + 4].copy_from_slice(&(array << 24 | count).to_le_bytes());
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&page);
        count += 1;
    }
    Pages { array, start, count }
}

impl Pages {
    /// The offsets of every pair with this key, ascending. `InvalidData` where a page is damaged.
    pub(crate) fn find(&self, file: &dyn File, key: u64) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        let Some(mut at) = self.first_page(file, key)? else { return Ok(found) };
        while at < self.count {
            let page = self.read(file, at)?;
            for (other, offset) in page.pairs() {
                if other == key {
                    found.push(offset);
                }
            }
            if page.last() > key {
                break;
            }
            at += 1;
        }
        Ok(found)
    }

    /// Every pair. `InvalidData` where a page is damaged.
    pub(crate) fn each(&self, file: &dyn File, mut take: impl FnMut(Pair)) -> io::Result<()> {
        (0..self.count).try_for_each(|at| {
            self.read(file, at)?.pairs().for_each(&mut take);
            Ok(())
        })
    }

    /// The first page whose last key is not before `key`.
    fn first_page(&self, file: &dyn File, key: u64) -> io::Result<Option<u32>> {
        let (mut low, mut high) = (0, self.count);
        // Keys known to lie before and after what is left.
        let (mut low_key, mut high_key) = (0_u64, u64::MAX);
        let mut guesses = 0;
        while low < high {
            let middle = if guesses < GUESSES {
                guesses += 1;
                guess(low, high, (low_key, high_key, key))
            } else {
                low + (high - low) / 2
            };
            let page = self.read(file, middle)?;
            if page.last() < key {
                low = middle + 1;
                low_key = page.last();
            } else {
                high = middle;
                high_key = page.first();
                if page.first() < key {
                    // The key can only be here or be the first of nothing before.
                    return Ok(Some(middle));
                }
            }
        }
        Ok((low < self.count).then_some(low))
    }

    fn read(&self, file: &dyn File, at: u32) -> io::Result<Page> {
        let mut bytes = [0; PAGE_BYTES];
        read_exact_at(file, &mut bytes, self.start + u64::from(at) * PAGE_BYTES as u64)?;
        let count = u32_at(&bytes, COUNT_AT).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let whole = u32_at(&bytes, CRC_AT) == Some(crc32c::crc32c(&bytes[..CRC_AT]));
        let placed = u32_at(&bytes, ARRAY_AT) == Some(self.array << 24 | at);
        if whole && placed && (1..=PAIRS).contains(&count) {
            Ok(Page { bytes, count })
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "an index page is damaged"))
        }
    }
}

struct Page {
    bytes: [u8; PAGE_BYTES],
    count: usize,
}

impl Page {
    fn key(&self, at: usize) -> u64 {
        u64_at(&self.bytes, at * PAIR_BYTES).unwrap_or_default().swap_bytes()
    }

    fn first(&self) -> u64 {
        self.key(0)
    }

    fn last(&self) -> u64 {
        self.key(self.count - 1)
    }

    fn pairs(&self) -> impl Iterator<Item = Pair> + '_ {
        (0..self.count).map(|at| (self.key(at), u32_at(&self.bytes, at * PAIR_BYTES + 8).unwrap_or_default()))
    }
}

/// Where the key would be if keys were spread evenly between those known.
fn guess(low: u32, high: u32, (low_key, high_key, key): (u64, u64, u64)) -> u32 {
    let span = u128::from(high_key.saturating_sub(low_key)).max(1);
    let into = u128::from(key.saturating_sub(low_key)).min(span);
    let step = u128::from(high - low) * into / span;
    low + u32::try_from(step).unwrap_or(0).min(high - low - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::segment::{Storage as _, sim::Sim};

    fn stored(bytes: &[u8]) -> Arc<dyn File> {
        let sim = Sim::new(0);
        let file = sim.create("pages", 0).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_lookup_equals_a_filter(
            keys in proptest::collection::vec(prop_oneof![0..40_u64, any::<u64>(), Just(u64::MAX)], 0..3000),
            wanted in prop_oneof![0..40_u64, any::<u64>(), Just(u64::MAX)],
        ) {
            let pairs: Vec<Pair> = keys.iter().zip(0..).map(|(key, at)| (*key, at)).collect();
            let mut bytes = vec![0; 64];
            let pages = put(&mut bytes, 2, pairs.clone());
            let file = stored(&bytes);
            for key in keys.iter().copied().take(50).chain([wanted]) {
                let naive: Vec<u32> = pairs.iter().filter(|pair| pair.0 == key).map(|pair| pair.1).collect();
                prop_assert_eq!(pages.find(&*file, key).unwrap(), naive);
            }
        }
    }

    #[test]
    fn a_damaged_page_is_an_error_and_never_a_miss() {
        let mut bytes = Vec::new();
        let pages = put(&mut bytes, 0, (0..100).map(|at| (u64::from(at), at)).collect());
        for at in (0..PAGE_BYTES).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(pages.find(&*stored(&changed), 50).is_err(), "byte {at}");
        }
    }
}
