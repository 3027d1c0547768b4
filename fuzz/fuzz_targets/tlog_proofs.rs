//! Any bytes as a proof: read or refused, written as read; and for a tree that the input chooses, no proof but its own.
#![no_main]

use std::convert::Infallible;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::tlog::{
    Hash, Hashes, Proof, consistency_proof, inclusion_proof, leaf_hash, node_hash, root_at, verify_consistency,
    verify_inclusion,
};
use touchmark_fuzz::signer;

/// The hash of a complete subtree of each height, whose leaves are all the same.
static NODES: LazyLock<Vec<Hash>> = LazyLock::new(|| {
    std::iter::successors(Some(leaf_hash(b"")), |hash| Some(node_hash(hash, hash))).take(65).collect()
});

/// A tree of any size whose leaves are all the same.
struct Same;

impl Hashes for Same {
    type Error = Infallible;

    fn node(&self, level: u32, _: u64) -> Result<Hash, Infallible> {
        Ok(NODES[level as usize])
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some(proof) = std::str::from_utf8(input).ok().and_then(|text| text.parse::<Proof>().ok()) {
        assert_eq!(proof.to_string().as_bytes(), input);
        // Nobody signed its checkpoint.
        assert!(proof.verify(&leaf_hash(b""), signer().verifier()).is_err());
    }
    let Some((numbers, rest)) = input.split_first_chunk::<16>() else { return };
    let [size, other] = [0, 8].map(|at| u64::from_le_bytes(numbers[at..at + 8].try_into().expect("eight bytes")));
    let (size, other) = (size.max(1), other % size.max(1));
    let (Ok(root), Ok(inclusion)) = (root_at(&Same, size), inclusion_proof(&Same, other, size));
    assert_eq!(verify_inclusion(&leaf_hash(b""), other, size, &root, &inclusion), Ok(()));
    let (Ok(old_root), Ok(consistency)) = (root_at(&Same, other), consistency_proof(&Same, other, size));
    assert_eq!(verify_consistency((other, &old_root), (size, &root), &consistency), Ok(()));
    // Made of the input: it ends, and holds only where it is the very same.
    let made: Vec<Hash> = rest.as_chunks().0.to_vec();
    assert!(verify_inclusion(&leaf_hash(b""), other, size, &root, &made).is_err() || made == inclusion);
    let held = verify_consistency((other, &old_root), (size, &root), &made);
    assert!(held.is_err() || made == consistency);
});
