//! What leaves the house: cosignatures of a witness, receipts in clients' hands.

use std::path::Path;
use std::process::{Command, Output};

use touchmark::ledger::WitnessConfig;
use touchmark::ledger::read::Reader;
use touchmark::tlog::VerifierKey;
use touchmark::units::Period;

use crate::support::eventually;
use crate::support::message::{INFER, INPUT, OUTPUT, infer, ok, post};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Folder, Setup};
use crate::support::witness::Here;

fn audit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_touchmark")).arg("audit").args(arguments).output().unwrap()
}

/// The key that the log names itself.
fn key_of(folder: &Path) -> VerifierKey {
    Reader::open(folder).unwrap().keys().unwrap().remove(0)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_witness_cosigns_the_ledger_and_the_log_keeps_it() {
    let model = ModelServer::serving(|_| ok(OUTPUT)).await;
    let folder = std::sync::Arc::new(Folder::new());
    // The log's key is there before its first entry, as a deployment would hand it to a witness.
    let mut first = Setup::from(Setup::new(&model).config, std::sync::Arc::clone(&folder)).start();
    let key = key_of(first.folder.path());
    first.stop().await;
    let witness = Here::knowing(&[(key.to_string(), None)]);
    let config = WitnessConfig { url: format!("http://{}", witness.address()), key: witness.vkey().to_string() };
    let setup = Setup::from(Setup::new(&model).config, folder).with(|all| {
        all.ledger.witnesses = vec![config];
        all.ledger.witness_interval = Period::millis(1);
        all.ledger.sync_interval = Period::millis(10);
    });
    let touchmark = setup.start();
    assert_eq!(touchmark.call(infer()).await.text(), OUTPUT);
    let cosigner: VerifierKey = witness.vkey().clone();
    let found = eventually("the log holds a cosigned checkpoint over the prediction", || {
        let found = Reader::open(touchmark.folder.path()).unwrap().checkpoints().unwrap();
        found.into_iter().find(|found| found.checkpoint.size >= 4 && found.note.verified_by([&cosigner]).is_ok())
    })
    .await;
    assert_eq!(found.note.verified_by([&key, &cosigner]).unwrap().len(), 2);
    let reader = Reader::open(touchmark.folder.path()).unwrap();
    let proof = reader.prove(1, &found).unwrap();
    let entry = reader.entry(1).unwrap().unwrap();
    proof.verify(&touchmark::tlog::leaf_hash(&entry.entry), &key).unwrap();
    eventually("nothing waits for the witness", || {
        let age = touchmark.metrics.ledger_cosignature_age.with_label_values(&[cosigner.name()]).get();
        (age.abs() < f64::EPSILON).then_some(())
    })
    .await;
}

/// `audit key --rotate` as an operator runs it; gives the new key.
fn rotate(data: &Path) -> VerifierKey {
    let done = audit(&["key", "--rotate", "--json", "--data", text(data)]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(said["file"], text(&data.join("signing-key.pem")));
    said["new"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_rotated_log_goes_on_with_a_witness_that_knows_both_keys() {
    let model = ModelServer::serving(|_| ok(OUTPUT)).await;
    let folder = std::sync::Arc::new(Folder::new());
    let data = folder.path().to_owned();
    let nothing = audit(&["key", "--rotate", "--data", text(&data)]);
    assert_eq!(nothing.status.code(), Some(3), "there is no ledger");
    let mut first = Setup::from(Setup::new(&model).config, std::sync::Arc::clone(&folder)).start();
    let old = key_of(&data);
    let refused = audit(&["key", "--rotate", "--data", text(&data)]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("stop it, rotate the key, start it again"), "{said}");
    first.stop().await;
    let witness = Here::knowing(&[(old.to_string(), None)]);
    let config = WitnessConfig { url: format!("http://{}", witness.address()), key: witness.vkey().to_string() };
    let setup = || {
        Setup::from(Setup::new(&model).config, std::sync::Arc::clone(&folder)).with(|all| {
            all.ledger.witnesses = vec![config.clone()];
            all.ledger.witness_interval = Period::millis(1);
            all.ledger.sync_interval = Period::millis(10);
        })
    };
    let cosigner: VerifierKey = witness.vkey().clone();
    let until_seen = async |key: &VerifierKey| {
        eventually("a checkpoint of the log and the witness", || {
            let newest = Reader::open(&data).unwrap().newest_checkpoint().unwrap()?;
            newest.note.verified_by([key, &cosigner]).is_ok_and(|signed| signed.len() == 2).then_some(())
        })
        .await;
    };
    let mut second = setup().start();
    until_seen(&old).await;
    second.stop().await;
    let new = rotate(&data);
    assert_eq!((new.name(), new == old), (old.name(), false));
    let mut third = setup().start();
    assert_eq!(third.call(infer()).await.text(), OUTPUT);
    // The witness does not know the new key yet: nothing else waits for that.
    let id = third.predictions(1).await[0].text("/id").unwrap().to_owned();
    witness.know(&[(old.to_string(), None), (new.to_string(), None)]);
    until_seen(&new).await;
    third.stop().await;
    let (old, new, cosigner) = (old.to_string(), new.to_string(), cosigner.to_string());
    for keys in [[&old, &cosigner], [&new, &cosigner]] {
        let done = audit(&["verify", "--key", keys[0], "--key", keys[1], "--data", text(&data)]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(0), "{said}");
        assert!(said.contains(&format!("{new}, since entry ")) && said.contains(&old), "{said}");
    }
    let proof = data.join("proof.json");
    assert_eq!(audit(&["prove", &id, "-o", text(&proof), "--data", text(&data)]).status.code(), Some(0));
    for (key, rotated) in [(&old, true), (&new, false)] {
        let done = audit(&["verify-proof", text(&proof), "--key", key]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(0), "{said}");
        assert_eq!(said.contains("it follows the one that was given, by entry "), rotated, "{said}");
    }
    let listed = audit(&["key", "--data", text(&data)]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), format!("{old}\n{new}\n"));
}

#[tokio::test]
async fn a_witness_that_is_gone_costs_no_answer() {
    let model = ModelServer::serving(|_| ok(OUTPUT)).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/w", gone.local_addr().unwrap());
    // It accepts, and says nothing.
    let key = Here::knowing(&[]).vkey().to_string();
    let config = WitnessConfig { url, key };
    let touchmark = Setup::new(&model).with(|all| all.ledger.witnesses = vec![config]).start();
    for _ in 0..20 {
        assert_eq!(touchmark.call(infer()).await.text(), OUTPUT);
    }
    assert_eq!(touchmark.predictions(20).await.len(), 20);
}

#[tokio::test]
async fn a_receipt_is_kept_or_shows_that_it_was_broken() {
    let model = ModelServer::serving(|_| ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|all| all.ledger.receipt = true).start();
    let answer = touchmark.call(post(INFER, INPUT)).await;
    let receipt = answer.head.one("x-lineage-receipt").to_owned();
    let id = answer.head.one("x-lineage-trace-id").to_owned();
    let key = key_of(touchmark.folder.path()).to_string();
    let data = text(touchmark.folder.path()).to_owned();
    let kept = audit(&["verify-receipt", &receipt, "--key", &key, "--data", &data]);
    let said = String::from_utf8_lossy(&kept.stdout).into_owned();
    assert_eq!(kept.status.code(), Some(0), "{said}");
    assert!(said.contains("KEPT") && said.contains(&id), "{said}");
    // Another ledger has no such entry.
    let elsewhere = Setup::new(&model).start();
    let other = text(elsewhere.folder.path()).to_owned();
    let broken = audit(&["verify-receipt", &receipt, "--key", &key, "--data", &other]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stdout).contains("BROKEN"));
    // Changed, or another log's: proves nothing.
    let changed = receipt.replace("time=1", "time=2");
    for (receipt, key) in [(changed, key), (receipt, key_of(elsewhere.folder.path()).to_string())] {
        let said = audit(&["verify-receipt", &receipt, "--key", &key, "--data", &data, "--json"]);
        assert_eq!(said.status.code(), Some(1));
        let report: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!((&report["signed"], &report["kept"]), (&false.into(), &false.into()), "{report}");
    }
}
