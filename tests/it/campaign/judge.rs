//! What must hold of a ledger after anything at all happened to its process.

use std::collections::HashMap;
use std::process::Command;

use touchmark::ledger::read::Reader;

use super::load::Seen;
use super::scene::Scene;
use crate::support::ledger::{Entry, Ledger};

/// Segments that there are.
pub(super) fn segments(scene: &Scene) -> usize {
    let files = std::fs::read_dir(scene.data.join("ledger")).into_iter().flatten();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log")).count()
}

/// What the log holds, where it was begun at all.
pub(super) fn entries(scene: &Scene) -> Vec<Entry> {
    if segments(scene) > 0 { Ledger::at(scene.data.clone()).entries() } else { Vec::new() }
}

/// Starts the process anew, with nothing in its way, and stops it: it must come up, say what it found, keep what was
/// there and verify. Gives the entries.
pub(super) async fn comes_back(scene: &Scene, before: &[Entry], killed: bool) -> Vec<Entry> {
    let serving = scene.start(&[]).await;
    let serving = serving.unwrap_or_else(|status| panic!("it does not start again: {status}\n{}", scene.log()));
    let status = serving.stop().await;
    assert!(status.success(), "{status}\n{}", scene.log());

    let entries = entries(scene);
    for (at, (before, after)) in before.iter().zip(&entries).enumerate() {
        assert_eq!(before.0, after.0, "entry {at} was another before the restart");
    }
    assert!(before.len() < entries.len(), "{} entries became {}", before.len(), entries.len());
    let at = entries.iter().rposition(|entry| entry.text("/event") == Some("start")).expect("a start");
    let detail = &entries[at].0["detail"];
    // Killed after the log was sealed, nothing was left to do.
    let stopped = at > 0 && entries[at - 1].text("/event") == Some("stop");
    assert!(!killed || stopped || at == 0 || detail["unclean"] == true, "{detail}");
    assert!(detail.get("follows").is_none(), "nothing was damaged: {detail}");
    verifies(scene);
    entries
}

/// `audit verify` says yes, by the log's key and the checkpoint that stands in the anchor.
fn verifies(scene: &Scene) {
    let key = Reader::open(&scene.data).unwrap().keys().unwrap()[0].to_string();
    let mut verify = Command::new(env!("CARGO_BIN_EXE_touchmark"));
    verify.args(["audit", "verify", "--key", &key, "--data"]).arg(&scene.data);
    if let Some(seen) = scene.anchored() {
        verify.arg("--since").arg(seen);
    }
    let output = verify.output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&said));
}

/// G1: whatever a client saw is recorded.
pub(super) fn all_recorded(entries: &[Entry], seen: &Seen) {
    let of_kind = |kind: &str| -> HashMap<&str, &Entry> {
        entries.iter().filter(|entry| entry.kind() == kind).map(|entry| (entry.id(), entry)).collect()
    };
    let (predictions, begins) = (of_kind("prediction"), of_kind("begin"));
    for (id, hash) in &seen.held {
        let entry = predictions.get(id.as_str()).unwrap_or_else(|| panic!("seen and not recorded: {id}"));
        assert_eq!(entry.ended("complete", 200).text("/input/hash"), Some(hash.as_str()));
    }
    for id in &seen.streamed {
        assert!(begins.contains_key(id.as_str()), "its head was seen, its begin is not recorded: {id}");
    }
    for id in &seen.ended {
        predictions[id.as_str()].ended("complete", 200);
    }
}

/// G2: what was not recorded, gaps say.
pub(super) fn gaps(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| entry.kind() == "gap").filter_map(|entry| entry.number("/count")).sum()
}
