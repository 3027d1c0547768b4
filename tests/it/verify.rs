//! `touchmark audit verify` as an auditor runs it: on a running ledger, with keys and an older checkpoint, on damage.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use touchmark::ledger::read::{Query, Reader};

use crate::support::eventually;
use crate::support::message::{infer, ok};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::Touchmark;

fn verify(data: &Path, more: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_touchmark");
    Command::new(binary).args(["audit", "verify", "--data"]).arg(data).args(more).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_running_ledger_a_stopped_one_and_a_damaged_one() {
    let model = ModelServer::answering(ok("{}")).await;
    let mut touchmark = Touchmark::before(&model);
    touchmark.call(infer()).await;
    touchmark.predictions(1).await;
    let data = touchmark.folder.path().to_owned();
    let note = eventually("a checkpoint over everything, in the log", || {
        let last = Reader::open(&data).unwrap().checkpoints().unwrap().pop()?;
        let entries = Reader::open(&data).unwrap().find(&Query::default()).count() as u64;
        (last.checkpoint.size == entries).then(|| last.note.to_string())
    })
    .await;
    let key = Reader::open(&data).unwrap().keys().unwrap()[0].to_string();
    let seen = data.join("seen");
    fs::write(&seen, note).unwrap();
    let with = ["--key", &key, "--since", seen.to_str().unwrap()];

    let running = verify(&data, &[]);
    let text = String::from_utf8_lossy(&running.stdout).into_owned();
    assert_eq!(running.status.code(), Some(0), "{text}");
    assert!(text.contains("the log vouches for itself") && text.ends_with("commit to\n"), "{text}");
    assert!(running.stderr.is_empty(), "no bar where no terminal is");

    touchmark.call(infer()).await;
    touchmark.stop().await;
    let stopped = verify(&data, &[&with[..], &["--json"]].concat());
    assert_eq!(stopped.status.code(), Some(0));
    let report = json(&stopped);
    assert_eq!((&report["intact"], &report["vouches_for_itself"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!((&report["log"]["ending"], &report["since"]["extended"]), (&"stopped".into(), &Value::Bool(true)));

    // A key that is another log's, a file that is no checkpoint.
    let other = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert_eq!(verify(&data, &["--key", other]).status.code(), Some(1));
    assert_eq!(verify(&data, &["--key", "junk"]).status.code(), Some(2));
    let segment = data.join("ledger/seg-00000000000000000000.log");
    assert_eq!(verify(&data, &["--since", segment.with_extension("idx").to_str().unwrap()]).status.code(), Some(2));
    assert_eq!(verify(&data.join("nowhere"), &[]).status.code(), Some(3));

    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[300] ^= 1;
    fs::write(&segment, damaged).unwrap();
    let found = verify(&data, &[]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(text.contains("finding       seg-00000000000000000000.log byte 128:"), "{text}");
    // What cannot be read is not called wrong.
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    let unread = verify(&data, &[]);
    let text = String::from_utf8_lossy(&unread.stdout).into_owned();
    assert_eq!(unread.status.code(), Some(3), "{text}");
    assert!(text.contains("unreadable"), "{text}");
}
