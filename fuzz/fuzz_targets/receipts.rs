//! Any bytes as a receipt: read or refused, written as read, and believed for what was signed alone.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::tlog::{Receipt, leaf_hash};
use touchmark_fuzz::signer;

/// A promise of ours.
static OWN: LazyLock<Receipt> =
    LazyLock::new(|| Receipt::sign(leaf_hash(b"entry"), 1_795_195_741, &signer()).expect("the key signs"));

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        read(text);
    }
    // Ours, with some bytes changed: pairs of where and what.
    let mut bytes = OWN.to_string().into_bytes();
    for [at, byte] in input.as_chunks().0 {
        let len = bytes.len();
        bytes[usize::from(*at) % len] = *byte;
    }
    if let Ok(text) = std::str::from_utf8(&bytes) {
        read(text);
    }
});

fn read(text: &str) {
    let Ok(receipt) = text.parse::<Receipt>() else { return };
    assert_eq!(receipt.to_string(), text.trim());
    assert_eq!(receipt.to_string().parse::<Receipt>(), Ok(receipt.clone()));
    // Nobody finds a signature.
    assert!(receipt.verify([signer().verifier()]).is_err() || receipt == *OWN);
}
