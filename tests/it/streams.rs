//! Streams flow at once, both ways, and nothing is buffered on the way that is not asked for.

use bytes::Bytes;
use touchmark::proxy::UpstreamProtocol;

use crate::support::http2::{self, data, exactly, whole};
use crate::support::message::{CHAT, INFER, LAST_CHUNK, OUTPUT, chunk, get, head, message, ok, post, streaming};
use crate::support::model_server::ModelServer;
use crate::support::soon;
use crate::support::touchmark::{Setup, Touchmark};

/// Larger than every buffer between the two ends of two loopback connections and our own together.
const MUCH: usize = 64 << 20;
/// What we may hold of it: socket buffers are the kernel's, the rest is ours.
const FLAT: u64 = 16 << 20;

#[tokio::test]
async fn an_event_arrives_before_the_next_is_sent() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(post(CHAT, r#"{"model":"fraud","stream":true}"#)).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(streaming(&[])).await;
    let head = client.head().await;
    assert_eq!(head.one("content-type"), "text/event-stream");
    assert_eq!(head.one("x-model-version"), "v1.2.3");
    for event in ["data: one\n\n", "data: two\n\n", "data: [DONE]\n\n"] {
        upstream.send(chunk(event)).await;
        client.until(event).await;
    }
    upstream.send(LAST_CHUNK).await;
    client.until("0\r\n\r\n").await;
    let entry = touchmark.prediction().await;
    entry.ended("complete", 200).gave("data: one\n\ndata: two\n\ndata: [DONE]\n\n");
    assert_eq!(entry.text("/protocol"), Some("openai"));
}

#[tokio::test]
async fn a_begin_is_written_before_the_head_and_the_end_before_the_end() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(post(CHAT, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(streaming(&[])).await;
    let head = client.head().await;
    let begins = touchmark.ledger.of_kind("begin");
    assert_eq!(begins.len(), 1, "the client has the head");
    assert_eq!(begins[0].id(), head.one("x-lineage-trace-id"));
    assert!(touchmark.ledger.of_kind("prediction").is_empty());
    upstream.send([chunk("data: 1\n\n").as_slice(), LAST_CHUNK].concat()).await;
    client.until("0\r\n\r\n").await;
    let predictions = touchmark.ledger.of_kind("prediction");
    assert_eq!(predictions.len(), 1, "the client has the end");
    assert_eq!(predictions[0].id(), begins[0].id());
    touchmark.prediction().await;
}

#[tokio::test]
async fn a_held_answer_is_written_before_any_of_it_leaves() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(post(INFER, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    let head = client.head().await;
    let predictions = touchmark.ledger.of_kind("prediction");
    assert_eq!(predictions[0].id(), head.one("x-lineage-trace-id"));
    assert!(touchmark.ledger.of_kind("begin").is_empty());
    touchmark.prediction().await;
}

#[tokio::test]
async fn an_upload_flows_before_it_ends() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &[("host", "h"), ("transfer-encoding", "chunked")])).await;
    client.send(chunk("one")).await;
    let mut upstream = model.accept().await;
    upstream.until("one").await;
    client.send(chunk("two")).await;
    upstream.until("two").await;
    client.send([chunk("three").as_slice(), LAST_CHUNK].concat()).await;
    upstream.until("0\r\n\r\n").await;
    upstream.send(ok(OUTPUT)).await;
    client.answer().await;
    touchmark.prediction().await.ended("complete", 200).took("onetwothree");
}

#[tokio::test]
async fn a_large_body_either_way_stays_flat_in_memory() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let piece = vec![b'x'; 1 << 20];
    let length = MUCH.to_string();
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &[("host", "h"), ("content-length", &length)])).await;
    client.send(&piece).await;
    let mut upstream = model.accept().await;
    let request = upstream.head().await;
    assert_eq!(request.one("content-length"), length);
    upstream.skip(1 << 20).await;
    let before = peak_kib();
    let sending = tokio::spawn(async move {
        for _ in 1..MUCH >> 20 {
            client.send(&piece).await;
        }
        client
    });
    upstream.skip(((MUCH >> 20) as u64 - 1) << 20).await;
    let mut client = sending.await.unwrap();
    upstream.send(head("HTTP/1.1 200 OK", &[("content-length", &length)])).await;
    let sending = tokio::spawn(async move {
        let piece = vec![b'y'; 1 << 20];
        for _ in 0..MUCH >> 20 {
            upstream.send(&piece).await;
        }
    });
    let head = client.head().await;
    assert_eq!(head.one("content-length"), length);
    client.skip(MUCH as u64).await;
    sending.await.unwrap();
    let entry = touchmark.prediction().await;
    entry.ended("complete", 200);
    assert_eq!(entry.number("/input/bytes"), Some(MUCH as u64));
    assert_eq!(entry.number("/output/bytes"), Some(MUCH as u64));
    // Other tests of the same process move it too, but none as far as one body held whole would.
    assert!(peak_kib().saturating_sub(before) < MUCH as u64 >> 10, "{} KiB before, {} after", before, peak_kib());
}

/// The most memory that the process has held so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_client_that_reads_slowly_slows_the_model_server_down() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.backends[0].protocol = UpstreamProtocol::Http2).start();
    let mut client = touchmark.http2().await;
    let (answer, _) = client.open(http2::post(CHAT, &[]), true).await;
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    let mut sending = call.answer.send_response(http::Response::new(()), false).unwrap();
    let (_, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    // The client grants its window once and reads nothing: what passes then is what somebody buffers.
    let mut sent = 0;
    sending.reserve_capacity(MUCH);
    let granted = async {
        while let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await {
            sent += room;
            sending.send_data(Bytes::from(vec![0; room]), false).unwrap();
            sending.reserve_capacity(MUCH);
            if sent > MUCH {
                return;
            }
        }
    };
    // It never ends by itself where flow control reaches through: as long as this takes, nothing more was asked for.
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(500), granted).await;
    assert!(quiet.is_err(), "{sent} bytes were taken from the model server for a client that does not read");
    assert!((sent as u64) < FLAT, "{sent}");
    exactly_at_least(&mut receiving, sent).await;
    sending.send_data(Bytes::from_static(b"end"), true).unwrap();
    while data(&mut receiving).await.unwrap().is_some() {}
    let entry = touchmark.prediction().await;
    entry.ended("complete", 200);
    assert_eq!(entry.number("/output/bytes"), Some(sent as u64 + 3));
}

async fn exactly_at_least(stream: &mut h2::RecvStream, bytes: usize) {
    let mut read = 0;
    while read < bytes {
        read += data(stream).await.unwrap().expect("more of the answer").len();
    }
}

#[tokio::test]
async fn a_model_server_that_reads_slowly_slows_the_client_down() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.backends[0].protocol = UpstreamProtocol::Http2).start();
    let mut client = touchmark.http2().await;
    let (answer, mut sending) = client.open(http2::post(INFER, &[]), false).await;
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    let mut sent = 0;
    sending.reserve_capacity(MUCH);
    let granted = async {
        while let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await {
            sent += room;
            sending.send_data(Bytes::from(vec![0; room]), false).unwrap();
            sending.reserve_capacity(MUCH);
            if sent > MUCH {
                return;
            }
        }
    };
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(500), granted).await;
    assert!(quiet.is_err(), "{sent} bytes were taken from the client for a model server that does not read");
    assert!((sent as u64) < FLAT, "{sent}");
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(call.input().await.len(), sent);
    let mut answering = call.answer.send_response(http::Response::new(()), false).unwrap();
    answering.send_data(OUTPUT.into(), true).unwrap();
    assert_eq!(whole(answer).await.unwrap().body, OUTPUT.as_bytes());
    let entry = touchmark.prediction().await;
    assert_eq!(entry.number("/input/bytes"), Some(sent as u64));
}

#[tokio::test]
async fn an_answer_longer_than_may_be_held_streams() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.ledger.hold_limit = touchmark::units::Size(10)).start();
    let mut client = touchmark.connect().await;
    client.send(post(INFER, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    let answer = ok("0123456789ab");
    upstream.send(&answer[..answer.len() - 6]).await;
    client.until("012345").await;
    assert_eq!(touchmark.ledger.of_kind("begin").len(), 1);
    upstream.send(&answer[answer.len() - 6..]).await;
    client.until("6789ab").await;
    touchmark.prediction().await.ended("complete", 200).gave("0123456789ab");
}

#[tokio::test]
async fn other_traffic_streams_as_well() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(get("/v2/events", &[])).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(streaming(&[])).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        upstream.send(chunk(event)).await;
        client.until(event).await;
    }
    upstream.send(LAST_CHUNK).await;
    client.until("0\r\n\r\n").await;
    assert!(touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn a_body_is_passed_on_as_it_is() {
    let model = ModelServer::serving(|request| message("HTTP/1.1 200 OK", &[], &request.body)).await;
    let touchmark = Touchmark::before(&model);
    // Every byte there is, often enough to cross every buffer's edge, in lengths that fit none.
    let body: Vec<u8> = (0..=255).cycle().take(300_001).collect();
    let answer = touchmark.call(post(INFER, &body)).await;
    assert!(answer.body == body, "the body changed on its way");
    touchmark.prediction().await.ended("complete", 200).took(&body).gave(&body);
}

#[tokio::test]
async fn a_stream_over_http2_is_cut_by_a_reset() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let (answer, _) = client.open(http2::post(CHAT, &[]), true).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    let (_, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    assert_eq!(exactly(&mut receiving, 9).await, b"data: 1\n\n");
    upstream.reset();
    let error = soon("the cut", receiving.data()).await.expect("not an end").unwrap_err();
    assert!(error.is_reset(), "{error}");
    touchmark.prediction().await.ended("upstream_abort", 200).gave("data: 1\n\n");
}
