//! Transparency logs: RFC 6962 Merkle trees, and the C2SP formats that other tools read.
//!
//! Signed notes, checkpoints, cosignatures, tiles and proofs, as bytes in and bytes out. Nothing here knows a file, a
//! clock, a network or what an entry means; the ledger writes with it, a witness signs with it, and whoever verifies
//! needs nothing else of this crate.

mod checkpoint;
mod key;
mod merkle;
mod note;
pub(crate) mod path;
mod proof;
mod receipt;
mod tile;

pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, SignedCheckpointError};
pub use key::{KeyError, Scheme, Signer, VerifierKey};
pub use merkle::{LeafBatch, Node, Range, empty_root, leaf_hash, node_hash};
pub use note::{Note, NoteError, Signature};
pub use path::{Hashes, ProofError, consistency_proof, inclusion_proof, root_at, verify_consistency, verify_inclusion};
pub use proof::{Proof, ProofTextError};
pub use receipt::{Receipt, ReceiptError};
pub use tile::{TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Tile, TilePath};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Standard base 64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Reads standard base 64; `None` for anything but its canonical form.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// A hash in base 64.
pub(crate) fn unbase64_hash(text: &str) -> Option<Hash> {
    unbase64(text)?.try_into().ok()
}

/// A decimal without leading zeroes, as every C2SP format writes numbers.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { text.parse().ok() } else { None }
}
