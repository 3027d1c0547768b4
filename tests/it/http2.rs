//! HTTP/2 by prior knowledge on the same port, and what its frames can be abused for.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use touchmark::proxy::UpstreamProtocol;
use touchmark::units::{Period, Size};

use crate::support::eventually;
use crate::support::http2::{self, Http2Client, all, grpc_status, post, whole};
use crate::support::ledger::{Books, sum};
use crate::support::message::{CHAT, INFER, INPUT, LAST_CHUNK, OUTPUT, chunk, infer, ok, streaming};
use crate::support::model_server::ModelServer;
use crate::support::soon;
use crate::support::touchmark::{Setup, Touchmark};

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    assert_eq!(touchmark.call(infer()).await.text(), OUTPUT);
    let answer = touchmark.http2().await.call(post(INFER, &[]), INPUT).await;
    assert_eq!(answer.body, OUTPUT.as_bytes());
    assert_eq!(answer.all("x-model-version"), ["v1.2.3"]);
    for entry in touchmark.predictions(2).await {
        entry.ended("complete", 200).took(INPUT).gave(OUTPUT);
    }
    let heads: Vec<_> = model.received().requests.into_iter().map(|request| request.head).collect();
    assert_eq!(heads[1].one("host"), "models.test", "from :authority");
    assert_eq!(heads[1].start, format!("POST {INFER} HTTP/1.1"));
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let mut answers = Vec::new();
    for _ in 0..100 {
        let (answer, mut stream) = client.open(post(INFER, &[]), false).await;
        stream.send_data(INPUT.into(), true).unwrap();
        answers.push(answer);
    }
    for answer in answers {
        assert_eq!(whole(answer).await.unwrap().body, OUTPUT.as_bytes());
    }
    touchmark.predictions(100).await;
}

#[tokio::test]
async fn cookie_crumbs_become_one_cookie() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    touchmark.http2().await.call(post(INFER, &[("cookie", "a=1"), ("cookie", "b=2")]), INPUT).await;
    assert_eq!(model.request().head.one("cookie"), "a=1; b=2");
    touchmark.prediction().await;
}

#[tokio::test]
async fn a_stream_over_http2_flows() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let (answer, _) = client.open(post(CHAT, &[]), true).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(streaming(&[])).await;
    let (head, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    assert!(!head.headers.contains_key("transfer-encoding"));
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        upstream.send(chunk(event)).await;
        assert_eq!(http2::exactly(&mut receiving, event.len()).await, event.as_bytes());
    }
    upstream.send(LAST_CHUNK).await;
    while let Some(rest) = http2::data(&mut receiving).await.unwrap() {
        assert!(rest.is_empty());
    }
    touchmark.prediction().await.ended("complete", 200).gave("data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn a_backend_of_http2_is_spoken_to_in_http2() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends[0].protocol = UpstreamProtocol::Http2);
    let touchmark = setup.start();
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    assert_eq!(call.head.uri.to_string(), format!("http://models.test{INFER}"));
    assert!(!call.head.headers.contains_key("host"));
    assert_eq!(call.input().await, INPUT.as_bytes());
    let head = http::Response::builder().header("content-length", OUTPUT.len()).body(()).unwrap();
    let mut stream = call.answer.send_response(head, false).unwrap();
    stream.send_data(OUTPUT.into(), true).unwrap();
    assert_eq!(client.answer().await.text(), OUTPUT);
    touchmark.prediction().await.ended("complete", 200).took(INPUT).gave(OUTPUT);
}

#[tokio::test]
async fn a_model_server_going_away_is_asked_elsewhere() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends[0].protocol = UpstreamProtocol::Http2);
    let touchmark = setup.start();
    for _ in 0..3 {
        let call = touchmark.call(infer());
        let serve = async {
            let mut server = model.accept_http2().await;
            let mut call = server.call().await;
            call.input().await;
            let head = http::Response::builder().header("content-length", 2).body(()).unwrap();
            let mut stream = call.answer.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(b"{}"), true).unwrap();
            server
        };
        let (answer, server) = tokio::join!(call, serve);
        assert_eq!(answer.head.status(), 200);
        // Between two calls its process ends.
        server.break_off().await;
    }
    touchmark.predictions(3).await;
}

#[tokio::test]
async fn a_host_that_contradicts_the_authority_is_refused() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let answer = touchmark.http2().await.call(post(INFER, &[("host", "other.test")]), INPUT).await;
    assert_eq!(answer.head.status, 400);
    touchmark.prediction().await.ended("rejected", 400);
}

#[tokio::test]
async fn rapid_resets_leave_nothing_behind() {
    const ROUNDS: usize = 2_000;
    let model = ModelServer::serving(|_| ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.inflight = 50).start();
    let client = touchmark.http2().await;
    let mut opened = 0;
    for _ in 0..ROUNDS {
        let ready = soon("a free stream or the end", client.ready()).await;
        let Ok(mut send) = ready else { break };
        let Ok((_, mut stream)) = send.send_request(post(INFER, &[]), true) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        opened += 1;
    }
    drop(client);
    // However many of them were seen as calls: each has its entry, and no place in flight is lost.
    let books = eventually("rest", || Some(Books::read(&touchmark.metrics)).filter(|books| books.inflight == 0)).await;
    assert!(books.predictions <= opened, "{books:?}");
    let answer = touchmark.call(infer()).await;
    assert_eq!(answer.head.status(), 200, "the next client is served");
    let books = eventually("rest", || Some(Books::read(&touchmark.metrics)).filter(|books| books.inflight == 0)).await;
    books.balance();
}

/// An HTTP/2 connection on which frames are written by hand.
async fn raw(touchmark: &Touchmark) -> TcpStream {
    let mut socket = TcpStream::connect(touchmark.address).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    socket
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Writes frames until the peer ends the connection; whether it did before the last.
async fn is_cut_off(mut socket: TcpStream, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    for frame in frames {
        if soon("the peer to read or to end", socket.write_all(&frame)).await.is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let socket = raw(&touchmark).await;
    // A head that never says END_HEADERS: one literal field after the other (RFC 7541, section 6.2.2).
    let field = [&[0, 3][..], b"x-a", &[100], &[b'y'; 100]].concat();
    let block = field.repeat(100);
    let first = frame(1, 1, 1, &block);
    let more = std::iter::repeat_with(move || frame(9, 0, 1, &block)).take(10_000);
    assert!(is_cut_off(socket, std::iter::once(first).chain(more)).await, "100 MB of it were read");
    assert!(touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn a_flood_of_empty_frames_does_not_stop_others() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    for (kind, payload) in [(6, vec![0; 8]), (4, Vec::new())] {
        let mut socket = raw(&touchmark).await;
        // PING and SETTINGS, each of which has to be acknowledged, and nobody reads the acknowledgements.
        let flood = frame(kind, 0, 0, &payload).repeat(20_000);
        let flood = tokio::time::timeout(std::time::Duration::from_secs(1), socket.write_all(&flood));
        let (answer, _) = tokio::join!(touchmark.call(infer()), flood);
        assert_eq!(answer.head.status(), 200);
    }
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.limits.head = Size(8 << 10)).start();
    let mut client = touchmark.http2().await;
    let long = "x".repeat(9 << 10);
    let (answer, _) = client.open(post(INFER, &[("x-long", &long)]), true).await;
    match whole(answer).await {
        Ok(answer) => assert_eq!(answer.head.status, 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert_eq!(Http2Client::connect(touchmark.address).await.call(post(INFER, &[]), INPUT).await.head.status, 200);
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn streams_beyond_the_limit_wait() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.http2.streams = 1).start();
    let mut client = touchmark.http2().await;
    // The server's settings arrive with the first answer at the latest.
    let (first, _) = client.open(post(INFER, &[]), true).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    whole(first).await.unwrap();
    let (second, _) = client.open(post(INFER, &[]), true).await;
    upstream.request().await;
    let third = tokio::spawn(async move { client.call(post(INFER, &[]), "").await });
    upstream.send(ok(OUTPUT)).await;
    whole(second).await.unwrap();
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(third.await.unwrap().head.status, 200);
    touchmark.predictions(3).await;
}

#[tokio::test]
async fn draining_says_goaway_and_lets_streams_end() {
    let model = ModelServer::listen().await;
    let mut touchmark = Setup::new(&model).with(|config| config.shutdown.grace = Period::secs(30)).start();
    let mut client = touchmark.http2().await;
    let (answer, _) = client.open(post(INFER, &[]), true).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    let address = touchmark.address;
    let serve = async {
        // The listener is closed before the call has ended.
        soon("the listener to close", async { while TcpStream::connect(address).await.is_ok() {} }).await;
        upstream.send(ok(OUTPUT)).await;
        whole(answer).await
    };
    let (whole_stop, answer) = tokio::join!(touchmark.stop(), serve);
    assert!(whole_stop, "nothing had to be cut");
    assert_eq!(answer.unwrap().head.status, 200);
    soon("the connection's end", client.connection).await.unwrap().unwrap();
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_client_whose_connection_breaks_leaves_every_call() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let mut answers = Vec::new();
    let mut upstreams = Vec::new();
    for _ in 0..5 {
        answers.push(client.open(post(INFER, &[]), true).await);
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstreams.push(upstream);
    }
    client.connection.abort();
    drop((client, answers));
    for upstream in upstreams {
        crate::support::model_server::ends(upstream).await;
    }
    for entry in touchmark.predictions(5).await {
        entry.ended("client_abort", None);
    }
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &[("outcome", "client_abort")]), 5);
}

#[tokio::test]
async fn trailers_pass_over_http2() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends[0].protocol = UpstreamProtocol::Http2);
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let (answer, mut stream) = client.open(post(INFER, &[("te", "trailers")]), false).await;
    stream.send_data(INPUT.into(), false).unwrap();
    stream.send_trailers(grpc_status(0, &[("x-sum", "1")])).unwrap();
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    assert_eq!(all(&call.head.headers, "te"), ["trailers"]);
    call.input().await;
    let trailers = soon("trailers", call.body.trailers()).await.unwrap().unwrap();
    assert_eq!(all(&trailers, "x-sum"), ["1"]);
    let mut stream = call.answer.send_response(http::Response::new(()), false).unwrap();
    stream.send_data(OUTPUT.into(), false).unwrap();
    stream.send_trailers(grpc_status(0, &[("x-sum", "2")])).unwrap();
    assert_eq!(whole(answer).await.unwrap().trailer("x-sum"), ["2"]);
    touchmark.prediction().await.ended("complete", 200).took(INPUT).gave(OUTPUT);
}

#[tokio::test]
async fn a_client_that_resets_within_its_request() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let (answer, mut stream) = client.open(post(INFER, &[]), false).await;
    stream.send_data("only so much".into(), false).unwrap();
    let mut upstream = model.accept().await;
    upstream.until("only so much").await;
    stream.send_reset(h2::Reason::CANCEL);
    let (rest, _) = upstream.read_to_end().await;
    assert!(!rest.ends_with(LAST_CHUNK), "a broken request does not end as if whole");
    assert!(whole(answer).await.is_err());
    let entry = touchmark.prediction().await;
    assert_eq!(entry.text("/outcome"), Some("client_abort"));
    entry.took("only so much");
}

#[tokio::test]
async fn a_client_that_resets_within_a_stream() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let (answer, mut stream) = client.open(post(CHAT, &[]), false).await;
    stream.send_data(INPUT.into(), true).unwrap();
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    let (_, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    http2::exactly(&mut receiving, 9).await;
    stream.send_reset(h2::Reason::CANCEL);
    crate::support::model_server::ends(upstream).await;
    touchmark.prediction().await.ended("client_abort", 200).gave("data: 1\n\n");
}
