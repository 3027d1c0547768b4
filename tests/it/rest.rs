//! Client connections that are idle for a while rest, which nobody sees but the operator: they take less memory.
//!
//! A pause is the thing under test here, not a way to wait for something. That they do rest, and what may
//! come at any moment, is tried in `src/proxy/rest_tests.rs`; what memory it saves, in `benches/peers`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use touchmark::tls::TlsConfig;
use touchmark::units::Period;

use crate::support::message::{HEALTH, INFER, INPUT, OUTPUT, get, head, infer, ok, post, post_with};
use crate::support::model_server::ModelServer;
use crate::support::tls::{Authority, NAME, client, handshake};
use crate::support::touchmark::{Setup, Touchmark};
use crate::support::wire::{Ended, Wire};
use crate::support::{PATIENCE, soon};

/// Longer than a connection that may rest is left awake.
const PAUSE: Duration = Duration::from_millis(1200);

/// A connection that has had an answer, and rests.
async fn resting(touchmark: &Touchmark) -> Wire {
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    client.answer().await;
    tokio::time::sleep(PAUSE).await;
    client
}

#[tokio::test]
async fn it_serves_again_and_again() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = resting(&touchmark).await;
    client.send([infer(), get(HEALTH, &[]), infer()].concat()).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.text(), OUTPUT);
    }
    tokio::time::sleep(PAUSE).await;
    // A head in pieces, across another rest.
    let whole = infer();
    client.send(&whole[..10]).await;
    tokio::time::sleep(PAUSE).await;
    client.send(&whole[10..]).await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), OUTPUT);
    assert!(answer.head.lacks("connection"), "it is not to be closed: {:?}", answer.head);
    tokio::time::sleep(PAUSE).await;
    let long = format!("{INPUT}{}", " ".repeat(200 << 10));
    client.send(post_with(INFER, &[("connection", "close")], &long)).await;
    assert_eq!(client.answer().await.head.one("connection"), "close");
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    let entries = touchmark.predictions(5).await;
    entries[4].ended("complete", 200).took(&long);
}

#[tokio::test]
async fn one_that_leaves_frees_its_place() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.connections = 1).start();
    let mut client = resting(&touchmark).await;
    client.finish().await;
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin), "both sides end");
    resting(&touchmark).await.reset();
    assert_eq!(touchmark.call(infer()).await.head.status(), 200);
    touchmark.predictions(3).await;
}

#[tokio::test]
async fn a_drain_closes_it_at_once() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let mut touchmark = Setup::new(&model).with(|config| config.shutdown.grace = Period(PATIENCE)).start();
    let mut client = resting(&touchmark).await;
    assert!(touchmark.stop().await, "nothing was under way");
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
}

#[tokio::test]
async fn its_deadlines_are_those_of_any_other() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let head = Period(PAUSE * 2);
    let touchmark = Setup::new(&model).with(|config| config.proxy.timeouts.head = head).start();
    let mut idle = resting(&touchmark).await;
    let trickling = resting(&touchmark).await;
    let (mut said, mut trickling) = trickling.split();
    let trickle = async {
        trickling.send("POST / HTTP/1.1\r\nhost: h\r\nx-slow: ").await;
        loop {
            trickling.send("x").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        (said, _) = said.read_to_end() => assert!(said.is_empty(), "{:?}", String::from_utf8_lossy(&said)),
        () = trickle => unreachable!(),
    }
    assert_eq!(idle.read_to_end().await, (Vec::new(), Ended::Fin));
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn it_can_switch_protocols() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    client.answer().await;
    tokio::time::sleep(PAUSE).await;
    let ask = get("/events", &[("connection", "upgrade"), ("upgrade", "demo/1")]);
    client.send([ask, b"from the client".to_vec()].concat()).await;
    upstream.request().await;
    let fields = [("connection", "upgrade"), ("upgrade", "demo/1")];
    upstream.send(head("HTTP/1.1 101 Switching Protocols", &fields)).await;
    assert_eq!(client.head().await.status(), 101);
    upstream.until("from the client").await;
    upstream.send("from the server").await;
    client.until("from the server").await;
    touchmark.prediction().await;
}

#[tokio::test]
async fn under_tls_the_session_goes_on() {
    let authority = Authority::new();
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model);
    let (certificate, key) = authority.issue(&[NAME]).write(setup.folder.path());
    let tls = TlsConfig { certificate, key, client_ca: None, client_names: Vec::new() };
    let touchmark = setup.with(|config| config.proxy.tls = Some(tls)).start();
    let mut stream = handshake(touchmark.address, &client(&authority, None, &["http/1.1"])).await.unwrap();
    for _ in 0..3 {
        // Longer than what is read at once after a rest, in one record: what TLS has decrypted already is no socket's news.
        stream.write_all(&post(INFER, format!("{INPUT}{}", " ".repeat(12 << 10)))).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(OUTPUT.as_bytes()) {
            assert!(soon("an answer", stream.read_buf(&mut said)).await.unwrap() > 0);
        }
        tokio::time::sleep(PAUSE).await;
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end, said in TLS", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    touchmark.predictions(3).await;
}
