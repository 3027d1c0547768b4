//! How a tunnel ends: in order where a side ends in order, by a reset where it does not, and nobody waits for nothing.

use touchmark::units::Period;

use super::{PLAIN, SCORED, ask, opened, scoring, switching};
use crate::support::message::{LAST_CHUNK, infer};
use crate::support::model_server::{ModelServer, ends};
use crate::support::wire::Ended;
use crate::support::{eventually, soon};

#[tokio::test]
async fn a_client_may_end_and_still_be_answered() {
    let model = ModelServer::listen().await;
    for half_close in [true, false] {
        let touchmark = scoring(&model).with(|config| config.proxy.half_close = half_close).start();
        for path in [PLAIN, SCORED] {
            let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
            client.send("all").await;
            client.finish().await;
            assert_eq!(upstream.read_to_end().await, (b"all".to_vec(), Ended::Fin));
            upstream.send("and the answer").await;
            drop(upstream);
            assert_eq!(client.read_to_end().await, (b"and the answer".to_vec(), Ended::Fin));
        }
        touchmark.prediction().await.ended("complete", 101).took("all").gave("and the answer");
    }
}

#[tokio::test]
async fn a_server_may_end_and_still_be_told_more_where_nothing_is_recorded() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let (mut client, mut upstream, _) = opened(&touchmark, &model, PLAIN).await;
    upstream.send("all").await;
    upstream.finish().await;
    assert_eq!(client.read_to_end().await, (b"all".to_vec(), Ended::Fin));
    client.send("more").await;
    client.finish().await;
    assert_eq!(upstream.read_to_end().await, (b"more".to_vec(), Ended::Fin));
    // Of a prediction its end is the end of all: nothing may follow the entry.
    let (mut client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
    upstream.send("all").await;
    upstream.finish().await;
    assert_eq!(client.read_to_end().await, (b"all".to_vec(), Ended::Fin));
    assert_eq!(ends(upstream).await, Ended::Fin);
    client.send("too late").await;
    touchmark.prediction().await.ended("complete", 101).took("").gave("all");
}

#[tokio::test]
async fn a_client_that_waits_for_a_server_that_ended_is_not_waited_for_in_turn() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).with(|config| config.proxy.timeouts.client = Period::millis(60)).start();
    let (mut client, mut upstream, _) = opened(&touchmark, &model, PLAIN).await;
    upstream.send("all").await;
    upstream.finish().await;
    client.until("all").await;
    assert_eq!(ends(upstream).await, Ended::Reset, "its half of a connection is not kept for ever");
    drop(client);
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_the_other_side_off() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
        client.send("some").await;
        upstream.until("some").await;
        upstream.send("thing").await;
        client.until("thing").await;
        client.reset();
        assert_eq!(ends(upstream).await, Ended::Reset, "it is not to take what it has for whole");
    }
    touchmark.prediction().await.ended("client_abort", 101).took("some").gave("thing");
}

#[tokio::test]
async fn a_client_that_breaks_off_after_its_end_has_left() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let (mut client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
    client.send("some").await;
    client.finish().await;
    assert_eq!(upstream.read_to_end().await, (b"some".to_vec(), Ended::Fin));
    client.reset();
    // It is seen when the server says something.
    let piece = vec![b'x'; 64 << 10];
    let flood = async { while upstream.sends_within(&piece, crate::support::PATIENCE).await {} };
    soon("the reset", flood).await;
    touchmark.prediction().await.ended("client_abort", 101).took("some");
}

#[tokio::test]
async fn a_server_that_breaks_off_breaks_the_client_off() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
        client.send("some").await;
        upstream.until("some").await;
        upstream.send("thing").await;
        client.until("thing").await;
        upstream.reset();
        assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Reset), "it is not to take what it has for whole");
    }
    touchmark.prediction().await.ended("upstream_abort", 101).took("some").gave("thing");
}

#[tokio::test]
async fn a_server_that_breaks_off_under_a_client_that_talks() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for _ in 0..20 {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
        let piece = vec![b'x'; 64 << 10];
        client.send(&piece).await;
        upstream.exactly(1).await.unwrap();
        // Whether our read or our write meets the reset is chance; it is a reset either way.
        upstream.reset();
        client.send(&piece).await;
        // Which of the two meets ours is chance here as well, and a read after a write that was told sees an end.
        client.read_to_end().await;
    }
    for entry in touchmark.predictions(20).await {
        entry.ended("upstream_abort", 101);
    }
}

#[tokio::test]
async fn a_server_that_closes_while_the_client_talks_has_said_all() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let (client, mut upstream, _) = opened(&touchmark, &model, path).await;
        let (mut reading, mut writing) = client.split();
        let talking = tokio::spawn(async move {
            let piece = vec![b'x'; 16 << 10];
            while writing.sends_within(&piece, crate::support::PATIENCE).await {}
        });
        upstream.exactly(1 << 20).await.unwrap();
        let last = vec![b'y'; 1 << 20];
        upstream.send(&last).await;
        upstream.finish().await;
        let read = reading.read_to_end().await;
        assert!(read == (last, Ended::Fin), "all that the server said arrives, and its end");
        // What it has not read makes a reset of its close.
        drop(upstream);
        soon("the client's end", talking).await.unwrap();
    }
    let entry = touchmark.prediction().await;
    entry.ended("complete", 101);
    assert_eq!(entry.number("/output/bytes"), Some(1 << 20));
}

#[tokio::test]
async fn the_end_is_not_lost_to_a_client_that_talks_into_it() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let (client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
    let (mut reading, mut writing) = client.split();
    let talking = tokio::spawn(async move {
        let piece = vec![b'x'; 16 << 10];
        while writing.sends_within(&piece, crate::support::PATIENCE).await {}
    });
    upstream.exactly(1 << 20).await.unwrap();
    let last = vec![b'y'; 256 << 10];
    upstream.send(&last).await;
    upstream.finish().await;
    touchmark.prediction().await.ended("complete", 101).gave(&last);
    // It begins to read when all is over. A close over what it went on to say would have thrown the rest away.
    assert!(reading.read_to_end().await == (last, Ended::Fin), "all that the server said arrives, and its end");
    soon("the client's end", talking).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_before_the_switch() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let mut client = touchmark.connect().await;
        client.send(ask(path)).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        client.reset();
        ends(upstream).await;
    }
    touchmark.prediction().await.ended("client_abort", None);
    assert!(touchmark.ledger.of_kind("begin").is_empty());
}

#[tokio::test]
async fn a_server_that_leaves_before_or_within_its_answer() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for said in [&b""[..], b"HTTP/1.1 101 Switching Protocols\r\nupgrade: de"] {
        let mut client = touchmark.connect().await;
        client.send(ask(SCORED)).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(said).await;
        upstream.reset();
        assert_eq!(client.answer().await.head.status(), 502);
        // It is still a connection of HTTP.
        client.send(infer()).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(crate::support::message::ok("")).await;
        assert_eq!(client.answer().await.head.status(), 200);
    }
    let entries = touchmark.predictions(4).await;
    entries[0].ended("upstream_error", 502);
    entries[2].ended("upstream_error", 502);
}

#[tokio::test]
async fn a_server_that_leaves_right_behind_its_answer() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let mut client = touchmark.connect().await;
    client.send(ask(SCORED)).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send([switching(super::DEMO), LAST_CHUNK.to_vec()].concat()).await;
    drop(upstream);
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.read_to_end().await, (LAST_CHUNK.to_vec(), Ended::Fin));
    touchmark.prediction().await.ended("complete", 101).took("").gave(LAST_CHUNK);
}

#[tokio::test]
async fn a_stop_gives_a_tunnel_its_grace_and_no_more() {
    let model = ModelServer::listen().await;
    // One that ends in time.
    let mut touchmark = scoring(&model).with(|config| config.shutdown.grace = Period::secs(30)).start();
    let (mut client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
    let address = touchmark.address;
    let stopping = tokio::spawn(async move { (touchmark.stop().await, touchmark) });
    eventually("no new connections", || std::net::TcpStream::connect(address).is_err().then_some(())).await;
    client.send("?").await;
    upstream.until("?").await;
    upstream.send("!").await;
    drop(upstream);
    assert_eq!(client.read_to_end().await, (b"!".to_vec(), Ended::Fin));
    drop(client);
    let (whole, touchmark) = stopping.await.unwrap();
    assert!(whole, "everything under way ended by itself");
    touchmark.ledger.of_kind("prediction")[0].ended("complete", 101).took("?").gave("!");
    // One that begins when no others do any more.
    let mut touchmark = scoring(&model).with(|config| config.shutdown.grace = Period::secs(30)).start();
    let mut client = touchmark.connect().await;
    client.send(ask(SCORED)).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    let address = touchmark.address;
    let stopping = tokio::spawn(async move { (touchmark.stop().await, touchmark) });
    eventually("no new connections", || std::net::TcpStream::connect(address).is_err().then_some(())).await;
    upstream.send([switching(super::DEMO), b"!".to_vec()].concat()).await;
    let head = client.head().await;
    assert!(head.one("connection").starts_with("upgrade"), "{head:?}");
    client.until("!").await;
    drop(upstream);
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    drop(client);
    assert!(stopping.await.unwrap().0);
    // One that does not end.
    let mut touchmark = scoring(&model).with(|config| config.shutdown.grace = Period::millis(50)).start();
    let (mut client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
    let (mut other, passing, _) = opened(&touchmark, &model, PLAIN).await;
    client.send("?").await;
    upstream.until("?").await;
    assert!(!touchmark.stop().await, "something was cut");
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Reset));
    assert_eq!(ends(upstream).await, Ended::Reset);
    assert_eq!(other.read_to_end().await, (Vec::new(), Ended::Reset));
    assert_eq!(ends(passing).await, Ended::Reset);
    touchmark.ledger.of_kind("prediction")[0].ended("timeout", 101).took("?").gave("");
}
