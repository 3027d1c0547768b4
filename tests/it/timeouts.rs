//! Deadlines of ours: each cuts what it bounds, says so to the caller and in the entry, and lets everything else be.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use touchmark::proxy::TimeoutsConfig;
use touchmark::units::{Period, Size};

use crate::support::grpc::{MODEL_INFER, framed};
use crate::support::http2::{grpc, whole};
use crate::support::message::{CHAT, INPUT, LAST_CHUNK, OUTPUT, chunk, infer, ok, post, streaming};
use crate::support::model_server::{ModelServer, ends};
use crate::support::touchmark::{Setup, Touchmark, backend, fraud};
use crate::support::wire::{Ended, Wire};
use crate::support::{PATIENCE, soon};

/// Long enough to be seen, short enough to be waited for.
const SHORT: Period = Period::millis(60);

fn with(model: &ModelServer, change: impl FnOnce(&mut TimeoutsConfig)) -> Touchmark {
    Setup::new(model).with(|config| change(&mut config.proxy.timeouts)).start()
}

/// A call whose request the model server has read.
async fn begun(model: &ModelServer, touchmark: &Touchmark, request: Vec<u8>) -> (Wire, Wire) {
    let mut client = touchmark.connect().await;
    client.send(request).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    (client, upstream)
}

/// A listener that nobody accepts from, its queue full: the kernel lets further connections hang.
#[derive(Debug)]
struct Full {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(connected) = tokio::time::timeout(SHORT.0, TcpStream::connect(address)).await {
            waiting.push(connected.unwrap());
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}

#[tokio::test]
async fn connecting_takes_too_long() {
    let full = Full::new().await;
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| {
        config.backends = vec![backend("full", full.address, &json!([fraud()]))];
        config.proxy.timeouts.connect = SHORT;
    });
    let touchmark = setup.start();
    assert_eq!(touchmark.call(infer()).await.head.status(), 504);
    touchmark.prediction().await.ended("timeout", 504);
}

#[tokio::test]
async fn a_callers_deadline_bounds_connecting() {
    let full = Full::new().await;
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| {
        config.backends = vec![backend("full", full.address, &json!([fraud()]))];
        // Beyond what this test waits for anything.
        config.proxy.timeouts.connect = Period::secs(3600);
    });
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let answer = client.call(grpc(MODEL_INFER, &[("grpc-timeout", "50m")]), framed(b"x")).await;
    assert_eq!(answer.all("grpc-status"), ["4"]);
    touchmark.prediction().await.ended("timeout", 200);
}

#[tokio::test]
async fn a_burst_of_calls_waits_for_one_deadline_not_for_each_others() {
    const CALLS: usize = 100;
    let full = Full::new().await;
    let model = ModelServer::listen().await;
    let connect = Period::millis(500);
    let setup = Setup::new(&model).with(|config| {
        config.backends = vec![backend("full", full.address, &json!([fraud()]))];
        config.proxy.timeouts.connect = connect;
    });
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let began = Instant::now();
    let mut answers = Vec::new();
    for _ in 0..CALLS {
        let (answer, mut stream) = client.open(grpc(MODEL_INFER, &[]), false).await;
        stream.send_data(framed(b"x").into(), true).unwrap();
        answers.push(answer);
    }
    for answer in answers {
        assert_eq!(whole(answer).await.unwrap().all("grpc-status"), ["4"]);
    }
    assert!(began.elapsed() < connect.0 * 20, "one after the other: {:?}", began.elapsed());
    touchmark.predictions(CALLS).await;
}

#[tokio::test]
async fn the_first_byte_does_not_come() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.first_byte = SHORT);
    let (mut client, upstream) = begun(&model, &touchmark, infer()).await;
    let answer = client.answer().await;
    assert_eq!(answer.head.status(), 504);
    assert!(answer.head.lacks("x-model-version"), "no model answered");
    ends(upstream).await;
    let entry = touchmark.prediction().await;
    entry.ended("timeout", 504).took(INPUT);
    assert_eq!(answer.head.one("x-lineage-trace-id"), entry.id());
}

#[tokio::test]
async fn a_head_that_stops_halfway() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.first_byte = SHORT);
    let (mut client, mut upstream) = begun(&model, &touchmark, infer()).await;
    upstream.send("HTTP/1.1 200 OK\r\n").await;
    assert_eq!(client.answer().await.head.status(), 504);
    ends(upstream).await;
    touchmark.prediction().await.ended("timeout", 504);
}

#[tokio::test]
async fn a_held_answer_that_stops_halfway() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.idle = SHORT);
    let (mut client, mut upstream) = begun(&model, &touchmark, infer()).await;
    let answer = ok(OUTPUT);
    upstream.send(&answer[..answer.len() - 1]).await;
    assert_eq!(client.answer().await.head.status(), 504, "its head had not left");
    ends(upstream).await;
    touchmark.prediction().await.ended("timeout", 504);
}

#[tokio::test]
async fn a_long_answer_that_stops_halfway() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| {
        config.proxy.timeouts.idle = SHORT;
        config.ledger.hold_limit = Size(1);
    });
    let touchmark = setup.start();
    let (mut client, mut upstream) = begun(&model, &touchmark, infer()).await;
    let answer = ok(OUTPUT);
    upstream.send(&answer[..answer.len() - 1]).await;
    let answer = client.cut_answer().await;
    assert_eq!(answer.head.status(), 200);
    ends(upstream).await;
    touchmark.prediction().await.ended("timeout", 200);
}

#[tokio::test]
async fn a_stream_may_pause() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.idle = SHORT);
    let (mut client, mut upstream) = begun(&model, &touchmark, post(CHAT, "{}")).await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    client.until("data: 1\n\n").await;
    // Well beyond what an answer of known length may be silent, and beyond a round of housekeeping.
    tokio::time::sleep(SHORT.0 * 6).await;
    upstream.send([chunk("data: 2\n\n").as_slice(), LAST_CHUNK].concat()).await;
    client.until("data: 2\n\n").await;
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_stream_that_pauses_for_too_long() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.stream_idle = SHORT);
    let (mut client, mut upstream) = begun(&model, &touchmark, post(CHAT, "{}")).await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    client.until("data: 1\n\n").await;
    let (rest, _) = client.read_to_end().await;
    assert!(!rest.ends_with(LAST_CHUNK), "it does not end as if whole");
    ends(upstream).await;
    touchmark.prediction().await.ended("timeout", 200).gave("data: 1\n\n");
}

#[tokio::test]
async fn the_whole_takes_too_long() {
    let model = ModelServer::listen().await;
    // Long enough for the stream's head to come in time on a machine that is busy.
    let touchmark = with(&model, |timeouts| timeouts.total = Period::secs(1));
    let (mut client, upstream) = begun(&model, &touchmark, infer()).await;
    assert_eq!(client.answer().await.head.status(), 504);
    ends(upstream).await;
    // A stream that never pauses is cut as well: there is always more of it than was read.
    let (mut client, mut upstream) = begun(&model, &touchmark, post(CHAT, "{}")).await;
    upstream.send(streaming(&[])).await;
    let pieces = chunk("data: 1\n\n".repeat(1000)).repeat(100);
    let flow = soon("the cut", async { while upstream.sends_within(&pieces, PATIENCE).await {} });
    tokio::join!(client.pass_over(), flow);
    let entries = touchmark.predictions(2).await;
    entries[0].ended("timeout", 504);
    entries[1].ended("timeout", 200);
}

#[tokio::test]
async fn a_connection_to_the_model_server_at_rest_is_closed() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.upstream_idle = SHORT);
    let (mut client, mut upstream) = begun(&model, &touchmark, infer()).await;
    upstream.send(ok(OUTPUT)).await;
    client.answer().await;
    assert_eq!(ends(upstream).await, Ended::Fin, "before the model server closes it under a request");
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_slow_upload_is_no_slow_model_server() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |timeouts| timeouts.first_byte = SHORT);
    let mut client = touchmark.connect().await;
    let request = infer();
    client.send(&request[..request.len() - 1]).await;
    let mut upstream = model.accept().await;
    upstream.until(&INPUT[..INPUT.len() - 1]).await;
    tokio::time::sleep(SHORT.0 * 2).await;
    client.send(&request[request.len() - 1..]).await;
    upstream.until(&INPUT[INPUT.len() - 1..]).await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(client.answer().await.head.status(), 200, "its time begins with the request's end");
    touchmark.prediction().await.ended("complete", 200).took(INPUT);
}
