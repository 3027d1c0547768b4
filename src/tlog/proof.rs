//! A proof as a file of its own: index, audit path and checkpoint (C2SP tlog-proof, `.tlog-proof`).

use std::fmt;
use std::str::FromStr;

use super::path::PROOF_HASHES_MAX;
use super::{
    Checkpoint, Hash, Note, ProofError, VerifierKey, base64, decimal, unbase64, unbase64_hash, verify_inclusion,
};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// That an entry is in a log, for whoever trusts one of the keys that signed the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What an application adds; not covered by any signature.
    pub extra: Option<Vec<u8>>,
    /// The entry's place in the log.
    pub index: u64,
    /// The audit path, the leaf's sibling first.
    pub hashes: Vec<Hash>,
    /// The log's checkpoint, with its signatures.
    pub checkpoint: Note,
}

/// Why a proof cannot be read, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofTextError {
    /// Not the form of a proof.
    #[error("this is no tlog-proof: {0}")]
    Form(&'static str),
    /// Its checkpoint is none, or not signed by whom it should be.
    #[error("its checkpoint: {0}")]
    Note(#[from] super::NoteError),
    /// Its checkpoint's text is none.
    #[error(transparent)]
    Checkpoint(#[from] super::CheckpointError),
    /// The path does not lead to the checkpoint.
    #[error("the entry is not shown to be in the log: {0}")]
    Path(#[from] ProofError),
    /// Signed, but for another log.
    #[error("its checkpoint is of the log {0:?}, which is not the key's")]
    Origin(String),
}

impl Proof {
    /// Checks that an entry with this leaf hash is in a log that `key` signs; gives the checkpoint. The note's other
    /// signatures are for [`Note::verified_by`].
    ///
    /// # Errors
    /// Where it is not shown.
    pub fn verify(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, ProofTextError> {
        self.checkpoint.verified_by([key])?;
        let checkpoint = Checkpoint::parse(&self.checkpoint.text)?;
        if checkpoint.origin != key.name() {
            return Err(ProofTextError::Origin(checkpoint.origin));
        }
        verify_inclusion(leaf, self.index, checkpoint.size, &checkpoint.root, &self.hashes)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", base64(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = ProofTextError;

    fn from_str(text: &str) -> Result<Self, ProofTextError> {
        let form = ProofTextError::Form;
        let (head, note) = text.split_once("\n\n").ok_or(form("no empty line stands before its checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(form("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            None => None,
            Some(extra) => {
                lines.next();
                Some(unbase64(extra).ok_or(form("its extra data are no base 64"))?)
            }
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(form("it has no index"))?;
        let hashes: Option<Vec<Hash>> = lines.take(PROOF_HASHES_MAX + 1).map(unbase64_hash).collect();
        let hashes = hashes.ok_or(form("a line of its path is no hash"))?;
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(form("its path is too long"));
        }
        Ok(Self { extra, index, hashes, checkpoint: note.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{Range, Signer, leaf_hash};

    fn proof() -> (Proof, Hash, Signer) {
        let signer = Signer::from_pkcs8("log.example", &Signer::generate_ed25519().unwrap(), false).unwrap();
        let mut range = Range::new(0);
        let leaves = [leaf_hash(b"a"), leaf_hash(b"b")];
        for leaf in &leaves {
            range.push(*leaf, |_| {});
        }
        let checkpoint = Checkpoint { origin: "log.example".to_owned(), size: 2, root: range.root().unwrap() };
        let checkpoint = Note::sign(checkpoint.to_string(), &signer, 0).unwrap();
        (Proof { extra: Some(vec![1, 2]), index: 1, hashes: vec![leaves[0]], checkpoint }, leaves[1], signer)
    }

    #[test]
    fn a_proof_reads_back_and_holds() {
        let (proof, leaf, signer) = proof();
        let read: Proof = proof.to_string().parse().unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(&leaf, signer.verifier()).unwrap().size, 2);
        assert!(matches!(read.verify(&leaf_hash(b"a"), signer.verifier()), Err(ProofTextError::Path(_))));
        let other = Signer::from_pkcs8("log.example", &Signer::generate_ed25519().unwrap(), false).unwrap();
        assert!(matches!(read.verify(&leaf, other.verifier()), Err(ProofTextError::Note(_))));
    }

    #[test]
    fn a_proof_changed_anywhere_is_refused() {
        let (proof, leaf, signer) = proof();
        // Nobody signs the extra data.
        let text = Proof { extra: None, ..proof }.to_string();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Proof>().ok());
            let held = read.is_some_and(|read| read.verify(&leaf, signer.verifier()).is_ok());
            assert!(!held, "byte {at}");
        }
    }
}
