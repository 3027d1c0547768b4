//! Requests put together at random from what is right, half right and wrong: the model server gets requests, or nothing.
//!
//! `smuggling` names the shapes that are known; this looks for those that are not.

use proptest::collection::vec;
use proptest::prelude::{Strategy, prop_assert};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::support::message::{OUTPUT, ok};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::Touchmark;

/// A request that may hide in another's body.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: h\r\n\r\n";

/// A message put together of pieces that are right, half right and wrong.
fn pieces() -> impl Strategy<Value = String> {
    let line = select(vec![
        "POST /v2/models/fraud/infer HTTP/1.1\r\n",
        "POST /v2/models/fraud/infer HTTP/1.0\r\n",
        "GET /v2/health/ready HTTP/1.1\r\n",
        "\r\nPOST / HTTP/1.1\r\n",
        "POST / HTTP/1.1\n",
    ]);
    let field = select(vec![
        "host: h\r\n",
        "content-length: 5\r\n",
        "content-length: 0\r\n",
        "Content-Length: 44\r\n",
        "content-length: 5, 5\r\n",
        "content-length : 5\r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "connection: close\r\n",
        "connection: content-length, transfer-encoding\r\n",
        "connection: keep-alive, upgrade\r\nupgrade: h2c\r\n",
        "expect: 100-continue\r\n",
        "te: trailers\r\ntrailer: x-a\r\n",
        "x-a: 1\n",
        "x-a: \r\n",
        "\n",
    ]);
    let body = select(vec![
        "hello",
        "5\r\nhello\r\n",
        "5\nhello\n",
        "5;x=\"\r\n\"\r\nhello\r\n",
        "05\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\nx-a: 1\r\ncontent-length: 9\r\n\r\n",
        "0\n\n",
        "\r\n",
        "\r",
        "\0",
        HIDDEN,
    ]);
    let message = (line, vec(field, 0..5), vec(body, 0..4));
    let message =
        message.prop_map(|(line, fields, body)| format!("{line}host: h\r\n{}\r\n{}", fields.concat(), body.concat()));
    vec(message, 1..4).prop_map(|messages| messages.concat())
}

#[test]
fn whatever_is_sent_only_requests_arrive() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (model, touchmark) = runtime.block_on(async {
        let model = ModelServer::answering(ok(OUTPUT)).await;
        let touchmark = Touchmark::before(&model);
        (model, touchmark)
    });
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let sent = runner.run(&pieces(), |bytes| {
        runtime.block_on(async {
            let mut client = touchmark.connect().await;
            client.send(&bytes).await;
            client.finish().await;
            client.read_to_end().await;
        });
        // Fails where the model server's strict reader did.
        prop_assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.received())).is_ok());
        Ok(())
    });
    sent.unwrap();
    runtime.block_on(async { drop(touchmark) });
    let received = runtime.block_on(model.everything());
    assert!(received.requests.len() > 20, "too few came through to prove anything: {}", received.requests.len());
}
