//! A log that was put back to an earlier state is found out at the next start, by what is kept elsewhere.

use super::*;
use crate::exchange::Recorder as _;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// One run: some predictions, and an orderly stop. Gives the log's id.
fn live(config: &Config, ids: std::ops::Range<u128>) -> String {
    let (ledger, metrics) = open(config);
    for id in ids {
        settled(ledger.finish(&exchange(call(Uuid::from_u128(id), None)))).unwrap();
    }
    ledger.close().unwrap();
    assert!(metrics.ledger_anchor_age.get().abs() < f64::EPSILON, "the last checkpoint is kept");
    ledger.status().log
}

/// What the newest `start` says that it follows.
fn follows(dir: &Path) -> serde_json::Value {
    let reader = Reader::open(dir).unwrap();
    let query = Query { kind: Some(crate::ledger::Kind::Lifecycle), ..Query::default() };
    let entries: Vec<serde_json::Value> =
        reader.find(&query).map(|found| serde_json::from_slice(&found.unwrap().entry).unwrap()).collect();
    let start = entries.iter().rfind(|entry| entry["event"] == "start").unwrap();
    start["detail"]["follows"].clone()
}

#[test]
fn a_log_that_goes_on_is_believed() {
    let (dir, anchor) = (Dir::new(), Dir::new());
    let config = Config { anchor: Some(anchor.0.clone()), ..dir.config(Durability::Write) };
    let logs: Vec<String> = (0..3).map(|run| live(&config, run * 100..run * 100 + 50)).collect();
    assert!(logs.iter().all(|log| *log == logs[0]));
    // A crash loses what the anchor never saw.
    let (ledger, _) = open(&config);
    settled(ledger.finish(&exchange(call(Uuid::from_u128(999), None)))).unwrap();
    drop(ledger);
    assert_eq!(live(&config, 1000..1001), logs[0]);
}

#[test]
fn an_earlier_state_put_back_begins_a_new_log_that_says_so() {
    let (dir, anchor, backup) = (Dir::new(), Dir::new(), Dir::new());
    let config = Config { anchor: Some(anchor.0.clone()), ..dir.config(Durability::Write) };
    let old = live(&config, 0..50);
    copy(&dir.0, &backup.0);
    live(&config, 50..60);
    std::fs::remove_dir_all(dir.0.join("ledger")).unwrap();
    copy(&backup.0.join("ledger"), &dir.0.join("ledger"));
    let new = live(&config, 60..70);
    assert_ne!(new, old);
    let told = follows(&dir.0);
    assert_eq!(told["log"], old.as_str());
    assert!(told["reason"].as_str().unwrap().contains("an earlier state was restored"), "{told}");
    // The new log is anchored now, and goes on; the old one's entries are still found.
    assert_eq!(live(&config, 70..71), new);
    let found: Vec<_> = Reader::open(&dir.0).unwrap().find(&Query::default()).map(Result::unwrap).collect();
    assert_eq!(ids(&found, "prediction").len(), 50 + 10 + 1);
    // Put back once more, the first log is refused again.
    std::fs::remove_dir_all(dir.0.join("ledger")).unwrap();
    copy(&backup.0.join("ledger"), &dir.0.join("ledger"));
    let newest = live(&config, 80..81);
    assert!(newest != old && newest != new);
    assert!(follows(&dir.0)["reason"].as_str().unwrap().contains("anchored after"));
}

#[test]
fn a_lost_volume_and_a_forked_log_are_told() {
    let (dir, anchor) = (Dir::new(), Dir::new());
    let config = Config { anchor: Some(anchor.0.clone()), ..dir.config(Durability::Write) };
    let old = live(&config, 0..50);
    let kept = std::fs::read(dir.0.join("signing-key.pem")).unwrap();
    std::fs::remove_dir_all(dir.0.join("ledger")).unwrap();
    let new = live(&config, 0..5);
    assert!(follows(&dir.0)["log"] == old.as_str() && new != old);
    assert!(follows(&dir.0)["reason"].as_str().unwrap().contains("volume was lost"));
    assert_eq!(std::fs::read(dir.0.join("signing-key.pem")).unwrap(), kept);
    // The same log grown in two ways: a copy runs without the anchor, then takes the original's place.
    let copied = Dir::new();
    copy(&dir.0, &copied.0);
    live(&config, 100..110);
    let apart = Config { anchor: None, ..copied.config(Durability::Write) };
    let (ledger, _) = open(&apart);
    for id in 200..240 {
        settled(ledger.finish(&exchange(call(Uuid::from_u128(id), None)))).unwrap();
    }
    ledger.close().unwrap();
    live(&Config { anchor: Some(anchor.0.clone()), ..apart }, 300..301);
    let told = follows(&copied.0);
    assert!(told["log"] == new.as_str() && told["reason"].as_str().unwrap().contains("not those"), "{told}");
}

#[test]
fn instances_do_not_mind_each_other_and_an_anchor_that_is_gone_is_told() {
    let (one, two, anchor) = (Dir::new(), Dir::new(), Dir::new());
    let config = |dir: &Dir| Config { anchor: Some(anchor.0.clone()), ..dir.config(Durability::Write) };
    let log = live(&config(&one), 0..5);
    let other = Origin { instance: "another/../copy".to_owned(), ..origin() };
    let second = Ledger::open(&config(&two), &other, &Arc::new(Metrics::new())).unwrap();
    second.close().unwrap();
    assert_ne!(second.status().log, log);
    assert!(follows(&two.0).is_null());
    assert_eq!(live(&config(&one), 5..6), log);
    let gone = Config { anchor: Some(anchor.0.join("not mounted")), ..config(&one) };
    let error = Ledger::open(&gone, &origin(), &Arc::new(Metrics::new())).unwrap_err().to_string();
    assert!(error.contains("ledger.anchor: ") && error.contains("mount it"), "{error}");
}
