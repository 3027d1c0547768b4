//! Proofs of a made-up log whose every entry a test chooses, and of a real one that was tampered with.

use super::*;
use crate::exchange::Recorder as _;
use crate::ledger::frame::{FrameKind, Parsed, parse, put_entry};
use crate::ledger::proof::{Bundle, Extension, Part, Piece, Reason, Refused, Trust, Unproven};
use crate::ledger::segment::DATA_START;
use crate::sha256::Sha256;
use crate::tlog::{Checkpoint, Hash, Note, Proof, Range, Signer, VerifierKey, leaf_hash};

const ID: &str = "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10";
const DOCUMENT: &str = r#"{"model":{"name":"fraud","version":"v1"},"datasets":[]}"#;

/// A log of a few entries, with a log key and two witnesses.
struct Log {
    leaves: Vec<(String, Hash)>,
    signers: Vec<Signer>,
    /// How many of them sign.
    signing: usize,
    origin: String,
}

impl Log {
    fn new(entries: &[String]) -> Self {
        let key =
            |name: &str, witness| Signer::from_pkcs8(name, &Signer::generate_ed25519().unwrap(), witness).unwrap();
        let signers = vec![key("fraud/1", false), key("w.example/1", true), key("w.example/2", true)];
        let leaves = entries.iter().map(|entry| (entry.clone(), leaf_hash(entry.as_bytes()))).collect();
        Self { leaves, signers, signing: 3, origin: "fraud/1".to_owned() }
    }

    fn note(&self, size: usize) -> Note {
        let mut range = Range::new(0);
        self.leaves[..size].iter().for_each(|(_, leaf)| range.push(*leaf, |_| {}));
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: size as u64, root: range.root().unwrap() };
        let text = checkpoint.to_string();
        let signatures = self.signers[..self.signing].iter().map(|signer| signer.sign(&text, 1_700_000_000).unwrap());
        Note { signatures: signatures.collect(), text }
    }

    fn piece(&self, index: usize) -> Piece {
        let hashes = crate::tlog::inclusion_proof(self, index as u64, self.leaves.len() as u64).unwrap();
        let proof = Proof { extra: None, index: index as u64, hashes, checkpoint: self.note(self.leaves.len()) };
        Piece { entry: self.leaves[index].0.clone(), proof: proof.to_string() }
    }

    fn bundle(&self, (prediction, lineage, begin): (usize, Option<usize>, Option<usize>)) -> Bundle {
        let Piece { entry, proof } = self.piece(prediction);
        let piece = |index: Option<usize>| index.map(|index| self.piece(index));
        Bundle { entry, proof, lineage: piece(lineage), begin: piece(begin), keys: Vec::new(), rotations: Vec::new() }
    }

    fn trust(&self, witnesses: usize) -> Trust {
        Trust { keys: self.signers.iter().map(|signer| signer.verifier().clone()).collect(), witnesses }
    }
}

impl crate::tlog::Hashes for Log {
    type Error = ();

    fn node(&self, level: u32, index: u64) -> Result<Hash, ()> {
        let mut range = Range::new(0);
        let mut found = Err(());
        for (_, leaf) in &self.leaves {
            range.push(*leaf, |node| {
                if (node.level, node.index) == (level, index) {
                    found = Ok(node.hash);
                }
            });
        }
        found
    }
}

/// The document's.
fn digest() -> Hash {
    let value: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    Sha256::digest(serde_json_canonicalizer::to_vec(&value).unwrap())
}

/// Entries as the ledger has them, as far as a proof looks at them.
fn entries() -> Vec<String> {
    let digest = hex(&digest());
    let entry = |rest: String| format!(r#"{{"v":1,"time":"2026-11-20T17:29:01.123456Z",{rest}}}"#);
    vec![
        entry(r#""kind":"lifecycle","event":"start""#.to_owned()),
        entry(format!(r#""kind":"lineage","digest":"{digest}","document":{DOCUMENT}"#)),
        entry(format!(r#""kind":"begin","id":"{ID}""#)),
        entry(format!(r#""kind":"prediction","id":"{ID}","lineage":"{digest}""#)),
        // From here on, what a forger with the log's own key might write.
        entry(format!(r#""kind":"lineage","digest":"{digest}","document":{{"model":"other"}}"#)),
        entry(format!(r#""kind":"lineage","digest":"{}","document":{DOCUMENT}"#, "0".repeat(64))),
        entry(format!(r#""kind":"lineage","digest":"{digest}","truncated":true"#)),
        entry(format!(r#""kind":"lineage","digest":"{digest}""#)),
        entry(format!(r#""kind":"begin","id":"{}""#, ID.replace('9', "8"))),
        entry(format!(r#""kind":"begin","id":"{ID}""#)),
        entry(format!(r#""kind":"prediction","id":"{ID}""#)),
        "no entry".to_owned(),
    ]
}

#[test]
fn a_whole_bundle_holds_and_says_who_saw_it() {
    let log = Log::new(&entries());
    let verdict = log.trust(2).bundle(&log.bundle((3, Some(1), Some(2)))).unwrap();
    let lineage = verdict.lineage.unwrap();
    assert_eq!((verdict.prediction.index, lineage.included.index, lineage.whole), (3, 1, true));
    assert_eq!(verdict.begin.unwrap().index, 2);
    let witnesses = verdict.prediction.signed.witnesses;
    assert_eq!(witnesses, [("w.example/1".to_owned(), 1_700_000_000), ("w.example/2".to_owned(), 1_700_000_000)]);
    assert_eq!(verdict.prediction.signed.keys, [log.signers[0].verifier().clone()]);
    // A document too large for its entry is known by its digest.
    assert!(!log.trust(0).bundle(&log.bundle((3, Some(6), None))).unwrap().lineage.unwrap().whole);
    assert!(log.trust(0).bundle(&log.bundle((10, None, None))).unwrap().lineage.is_none());
}

#[test]
fn what_does_not_belong_together_is_refused_though_all_of_it_is_in_the_log() {
    let log = Log::new(&entries());
    let refused = |parts| log.trust(0).bundle(&log.bundle(parts)).unwrap_err();
    for (parts, part, reason) in [
        ((3, None, None), Part::Lineage, "which is not here"),
        ((3, Some(4), None), Part::Lineage, "does not hash to its digest"),
        ((3, Some(5), None), Part::Lineage, "its digest is 0000"),
        ((3, Some(7), None), Part::Lineage, "does not hash to its digest"),
        ((3, Some(2), None), Part::Lineage, "it is a begin entry, where a lineage entry belongs"),
        ((10, Some(1), None), Part::Lineage, "refers to none"),
        ((3, Some(1), Some(8)), Part::Begin, "it has the id"),
        ((3, Some(1), Some(9)), Part::Begin, "after the prediction's end"),
        ((2, None, None), Part::Prediction, "it is a begin entry"),
        ((11, None, None), Part::Prediction, "no entry of a ledger"),
    ] {
        let Refused { part: of, reason: found } = refused(parts);
        assert_eq!(of, part, "{parts:?}: {found}");
        assert!(found.to_string().contains(reason), "{parts:?}: {found}");
    }
}

#[test]
fn a_signature_counts_for_what_its_key_is_trusted_for() {
    let log = Log::new(&entries());
    let bundle = log.bundle((3, Some(1), Some(2)));
    let keys: Vec<VerifierKey> = log.trust(0).keys;
    let judge = |keys: &[VerifierKey], witnesses| {
        let verdict = Trust { keys: keys.to_vec(), witnesses }.bundle(&bundle);
        verdict.map_err(|refused| refused.reason)
    };
    assert!(judge(&keys[..1], 0).is_ok());
    assert_eq!(judge(&keys[..1], 1), Err(Reason::Witnesses { found: 0, wanted: 1 }));
    assert_eq!(judge(&keys[1..], 0), Err(Reason::NotTheLog("fraud/1".to_owned())), "witnesses do not speak for a log");
    let twice = [keys[0].clone(), keys[1].clone(), keys[1].clone()];
    assert_eq!(judge(&twice, 2), Err(Reason::Witnesses { found: 1, wanted: 2 }), "one witness is one");
    let stranger = Log::new(&[]).trust(0).keys;
    assert!(matches!(judge(&stranger, 0), Err(Reason::Note(_))));
    assert!(matches!(judge(&[], 0), Err(Reason::Note(_))));
    // A log's key signs for the log of its name alone.
    let mut renamed = Log { origin: "other/1".to_owned(), ..log };
    renamed.signing = 1;
    let refused = renamed.trust(0).bundle(&renamed.bundle((3, Some(1), None))).unwrap_err();
    assert_eq!(refused.reason, Reason::NotTheLog("other/1".to_owned()));
}

#[test]
fn parts_of_two_logs_are_refused() {
    let (one, mut two) = (Log::new(&entries()), Log::new(&entries()));
    let second = Signer::from_pkcs8("fraud/2", &Signer::generate_ed25519().unwrap(), false).unwrap();
    (two.origin, two.signers[0]) = ("fraud/2".to_owned(), second);
    let mut trust = one.trust(0);
    trust.keys.extend(two.trust(0).keys);
    let bundle = Bundle { lineage: Some(two.piece(1)), ..one.bundle((3, None, None)) };
    let refused = trust.bundle(&bundle).unwrap_err();
    assert_eq!(refused.part, Part::Lineage);
    assert!(refused.reason.to_string().contains("fraud/2"), "{refused}");
    let (old, new) = (one.note(3).to_string(), two.note(5).to_string());
    let refused = trust
        .extension(&Extension { old, new, consistency: Vec::new(), keys: Vec::new(), rotations: Vec::new() })
        .unwrap_err();
    assert!(matches!(refused.reason, Reason::OtherLog { .. }), "{refused}");
}

#[test]
fn an_extension_holds_for_the_same_log_alone() {
    let mut log = Log::new(&entries());
    let mut forked = Log::new(&[&["another start".to_owned()], &entries()[1..]].concat());
    for (old, new) in [(0, 12), (1, 12), (3, 12), (8, 12), (12, 12)] {
        let hashes = crate::tlog::consistency_proof(&log, old as u64, new as u64).unwrap();
        let consistency: Vec<String> = hashes.iter().map(|hash| crate::tlog::base64(hash)).collect();
        let note = |size| log.note(size).to_string();
        let extension =
            Extension { old: note(old), new: note(new), consistency, keys: Vec::new(), rotations: Vec::new() };
        let (before, after) = log.trust(2).extension(&extension).unwrap();
        assert_eq!((before.checkpoint.size, after.checkpoint.size), (old as u64, new as u64));
        assert_eq!(before.witnesses.len(), 2);
        if old == new {
            continue;
        }
        let back = Extension { old: note(new), new: note(old), ..extension.clone() };
        assert!(log.trust(0).extension(&back).is_err());
        let junk = Extension { consistency: vec!["junk".to_owned()], ..extension.clone() };
        assert_eq!(log.trust(0).extension(&junk).unwrap_err().reason, Reason::Hash);
    }
    // The same key has signed another history.
    std::mem::swap(&mut forked.signers, &mut log.signers);
    let hashes = crate::tlog::consistency_proof(&forked, 3, 12).unwrap();
    let consistency = hashes.iter().map(|hash| crate::tlog::base64(hash)).collect();
    let new = forked.note(12).to_string();
    std::mem::swap(&mut forked.signers, &mut log.signers);
    let old = log.note(3).to_string();
    let refused = log
        .trust(0)
        .extension(&Extension { old, new, consistency, keys: Vec::new(), rotations: Vec::new() })
        .unwrap_err();
    assert!(matches!(refused, Refused { part: Part::Consistency, reason: Reason::Forked(_) }), "{refused}");
}

/// Writes an entry anew with another nonce, of the same length and with a fresh CRC.
fn rewrite(path: &Path, victim: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    let mut at = usize::try_from(DATA_START).unwrap();
    loop {
        let Parsed::Frame(frame) = parse(&bytes[at..]) else { panic!("no entry {victim}") };
        if frame.kind == FrameKind::Entry && frame.index == victim {
            let mut payload = frame.payload.to_vec();
            let nonce = payload.windows(9).position(|part| part == b"\"nonce\":\"").unwrap() + 9;
            payload[nonce] = if payload[nonce] == b'0' { b'1' } else { b'0' };
            let mut forged = Vec::new();
            put_entry(&mut forged, victim, &payload, crc32c::crc32c(&payload));
            bytes[at..at + forged.len()].copy_from_slice(&forged);
            return std::fs::write(path, bytes).unwrap();
        }
        at += frame.len();
    }
}

#[test]
fn an_entry_that_was_changed_is_told_from_damaged_hashes() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.config(Durability::Write));
    let document = Arc::new(Document { digest: digest(), json: DOCUMENT.to_owned() });
    let identity = Arc::new(Identity { document, ..Arc::into_inner(identity("v1")).unwrap() });
    for id in 1..8 {
        ledger.finish(&exchange(call(Uuid::from_u128(id), Some(&identity))));
    }
    ledger.close().unwrap();
    let reader = Reader::open(&dir.0).unwrap();
    let proved = |id| reader.prove_prediction(Uuid::from_u128(id));
    let bundle = proved(5).unwrap();
    let trust = Trust { keys: ledger.verifiers().to_vec(), witnesses: 0 };
    let index = trust.bundle(&bundle).unwrap().prediction.index;
    let read: Bundle = serde_json::from_str(&bundle.to_json()).unwrap();
    assert_eq!(read, bundle);
    let segment = dir.segments().into_iter().next().unwrap();
    let whole = std::fs::read(&segment).unwrap();
    rewrite(&segment, index);
    assert!(matches!(proved(5), Err(Unproven::Changed(at)) if at == index));
    proved(6).unwrap();
    std::fs::write(&segment, whole).unwrap();
    let tree = dir.0.join("ledger").join(crate::ledger::tree::tree_name(0));
    let mut hashes = std::fs::read(&tree).unwrap();
    hashes[usize::try_from(index).unwrap() * 32] ^= 1;
    std::fs::write(&tree, hashes).unwrap();
    // Its own hash is no part of its path; those of its neighbours, and of its document, have it.
    let told = (1..8).filter_map(|id| proved(id).err()).map(|error| error.to_string()).collect::<Vec<_>>();
    assert!(
        !told.is_empty() && told.iter().all(|told| told.contains("remove") && told.contains("tree-*.hash")),
        "{told:?}"
    );
}
