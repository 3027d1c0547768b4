//! Request smuggling: whatever a client sends, the model server reads the same requests in it as we do, or none.
//!
//! Each test sends bytes on which implementations are known to disagree, with a second request hidden in them. The
//! model server's side reads strictly (a bare LF, a second length, two framings fail the test there) and must never
//! be sent the hidden one.

use crate::support::message::{Message, OUTPUT, head, ok};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::Touchmark;

/// The request that must never arrive.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: models.test\r\n\r\n";

/// What came of an attack.
#[derive(Debug)]
struct Outcome {
    /// The status of the first answer; `None` where there was none.
    status: Option<u16>,
    /// What the model server was sent.
    sent: Vec<Message>,
}

/// Sends bytes, closes the sending half and reads to the end, then looks at what the model server was sent.
async fn attack(bytes: impl AsRef<[u8]>) -> Outcome {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(bytes).await;
    client.finish().await;
    let (seen, _) = client.read_to_end().await;
    let line = seen.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(line).split(' ').nth(1).and_then(|status| status.parse().ok());
    drop((client, touchmark));
    let received = model.everything().await;
    for request in received.requests.iter().chain(&received.cut) {
        assert!(request.head.target() != "/hidden", "smuggled: {received:?}");
    }
    Outcome { status, sent: received.requests }
}

/// The attack must be refused with 400 and nothing of it forwarded.
async fn refused(what: &str, bytes: impl AsRef<[u8]>) {
    let outcome = attack(bytes).await;
    assert_eq!(outcome.status, Some(400), "{what}: {outcome:?}");
    assert!(outcome.sent.is_empty(), "{what}: {outcome:?}");
}

/// A head with the given fields as they stand, and what follows it.
fn raw(fields: &str, rest: &str) -> String {
    format!("POST /v2/models/fraud/infer HTTP/1.1\r\nhost: models.test\r\n{fields}\r\n{rest}")
}

#[tokio::test]
async fn length_and_chunks_at_once() {
    // RFC 9112, section 6.3: the coding wins over the length, or it is an error; never the length.
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let length = chunked.len();
    for fields in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
        "content-length: 4\r\ntransfer-encoding: chunked\r\n".to_owned(),
    ] {
        let outcome = attack_tolerating_pipelining(raw(&fields, &chunked)).await;
        assert_eq!(outcome.sent.len(), 1, "the connection is closed after it: {outcome:?}");
        for request in &outcome.sent {
            assert!(request.head.lacks("content-length") || request.head.lacks("transfer-encoding"), "{outcome:?}");
            assert!(request.body.is_empty(), "the body is what the chunks say: {outcome:?}");
        }
    }
}

/// Like [`attack`], where what follows is by all readings a request of its own.
async fn attack_tolerating_pipelining(bytes: impl AsRef<[u8]>) -> Outcome {
    let bytes = String::from_utf8(bytes.as_ref().to_vec()).unwrap().replace("/hidden", "/second");
    attack(bytes).await
}

#[tokio::test]
async fn lengths_that_differ() {
    for fields in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: 0\r\ncontent-length: 44\r\n",
        "Content-Length: 44\r\ncontent-length: 0\r\n",
    ] {
        refused(fields, raw(fields, HIDDEN)).await;
    }
}

#[tokio::test]
async fn lengths_that_are_the_same_twice() {
    for fields in ["content-length: 2\r\ncontent-length: 2\r\n", "content-length: 2, 2\r\n"] {
        let outcome = attack(raw(fields, "{}")).await;
        if let [request] = &outcome.sent[..] {
            assert_eq!(request.head.one("content-length"), "2", "{fields}");
            assert_eq!(request.body, b"{}");
        } else {
            assert_eq!(outcome.status, Some(400), "{fields}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn lengths_that_are_none() {
    for length in ["+2", "-2", "0x2", "2 2", "2a", "", "99999999999999999999999", "2;", "\"2\"", "1e1", "２"] {
        refused(length, raw(&format!("content-length: {length}\r\n"), &format!("{{}}{HIDDEN}"))).await;
    }
}

#[tokio::test]
async fn codings_that_only_look_like_chunked() {
    for coding in [
        "xchunked",
        "chunked, identity",
        "identity",
        "chunked, gzip",
        "gzip",
        "\"chunked\"",
        "chunked;q=1",
        "chu nked",
        "\u{b}chunked",
        "chunked\u{b}",
        "",
    ] {
        let fields = format!("transfer-encoding: {coding}\r\n");
        refused(coding, raw(&fields, &format!("0\r\n\r\n{HIDDEN}"))).await;
        let fields = format!("content-length: 5\r\ntransfer-encoding: {coding}\r\n");
        refused(coding, raw(&fields, &format!("0\r\n\r\n{HIDDEN}"))).await;
    }
}

#[tokio::test]
async fn codings_in_several_fields() {
    for fields in [
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    ] {
        let outcome = attack_tolerating_pipelining(raw(fields, &format!("0\r\n\r\n{HIDDEN}"))).await;
        for request in &outcome.sent {
            assert!(request.body.is_empty(), "{fields}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn chunks_in_http_1_0() {
    let request = "POST /v2/models/fraud/infer HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let outcome = attack(format!("{request}{HIDDEN}")).await;
    assert_eq!(outcome.status, Some(400), "{outcome:?}");
    assert!(outcome.sent.is_empty(), "{outcome:?}");
}

#[tokio::test]
async fn chunk_sizes_that_are_none() {
    for size in
        ["0x2", "+2", "-2", " 2", "2 2", "g", "", "fffffffffffffffff", "ffffffffffffffff", "2\t\u{b}", "2\r", "2\n"]
    {
        let outcome =
            attack(raw("transfer-encoding: chunked\r\n", &format!("{size}\r\n{{}}\r\n0\r\n\r\n{HIDDEN}"))).await;
        assert!(outcome.sent.is_empty(), "a body that broke off is no request: {size:?}: {outcome:?}");
        assert_ne!(outcome.status, Some(200), "{size:?}");
    }
}

#[tokio::test]
async fn chunks_without_their_line_ends() {
    for chunks in
        ["2\r\n{}0\r\n\r\n", "2\n{}\r\n0\r\n\r\n", "2\r\n{}\n0\r\n\r\n", "2\r{}\r\n0\r\n\r\n", "2\r\n{}\r0\r\n\r\n"]
    {
        let outcome = attack(raw("transfer-encoding: chunked\r\n", &format!("{chunks}{HIDDEN}"))).await;
        assert!(outcome.sent.is_empty(), "{chunks:?}: {outcome:?}");
        assert_ne!(outcome.status, Some(200), "{chunks:?}");
    }
}

#[tokio::test]
async fn chunk_extensions_are_not_forwarded() {
    let outcome = attack(raw("transfer-encoding: chunked\r\n", "2;a=\"b\"\r\n{}\r\n0;x\r\n\r\n")).await;
    // Its side reads chunk sizes strictly: an extension would have failed there.
    if let [request] = &outcome.sent[..] {
        assert_eq!(request.body, b"{}");
    } else {
        assert_ne!(outcome.status, Some(200), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_line_feed_in_a_chunk_extension_ends_nothing() {
    let outcome = attack(raw("transfer-encoding: chunked\r\n", &format!("2;\n{{}}\r\n0\r\n\r\n{HIDDEN}"))).await;
    assert!(outcome.sent.is_empty(), "{outcome:?}");
    assert_ne!(outcome.status, Some(200));
}

#[tokio::test]
async fn folded_fields() {
    for fields in [
        "x-a: 1\r\n transfer-encoding: chunked\r\ncontent-length: 0\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "content-length: 0\r\n\tx\r\n",
    ] {
        refused(fields, raw(fields, HIDDEN)).await;
    }
}

#[tokio::test]
async fn names_that_are_none() {
    for fields in [
        "content-length : 0\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding\t: chunked\r\n",
        " content-length: 0\r\n",
        "content\u{0}-length: 0\r\n",
        "x(y): 1\r\n",
        ": nothing\r\n",
        "no colon\r\n",
    ] {
        refused(fields, raw(fields, HIDDEN)).await;
    }
}

#[tokio::test]
async fn control_bytes_in_values() {
    for fields in [
        "x-a: 1\rtransfer-encoding: chunked\r\n",
        "x-a: 1\u{0}2\r\n",
        "x-a: \r2\r\n",
        "x-a: 1\u{7f}2\r\n",
        "x-a: 1\u{1}2\r\n",
    ] {
        refused(fields, raw(&format!("{fields}content-length: 0\r\n"), "")).await;
    }
}

#[tokio::test]
async fn a_bare_line_feed_is_never_forwarded() {
    // RFC 9112, section 2.2: a recipient may take a bare LF for a line's end. The next one may not, so we send CRLF.
    let request = raw("x-a: 1\ntransfer-encoding: chunked\r\nx-b: 2\r\n", "2\r\n{}\r\n0\r\n\r\n");
    let outcome = attack(request).await;
    if let [request] = &outcome.sent[..] {
        // The model server's side fails on a bare LF by itself.
        assert_eq!(request.body, b"{}");
        assert_eq!(request.head.one("x-a"), "1");
    } else {
        assert_eq!(outcome.status, Some(400), "{outcome:?}");
    }
    let outcome = attack("POST /v2/models/fraud/infer HTTP/1.1\nhost: h\ncontent-length: 2\n\n{}").await;
    if let [request] = &outcome.sent[..] {
        assert_eq!(request.body, b"{}");
    } else {
        assert_eq!(outcome.status, Some(400), "{outcome:?}");
    }
}

#[tokio::test]
async fn request_lines_that_are_none() {
    for line in [
        "POST  /v2/models/fraud/infer HTTP/1.1",
        "POST /v2/models/fraud/infer  HTTP/1.1",
        "POST /v2/models/fraud/infer HTTP/1.2",
        "POST /v2/models/fraud/infer HTTP/9.1",
        "POST /v2/models/fraud/infer http/1.1",
        "POST /v2/models/fra ud/infer HTTP/1.1",
        "POST /v2/models/fraud/infer\tHTTP/1.1",
        "POST /v2/models/fraud/infer\u{0} HTTP/1.1",
        "PO(ST /v2/models/fraud/infer HTTP/1.1",
        "POST v2/models/fraud/infer HTTP/1.1",
        "POST /v2/models/fraud/infer",
    ] {
        let outcome = attack(format!("{line}\r\nhost: h\r\ncontent-length: 0\r\n\r\n{HIDDEN}")).await;
        assert!(outcome.sent.is_empty(), "{line:?}: {outcome:?}");
        assert_ne!(outcome.status, Some(200), "{line:?}");
    }
}

#[tokio::test]
async fn hosts_that_contradict() {
    for hosts in ["host: a\r\nhost: b\r\n", "host: a\r\nhost: a\r\n", "host: a, b\r\n", "host: a/b\r\n", ""] {
        let request = format!("POST /v2/models/fraud/infer HTTP/1.1\r\n{hosts}content-length: 2\r\n\r\n{{}}");
        let outcome = attack(request).await;
        assert_eq!(outcome.status, Some(400), "{hosts:?}: {outcome:?}");
        assert!(outcome.sent.is_empty(), "{hosts:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_nominated_length_stays() {
    for name in ["content-length", "Content-Length", "host", "transfer-encoding"] {
        let fields = format!("connection: {name}\r\ncontent-length: {}\r\n", HIDDEN.len());
        let outcome = attack(raw(&fields, HIDDEN)).await;
        let [request] = &outcome.sent[..] else { panic!("{name}: {outcome:?}") };
        assert_eq!(request.body, HIDDEN.as_bytes(), "{name}: the hidden request stayed a body");
        assert_eq!(request.head.one("host"), "models.test", "{name}");
    }
}

#[tokio::test]
async fn methods_that_a_gateway_does_not_forward() {
    for (request, status) in [
        ("CONNECT models.test:80 HTTP/1.1\r\nhost: models.test\r\n\r\n", 501),
        ("TRACE / HTTP/1.1\r\nhost: models.test\r\n\r\n", 501),
    ] {
        let outcome = attack_tolerating_pipelining(format!("{request}{HIDDEN}")).await;
        assert_eq!(outcome.status, Some(status), "{request:?}");
    }
}

#[tokio::test]
async fn an_upgrade_is_no_tunnel() {
    let fields = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 2\r\n";
    let outcome = attack(raw(fields, "{}")).await;
    let [request] = &outcome.sent[..] else { panic!("{outcome:?}") };
    for name in ["upgrade", "http2-settings", "connection"] {
        assert!(
            request.head.all(name).iter().all(|value| !value.contains("upgrade") && !value.contains("h2c")),
            "{name}"
        );
    }
    assert_eq!(outcome.status, Some(200));
}

#[tokio::test]
async fn a_get_with_a_body_keeps_its_framing() {
    let request = format!(
        "GET /v2/health/ready HTTP/1.1\r\nhost: models.test\r\ncontent-length: {}\r\n\r\n{HIDDEN}",
        HIDDEN.len()
    );
    let outcome = attack(request).await;
    let [request] = &outcome.sent[..] else { panic!("{outcome:?}") };
    assert_eq!(request.body, HIDDEN.as_bytes());
}

#[tokio::test]
async fn forbidden_trailers_are_not_merged() {
    let trailers =
        "content-length: 44\r\ntransfer-encoding: chunked\r\nhost: evil\r\nauthorization: x\r\nx-kept: 1\r\n";
    // Announced, since what is not announced is not sent on in any case.
    let fields = "te: trailers\r\ntransfer-encoding: chunked\r\n\
        trailer: content-length, transfer-encoding, host, authorization, x-kept\r\n";
    let outcome = attack(raw(fields, &format!("2\r\n{{}}\r\n0\r\n{trailers}\r\n"))).await;
    let [request] = &outcome.sent[..] else { panic!("{outcome:?}") };
    for name in ["content-length", "transfer-encoding", "host", "authorization"] {
        assert!(request.trailer(name).is_empty(), "{name} in {:?}", request.trailers);
    }
    assert_eq!(request.trailer("x-kept"), ["1"]);
    assert_eq!(request.head.one("host"), "models.test");
}

#[tokio::test]
async fn a_model_server_cannot_split_its_answer() {
    let evil = head("HTTP/1.1 200 OK", &[("content-length", "2"), ("content-length", "3")]);
    for answer in [
        [evil.as_slice(), b"{}x"].concat(),
        b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 200 OK\r\nx: \x00\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n".to_vec(),
        b"no http at all\r\n\r\n".to_vec(),
    ] {
        let model = ModelServer::answering(&answer).await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        client.send(crate::support::message::infer()).await;
        client.finish().await;
        let said = String::from_utf8(client.read_to_end().await.0).unwrap();
        let refused = said.is_empty() || said.starts_with("HTTP/1.1 502 ");
        assert!(refused, "{:?} became {said:?}", String::from_utf8_lossy(&answer));
        let entry = touchmark.prediction().await;
        let outcome = entry.text("/outcome").unwrap();
        assert!(outcome.starts_with("upstream_"), "{outcome}");
    }
}

#[tokio::test]
async fn an_answer_of_two_framings_has_one_for_the_client() {
    for fields in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 200\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n5\r\nhello\r\n0\r\n\r\n");
        let model = ModelServer::answering(answer).await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        for _ in 0..2 {
            client.send(crate::support::message::infer()).await;
            // Reading fails on two framings by itself.
            let said = client.answer().await;
            assert!(said.head.status() == 502 || said.text() == "hello", "{fields:?}: {said:?}");
        }
        touchmark.predictions(2).await;
    }
}

#[tokio::test]
async fn a_request_that_was_answered_early_is_not_followed_by_another() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut first = touchmark.connect().await;
    first.send(raw("content-length: 1000\r\n", "the beginning")).await;
    let mut upstream = model.accept().await;
    upstream.until("the beginning").await;
    // Answered before it was read, on a connection that seems to stay open.
    upstream.send(ok("\"early\"")).await;
    assert_eq!(first.answer().await.text(), "\"early\"");
    // Another's request must not become the rest of the first one's body.
    let mut second = touchmark.connect().await;
    second.send(crate::support::message::infer()).await;
    let mut other = model.accept().await;
    assert_eq!(other.request().await.text(), crate::support::message::INPUT);
    other.send(ok("\"second\"")).await;
    assert_eq!(second.answer().await.text(), "\"second\"");
    let (rest, _) = upstream.read_to_end().await;
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    touchmark.predictions(2).await;
}
