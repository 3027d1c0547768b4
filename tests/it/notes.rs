//! Notes beside `signed_note`, and what other implementations signed: vectors of theirs, checked here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use signed_note::{
    Note as TheirNote, Signer as _, StandardSigner, StandardVerifier, Verifier as _, VerifierList, key_id,
};
use touchmark::tlog::{Checkpoint, Note, Scheme, Signer, VerifierKey};

use super::support::message::post;
use super::support::wire::Wire;
use super::support::witness::Here;

/// What stands before an Ed25519 seed in PKCS #8 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The same key here and there.
fn signers(name: &str, seed: [u8; 32]) -> (Signer, StandardSigner) {
    let here = Signer::from_pkcs8(name, &[&PKCS8[..], &seed].concat(), false).unwrap();
    let public = [&[1], here.verifier().public_key()].concat();
    let private = STANDARD.encode([&[1][..], &seed].concat());
    let there = StandardSigner::new(&format!("PRIVATE+KEY+{name}+{:08x}+{private}", key_id(name, &public))).unwrap();
    (here, there)
}

fn verifiers(vkeys: &[&VerifierKey]) -> VerifierList {
    let read = vkeys.iter().map(|vkey| Box::new(StandardVerifier::new(&vkey.to_string()).unwrap()) as Box<_>);
    VerifierList::new(read.collect())
}

proptest! {
    #[test]
    fn notes_are_the_same(
        name in "[a-z0-9./-]{1,30}",
        seed: [u8; 32],
        text in "[ -~é\u{2014}\n]{0,60}\n",
        at: usize,
        with in "[\n A=+\u{2014}\t]",
    ) {
        let (here, there) = signers(&name, seed);
        prop_assert_eq!(there.name(), here.verifier().name());
        prop_assert_eq!(there.key_id(), u32::from_be_bytes(here.verifier().id()));
        let note = Note::sign(text.clone(), &here, 0).unwrap();
        let mut their_note = TheirNote::new(text.as_bytes(), &[]).unwrap();
        their_note.add_sigs(&[&there]).unwrap();
        // Ed25519 is deterministic: the same bytes.
        prop_assert_eq!(note.to_string().into_bytes(), their_note.to_bytes());

        // Changed anywhere, both read the same or nothing, and believe the same.
        let mut changed: Vec<char> = note.to_string().chars().collect();
        let at = at % changed.len();
        changed.splice(at..=at, with.chars());
        let changed = String::from_iter(changed);
        let (here_read, there_read) = (changed.parse::<Note>(), TheirNote::from_bytes(changed.as_bytes()));
        prop_assert_eq!(here_read.is_ok(), there_read.is_ok(), "{:?}", changed);
        if let (Ok(read), Ok(their_read)) = (here_read, there_read) {
            prop_assert_eq!(read.text.as_bytes(), their_read.text());
            let believed = their_read.verify(&verifiers(&[here.verifier()])).is_ok();
            prop_assert_eq!(read.verified_by([here.verifier()]).is_ok(), believed, "{:?}", changed);
        }
    }
}

#[test]
fn several_signatures_are_told_apart_alike() {
    let (one, their_one) = signers("one.example", [1; 32]);
    let (two, their_two) = signers("two.example", [2; 32]);
    let (other, _) = signers("one.example", [3; 32]);
    let mut note = Note::sign("text\n".to_owned(), &one, 0).unwrap();
    note.add(two.sign(&note.text, 0).unwrap());
    let mut their_note = TheirNote::new(b"text\n", &[]).unwrap();
    their_note.add_sigs(&[&their_one, &their_two]).unwrap();
    assert_eq!(note.to_string().into_bytes(), their_note.to_bytes());
    for keys in [vec![&one], vec![&two], vec![&one, &two], vec![&one, &other], vec![&other]] {
        let keys: Vec<&VerifierKey> = keys.into_iter().map(Signer::verifier).collect();
        let there = their_note.verify(&verifiers(&keys)).map_or(0, |(signed, _)| signed.len());
        let here = note.verified_by(keys).map_or(0, |signed| signed.len());
        assert_eq!(here, there);
    }
}

#[test]
fn a_cosignature_signs_what_the_specification_says() {
    let seed = [5; 32];
    let witness = Signer::from_pkcs8("witness.example/w1", &[&PKCS8[..], &seed].concat(), true).unwrap();
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let signature = witness.sign(text, 1_679_315_147).unwrap();
    let (time, bytes) = signature.bytes.split_at(8);
    assert_eq!(time, 1_679_315_147_u64.to_be_bytes());
    // The same public key, as one of plain notes, which another implementation checks.
    let (plain, _) = signers("witness.example/w1", seed);
    let there = StandardVerifier::new(&plain.verifier().to_string()).unwrap();
    assert!(there.verify(format!("cosignature/v1\ntime 1679315147\n{text}").as_bytes(), bytes));
    let id = key_id("witness.example/w1", &[&[4], witness.verifier().public_key()].concat());
    assert_eq!(witness.verifier().id(), id.to_be_bytes());
}

/// A verifier key and, after an empty line, bodies of `add-checkpoint` with `----` between them.
fn vector(text: &str) -> (VerifierKey, Vec<&str>) {
    let (vkey, bodies) = text.split_once("\n\n").unwrap();
    (vkey.parse().unwrap(), bodies.split("----\n").collect())
}

async fn submit(witness: &Here, body: &str) -> (u16, String) {
    let mut wire = Wire::connect(witness.address()).await;
    wire.send(post("/add-checkpoint", body)).await;
    let answer = wire.answer().await;
    (answer.head.status(), answer.text().to_owned())
}

#[tokio::test]
async fn a_checkpoint_that_another_implementation_signed_with_ml_dsa() {
    let (vkey, bodies) = vector(include_str!("vectors/ml-dsa.txt"));
    assert_eq!(vkey.scheme(), Scheme::MlDsa44);
    let note: Note = bodies[0].split_once("\n\n").unwrap().1.parse().unwrap();
    assert_eq!(note.verified_by([&vkey]).unwrap(), [(&vkey, Some(0))]);
    let checkpoint = Checkpoint::parse(&note.text).unwrap();
    assert_eq!((&*checkpoint.origin, checkpoint.size), (vkey.name(), 1));
    let witness = Here::knowing(&[(vkey.to_string(), None)]);
    assert_eq!(submit(&witness, bodies[0]).await.0, 200);
    assert_eq!(submit(&witness, &bodies[0].replace("\n1\n", "\n2\n")).await.0, 403);
}

#[tokio::test]
async fn checkpoints_of_another_kind_of_log_in_the_order_of_a_race() {
    let (vkey, bodies) = vector(include_str!("vectors/sigsum.txt"));
    let witness = Here::knowing(&[(vkey.to_string(), None)]);
    let [first, smaller, larger] = bodies[..] else { panic!("{} bodies", bodies.len()) };
    assert_eq!(submit(&witness, first).await.0, 200);
    assert_eq!(submit(&witness, larger).await.0, 200);
    assert_eq!(submit(&witness, smaller).await, (409, "5\n".to_owned()));
    // And in the other order, before another witness.
    let witness = Here::knowing(&[(vkey.to_string(), None)]);
    assert_eq!(submit(&witness, first).await.0, 200);
    assert_eq!(submit(&witness, smaller).await.0, 200);
    assert_eq!(submit(&witness, larger).await, (409, "3\n".to_owned()));
}

#[tokio::test]
async fn a_checkpoint_of_the_go_checksum_database() {
    let vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    let note = "go.sum database tree\n35225469\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\n\u{2014} sum.golang.org \
                Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=\n";
    // Its key is named otherwise than its origin, which has spaces.
    let witness = Here::knowing(&[(vkey.to_owned(), Some("go.sum database tree".to_owned()))]);
    assert_eq!(submit(&witness, &format!("old 0\n\n{note}")).await.0, 200);
    assert_eq!(submit(&witness, &format!("old 0\n\n{note}")).await, (409, "35225469\n".to_owned()));
    assert_eq!(submit(&witness, &format!("old 35225469\n\n{note}")).await.0, 200);
}
