//! What goes through a tunnel: as it is, at the pace of the slower side, for as long as it may.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use touchmark::config::Config;
use touchmark::tls::{BackendTlsConfig, TlsConfig};
use touchmark::units::Period;

use super::{DEMO, PLAIN, SCORED, ask, opened, scoring, switching};
use crate::support::ledger::sha256;
use crate::support::message::{HEALTH, get, ok};
use crate::support::model_server::ModelServer;
use crate::support::tls::{Authority, Front, NAME, client as tls_client, handshake, tunnel};
use crate::support::touchmark::Touchmark;
use crate::support::wire::{Ended, Wire};
use crate::support::{PATIENCE, soon};

/// Larger than every buffer between the two ends and our own together.
const MUCH: usize = 32 << 20;
/// Long enough to be seen, short enough to be waited for; with a round of housekeeping.
const SHORT: Period = Period::millis(60);

/// Every byte there is, in an order that shows where something is missing, doubled or moved.
fn bytes(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Sends all of it, and the end of it, while it reads to the end.
async fn exchange(wire: Wire, out: Vec<u8>, finish: bool) -> Vec<u8> {
    let (mut reading, mut writing) = wire.split();
    let sending = tokio::spawn(async move {
        writing.send(&out).await;
        if finish {
            writing.finish().await;
        }
        writing
    });
    let (read, ended) = reading.read_to_end().await;
    assert_eq!(ended, Ended::Fin);
    // Whoever has not ended so far does now.
    drop(sending.await.unwrap());
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_goes_both_ways_at_once_and_is_hashed_as_it_is() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    let (client, upstream, _) = opened(&touchmark, &model, SCORED).await;
    let (up, down) = (bytes(1, MUCH), bytes(2, MUCH));
    // The client ends first, so that all of its bytes arrive before the server's end ends everything.
    let server = tokio::spawn(exchange(upstream, down.clone(), false));
    assert!(exchange(client, up.clone(), true).await == down, "the server's bytes changed on their way");
    assert!(server.await.unwrap() == up, "the client's bytes changed on their way");
    let entry = touchmark.prediction().await;
    entry.ended("complete", 101);
    for (body, sent) in [("/input", up), ("/output", down)] {
        assert_eq!(entry.number(&format!("{body}/bytes")), Some(MUCH as u64));
        assert_eq!(entry.text(&format!("{body}/hash")), Some(sha256(&sent).as_str()));
    }
}

/// How much somebody takes from `wire` before nobody takes more.
async fn taken_from(wire: &mut Wire) -> usize {
    let piece = vec![0; 64 << 10];
    let mut sent = 0;
    while sent < MUCH && wire.sends_within(&piece, Duration::from_millis(500)).await {
        sent += piece.len();
    }
    sent
}

#[tokio::test]
async fn a_side_that_does_not_read_is_waited_for_and_not_buffered_for() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
        // Four socket buffers of the kernel's, which grow to a few MiB each, and 80 KiB of ours.
        let sent = taken_from(&mut upstream).await;
        assert!(sent < MUCH, "{sent} bytes were taken for a client that does not read");
        let sent = taken_from(&mut client).await;
        assert!(sent < MUCH, "{sent} bytes were taken for a server that does not read");
        client.reset();
        upstream.read_to_end().await;
    }
    touchmark.prediction().await.ended("client_abort", 101);
}

#[tokio::test]
async fn bytes_pass_as_they_come() {
    let model = ModelServer::listen().await;
    let touchmark = scoring(&model).start();
    for path in [PLAIN, SCORED] {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
        for _ in 0..100 {
            client.send("?").await;
            assert_eq!(upstream.exactly(1).await.unwrap(), b"?");
            upstream.send("!").await;
            assert_eq!(client.exactly(1).await.unwrap(), b"!");
        }
        drop(upstream);
        client.read_to_end().await;
    }
    touchmark.prediction().await.ended("complete", 101).took("?".repeat(100)).gave("!".repeat(100));
}

#[tokio::test]
async fn both_legs_may_be_under_tls() {
    let authority = Authority::new();
    let identity = authority.issue(&[NAME]);
    let model = ModelServer::listen().await;
    let front = Front::before(model.address(), &identity, None).await;
    let setup = scoring(&model);
    let ca = setup.folder.path().join("ca.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let (certificate, key) = identity.write(setup.folder.path());
    let secure = |config: &mut Config| {
        config.proxy.tls = Some(TlsConfig { certificate, key, client_ca: None, client_names: Vec::new() });
        config.backends[0].url = format!("https://{}", front.address);
        let server_name = Some(NAME.to_owned());
        config.backends[0].tls = Some(BackendTlsConfig { ca: Some(ca), server_name, ..BackendTlsConfig::default() });
    };
    let touchmark = setup.with(secure).start();
    // By ALPN, and without it: then the first bytes say which HTTP it is.
    for alpn in [&["h2", "http/1.1"][1..], &[]] {
        let near = tunnel(touchmark.address, tls_client(&authority, None, alpn)).await;
        let mut client = Wire::connect(near).await;
        client.send([ask(SCORED), b"early".to_vec()].concat()).await;
        let mut upstream = model.accept().await;
        upstream.head().await;
        upstream.send([switching(DEMO), b"early too".to_vec()].concat()).await;
        assert_eq!(upstream.exactly(5).await.unwrap(), b"early");
        assert_eq!(client.head().await.status(), 101);
        assert_eq!(client.exactly(9).await.unwrap(), b"early too");
        let (up, down) = (bytes(3, 300_001), bytes(4, 300_001));
        client.send(&up).await;
        assert!(upstream.exactly(up.len()).await.unwrap() == up);
        upstream.send(&down).await;
        drop(upstream);
        let (read, ended) = client.read_to_end().await;
        assert!(read == down && ended == Ended::Fin);
    }
    for entry in touchmark.predictions(2).await {
        entry.ended("complete", 101).took([b"early".to_vec(), bytes(3, 300_001)].concat());
    }
}

#[tokio::test]
async fn a_refused_upgrade_under_tls_ends_in_order() {
    let authority = Authority::new();
    let identity = authority.issue(&[NAME]);
    let model = ModelServer::answering(ok("no")).await;
    let setup = scoring(&model);
    let (certificate, key) = identity.write(setup.folder.path());
    let tls = TlsConfig { certificate, key, client_ca: None, client_names: Vec::new() };
    let touchmark = setup.with(|config| config.proxy.tls = Some(tls)).start();
    let mut stream = handshake(touchmark.address, &tls_client(&authority, None, &["http/1.1"])).await.unwrap();
    stream.write_all(&get(PLAIN, &[("connection", "upgrade, close"), ("upgrade", DEMO)])).await.unwrap();
    let mut answer = Vec::new();
    // Without close_notify this is an error.
    soon("the end", stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"no"), "{}", String::from_utf8_lossy(&answer));
}

fn with(model: &ModelServer, change: impl FnOnce(&mut Config)) -> Touchmark {
    scoring(model).with(change).start()
}

#[tokio::test]
async fn an_idle_tunnel_rests_for_as_long_as_it_likes() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |config| {
        let timeouts = &mut config.proxy.timeouts;
        (timeouts.client, timeouts.head, timeouts.idle, timeouts.first_byte) = (SHORT, SHORT, SHORT, SHORT);
    });
    for path in [PLAIN, SCORED] {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
        // Beyond every limit on clients and answers, and two rounds of housekeeping.
        tokio::time::sleep(SHORT.0 * 12).await;
        client.send("?").await;
        assert_eq!(upstream.exactly(1).await.unwrap(), b"?");
        drop(upstream);
        assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    }
    touchmark.prediction().await.ended("complete", 101).took("?").gave("");
}

#[tokio::test]
async fn silence_beyond_its_limit_cuts() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |config| config.proxy.timeouts.stream_idle = SHORT);
    for path in [PLAIN, SCORED] {
        let (mut client, mut upstream, _) = opened(&touchmark, &model, path).await;
        // A byte either way now and then is no silence.
        for _ in 0..6 {
            tokio::time::sleep(SHORT.0 / 3).await;
            client.send("?").await;
            upstream.exactly(1).await.unwrap();
            tokio::time::sleep(SHORT.0 / 3).await;
            upstream.send("!").await;
            client.exactly(1).await.unwrap();
        }
        assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Reset), "it does not end as if whole");
        assert_eq!(upstream.read_to_end().await, (Vec::new(), Ended::Reset));
    }
    touchmark.prediction().await.ended("timeout", 101).took("??????").gave("!!!!!!");
}

#[tokio::test]
async fn the_whole_may_take_no_longer_than_its_limit() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |config| config.proxy.timeouts.total = Period::millis(300));
    let (mut client, mut upstream, _) = opened(&touchmark, &model, SCORED).await;
    let chatter = async {
        loop {
            upstream.send("!").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::select! { (_, ended) = client.read_to_end() => ended, () = chatter => unreachable!() };
    assert_eq!(ended, Ended::Reset);
    touchmark.prediction().await.ended("timeout", 101);
}

#[tokio::test]
async fn a_flood_one_way_holds_up_neither_the_other_way_nor_the_limit() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |config| config.proxy.timeouts.total = Period::secs(3));
    for path in [PLAIN, SCORED] {
        let (client, upstream, _) = opened(&touchmark, &model, path).await;
        let ((mut reading, mut writing), (mut heard, mut flooding)) = (client.split(), upstream.split());
        let piece = vec![b'x'; 1 << 20];
        let flood = soon("the cut", async { while flooding.sends_within(&piece, PATIENCE).await {} });
        let other_way = async {
            writing.send("?").await;
            assert_eq!(heard.exactly(1).await.unwrap(), b"?");
        };
        tokio::join!(reading.pass_over(), flood, other_way);
    }
    touchmark.prediction().await.ended("timeout", 101).took("?");
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_given_up() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |config| config.proxy.timeouts.client = SHORT);
    for path in [PLAIN, SCORED] {
        let (client, mut upstream, _) = opened(&touchmark, &model, path).await;
        let piece = vec![b'x'; 1 << 20];
        soon("the cut", async { while upstream.sends_within(&piece, PATIENCE).await {} }).await;
        drop(client);
    }
    touchmark.prediction().await.ended("client_abort", 101);
}

#[tokio::test]
async fn a_tunnel_holds_its_place_to_its_end() {
    let model = ModelServer::listen().await;
    let touchmark = with(&model, |config| config.proxy.inflight = 1);
    for path in [PLAIN, SCORED] {
        let (mut client, upstream, _) = opened(&touchmark, &model, path).await;
        assert_eq!(touchmark.call(get(HEALTH, &[])).await.head.status(), 503);
        drop(upstream);
        assert_eq!(client.read_to_end().await.1, Ended::Fin);
        drop(client);
        // What the client sees of the end comes a moment before the place is free.
        let free = async {
            loop {
                let mut next = touchmark.connect().await;
                next.send(get(HEALTH, &[])).await;
                tokio::select! {
                    answer = next.answer() => assert_eq!(answer.head.status(), 503),
                    mut upstream = model.accept() => {
                        upstream.request().await;
                        upstream.send(ok("")).await;
                        return;
                    }
                }
            }
        };
        soon("the place", free).await;
    }
    touchmark.prediction().await.ended("complete", 101);
}
