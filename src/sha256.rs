//! SHA-256, in one place: the identity of inputs, outputs and lineage documents.
//!
//! A leaf over AWS-LC, whose assembly is fast with the processor's SHA extensions and, unlike portable code, also
//! without. Tests compare it with another implementation.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// A hash under way.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// The hash of nothing yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Goes on with further bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The hash of all bytes so far.
    pub fn finish(self) -> [u8; 32] {
        array(&self.0.finish())
    }

    /// The hash of these bytes.
    pub fn digest(bytes: impl AsRef<[u8]>) -> [u8; 32] {
        array(&digest::digest(&digest::SHA256, bytes.as_ref()))
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

/// Lower-case hexadecimal, as hashes are written everywhere here.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// A hash with its algorithm, as lineage and images name it: `sha256:9f86…`.
pub fn named(hash: [u8; 32]) -> String {
    format!("sha256:{}", hex(hash))
}

fn array(digest: &digest::Digest) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(digest.as_ref());
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_another_implementation(bytes: Vec<u8>, at in 0_usize..64) {
            let theirs: [u8; 32] = sha2::Sha256::digest(&bytes).into();
            prop_assert_eq!(Sha256::digest(&bytes), theirs);
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let mut ours = Sha256::new();
            ours.update(head);
            ours.update(tail);
            prop_assert_eq!(ours.finish(), theirs);
        }
    }
}
