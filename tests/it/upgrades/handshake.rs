//! The handshake: what is offered and what goes on, what is taken and what is refused.

use touchmark::proxy::UpstreamProtocol;

use super::{DEMO, PLAIN, SCORED, ask, opened, scoring, switching};
use crate::support::message::{HEALTH, OUTPUT, get, head, infer, message, ok, post_with};
use crate::support::model_server::{ModelServer, ends};
use crate::support::touchmark::{Setup, Touchmark};
use crate::support::wire::Ended;

/// The handshake of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Its frames, section 5.7: a masked and an unmasked "Hello".
const HELLO_MASKED: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
const HELLO: &[u8] = b"\x81\x05Hello";
/// Closes with status 1000, section 5.5.1.
const CLOSE_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
const CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe8];

#[tokio::test]
async fn a_websocket_goes_through_end_to_end() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let fields = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];
    client.send(get(PLAIN, &fields)).await;
    let mut upstream = model.accept().await;
    let asked = upstream.request().await;
    for (name, value) in &fields[1..] {
        assert_eq!(asked.head.one(name), *value);
    }
    assert_eq!(asked.head.one("connection"), "upgrade");
    assert_eq!(asked.head.one("via"), "1.1 touchmark");
    let taken = [
        ("connection", "Upgrade, X-Secret"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "chat"),
        ("x-secret", "1"),
    ];
    upstream.send(head("HTTP/1.1 101 Switching Protocols", &taken)).await;
    let answer = client.head().await;
    assert_eq!(answer.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(answer.one("connection"), "upgrade");
    for (name, value) in &taken[1..4] {
        assert_eq!(answer.one(name), *value);
    }
    for name in ["x-secret", "content-length", "transfer-encoding", "x-lineage-trace-id"] {
        assert!(answer.lacks(name), "{name} in {answer:?}");
    }
    client.send(HELLO_MASKED).await;
    assert_eq!(upstream.exactly(HELLO_MASKED.len()).await.unwrap(), HELLO_MASKED);
    upstream.send(HELLO).await;
    assert_eq!(client.exactly(HELLO.len()).await.unwrap(), HELLO);
    client.send(CLOSE_MASKED).await;
    assert_eq!(upstream.exactly(CLOSE_MASKED.len()).await.unwrap(), CLOSE_MASKED);
    upstream.send(CLOSE).await;
    drop(upstream);
    assert_eq!(client.read_to_end().await, (CLOSE.to_vec(), Ended::Fin));
    assert!(touchmark.predictions(0).await.is_empty(), "no pattern says that it is one");
}

#[tokio::test]
async fn bytes_right_behind_either_head_are_the_tunnels() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let mut client = touchmark.connect().await;
        // It looks like a request and is none: the protocol has changed by the time it is read.
        let behind = [infer(), vec![0, 255, 13, 10]].concat();
        client.send([ask(path), behind.clone()].concat()).await;
        let mut upstream = model.accept().await;
        upstream.head().await;
        upstream.send([switching(DEMO), ok(OUTPUT)].concat()).await;
        assert_eq!(upstream.exactly(behind.len()).await.unwrap(), behind);
        assert_eq!(client.head().await.status(), 101);
        assert_eq!(client.exactly(ok(OUTPUT).len()).await.unwrap(), ok(OUTPUT));
        client.finish().await;
        drop(upstream);
        assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    }
    let entry = touchmark.prediction().await;
    entry.ended("complete", 101).took([infer(), vec![0, 255, 13, 10]].concat()).gave(ok(OUTPUT));
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_ordinary_call() {
    let model = ModelServer::serving(|request| {
        if request.head.target() == PLAIN {
            let fields = [("connection", "upgrade"), ("upgrade", "h2c, websocket")];
            message("HTTP/1.1 426 Upgrade Required", &fields, OUTPUT)
        } else {
            ok(OUTPUT)
        }
    })
    .await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    // What is pipelined behind it is the next request then.
    client.send([ask(PLAIN), infer()].concat()).await;
    let refused = client.answer().await;
    assert_eq!((refused.head.status(), refused.text()), (426, OUTPUT));
    assert_eq!((refused.head.one("upgrade"), refused.head.one("connection")), ("websocket", "upgrade"));
    assert_eq!(client.answer().await.head.status(), 200);
    touchmark.prediction().await.ended("complete", 200);
    assert_eq!(model.received().connections, 1, "the connection is still one of HTTP");
}

#[tokio::test]
async fn a_switch_to_what_was_not_offered_is_an_error() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let bare = head("HTTP/1.1 101 Switching Protocols", &[("connection", "upgrade")]);
    for answer in [switching("other"), switching("demo/1, h2c"), switching("demo"), bare] {
        let mut client = touchmark.connect().await;
        client.send(ask(PLAIN)).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        assert_eq!(client.answer().await.head.status(), 502);
        assert_eq!(ends(upstream).await, Ended::Fin, "nothing is sent over it any more");
    }
}

#[tokio::test]
async fn only_what_may_be_passed_on_is_offered() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let settings = ("http2-settings", "AAMAAABkAAQAAP__");
    for (fields, offered) in [
        (vec![("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), settings], None),
        (vec![("connection", "upgrade, http2-settings"), ("upgrade", "h2c, demo/1"), settings], Some("demo/1")),
        (vec![("connection", "upgrade"), ("upgrade", "HTTP/2.0, TLS/1.0")], None),
        (vec![("connection", "upgrade"), ("upgrade", "demo/1"), ("upgrade", "IRC/6.9")], Some("demo/1, IRC/6.9")),
        (vec![("connection", "keep-alive"), ("upgrade", "demo/1")], None),
        (vec![("upgrade", "demo/1")], None),
    ] {
        assert_eq!(touchmark.call(get(HEALTH, &fields)).await.head.status(), 200);
        let asked = model.received().requests.pop().unwrap();
        assert_eq!(asked.head.all("upgrade"), offered.into_iter().collect::<Vec<_>>());
        assert_eq!(asked.head.all("connection"), offered.map(|_| "upgrade").into_iter().collect::<Vec<_>>());
        assert!(asked.head.lacks("http2-settings"));
    }
}

#[tokio::test]
async fn an_upgrade_in_http_1_0_is_ignored() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let fields = [("host", "models.test"), ("connection", "upgrade"), ("upgrade", DEMO)];
    assert_eq!(touchmark.call(head(&format!("GET {HEALTH} HTTP/1.0"), &fields)).await.head.status(), 200);
    assert!(model.request().head.lacks("upgrade"));
}

#[tokio::test]
async fn a_backend_of_http2_is_asked_without_the_offer() {
    let model = ModelServer::listen().await;
    let setup = scoring(&model).with(|config| config.backends[0].protocol = UpstreamProtocol::Http2);
    let touchmark = setup.start();
    let mut client = touchmark.connect().await;
    client.send(ask(SCORED)).await;
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    assert!(call.head.headers.get("upgrade").is_none());
    let mut answering = call.answer.send_response(http::Response::new(()), false).unwrap();
    answering.send_data(OUTPUT.into(), true).unwrap();
    assert_eq!(client.answer().await.text(), OUTPUT);
    touchmark.prediction().await.ended("complete", 200).took("").gave(OUTPUT);
}

#[tokio::test]
async fn a_body_is_sent_before_the_switch_and_recorded_with_it() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let upgrade = [("connection", "upgrade"), ("upgrade", DEMO)];
    // One that is there at once, and one that is still on its way when the server switches.
    for length in [10, 16 << 20] {
        let body = vec![b'b'; length];
        let mut client = touchmark.connect().await;
        let request = post_with(SCORED, &upgrade, &body);
        let sending = tokio::spawn(async move {
            client.send(request).await;
            client
        });
        let mut upstream = model.accept().await;
        upstream.head().await;
        upstream.send([switching(DEMO), b"behind".to_vec()].concat()).await;
        assert!(upstream.exactly(length).await.unwrap() == body);
        let mut client = sending.await.unwrap();
        assert_eq!(client.head().await.status(), 101, "once the whole request has been sent");
        assert_eq!(client.exactly(6).await.unwrap(), b"behind");
        client.send("and on").await;
        upstream.until("and on").await;
        drop(upstream);
        client.read_to_end().await;
    }
    for (entry, length) in touchmark.predictions(2).await.iter().zip([10, 16 << 20]) {
        entry.ended("complete", 101).took([vec![b'b'; length], b"and on".to_vec()].concat()).gave("behind");
    }
}

#[tokio::test]
async fn connect_opens_no_tunnel() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let fields = [("host", "h:80"), ("connection", "upgrade"), ("upgrade", DEMO)];
    assert_eq!(touchmark.call(head("CONNECT h:80 HTTP/1.1", &fields)).await.head.status(), 501);
}

#[tokio::test]
async fn a_call_known_as_a_prediction_stays_one_whatever_it_offers() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).start();
    let mut client = touchmark.connect().await;
    let fields = [("connection", "upgrade"), ("upgrade", DEMO)];
    client.send(post_with("/v2/models/fraud/infer", &fields, "{}")).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send([switching(DEMO), b"secret".to_vec()].concat()).await;
    assert_eq!(client.head().await.one("x-model-version"), "v1.2.3");
    drop(upstream);
    assert_eq!(client.read_to_end().await, (b"secret".to_vec(), Ended::Fin));
    let entry = touchmark.prediction().await;
    entry.ended("complete", 101).took("{}").gave("secret");
    let (client, upstream, _) = opened(&touchmark, &model, PLAIN).await;
    drop((client, upstream));
}
