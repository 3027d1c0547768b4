//! Whoever leaves, and whenever: each recognised call is recorded exactly once, by how it ended.

use serde_json::json;

use crate::support::eventually;
use crate::support::ledger::sum;
use crate::support::message::{
    CHAT, INFER, INPUT, LAST_CHUNK, OUTPUT, chunk, head, infer, ok, post, post_with, streaming,
};
use crate::support::model_server::{ModelServer, ends};
use crate::support::touchmark::{Setup, Touchmark, backend, fraud};
use crate::support::wire::Wire;

/// How a peer leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Fin,
    Reset,
}

const BOTH: [Leaving; 2] = [Leaving::Fin, Leaving::Reset];

fn leave(wire: Wire, how: Leaving) {
    match how {
        Leaving::Fin => drop(wire),
        Leaving::Reset => wire.reset(),
    }
}

/// A client that gives up takes no half-closed connection for a wish to wait.
fn impatient(model: &ModelServer) -> Touchmark {
    Setup::new(model).with(|config| config.proxy.half_close = false).start()
}

#[tokio::test]
async fn a_model_server_that_refuses_connections() {
    let address = ModelServer::listen().await.close().await;
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends = vec![backend("gone", address, &json!([fraud()]))]);
    let touchmark = setup.start();
    let answer = touchmark.call(infer()).await;
    assert_eq!(answer.head.status(), 502);
    let entry = touchmark.prediction().await;
    entry.ended("upstream_error", 502);
    assert_eq!(answer.head.one("x-lineage-trace-id"), entry.id());
    assert_eq!(entry.text("/backend"), Some("gone"));
}

#[tokio::test]
async fn a_model_server_that_leaves_before_its_head() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        leave(upstream, how);
        let answer = client.answer().await;
        assert_eq!(answer.head.status(), 502, "{how:?}");
        let entry = touchmark.prediction().await;
        entry.ended("upstream_error", 502).took(INPUT);
        assert_eq!(answer.head.one("x-lineage-trace-id"), entry.id());
        assert!(answer.head.lacks("x-model-version"), "no model answered");
    }
}

#[tokio::test]
async fn a_model_server_that_leaves_before_it_has_read_the_request() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        let fields = [("host", "models.test"), ("content-length", "1000")];
        client.send(head(&format!("POST {INFER} HTTP/1.1"), &fields)).await;
        client.send("only so much").await;
        let mut upstream = model.accept().await;
        upstream.until("only so much").await;
        leave(upstream, how);
        let answer = client.answer().await;
        assert_eq!(answer.head.status(), 502, "{how:?}");
        touchmark.prediction().await.ended("upstream_error", 502).took("only so much");
    }
}

#[tokio::test]
async fn a_model_server_that_leaves_within_its_head() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send("HTTP/1.1 200 OK\r\ncontent-le").await;
        leave(upstream, how);
        assert_eq!(client.answer().await.head.status(), 502, "{how:?}");
        touchmark.prediction().await.ended("upstream_error", 502);
    }
}

#[tokio::test]
async fn a_held_answer_that_is_cut_becomes_an_error() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        let answer = ok(OUTPUT);
        upstream.send(&answer[..answer.len() - 1]).await;
        leave(upstream, how);
        let answer = client.answer().await;
        assert_eq!(answer.head.status(), 502, "the head had not left: {how:?}");
        assert!(!answer.text().contains("0.25"), "nothing of a broken answer is passed on as if it were one");
        touchmark.prediction().await.ended("upstream_abort", 502).took(INPUT);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_is_cut_for_the_client() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(post(CHAT, "{}")).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
        let head = client.head().await;
        client.until("data: 1\n\n").await;
        assert_eq!(touchmark.ledger.of_kind("begin").len(), 1, "the head is out");
        leave(upstream, how);
        let (rest, _) = client.read_to_end().await;
        assert!(!rest.ends_with(LAST_CHUNK), "a cut stream does not end as if whole: {how:?}");
        let entry = touchmark.prediction().await;
        entry.ended("upstream_abort", 200).gave("data: 1\n\n");
        assert_eq!(head.one("x-lineage-trace-id"), entry.id());
    }
}

#[tokio::test]
async fn a_long_answer_that_is_cut_is_cut_for_the_client() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.ledger.hold_limit = touchmark::units::Size(8)).start();
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    let answer = ok("123456789012");
    upstream.send(&answer[..answer.len() - 1]).await;
    let head = client.head().await;
    upstream.reset();
    let answer = client.rest_of(head).await;
    assert!(!answer.whole);
    assert_eq!(answer.head.one("content-length"), "12");
    touchmark.prediction().await.ended("upstream_abort", 200);
    assert_eq!(touchmark.ledger.of_kind("begin").len(), 1);
}

#[tokio::test]
async fn a_model_server_that_leaves_after_its_last_byte_has_answered() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(ok(OUTPUT)).await;
        assert_eq!(client.answer().await.head.status(), 200);
        leave(upstream, how);
        touchmark.prediction().await.ended("complete", 200).gave(OUTPUT);
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(ok(OUTPUT)).await;
        assert_eq!(client.answer().await.head.status(), 200, "the next call finds a new connection: {how:?}");
        touchmark.predictions(2).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_head_is_no_prediction() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(&infer()[..40]).await;
        leave(client, how);
        // The next call comes after it on the same worker.
        let mut client = touchmark.connect().await;
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(ok(OUTPUT)).await;
        client.answer().await;
        touchmark.prediction().await.ended("complete", 200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_its_request() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        let request = infer();
        client.send(&request[..request.len() - 1]).await;
        let mut upstream = model.accept().await;
        upstream.until(&INPUT[..INPUT.len() - 1]).await;
        leave(client, how);
        upstream.read_to_end().await;
        let entry = touchmark.prediction().await;
        // One that closed in order may still read an answer of ours.
        assert!(matches!(entry.number("/output/status"), None | Some(408)), "{how:?}: {entry:?}");
        assert_eq!(entry.text("/outcome"), Some("client_abort"), "{how:?}");
        entry.took(&INPUT[..INPUT.len() - 1]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_a_chunk() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let fields = [("host", "models.test"), ("transfer-encoding", "chunked")];
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &fields)).await;
    client.send("5\r\nab").await;
    let mut upstream = model.accept().await;
    upstream.until("ab").await;
    drop(client);
    let (rest, _) = upstream.read_to_end().await;
    assert!(!rest.ends_with(LAST_CHUNK), "a broken request does not end as if whole");
    touchmark.prediction().await.ended("client_abort", 408).took("ab");
}

#[tokio::test]
async fn a_client_that_resets_while_it_waits() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    client.reset();
    ends(upstream).await;
    touchmark.prediction().await.ended("client_abort", None).took(INPUT);
}

#[tokio::test]
async fn a_client_that_closes_while_it_waits_is_gone_where_half_closing_is_off() {
    let model = ModelServer::listen().await;
    let touchmark = impatient(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    drop(client);
    ends(upstream).await;
    touchmark.prediction().await.ended("client_abort", None).took(INPUT);
}

#[tokio::test]
async fn a_client_that_leaves_within_a_stream() {
    for how in BOTH {
        let model = ModelServer::listen().await;
        let touchmark = impatient(&model);
        let mut client = touchmark.connect().await;
        client.send(post(CHAT, "{}")).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
        client.until("data: 1\n\n").await;
        leave(client, how);
        ends(upstream).await;
        let entry = touchmark.prediction().await;
        entry.ended("client_abort", 200).gave("data: 1\n\n");
        assert_eq!(touchmark.ledger.of_kind("begin")[0].id(), entry.id());
    }
}

#[tokio::test]
async fn a_client_that_leaves_after_the_last_byte_had_its_answer() {
    for how in BOTH {
        let model =
            ModelServer::answering([streaming(&[]).as_slice(), &chunk("data: 1\n\n"), LAST_CHUNK].concat()).await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(post(CHAT, "{}")).await;
        assert_eq!(client.answer().await.text(), "data: 1\n\n");
        leave(client, how);
        touchmark.prediction().await.ended("complete", 200).gave("data: 1\n\n");
    }
}

#[tokio::test]
async fn a_head_of_unknown_length_streams_and_an_end_of_file_is_its_end() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n").await;
    upstream.send(OUTPUT).await;
    drop(upstream);
    assert_eq!(client.answer().await.body, OUTPUT.as_bytes());
    touchmark.prediction().await.ended("complete", 200).gave(OUTPUT);
}

#[tokio::test]
async fn a_call_is_not_sent_twice_once_it_may_have_been_seen() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    client.answer().await;
    // The same connection is used again, and breaks after it was sent a request.
    client.send(infer()).await;
    upstream.request().await;
    upstream.reset();
    assert_eq!(client.answer().await.head.status(), 502);
    let entries = touchmark.predictions(2).await;
    entries[1].ended("upstream_error", 502);
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_is_sent_over_another_connection() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    for _ in 0..3 {
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(ok(OUTPUT)).await;
        assert_eq!(client.answer().await.head.status(), 200, "a connection gone stale is no error of the call");
        // Closed at rest, as a server's keep-alive timeout does.
        drop(upstream);
    }
    for entry in touchmark.predictions(3).await {
        entry.ended("complete", 200);
    }
}

#[tokio::test]
async fn places_in_flight_come_back_from_every_kind_of_end() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.inflight = 1).start();
    for round in 0..4 {
        let mut client = touchmark.connect().await;
        client.send(post_with(CHAT, &[], "{}")).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        match round {
            0 => client.reset(),
            1 => upstream.reset(),
            2 => {
                upstream.send([streaming(&[]), chunk("1")].concat()).await;
                client.until("1\r\n1\r\n").await;
                client.reset();
                ends(upstream).await;
            }
            _ => {
                upstream.send([streaming(&[]), chunk("1")].concat()).await;
                client.until("1\r\n1\r\n").await;
                upstream.reset();
                client.read_to_end().await;
            }
        }
        eventually("the place comes back", || {
            (sum(&touchmark.metrics, "predictions_total", &[]) > round).then_some(())
        })
        .await;
    }
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(client.answer().await.head.status(), 200);
    touchmark.predictions(5).await;
}
