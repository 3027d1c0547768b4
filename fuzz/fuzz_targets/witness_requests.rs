//! Any body before a witness: judged or refused, and whatever came, it remembers nothing that its log did not sign.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::tlog::{Checkpoint, Note, Signer};
use touchmark::witness::{Config, LogConfig, Refusal, Request, Witness};
use touchmark_fuzz::{scratch, signer};

static LOG: LazyLock<Signer> = LazyLock::new(signer);

static WITNESS: LazyLock<Witness> = LazyLock::new(|| {
    let log = LogConfig { vkey: LOG.verifier().to_string(), origin: None };
    let config =
        Config { name: Some("fuzz".to_owned()), dir: scratch("witness"), logs: vec![log], ..Config::default() };
    Witness::open(&config, false).expect("a witness")
});

fuzz_target!(|input: &[u8]| {
    let Ok(request) = Request::parse(input) else {
        assert!(matches!(WITNESS.add_checkpoint(input, 1), Err(Refusal::Malformed(_))));
        return;
    };
    assert!(request.proof.len() <= 63);
    assert_eq!(Checkpoint::parse(&request.note.text), Ok(request.checkpoint.clone()));
    match WITNESS.add_checkpoint(input, 1) {
        Err(Refusal::Unknown) => assert_ne!(request.checkpoint.origin, LOG.verifier().name()),
        Err(Refusal::Untrusted) => assert_eq!(request.checkpoint.origin, LOG.verifier().name()),
        other => panic!("nobody signed this: {other:?}"),
    }
    // The same, signed by the log: judged by what is remembered.
    let checkpoint = Checkpoint { origin: LOG.verifier().name().to_owned(), ..request.checkpoint };
    let note = Note::sign(checkpoint.to_string(), &LOG, 0).expect("a signature");
    let head = &input[..input.windows(2).position(|pair| pair == b"\n\n").expect("it was read")];
    let body = [head, b"\n\n", note.to_string().as_bytes()].concat();
    match WITNESS.add_checkpoint(&body, 1) {
        Ok(lines) => assert!(lines.ends_with('\n')),
        Err(Refusal::Backwards) => assert!(request.old > checkpoint.size),
        Err(Refusal::Conflict(size)) => assert_ne!(size, request.old),
        Err(Refusal::Inconsistent(_)) => {}
        other => panic!("{other:?}"),
    }
});
