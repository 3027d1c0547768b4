//! HTTP/2 requests become HTTP/1.1 ones: what cannot be said there must not be smuggled in.
//!
//! Heads are written by hand, as literal fields (RFC 7541, section 6.2.2), since no client library sends these.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http2::post;
use crate::support::message::{INFER, INPUT, OUTPUT, infer, ok};
use crate::support::model_server::{ModelServer, Received};
use crate::support::soon;
use crate::support::touchmark::Touchmark;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals, names and values as they stand.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let literal = |(name, value): &(&str, &str)| {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        assert!(name.len() < 127 && value.len() < 127, "one byte of length is all that is written here");
        [&[0, length(name)][..], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    fields.iter().flat_map(literal).collect()
}

/// Sends one request, head and body by hand, then reads until it is settled; what the model server was sent meanwhile.
async fn attack(fields: &[(&str, &str)], body: &str) -> Received {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut socket = TcpStream::connect(touchmark.address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(fields)));
    bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    socket.write_all(&bytes).await.unwrap();
    soon("an answer or a refusal", settled(&mut socket)).await;
    // Whoever comes next is served, and is not answered with what the attacker left behind.
    let answer = touchmark.call(infer()).await;
    assert_eq!((answer.head.status(), answer.text()), (200, OUTPUT));
    drop((socket, touchmark));
    let mut received = model.everything().await;
    let last = received.requests.pop().expect("the next one's request");
    assert_eq!((last.head.target(), last.text()), (INFER, INPUT));
    for request in &received.requests {
        assert_eq!(request.head.target(), INFER, "smuggled: {request:?}");
        assert!(request.head.lacks("x-evil"), "smuggled: {request:?}");
    }
    received
}

/// Reads frames until the request is answered or refused.
async fn settled(socket: &mut TcpStream) {
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if socket.read_exact(&mut payload).await.is_err() {
            return;
        }
        let (kind, flags) = (head[3], head[4]);
        let answered = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if answered || matches!(kind, RST_STREAM | GOAWAY) {
            return;
        }
    }
}

/// A good head and some more.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", "POST"), (":scheme", "http"), (":path", INFER), (":authority", "models.test")];
    fields.extend_from_slice(more);
    fields
}

#[tokio::test]
async fn a_good_one_passes() {
    let received = attack(&with(&[("x-own", "1")]), INPUT).await;
    assert_eq!(received.requests.len(), 1);
    assert_eq!(received.requests[0].body, INPUT.as_bytes());
    assert_eq!(received.requests[0].head.one("x-own"), "1");
}

#[tokio::test]
async fn line_ends_in_fields() {
    for field in [
        ("x-a", "1\r\nx-evil: 1"),
        ("x-a", "1\nx-evil: 1"),
        ("x-a", "1\rx-evil: 1"),
        ("x-a", "1\0"),
        ("x-a: 1\r\nx-evil", "1"),
        ("x-a\r\nx-evil", "1"),
        ("x-a:", "1"),
        ("x a", "1"),
        ("X-Evil", "1"),
        ("", "1"),
    ] {
        let received = attack(&with(&[field]), INPUT).await;
        assert!(received.requests.is_empty(), "{field:?}: {received:?}");
    }
}

#[tokio::test]
async fn line_ends_in_pseudo_fields() {
    let injected = format!("{INFER} HTTP/1.1\r\nx-evil: 1\r\nx: ");
    for (name, value) in [
        (":path", injected.as_str()),
        (":path", "/a b"),
        (":path", ""),
        (":path", "v2"),
        (":method", "POST /hidden HTTP/1.1\r\nx: "),
        (":method", "PO ST"),
        (":authority", "models.test\r\nx-evil: 1"),
        (":authority", "a b"),
        (":scheme", "http://x/hidden? "),
    ] {
        let fields: Vec<_> =
            with(&[]).into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect();
        let received = attack(&fields, INPUT).await;
        assert!(received.requests.is_empty(), "{name} {value:?}: {received:?}");
    }
}

#[tokio::test]
async fn framing_that_is_not_http2s() {
    for field in [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("content-length", "1"),
        ("content-length", "1000"),
        ("content-length", "+5"),
        ("content-length", "5, 5"),
    ] {
        let received = attack(&with(&[field]), "0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert!(received.requests.is_empty(), "{field:?}: {received:?}");
    }
}

#[tokio::test]
async fn pseudo_fields_that_are_doubled_missing_or_late() {
    for fields in [
        with(&[(":path", "/hidden")]),
        with(&[(":method", "GET")]),
        with(&[("x-a", "1"), (":evil", "1")]),
        with(&[(":status", "200")]),
        with(&[])[1..].to_vec(),
        vec![(":method", "POST"), (":scheme", "http"), (":authority", "h")],
    ] {
        let received = attack(&fields, INPUT).await;
        assert!(received.requests.is_empty(), "{fields:?}: {received:?}");
    }
}

#[tokio::test]
async fn a_length_that_is_true_is_the_length_there() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let length = INPUT.len().to_string();
    client.call(post(INFER, &[("content-length", &length)]), INPUT).await;
    client.call(post(INFER, &[]), INPUT).await;
    let requests = model.received().requests;
    assert_eq!(requests[0].head.one("content-length"), length);
    assert!(requests[0].head.lacks("transfer-encoding"));
    assert_eq!(requests[1].head.one("transfer-encoding"), "chunked", "its length was not told");
    assert!(requests.iter().all(|request| request.body == INPUT.as_bytes()));
    touchmark.predictions(2).await;
}
