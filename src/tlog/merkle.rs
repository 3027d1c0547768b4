//! The Merkle tree of RFC 6962, section 2.1, as it grows: any range of leaves as the fewest complete subtrees.
//!
//! A [`Range`] that begins at leaf 0 is what a log keeps in memory, some thirty hashes; one that begins elsewhere is
//! what one thread makes of its part of a log, to be joined with the others'. Proofs are in `path`.

use super::Hash;
use crate::sha256::{self, Sha256};

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(entry);
    hash.finish()
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes)
}

/// Entries whose leaf hashes are wanted, gathered so that they are made many at a time.
#[derive(Debug, Default)]
pub struct LeafBatch {
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<usize>,
}

impl LeafBatch {
    /// Entries beyond which a batch is full: enough to fill the lanes, few enough to stay in the processor's caches.
    const ENTRIES_MAX: usize = 128;
    /// Bytes beyond which it is full.
    const BYTES_MAX: usize = 128 << 10;

    /// Adds an entry.
    pub fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len());
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether it is time for [`LeafBatch::take`].
    pub fn is_full(&self) -> bool {
        self.ends.len() >= Self::ENTRIES_MAX || self.bytes.len() >= Self::BYTES_MAX
    }

    /// The leaf hashes of those that wait, in order; none waits any more.
    pub fn take(&mut self) -> Vec<Hash> {
        let mut begin = 0;
        let entry = |end: &usize| &self.bytes[std::mem::replace(&mut begin, *end)..*end];
        let entries: Vec<&[u8]> = self.ends.iter().map(entry).collect();
        let mut hashes = vec![Hash::default(); entries.len()];
        sha256::many(&[0], &entries, &mut hashes);
        self.ends.clear();
        self.bytes.clear();
        // One large entry must not be paid for ever after.
        self.bytes.shrink_to(2 * Self::BYTES_MAX);
        hashes
    }
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([])
}

/// A complete subtree: the leaves from `index << level` up to `(index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its height; 0 is a leaf.
    pub level: u32,
    /// Its place among the nodes of that level.
    pub index: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A range of leaves as the fewest complete subtrees, from left to right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    begin: u64,
    end: u64,
    nodes: Vec<Node>,
}

impl Range {
    /// The empty range before leaf `begin`.
    pub fn new(begin: u64) -> Self {
        Self { begin, end: begin, nodes: Vec::new() }
    }

    /// The first `size` leaves, whose complete subtrees `node` knows by level and index.
    ///
    /// # Errors
    /// Whatever `node` returns.
    pub fn load<E>(size: u64, mut node: impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Self, E> {
        let mut range = Self::new(0);
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            let index = range.end >> level;
            range.nodes.push(Node { level, index, hash: node(level, index)? });
            range.end += 1 << level;
        }
        Ok(range)
    }

    /// The first leaf.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The leaf after the last.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends a leaf. `made` is told of every node that this completes, the leaf first.
    pub fn push(&mut self, leaf: Hash, made: impl FnMut(&Node)) {
        let node = Node { level: 0, index: self.end, hash: leaf };
        self.end += 1;
        self.merge(node, made);
    }

    /// Appends leaves, as [`Range::push`] does one by one, with the nodes of a level made many at a time. `made` is told of
    /// the nodes level by level: on each in order.
    pub fn extend(&mut self, leaves: &[Hash], mut made: impl FnMut(&Node)) {
        let (mut index, mut row) = (self.end, leaves.to_vec());
        self.end += leaves.len() as u64;
        let mut rests = Vec::new();
        let mut levels = 0..;
        while !row.is_empty()
            && let Some(level) = levels.next()
        {
            for (index, hash) in (index..).zip(&row) {
                made(&Node { level, index, hash: *hash });
            }
            if index % 2 == 1 {
                if let Some(left) = self.nodes.pop_if(|left| left.level == level && left.index % 2 == 0) {
                    row.insert(0, left.hash);
                    index = left.index;
                } else {
                    // Its sibling lies before the range.
                    self.nodes.push(Node { level, index, hash: row.remove(0) });
                    index += 1;
                }
            }
            if row.len() % 2 == 1
                && let Some(hash) = row.pop()
            {
                rests.push(Node { level, index: index + row.len() as u64, hash });
            }
            (row, index) = (parents(&row), index / 2);
        }
        self.nodes.extend(rests.into_iter().rev());
    }

    /// Appends the range that follows. `made` is told of the nodes that this completes, and of those that `next`
    /// consists of. False, and nothing done, where it does not begin where this one ends.
    pub fn join(&mut self, next: &Self, mut made: impl FnMut(&Node)) -> bool {
        if next.begin != self.end {
            return false;
        }
        for node in &next.nodes {
            self.merge(*node, &mut made);
        }
        self.end = next.end;
        true
    }

    /// The tree's root, where the range begins with the first leaf.
    pub fn root(&self) -> Option<Hash> {
        if self.begin != 0 {
            return None;
        }
        let mut nodes = self.nodes.iter().rev();
        let last = nodes.next().map_or_else(empty_root, |node| node.hash);
        Some(nodes.fold(last, |right, left| node_hash(&left.hash, &right)))
    }

    fn merge(&mut self, mut node: Node, mut made: impl FnMut(&Node)) {
        made(&node);
        while let Some(left) = self.nodes.last()
            && left.level == node.level
            && left.index % 2 == 0
        {
            node = Node { level: node.level + 1, index: left.index / 2, hash: node_hash(&left.hash, &node.hash) };
            self.nodes.pop();
            made(&node);
        }
        self.nodes.push(node);
    }
}

/// The nodes over each pair of neighbours.
fn parents(row: &[Hash]) -> Vec<Hash> {
    let (pairs, _) = row.as_chunks::<2>();
    let (left, right): (Vec<&[u8]>, Vec<&[u8]>) = pairs.iter().map(|[left, right]| (&left[..], &right[..])).unzip();
    let mut hashes = vec![Hash::default(); pairs.len()];
    sha256::pairs(&[1], &left, &right, &mut hashes);
    hashes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6962, section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                node_hash(&mth(left), &mth(right))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let leaves = leaves(300);
        let mut range = Range::new(0);
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(range.root(), Some(mth(&leaves[..size])));
            range.push(*leaf, |_| {});
        }
        assert_eq!(range.end(), 300);
    }

    #[test]
    fn known_roots() {
        // The test vectors of Certificate Transparency's reference implementation.
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut range = Range::new(0);
        for entry in entries {
            range.push(leaf_hash(entry), |_| {});
        }
        assert_eq!(crate::tlog::base64(&range.root().unwrap()), "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=");
    }

    proptest! {
        /// Whatever the batches, from whichever leaf on: the same range, and the same nodes on each level in the same order.
        #[test]
        fn leaves_come_one_by_one_or_many_at_a_time(
            begin in 0_u64..40,
            batches in proptest::collection::vec(0_u64..90, 0..9),
        ) {
            let (mut single, mut many) = (Range::new(begin), Range::new(begin));
            let (mut one, mut other) = (Vec::new(), Vec::new());
            for count in batches {
                let leaves: Vec<Hash> =
                    (many.end()..many.end() + count).map(|index| leaf_hash(&index.to_be_bytes())).collect();
                for leaf in &leaves {
                    single.push(*leaf, |node| one.push(*node));
                }
                many.extend(&leaves, |node| other.push(*node));
                prop_assert_eq!(&single, &many);
            }
            one.sort_by_key(|node| node.level);
            other.sort_by_key(|node| node.level);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn a_batch_gives_each_entrys_own_hash(entries in proptest::collection::vec(0_usize..700, 0..40)) {
            let entries: Vec<Vec<u8>> = entries.into_iter().map(|length| vec![b'x'; length]).collect();
            let mut batch = LeafBatch::default();
            for _ in 0..2 {
                for entry in &entries {
                    batch.push(entry);
                }
                prop_assert_eq!(batch.len(), entries.len());
                let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
                prop_assert_eq!(batch.take(), hashes);
                prop_assert!(batch.is_empty());
            }
        }

        #[test]
        fn parts_join_to_the_whole(size in 0_u64..600, cuts in proptest::collection::vec(0_u64..600, 0..5)) {
            let leaves = leaves(size);
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut.min(size)).chain([0, size]).collect();
            cuts.sort_unstable();
            let mut whole = Range::new(0);
            for pair in cuts.windows(2) {
                let mut part = Range::new(pair[0]);
                for leaf in &leaves[usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap()] {
                    part.push(*leaf, |_| {});
                }
                let joined = whole.join(&part, |_| {});
                prop_assert!(joined);
            }
            prop_assert_eq!(whole.root(), Some(mth(&leaves)));
            let joined = whole.join(&Range::new(size + 1), |_| {});
            prop_assert!(!joined);
        }

        #[test]
        fn a_loaded_range_goes_on_as_if_it_had_never_stopped(size in 0_u64..600) {
            let mut nodes = std::collections::HashMap::new();
            let mut range = Range::new(0);
            for leaf in leaves(size) {
                range.push(leaf, |node| {
                    nodes.insert((node.level, node.index), node.hash);
                });
            }
            let loaded = Range::load(size, |level, index| nodes.get(&(level, index)).copied().ok_or(()));
            prop_assert_eq!(loaded, Ok(range));
        }
    }
}
