//! Every limit is met, says which it is, and costs the others nothing.

use touchmark::units::{Period, Size};

use crate::support::eventually;
use crate::support::ledger::sum;
use crate::support::message::{
    CHAT, HEALTH, INFER, INPUT, LAST_CHUNK, OUTPUT, chunk, get, head, infer, ok, post, post_with, streaming,
};
use crate::support::model_server::{ModelServer, ends};
use crate::support::touchmark::{Setup, Touchmark};
use crate::support::wire::Ended;

#[tokio::test]
async fn a_head_that_is_too_long() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.limits.head = Size(8 << 10)).start();
    let long = "x".repeat(9 << 10);
    let mut client = touchmark.connect().await;
    client.send(post_with(INFER, &[("x-long", &long)], INPUT)).await;
    assert_eq!(client.head().await.status(), 431);
    touchmark.call(post_with(INFER, &[("x-long", &long[..7 << 10])], INPUT)).await;
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn too_many_fields() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.limits.headers = 20).start();
    let fields: Vec<String> = (0..20).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|name| (name.as_str(), "1")).collect();
    let mut client = touchmark.connect().await;
    client.send(post_with(INFER, &fields, INPUT)).await;
    assert_eq!(client.head().await.status(), 431);
    assert_eq!(touchmark.call(post_with(INFER, &fields[..10], INPUT)).await.head.status(), 200);
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_target_that_is_too_long() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.limits.uri = Size(100)).start();
    let long = "x".repeat(100);
    assert_eq!(touchmark.call(get(&format!("{HEALTH}?{long}"), &[])).await.head.status(), 414);
    let answer = touchmark.call(post(&format!("{INFER}?{long}"), INPUT)).await;
    assert_eq!(answer.head.status(), 414);
    let entry = touchmark.prediction().await;
    entry.ended("rejected", 414);
    assert_eq!(answer.head.one("x-lineage-trace-id"), entry.id());
    assert!(model.received().requests.is_empty());
}

#[tokio::test]
async fn a_body_that_is_announced_too_long() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model).with(|config| config.proxy.limits.body = Size(INPUT.len() as u64));
    let touchmark = setup.start();
    assert_eq!(touchmark.call(infer()).await.head.status(), 200, "just as long as allowed");
    assert_eq!(touchmark.call(post(INFER, format!("{INPUT} "))).await.head.status(), 413);
    let entries = touchmark.predictions(2).await;
    entries[1].ended("rejected", 413);
    assert_eq!(entries[1].text("/input/hash"), None, "it was not read");
    assert_eq!(model.received().requests.len(), 1);
    assert_eq!(sum(&touchmark.metrics, "unresolved_predictions_total", &[]), 0, "nobody looked for its model");
}

#[tokio::test]
async fn a_body_that_becomes_too_long() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.limits.body = Size(10)).start();
    let mut client = touchmark.connect().await;
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &[("host", "h"), ("transfer-encoding", "chunked")])).await;
    client.send(chunk("0123456789")).await;
    let mut upstream = model.accept().await;
    upstream.until("0123456789").await;
    client.send(chunk("!")).await;
    assert_eq!(client.head().await.status(), 413);
    let (rest, _) = upstream.read_to_end().await;
    assert!(!String::from_utf8_lossy(&rest).contains('!'), "{rest:?}");
    assert!(!rest.ends_with(LAST_CHUNK), "it does not end as if whole");
    touchmark.prediction().await.ended("rejected", 413).took("0123456789");
}

#[tokio::test]
async fn a_body_that_becomes_too_long_while_the_answer_streams() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.limits.body = Size(10)).start();
    let mut client = touchmark.connect().await;
    client.send(head(&format!("POST {CHAT} HTTP/1.1"), &[("host", "h"), ("transfer-encoding", "chunked")])).await;
    client.send(chunk("0123456789")).await;
    let mut upstream = model.accept().await;
    upstream.until("0123456789").await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    client.until("data: 1\n\n").await;
    client.send(chunk("!")).await;
    let (rest, _) = client.read_to_end().await;
    assert!(!rest.ends_with(LAST_CHUNK), "it does not end as if whole");
    touchmark.prediction().await.ended("rejected", 200);
}

#[tokio::test]
async fn too_many_calls_in_flight() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| {
        config.proxy.inflight = 1;
        config.proxy.retry_after = Period::millis(1500);
    });
    let touchmark = setup.start();
    let mut first = touchmark.connect().await;
    first.send(post(CHAT, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    first.until("data: 1\n\n").await;
    // A stream holds its place until it ends.
    let answer = touchmark.call(infer()).await;
    assert_eq!((answer.head.status(), answer.head.one("retry-after")), (503, "2"));
    assert_eq!(answer.head.all("x-lineage-trace-id").len(), 1);
    let answer = touchmark.call(get(HEALTH, &[])).await;
    assert_eq!((answer.head.status(), answer.head.one("retry-after")), (503, "2"));
    upstream.send(LAST_CHUNK).await;
    first.until("0\r\n\r\n").await;
    first.send(infer()).await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(first.answer().await.head.status(), 200);
    let entries = touchmark.predictions(3).await;
    entries[0].ended("rejected", 503);
    entries[1].ended("complete", 200);
    entries[2].ended("complete", 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.connections = 1).start();
    let mut first = touchmark.connect().await;
    first.send(infer()).await;
    first.answer().await;
    let mut second = touchmark.connect().await;
    second.send(infer()).await;
    // It waits in the kernel's queue for as long as the first is there: what the first asks is answered before.
    first.send(infer()).await;
    first.answer().await;
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &[]), 2);
    drop(first);
    assert_eq!(second.answer().await.head.status(), 200);
    touchmark.predictions(3).await;
}

/// Short patience with clients.
fn strict(model: &ModelServer) -> Touchmark {
    let setup = Setup::new(model).with(|config| {
        config.proxy.timeouts.head = Period::millis(50);
        config.proxy.timeouts.client = Period::millis(50);
    });
    setup.start()
}

#[tokio::test]
async fn a_head_that_never_ends() {
    let model = ModelServer::listen().await;
    let touchmark = strict(&model);
    for beginning in ["", "P", "POST /v2/models/fraud/infer HTTP/1.1\r\nhost: h\r\nx-slow: "] {
        let mut client = touchmark.connect().await;
        client.send(beginning).await;
        let (said, _) = client.read_to_end().await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&said));
    }
    assert!(touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn a_head_that_trickles() {
    let model = ModelServer::listen().await;
    let touchmark = strict(&model);
    let mut client = touchmark.connect().await;
    // A byte now and then must not win more time. The connection ends while the trickle goes on.
    let trickle = async {
        loop {
            client.send("x").await;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let ended = eventually("the connection's end", || {
        // Seen from the side: every connection's place is free again.
        (touchmark_connections(touchmark.address) == 0).then_some(())
    });
    tokio::select! {
        () = ended => {}
        () = trickle => {}
    }
    assert!(touchmark.predictions(0).await.is_empty());
}

/// Established connections that were accepted at an address, as the kernel counts them.
fn touchmark_connections(at: std::net::SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", at.port());
    let established = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(local.as_str()) && fields.nth(1) == Some("01")
    };
    table.lines().filter(established).count()
}

#[tokio::test]
async fn a_connection_at_rest_is_closed() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = strict(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    client.answer().await;
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_body_that_never_ends() {
    let model = ModelServer::listen().await;
    let touchmark = strict(&model);
    let mut client = touchmark.connect().await;
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &[("host", "h"), ("content-length", "100")])).await;
    client.send("only so much").await;
    let mut upstream = model.accept().await;
    upstream.until("only so much").await;
    assert_eq!(client.head().await.status(), 408);
    ends(upstream).await;
    touchmark.prediction().await.ended("client_abort", 408).took("only so much");
}

#[tokio::test]
async fn a_client_that_never_reads() {
    let model = ModelServer::listen().await;
    let touchmark = strict(&model);
    let mut client = touchmark.connect().await;
    client.send(post(CHAT, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(streaming(&[])).await;
    client.head().await;
    // From here on the client reads nothing, and the model server's bytes pile up until somebody gives up.
    let piece = chunk(vec![b'x'; 1 << 20]);
    let flood = async {
        loop {
            upstream.send(&piece).await;
            if touchmark.metrics.inflight_predictions.get() == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, flood).await.expect("the client is given up");
    touchmark.prediction().await.ended("client_abort", 200);
    drop(client);
}

#[tokio::test]
async fn a_client_of_http2_that_never_reads() {
    let model = ModelServer::listen().await;
    let touchmark = strict(&model);
    let mut client = touchmark.http2().await;
    let (answer, _) = client.open(crate::support::http2::post(CHAT, &[]), true).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(streaming(&[])).await;
    let (_, unread) = crate::support::soon("the head", answer).await.unwrap().into_parts();
    let piece = chunk(vec![b'x'; 1 << 20]);
    let flood = async {
        loop {
            upstream.send(&piece).await;
            if touchmark.metrics.inflight_predictions.get() == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, flood).await.expect("the client is given up");
    touchmark.prediction().await.ended("client_abort", 200);
    drop(unread);
}

#[tokio::test]
async fn one_that_loiters_keeps_nobody_else_waiting() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut loiterers = Vec::new();
    for _ in 0..200 {
        let mut client = touchmark.connect().await;
        client.send("POST /v2/models/fraud/infer HTTP/1.1\r\nhost: h\r\n").await;
        loiterers.push(client);
    }
    assert_eq!(touchmark.call(infer()).await.head.status(), 200);
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_model_servers_head_that_is_too_long() {
    let long = "x".repeat(128 << 10);
    let model = ModelServer::answering(crate::support::message::ok_with(&[("x-long", &long)], OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    assert_eq!(touchmark.call(infer()).await.head.status(), 502);
    touchmark.prediction().await.ended("upstream_error", 502);
}
