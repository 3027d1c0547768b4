//! SHA-256, in one place: the identity of inputs, outputs and lineage documents, and of the log's tree.
//!
//! A leaf over AWS-LC, whose assembly is fast with the processor's SHA extensions and, unlike portable code, also
//! without. Where many messages are at hand at once ([`many`], [`pairs`]) they go side by side through the lanes of the
//! processor's vectors, three to six times as fast where it has no SHA extensions (`docs/adr/0017`). Tests compare both
//! with another implementation.

use std::sync::LazyLock;

use aws_lc_rs::digest;

/// Messages for which lanes are worth while; fewer are hashed one by one.
const LANES_LEAST: usize = 4;

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
    bytes.as_ref().iter().flat_map(|byte| digits(*byte)).map(char::from).collect()
}

/// The same without an allocation, of as many bytes as are known to be there.
pub fn hex_digits<const N: usize>(bytes: &[u8; N]) -> [[u8; 2]; N] {
    let mut text = [[0; 2]; N];
    for (pair, byte) in text.iter_mut().zip(bytes) {
        *pair = digits(*byte);
    }
    text
}

/// Without a table, so that many are made at once in the processor's vectors.
const fn digits(byte: u8) -> [u8; 2] {
    const fn digit(nibble: u8) -> u8 {
        nibble + b'0' + if nibble > 9 { b'a' - b'9' - 1 } else { 0 }
    }
    [digit(byte >> 4), digit(byte & 0x0f)]
}

/// A hash with its algorithm, as lineage and images name it: `sha256:9f86…`.
pub fn named(hash: [u8; 32]) -> String {
    format!("sha256:{}", hex(hash))
}

/// Whether the processor has instructions for SHA-256. Then whoever would have to wait for others to hash beside them
/// gains nothing by it.
pub fn has_extensions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// Tries the lanes now, which takes a millisecond, for whoever must not be held up by that at the first use.
pub fn warm_up() {
    LazyLock::force(&LANES_ARE_SOUND);
}

/// The hashes of `prefix ‖ message`, for each message in turn.
///
/// # Panics
/// Where there are not as many places for hashes as messages.
pub fn many(prefix: &[u8], messages: &[&[u8]], hashes: &mut [[u8; 32]]) {
    assert_eq!(messages.len(), hashes.len(), "a place for each hash");
    if messages.len() >= LANES_LEAST && *LANES_ARE_SOUND {
        return tape_sha256::hash_many_prefixed(prefix, messages, hashes);
    }
    for (message, hash) in messages.iter().zip(hashes) {
        *hash = joined(&[prefix, message]);
    }
}

/// The hashes of `prefix ‖ left ‖ right`, for each of as many lefts and rights.
///
/// # Panics
/// Where there are not as many lefts, rights and places for hashes.
pub fn pairs(prefix: &[u8], left: &[&[u8]], right: &[&[u8]], hashes: &mut [[u8; 32]]) {
    assert_eq!((left.len(), right.len()), (hashes.len(), hashes.len()), "a place for each hash");
    if left.len() >= LANES_LEAST && *LANES_ARE_SOUND {
        return tape_sha256::hash_pairs(prefix, left, right, hashes);
    }
    for ((left, right), hash) in left.iter().zip(right).zip(hashes) {
        *hash = joined(&[prefix, left, right]);
    }
}

fn joined(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// Whether lanes give on this processor what AWS-LC gives. Which code they are depends on the processor, and tests ran on
/// others: it is tried once, over every length up to some blocks, before anything is believed.
static LANES_ARE_SOUND: LazyLock<bool> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(TRIED_BYTES).collect();
    let messages: Vec<&[u8]> = (0..bytes.len()).map(|length| &bytes[..length]).collect();
    let (left, right): (Vec<&[u8]>, Vec<&[u8]>) = bytes.windows(64).map(|pair| pair.split_at(32)).unzip();
    let (mut of_many, mut of_pairs) = (vec![[0; 32]; messages.len()], vec![[0; 32]; left.len()]);
    tape_sha256::hash_many_prefixed(&[0], &messages, &mut of_many);
    tape_sha256::hash_pairs(&[1], &left, &right, &mut of_pairs);
    let sound = messages.iter().zip(&of_many).all(|(message, hash)| joined(&[&[0], message]) == *hash)
        && left.iter().zip(right).zip(&of_pairs).all(|((left, right), hash)| joined(&[&[1], left, right]) == *hash);
    if !sound {
        tracing::error!(lanes = tape_sha256::backend(), "hashing in lanes is wrong on this processor, and is not used");
    }
    sound
});
/// Bytes of the longest message tried: beyond four blocks nothing new happens.
const TRIED_BYTES: usize = 300;

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

    #[test]
    fn lanes_are_sound_here() {
        assert!(*LANES_ARE_SOUND, "{}", tape_sha256::backend());
    }

    proptest! {
        #[test]
        fn many_and_pairs_are_the_same_as_one_by_one(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..40),
            prefix in proptest::collection::vec(any::<u8>(), 0..3),
        ) {
            let expected = |parts: &[&[u8]]| -> [u8; 32] { sha2::Sha256::digest(parts.concat()).into() };
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let mut hashes = vec![[0; 32]; messages.len()];
            many(&prefix, &messages, &mut hashes);
            for (message, hash) in messages.iter().zip(&hashes) {
                prop_assert_eq!(*hash, expected(&[&prefix, message]));
            }
            let (left, right) = messages.split_at(messages.len() / 2);
            let right = &right[..left.len()];
            pairs(&prefix, left, right, &mut hashes[..left.len()]);
            for ((left, right), hash) in left.iter().zip(right).zip(&hashes) {
                prop_assert_eq!(*hash, expected(&[&prefix, left, right]));
            }
        }

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
