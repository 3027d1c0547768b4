//! Any bytes as a note: read or refused, written as read, and believed for the key that signed it alone.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::tlog::{Note, Signature, VerifierKey};
use touchmark_fuzz::signer;

/// What was signed.
const TEXT: &str = "This is an example message.\n";

static KEY: LazyLock<VerifierKey> = LazyLock::new(|| signer().verifier().clone());

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(line) = text.parse::<Signature>() {
        assert_eq!(line.to_string().trim_end(), text.trim_end_matches('\n'));
    }
    let Ok(note) = text.parse::<Note>() else { return };
    assert_eq!(note.to_string(), text);
    assert!(note.text.ends_with('\n') && !note.signatures.is_empty());
    // Nobody finds a signature: what is believed is what was signed.
    if note.verified_by([&*KEY]).is_ok() {
        assert_eq!(note.text, TEXT);
    }
    // Signed by us, it is believed, whatever stands in it.
    let mut own = Note { text: note.text, signatures: Vec::new() };
    own.signatures.extend(signer().sign(&own.text, 0));
    let read: Note = own.to_string().parse().expect("what was written can be read");
    assert!(read.verified_by([&*KEY]).is_ok());
});
