//! What is kept of a tunnel that a pattern says is a prediction: its beginning, its end, its bytes, and who gave it.

use touchmark::exchange::OnFailure;

use super::{DEMO, SCORED, ask, opened, scoring, switching};
use crate::support::disk::{MANY, Mounted, almost_full, call_until_refused, remount};
use crate::support::eventually;
use crate::support::ledger::sum;
use crate::support::message::{OUTPUT, get, head, message, ok, post_with};
use crate::support::model_server::{ModelServer, ends};
use crate::support::wire::Ended;

#[tokio::test]
async fn a_tunnel_is_one_prediction_with_its_hashes_and_stamps() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let mut client = touchmark.connect().await;
    let parent = "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10";
    let fields =
        [("connection", "upgrade"), ("upgrade", DEMO), ("x-lineage-trace-id", parent), ("x-request-id", "r-1")];
    client.send(get(&format!("{SCORED}?k=v"), &fields)).await;
    let mut upstream = model.accept().await;
    let asked = upstream.request().await;
    let forged = [("connection", "upgrade"), ("upgrade", DEMO), ("x-model-version", "v9"), ("x-reproducible", "true")];
    upstream.send(head("HTTP/1.1 101 Switching Protocols", &forged)).await;
    let answer = client.head().await;
    let id = answer.one("x-lineage-trace-id").to_owned();
    assert_eq!(asked.head.one("x-lineage-trace-id"), id);
    for (name, value) in [
        ("x-model-name", "fraud"),
        ("x-model-version", "v1.2.3"),
        ("x-dataset-version", "v2.0"),
        ("x-reproducible", "false"),
    ] {
        assert_eq!(answer.one(name), value);
    }
    let begins = touchmark.ledger.of_kind("begin");
    assert_eq!((begins.len(), begins[0].id()), (1, id.as_str()), "before the 101 leaves");
    assert_eq!(touchmark.metrics.inflight_predictions.get(), 1);
    for word in ["one", "two", "three"] {
        client.send(word).await;
        upstream.until(word).await;
        upstream.send(word.to_uppercase()).await;
        client.until(&word.to_uppercase()).await;
    }
    assert!(touchmark.ledger.of_kind("prediction").is_empty());
    upstream.finish().await;
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    let entries = touchmark.ledger.of_kind("prediction");
    assert_eq!(entries.len(), 1, "before the end leaves");
    let entry = touchmark.prediction().await;
    entry.ended("complete", 101).took("onetwothree").gave("ONETWOTHREE");
    for (pointer, value) in [
        ("/id", id.as_str()),
        ("/protocol", "custom"),
        ("/route", "/stream/{model}"),
        ("/model", "fraud"),
        ("/version", "v1.2.3"),
        ("/parent", parent),
        ("/client_request_id", "r-1"),
        ("/backend", "champion"),
    ] {
        assert_eq!(entry.text(pointer), Some(value), "{pointer}");
    }
    let labels = [("protocol", "custom"), ("outcome", "complete"), ("model", "fraud")];
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &labels), 1);
    assert_eq!(sum(&touchmark.metrics, "input_bytes_total", &[]), 11);
    assert_eq!(sum(&touchmark.metrics, "output_bytes_total", &[]), 11);
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_recorded_by_its_answer() {
    let model = ModelServer::answering(message("HTTP/1.1 404 Not Found", &[], "none")).await;
    let touchmark = scoring(&model).start();
    let answer = touchmark.call(ask(SCORED)).await;
    assert_eq!((answer.head.status(), answer.head.one("x-model-version")), (404, "v1.2.3"));
    touchmark.prediction().await.ended("complete", 404).took("").gave("none");
    // A GET that asks for nothing else is none.
    touchmark.call(get(SCORED, &[])).await;
    touchmark.predictions(1).await;
}

#[tokio::test]
async fn a_pattern_fits_a_disguised_path() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = scoring(&model).start();
    for path in ["/str%65am/fraud", "//stream/fraud", "/stream/fraud/"] {
        touchmark.call(ask(path)).await;
    }
    for entry in touchmark.predictions(3).await {
        assert_eq!(entry.text("/model"), Some("fraud"));
    }
}

#[tokio::test]
async fn an_unoffered_switch_is_recorded_as_an_error() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let mut client = touchmark.connect().await;
    client.send(ask(SCORED)).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(switching("other")).await;
    assert_eq!(client.answer().await.head.status(), 502);
    ends(upstream).await;
    touchmark.prediction().await.ended("upstream_error", 502);
    assert!(touchmark.ledger.of_kind("begin").is_empty());
}

#[tokio::test]
async fn a_full_queue_refuses_before_the_model_server_is_asked() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).with(|config| config.ledger.queue_entries = 2).start();
    let (mut client, upstream, _) = opened(&touchmark, &model, SCORED).await;
    assert_eq!(touchmark.call(ask(SCORED)).await.head.status(), 503);
    drop(upstream);
    assert_eq!(client.read_to_end().await.1, Ended::Fin);
    eventually("the refusal is counted", || {
        (sum(&touchmark.metrics, "ledger_unrecorded_total", &[("reason", "refused")]) == 1).then_some(())
    })
    .await;
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn a_tunnel_whose_end_cannot_be_recorded_does_not_end_as_if_whole() {
    for on_failure in [OnFailure::Reject, OnFailure::Pass] {
        let Some(disk) = Mounted::tmpfs("size=1600k") else { return };
        let model = ModelServer::listen().await;
        let touchmark = almost_full(&model, &disk, on_failure);
        let mut client = touchmark.connect().await;
        let fields = [("connection", "upgrade"), ("upgrade", DEMO)];
        client.send(post_with("/v2/models/fraud/infer", &fields, "{}")).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send([switching(DEMO), b"said".to_vec()].concat()).await;
        let id = client.head().await.one("x-lineage-trace-id").to_owned();
        client.until("said").await;
        // Meanwhile others fill the disk.
        let others = tokio::spawn(async move {
            let mut wire = model.accept().await.without_patience();
            while wire.next_request().await.is_some() {
                wire.send(ok(OUTPUT)).await;
            }
            model
        });
        let filled = call_until_refused(&touchmark, MANY).await;
        assert_eq!(filled.is_some(), on_failure == OnFailure::Reject);
        drop(upstream);
        let ended = if on_failure == OnFailure::Reject { Ended::Reset } else { Ended::Fin };
        assert_eq!(client.read_to_end().await, (Vec::new(), ended));
        remount(disk.0.path(), "size=8m");
        let count = filled.map_or(MANY, |served| served + 1) + 1;
        let entries = touchmark.predictions(count).await;
        assert!(entries.iter().all(|entry| entry.id() != id), "counted as failed, and not recorded later");
        drop(touchmark);
        others.abort();
    }
}
