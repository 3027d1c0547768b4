//! Proofs over the tree: that an entry is in it, and that it only grew (RFC 6962, sections 2.1.1 and 2.1.2).
//!
//! Making one reads complete subtrees through [`Hashes`]; checking one (RFC 9162, sections 2.1.3.2 and 2.1.4.2) needs
//! the proof and two heads, and believes nothing else.

use super::Hash;
use super::merkle::{empty_root, node_hash};

/// The most hashes of a proof: a tree has at most 2⁶⁴ leaves.
pub(super) const PROOF_HASHES_MAX: usize = 64;

/// Who knows the hashes of complete subtrees.
pub trait Hashes {
    /// What goes wrong when one is read.
    type Error;

    /// The hash of the leaves from `index << level` up to `(index + 1) << level`, all of which exist.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The entry is not below the tree's size.
    #[error("the index is not in a tree of this size")]
    OutOfTree,
    /// The first tree is larger than the second.
    #[error("the tree has become smaller")]
    Shrunk,
    /// Too few or too many hashes for these sizes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The root over the first `size` leaves.
///
/// # Errors
/// Where a hash cannot be read.
pub fn root_at<H: Hashes>(hashes: &H, size: u64) -> Result<Hash, H::Error> {
    if size == 0 { Ok(empty_root()) } else { subtree(hashes, 0, size) }
}

/// The audit path of leaf `index` in the tree of the first `size` leaves, the leaf's sibling first.
///
/// `index` must be below `size`.
///
/// # Errors
/// Where a hash cannot be read.
pub fn inclusion_proof<H: Hashes>(hashes: &H, index: u64, size: u64) -> Result<Vec<Hash>, H::Error> {
    debug_assert!(index < size, "the leaf is in the tree");
    let (mut begin, mut end) = (0, size);
    let mut path = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(subtree(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(subtree(hashes, begin, middle)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `size` leaves extends that of the first `old`.
///
/// `old` must be at most `size`. Empty where they are equal, or `old` is nothing.
///
/// # Errors
/// Where a hash cannot be read.
pub fn consistency_proof<H: Hashes>(hashes: &H, old: u64, size: u64) -> Result<Vec<Hash>, H::Error> {
    debug_assert!(old <= size, "a log only grows");
    if old == 0 || old >= size {
        return Ok(Vec::new());
    }
    let (mut begin, mut end, mut whole) = (0, size, true);
    let mut path = Vec::new();
    while old != end {
        let middle = begin + split(end - begin);
        if old <= middle {
            path.push(subtree(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(subtree(hashes, begin, middle)?);
            begin = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(subtree(hashes, begin, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that a leaf is in a tree.
///
/// # Errors
/// Where the proof does not show it.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfTree);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// Checks that the second tree extends the first.
///
/// # Errors
/// Where the proof does not show it.
pub fn verify_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> Result<(), ProofError> {
    let ((old, old_root), (size, root)) = (old, new);
    if old > size {
        return Err(ProofError::Shrunk);
    }
    if old == size || old == 0 {
        let same = if old == 0 { *old_root == empty_root() } else { old_root == root };
        return match (proof.is_empty(), same) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut node, mut last) = (old - 1, size - 1);
    while node % 2 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // A first tree that is complete is itself where the proof begins.
    let (first, rest) =
        if old.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or(ProofError::Length)? };
    let (mut old_hash, mut hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node % 2 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, old_hash == *old_root && hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over `begin..end`, where `begin` is a multiple of the range's largest complete subtree.
fn subtree<H: Hashes>(hashes: &H, begin: u64, end: u64) -> Result<Hash, H::Error> {
    let count = end - begin;
    if count.is_power_of_two() {
        let level = count.ilog2();
        return hashes.node(level, begin >> level);
    }
    let middle = begin + split(count);
    Ok(node_hash(&subtree(hashes, begin, middle)?, &subtree(hashes, middle, end)?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::tlog::merkle::{Range, leaf_hash};

    struct Known(HashMap<(u32, u64), Hash>);

    impl Hashes for Known {
        type Error = Infallible;

        fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
            Ok(self.0[&(level, index)])
        }
    }

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    fn tree(size: u64) -> (Known, Vec<Hash>) {
        let (mut known, mut range) = (HashMap::new(), Range::new(0));
        let mut roots = vec![empty_root()];
        for index in 0..size {
            range.push(leaf(index), |node| {
                known.insert((node.level, node.index), node.hash);
            });
            roots.push(range.root().unwrap());
        }
        (Known(known), roots)
    }

    /// Proofs of Certificate Transparency's reference implementation, over its eight entries.
    #[test]
    fn known_proofs() {
        let entries =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let (mut known, mut range) = (HashMap::new(), Range::new(0));
        for entry in entries {
            let bytes: Vec<u8> =
                (0..entry.len()).step_by(2).map(|at| u8::from_str_radix(&entry[at..at + 2], 16).unwrap()).collect();
            range.push(leaf_hash(&bytes), |node| {
                known.insert((node.level, node.index), node.hash);
            });
        }
        let known = Known(known);
        // Their first four bytes tell them apart.
        let short = |hashes: Vec<Hash>| -> Vec<String> {
            hashes
                .iter()
                .filter_map(|hash| hash.first_chunk())
                .map(|first| format!("{:08x}", u32::from_be_bytes(*first)))
                .collect()
        };
        let Ok(roots) = (0..=8).map(|size| root_at(&known, size)).collect::<Result<Vec<_>, _>>();
        let wanted = [
            "e3b0c442", "6e340b9c", "fac54203", "aeb6bcfe", "d37ee418", "4e3bbb1f", "76e67dad", "ddb89be4", "5dc9da79",
        ];
        assert_eq!(short(roots), wanted);
        for (index, size, path) in [
            (0, 1, &[] as &[&str]),
            (0, 8, &["96a296d2", "5f083f0a", "6b47aaf2"]),
            (5, 8, &["bc1a0643", "ca854ea1", "d37ee418"]),
            (2, 3, &["fac54203"]),
            (1, 5, &["6e340b9c", "5f083f0a", "bc1a0643"]),
        ] {
            let Ok(proof) = inclusion_proof(&known, index, size);
            assert_eq!(short(proof), path, "{index} of {size}");
        }
        for (old, size, path) in [
            (1, 1, &[] as &[&str]),
            (1, 8, &["96a296d2", "5f083f0a", "6b47aaf2"]),
            (6, 8, &["0ebc5d34", "ca854ea1", "d37ee418"]),
            (2, 5, &["5f083f0a", "bc1a0643"]),
        ] {
            let Ok(proof) = consistency_proof(&known, old, size);
            assert_eq!(short(proof), path, "{old} to {size}");
        }
    }

    fn at(roots: &[Hash], size: u64) -> &Hash {
        &roots[usize::try_from(size).unwrap()]
    }

    #[test]
    fn every_proof_of_small_trees_holds_and_no_other() {
        let (known, roots) = tree(70);
        for size in 1..=70 {
            assert_eq!(root_at(&known, size), Ok(*at(&roots, size)));
            for index in 0..size {
                let Ok(proof) = inclusion_proof(&known, index, size);
                let check = |index, size, root| verify_inclusion(&leaf(index), index, size, root, &proof);
                assert_eq!(check(index, size, at(&roots, size)), Ok(()));
                assert!(check(index, size, at(&roots, size - 1)).is_err());
                assert!(verify_inclusion(&leaf(index + 1), index, size, at(&roots, size), &proof).is_err());
                for other in 0..size {
                    let held = verify_inclusion(&leaf(index), other, size, at(&roots, size), &proof);
                    assert_eq!(held.is_ok(), other == index, "{index} as {other} of {size}");
                }
            }
            for old in 0..=size {
                let Ok(proof) = consistency_proof(&known, old, size);
                let (old_root, root) = (at(&roots, old), at(&roots, size));
                assert_eq!(verify_consistency((old, old_root), (size, root), &proof), Ok(()), "{old} {size}");
                if old != size {
                    assert!(verify_consistency((old, root), (size, root), &proof).is_err());
                    assert!(verify_consistency((size, root), (old, old_root), &proof).is_err());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_does_not_hold(size in 2_u64..2000, index: u64, old: u64, at_hash: usize, bit in 0_u8..8) {
            let (known, roots) = tree(size);
            let (index, old) = (index % size, 1 + old % (size - 1));
            let Ok(inclusion) = inclusion_proof(&known, index, size);
            let Ok(consistency) = consistency_proof(&known, old, size);
            let holds = |proof: &[Hash]| verify_inclusion(&leaf(index), index, size, at(&roots, size), proof);
            let extends =
                |proof: &[Hash]| verify_consistency((old, at(&roots, old)), (size, at(&roots, size)), proof);
            prop_assert_eq!(holds(&inclusion), Ok(()));
            prop_assert_eq!(extends(&consistency), Ok(()));
            for (proof, check) in [(inclusion, &holds as &dyn Fn(&[Hash]) -> _), (consistency, &extends)] {
                let mut changed = proof.clone();
                let place = at_hash % changed.len().max(1);
                if let Some(hash) = changed.get_mut(place) {
                    hash[at_hash % 32] ^= 1 << bit;
                    prop_assert!(check(&changed).is_err());
                    changed.remove(place);
                    prop_assert!(check(&changed).is_err());
                }
                let mut longer = proof;
                longer.push([7; 32]);
                prop_assert!(check(&longer).is_err());
            }
        }
    }
}
