//! Any bytes as a bundle or an extension: refused, since nobody signed it; and a true bundle with bytes changed: refused,
//! or it says what it said.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::ledger::proof::{Bundle, Extension, Piece, Trust};
use touchmark::sha256::{Sha256, hex};
use touchmark::tlog::{Checkpoint, Hash, Note, Proof, leaf_hash, node_hash};
use touchmark_fuzz::signer;

const BEGIN: &str = r#"{"v":1,"kind":"begin","nonce":"00","time":"2026-11-20T17:29:01.123456Z","id":"0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10"}"#;
/// In its RFC 8785 form.
const DOCUMENT: &str = r#"{"datasets":[],"model":{"name":"fraud","version":"v1"}}"#;

static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust { keys: vec![signer().verifier().clone()], witnesses: 0 });

/// A prediction with its lineage and its beginning, in a log of the three.
static WHOLE: LazyLock<Bundle> = LazyLock::new(|| {
    let digest = hex(Sha256::digest(DOCUMENT));
    let lineage = format!(
        r#"{{"v":1,"kind":"lineage","nonce":"01","time":"2026-11-20T17:29:01.123456Z","digest":"{digest}","document":{DOCUMENT}}}"#
    );
    let entry = format!(
        r#"{{"v":1,"kind":"prediction","nonce":"02","time":"2026-11-20T17:29:01.123456Z","id":"0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10","lineage":"{digest}"}}"#
    );
    let [first, second, third] = [&lineage, BEGIN, &entry].map(|entry| leaf_hash(entry.as_bytes()));
    let pair = node_hash(&first, &second);
    let checkpoint =
        Checkpoint { origin: signer().verifier().name().to_owned(), size: 3, root: node_hash(&pair, &third) };
    let note = Note::sign(checkpoint.to_string(), &signer(), 0).expect("the key signs");
    let piece = |entry: &str, index, hashes: Vec<Hash>| Piece {
        entry: entry.to_owned(),
        proof: Proof { extra: None, index, hashes, checkpoint: note.clone() }.to_string(),
    };
    let Piece { entry, proof } = piece(&entry, 2, vec![pair]);
    Bundle {
        entry,
        proof,
        lineage: Some(piece(&lineage, 0, vec![second, third])),
        begin: Some(piece(BEGIN, 1, vec![first, third])),
        keys: vec![signer().verifier().to_string()],
        rotations: Vec::new(),
    }
});

static JSON: LazyLock<String> = LazyLock::new(|| {
    assert!(TRUST.bundle(&WHOLE).is_ok(), "{:?}", TRUST.bundle(&WHOLE));
    WHOLE.to_json()
});

fuzz_target!(|input: &[u8]| {
    if let Ok(bundle) = serde_json::from_slice::<Bundle>(input) {
        judge(&bundle);
    }
    if let Ok(extension) = serde_json::from_slice::<Extension>(input) {
        assert!(TRUST.extension(&extension).is_err(), "nobody signed it");
    }
    // The true one, with some bytes changed: where, in two bytes, and what.
    let mut bytes = JSON.clone().into_bytes();
    for [high, low, byte] in input.as_chunks().0 {
        let len = bytes.len();
        bytes[usize::from(u16::from_be_bytes([*high, *low])) % len] = *byte;
    }
    if let Ok(bundle) = serde_json::from_slice::<Bundle>(&bytes) {
        judge(&bundle);
    }
});

fn judge(bundle: &Bundle) {
    let read: Bundle = serde_json::from_str(&bundle.to_json()).expect("what was written can be read");
    assert_eq!(read, *bundle);
    if TRUST.bundle(bundle).is_err() {
        return;
    }
    assert_eq!(bundle.entry, WHOLE.entry);
    let entry = |piece: &Option<Piece>| piece.as_ref().map(|piece| piece.entry.clone());
    assert_eq!(entry(&bundle.lineage), entry(&WHOLE.lineage));
    assert!(bundle.begin.is_none() || entry(&bundle.begin) == entry(&WHOLE.begin));
}
