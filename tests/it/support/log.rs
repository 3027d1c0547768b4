//! A transparency log that a test plays itself, with two histories.

use std::collections::HashMap;
use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use touchmark::tlog::{Checkpoint, Hash, Hashes, Note, Range, Signer, consistency_proof, leaf_hash, root_at};

/// The first leaf in which the histories differ.
const FORK_AT: u64 = 3;
/// Leaves.
const SIZE: u64 = 300;

/// A log.
pub(crate) struct Log {
    signer: Signer,
    histories: [Tree; 2],
}

struct Tree(HashMap<(u32, u64), Hash>);

impl Hashes for Tree {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        Ok(self.0[&(level, index)])
    }
}

impl Log {
    pub(crate) fn new(origin: &str) -> Self {
        Self::with_key(origin, &Signer::generate_ed25519().unwrap())
    }

    /// A log that signs with a key in PKCS #8.
    pub(crate) fn with_key(origin: &str, key: &[u8]) -> Self {
        let histories = [0_u64, 1].map(|history| {
            let (mut tree, mut range) = (HashMap::new(), Range::new(0));
            for leaf in 0..SIZE {
                let entry = [if leaf < FORK_AT { 0 } else { history }, leaf].map(u64::to_be_bytes).concat();
                range.push(leaf_hash(&entry), |node| {
                    tree.insert((node.level, node.index), node.hash);
                });
            }
            Tree(tree)
        });
        Self { signer: Signer::from_pkcs8(origin, key, false).unwrap(), histories }
    }

    pub(crate) fn origin(&self) -> &str {
        self.signer.verifier().name()
    }

    pub(crate) fn vkey(&self) -> String {
        self.signer.verifier().to_string()
    }

    /// A signed checkpoint of its first history, or of its second.
    pub(crate) fn note(&self, history: usize, size: u64) -> Note {
        let Ok(root) = root_at(&self.histories[history], size);
        let checkpoint = Checkpoint { origin: self.origin().to_owned(), size, root };
        Note::sign(checkpoint.to_string(), &self.signer, 0).unwrap()
    }

    /// What is sent to a witness.
    pub(crate) fn body(&self, history: usize, old: u64, size: u64) -> String {
        let Ok(proof) = consistency_proof(&self.histories[history], old.min(size), size);
        let proof: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("old {old}\n{proof}\n{}", self.note(history, size))
    }
}
