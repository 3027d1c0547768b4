//! The ledger behind the data path: every durability, every failure, every restart; nothing lost in silence.

use std::sync::Arc;

use serde_json::json;
use touchmark::app::{App, StartError};
use touchmark::exchange::OnFailure;
use touchmark::ledger::Durability;
use touchmark::telemetry::Metrics;
use touchmark::units::{Period, Size};

use crate::support::disk::{MANY, Mounted, almost_full, call_until_refused, remount};
use crate::support::eventually;
use crate::support::ledger::{Entry, Ledger, sha256, sum};
use crate::support::message::{CHAT, INFER, INPUT, LAST_CHUNK, OUTPUT, chunk, infer, ok, post, post_with, streaming};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Folder, Setup, Touchmark};

#[tokio::test]
async fn every_durability_records_held_and_streamed_answers() {
    for durability in [Durability::Queue, Durability::Write, Durability::Sync] {
        let model = ModelServer::serving(|request| {
            if request.head.target() == CHAT {
                [streaming(&[]).as_slice(), &chunk("data: 1\n\n"), LAST_CHUNK].concat()
            } else {
                ok(OUTPUT)
            }
        })
        .await;
        let touchmark = Setup::new(&model).with(|config| config.ledger.durability = durability).start();
        for _ in 0..10 {
            assert_eq!(touchmark.call(infer()).await.text(), OUTPUT);
            assert_eq!(touchmark.call(post(CHAT, INPUT)).await.text(), "data: 1\n\n");
        }
        // Queued entries are written soon, and counted when they are.
        eventually("every entry is written", || {
            (sum(&touchmark.metrics, "ledger_entries_total", &[("kind", "prediction")]) == 20).then_some(())
        })
        .await;
        for (at, entry) in touchmark.predictions(20).await.iter().enumerate() {
            entry.ended("complete", 200).took(INPUT).gave(if at % 2 == 0 { OUTPUT } else { "data: 1\n\n" });
        }
        assert_eq!(touchmark.ledger.of_kind("begin").len(), 10);
    }
}

#[tokio::test]
async fn the_document_behind_a_stamp_is_recorded_once() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    for _ in 0..3 {
        touchmark.call(infer()).await;
    }
    let predictions = touchmark.predictions(3).await;
    let [document] = &touchmark.ledger.of_kind("lineage")[..] else { panic!("one document") };
    let digest = document.text("/digest").unwrap();
    let canonical = serde_json_canonicalizer::to_vec(document.0.pointer("/document").unwrap()).unwrap();
    assert_eq!(digest, sha256(&canonical), "RFC 8785");
    assert_eq!(document.text("/document/model/version"), Some("v1.2.3"));
    assert_eq!(document.text("/document/datasets/0/name"), Some("transactions"));
    for prediction in predictions {
        assert_eq!(prediction.text("/lineage"), Some(digest));
        assert_eq!(prediction.0.pointer("/datasets"), Some(&json!(["transactions@v2.0"])));
    }
}

/// A ledger whose queue has room for one prediction.
fn crowded(model: &ModelServer, on_failure: OnFailure) -> Touchmark {
    let setup = Setup::new(model).with(|config| {
        config.ledger.queue_entries = 2;
        config.ledger.on_failure = on_failure;
        config.ledger.sync_interval = Period::millis(50);
    });
    setup.start()
}

/// Waits until gaps cover so many predictions, of one reason or of any.
async fn covered(touchmark: &Touchmark, reason: Option<&str>, count: u64) {
    eventually("a gap covers them", || {
        let gaps = touchmark.ledger.of_kind("gap");
        let counts = gaps
            .iter()
            .filter(|gap| reason.is_none() || gap.text("/reason") == reason)
            .filter_map(|gap| gap.number("/count"));
        (counts.sum::<u64>() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let model = ModelServer::listen().await;
    let touchmark = crowded(&model, OnFailure::Reject);
    let mut first = touchmark.connect().await;
    first.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    for _ in 0..3 {
        let answer = touchmark.call(infer()).await;
        assert_eq!(answer.head.status(), 503, "never served unrecorded");
        assert_eq!(answer.head.one("retry-after"), "1");
    }
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(first.answer().await.head.status(), 200);
    let [entry] = &touchmark.predictions(4).await[..] else { panic!("one entry") };
    entry.ended("complete", 200);
    assert_eq!(sum(&touchmark.metrics, "ledger_unrecorded_total", &[("reason", "refused")]), 3);
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &[("outcome", "rejected")]), 3);
    covered(&touchmark, Some("refused"), 3).await;
}

#[tokio::test]
async fn a_full_queue_passes_by_policy() {
    let model = ModelServer::listen().await;
    let touchmark = crowded(&model, OnFailure::Pass);
    let mut first = touchmark.connect().await;
    first.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    let mut second = touchmark.connect().await;
    second.send(infer()).await;
    let mut other = model.accept().await;
    other.request().await;
    other.send(ok(OUTPUT)).await;
    let answer = second.answer().await;
    assert_eq!(answer.head.status(), 200, "served unrecorded");
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
    assert_eq!(answer.head.all("x-lineage-trace-id").len(), 1);
    upstream.send(ok(OUTPUT)).await;
    first.answer().await;
    touchmark.predictions(2).await;
    assert_eq!(sum(&touchmark.metrics, "ledger_unrecorded_total", &[("reason", "passed")]), 1);
    covered(&touchmark, Some("passed"), 1).await;
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_ledger() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let error = refused(Setup::from(Setup::new(&model).config, Arc::clone(&touchmark.folder)));
    assert!(error.contains("locked by another touchmark"), "{error}");
    assert!(error.contains(touchmark.folder.path().to_str().unwrap()), "{error}");
}

/// Why a setup does not start.
fn refused(setup: Setup) -> String {
    match App::start(setup.config, &Arc::new(Metrics::new())) {
        Err(error @ StartError::Ledger(_)) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn files_that_are_none_of_ours_stop_the_start() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let folder = Arc::new(Folder::new());
    let ledger = folder.path().join("ledger");
    std::fs::create_dir_all(&ledger).unwrap();
    let name = "seg-00000000000000000000.log";
    drop(Setup::from(Setup::new(&model).config, Arc::clone(&folder)).start());
    assert!(ledger.join(name).exists(), "{:?}", std::fs::read_dir(&ledger).unwrap().collect::<Vec<_>>());
    std::fs::write(ledger.join(name), vec![b'x'; 1 << 16]).unwrap();
    let error = refused(Setup::from(Setup::new(&model).config, Arc::clone(&folder)));
    assert!(error.contains(name) && error.contains("no ledger segment"), "{error}");
    assert_eq!(std::fs::read(ledger.join(name)).unwrap(), vec![b'x'; 1 << 16], "and are left as they are");
}

#[tokio::test]
async fn an_orderly_restart_goes_on_where_it_stopped() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let mut first = Touchmark::before(&model);
    first.call(infer()).await;
    first.predictions(1).await;
    first.stop().await;
    let entries = first.ledger.entries();
    let last = entries.last().unwrap();
    assert_eq!((last.kind(), last.text("/event")), ("lifecycle", Some("stop")));
    let mut config = Setup::new(&model).config;
    config.ledger.segment_size = Size(1 << 20);
    let second = Setup::from(config, Arc::clone(&first.folder)).start();
    second.call(infer()).await;
    eventually("the second entry", || (predictions(&second.ledger).len() == 2).then_some(())).await;
    let starts: Vec<Entry> =
        second.ledger.of_kind("lifecycle").into_iter().filter(|entry| entry.text("/event") == Some("start")).collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[1].0.pointer("/detail/unclean"), Some(&json!(false)));
    assert_eq!(second.ledger.of_kind("lineage").len(), 1, "it knows the document from before");
    second.forget();
}

fn predictions(ledger: &Ledger) -> Vec<Entry> {
    ledger.of_kind("prediction")
}

/// Copies what a killed process would have left: what is in the files at this instant.
fn left_behind(touchmark: &Touchmark) -> Arc<Folder> {
    let folder = Arc::new(Folder::new());
    let (from, to) = (touchmark.folder.path().join("ledger"), folder.path().join("ledger"));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    folder
}

#[tokio::test]
async fn what_a_crash_leaves_is_recovered_and_said() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    let answered = client.answer().await;
    client.send(post(CHAT, "{}")).await;
    upstream.request().await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    let streamed = client.head().await;
    client.until("data: 1\n\n").await;
    let folder = left_behind(&touchmark);

    let after = Setup::from(Setup::new(&model).config, folder).start();
    let entries = predictions(&after.ledger);
    assert_eq!(entries.len(), 2);
    entries[0].ended("complete", 200).took(INPUT).gave(OUTPUT);
    assert_eq!(entries[0].id(), answered.head.one("x-lineage-trace-id"), "what was answered was recorded");
    assert_eq!(entries[1].id(), streamed.one("x-lineage-trace-id"));
    assert_eq!(entries[1].text("/outcome"), Some("interrupted"));
    assert_eq!(entries[1].text("/version"), Some("v1.2.3"));
    let start = after.ledger.of_kind("lifecycle").pop().unwrap();
    assert_eq!(start.0.pointer("/detail/unclean"), Some(&json!(true)));
    assert_eq!(start.number("/detail/interrupted"), Some(1));
    after.forget();

    upstream.send(LAST_CHUNK).await;
    client.until("0\r\n\r\n").await;
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn a_read_only_directory_stops_the_start() {
    let Some(mounted) = Mounted::tmpfs("size=4m,ro") else { return };
    let model = ModelServer::listen().await;
    let error = refused(Setup::from(Setup::new(&model).config, Arc::clone(&mounted.0)));
    assert!(error.contains("it must be on a writable volume"), "{error}");
}

#[tokio::test]
async fn a_full_disk_stops_the_start() {
    let Some(mounted) = Mounted::tmpfs("size=1m") else { return };
    let model = ModelServer::listen().await;
    let error = refused(Setup::from(Setup::new(&model).config, Arc::clone(&mounted.0)));
    assert!(error.contains("free some space"), "{error}");
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_and_recovers() {
    let Some(disk) = Mounted::tmpfs("size=1600k") else { return };
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = almost_full(&model, &disk, OnFailure::Reject);
    let served = call_until_refused(&touchmark, MANY).await.expect("the disk is full before that");
    assert!(served > 100, "{served}");
    let ready = touchmark.admin("/readyz").await;
    assert_eq!(ready.head.status(), 503);
    assert!(ready.text().contains("ledger"), "{}", ready.text());
    // Space is made: it goes on by itself, and says what it missed.
    remount(disk.0.path(), "size=8m");
    let mut refused = 1;
    let mut client = touchmark.connect().await;
    loop {
        client.send(infer()).await;
        match client.answer().await.head.status() {
            200 => break,
            status => assert_eq!(status, 503),
        }
        refused += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let unrecorded = |reason| sum(&touchmark.metrics, "ledger_unrecorded_total", &[("reason", reason)]);
    covered(&touchmark, None, refused).await;
    assert_eq!(unrecorded("refused") + unrecorded("failed"), refused);
    touchmark.predictions(served + usize::try_from(refused).unwrap() + 1).await;
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200);
    drop(touchmark);
}

#[tokio::test]
async fn a_stream_whose_end_cannot_be_recorded_does_not_end_as_if_whole() {
    let Some(disk) = Mounted::tmpfs("size=1600k") else { return };
    let model = ModelServer::listen().await;
    let touchmark = almost_full(&model, &disk, OnFailure::Reject);
    let mut client = touchmark.connect().await;
    client.send(post(CHAT, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream
        .send(
            [
                streaming(&[]),
                chunk(
                    "data: 1

",
                ),
            ]
            .concat(),
        )
        .await;
    let id = client.head().await.one("x-lineage-trace-id").to_owned();
    client
        .until(
            "data: 1

",
        )
        .await;
    // Meanwhile others fill the disk.
    let others = tokio::spawn(async move {
        let mut wire = model.accept().await.without_patience();
        while wire.next_request().await.is_some() {
            wire.send(ok(OUTPUT)).await;
        }
        model
    });
    let served = call_until_refused(&touchmark, MANY).await.expect("the disk is full before that");
    upstream.send(LAST_CHUNK).await;
    let (rest, _) = client.read_to_end().await;
    assert!(!rest.ends_with(LAST_CHUNK), "it ended as if whole and recorded");
    remount(disk.0.path(), "size=8m");
    covered(&touchmark, None, 2).await;
    let entries = touchmark.predictions(served + 2).await;
    assert!(entries.iter().all(|entry| entry.id() != id), "counted as failed, and not recorded later");
    drop(touchmark);
    others.abort();
}

#[tokio::test]
async fn a_disk_that_fills_up_passes_by_policy() {
    let Some(disk) = Mounted::tmpfs("size=1600k") else { return };
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = almost_full(&model, &disk, OnFailure::Pass);
    assert_eq!(call_until_refused(&touchmark, MANY).await, None, "nobody is refused");
    touchmark.predictions(MANY).await;
    let passed = sum(&touchmark.metrics, "ledger_unrecorded_total", &[]);
    assert!(passed > 0, "the disk is full before that");
    assert_eq!(sum(&touchmark.metrics, "ledger_unrecorded_total", &[("reason", "passed")]), passed);
    remount(disk.0.path(), "size=8m");
    covered(&touchmark, Some("passed"), passed).await;
    drop(touchmark);
}

#[tokio::test]
async fn what_was_recorded_is_found_by_its_input_and_output() {
    use touchmark::ledger::read::{Query, Reader};
    let model = ModelServer::serving(|request| ok(format!("[{}]", request.text()))).await;
    let touchmark = Touchmark::before(&model);
    for number in 0..50 {
        touchmark.call(post(INFER, number.to_string())).await;
    }
    touchmark.predictions(50).await;
    let reader = Reader::open(touchmark.folder.path()).unwrap();
    let hash = |text: &str| <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(text));
    for query in [
        Query { input_hash: Some(hash("17")), ..Query::default() },
        Query { output_hash: Some(hash("[17]")), ..Query::default() },
    ] {
        let found: Vec<_> = reader.find(&query).map(|found| found.unwrap().entry).collect();
        assert_eq!(found.len(), 1);
        Entry(serde_json::from_slice(&found[0]).unwrap()).took("17").gave("[17]");
    }
}

#[tokio::test]
async fn nothing_that_a_caller_sends_makes_an_entry_large_or_broken() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let long = "\"\\\u{1}é".repeat(500);
    let quoted = "\\\"".repeat(2_000);
    let path = format!("/v2/models/{}/infer", "%22%00%5C".repeat(600));
    touchmark.call(crate::support::message::post_with(&path, &[("x-request-id", &quoted)], &long)).await;
    let entry = touchmark.prediction().await;
    entry.ended("complete", 200).took(&long);
    assert!(entry.0.to_string().len() < 4096);
    assert_eq!(entry.0.pointer("/truncated"), Some(&json!(true)));
}

/// Many answers in one turn of a worker are hashed side by side: each entry has its own call's hashes, whatever their
/// sizes, and whoever left meanwhile.
#[tokio::test]
async fn many_calls_at_once_have_each_their_own_hashes() {
    const CALLS: usize = 48;
    let input = |call: usize| format!(r#"{{"call":{call},"x":"{}"}}"#, "i".repeat(call * call * 11));
    let output = |call: usize| format!(r#"{{"call":{call},"y":"{}"}}"#, "o".repeat((CALLS - call) * call * 40));
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.workers = Some(1)).start();
    for round in 0..3 {
        let (mut clients, mut upstreams) = (Vec::new(), Vec::new());
        for call in 0..CALLS {
            let mut client = touchmark.connect().await;
            let id = format!("{round}-{call}");
            client.send(post_with(INFER, &[("x-request-id", &id), ("connection", "close")], input(call))).await;
            clients.push(Some(client));
        }
        for _ in 0..CALLS {
            let mut upstream = model.accept().await;
            let request: serde_json::Value = serde_json::from_slice(&upstream.request().await.body).unwrap();
            upstreams.push((usize::try_from(request["call"].as_u64().unwrap()).unwrap(), upstream));
        }
        for client in clients.iter_mut().step_by(7) {
            drop(client.take());
        }
        for (call, upstream) in &mut upstreams {
            upstream.send(ok(output(*call))).await;
        }
        for (call, client) in clients.iter_mut().enumerate() {
            if let Some(client) = client {
                assert_eq!(client.answer().await.text(), output(call));
            }
        }
        drop(upstreams);
        let entries = touchmark.predictions((round + 1) * CALLS).await;
        for call in 0..CALLS {
            let id = format!("{round}-{call}");
            let entry = entries.iter().find(|entry| entry.text("/client_request_id") == Some(&*id)).unwrap();
            entry.took(input(call));
            if call % 7 != 0 {
                entry.ended("complete", 200).gave(output(call));
            }
        }
    }
}
