//! HTTP/1.1, either way: what a careful gateway passes on, consumes, and answers by itself.

use crate::support::ledger::Books;
use crate::support::message::{
    HEALTH, INFER, INPUT, LAST_CHUNK, OUTPUT, chunk, get, head, infer, message, ok, ok_with, post, post_with,
};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark};
use crate::support::wire::Ended;

#[tokio::test]
async fn a_head_request_has_the_length_and_no_body() {
    let model = ModelServer::answering(head("HTTP/1.1 200 OK", &[("content-length", "1234")])).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    for _ in 0..2 {
        client.send(head(&format!("HEAD {HEALTH} HTTP/1.1"), &[("host", "h")])).await;
        assert_eq!(client.head().await.one("content-length"), "1234");
    }
    assert_eq!(model.received().connections, 1, "its connection is used again");
    assert_eq!(model.received().requests[0].head.start, format!("HEAD {HEALTH} HTTP/1.1"));
}

#[tokio::test]
async fn answers_without_body() {
    let etag = ("etag", "\"1\"");
    for (start, fields) in [
        ("HTTP/1.1 204 No Content", &[etag][..]),
        ("HTTP/1.1 304 Not Modified", &[etag]),
        // The length of what a GET would have brought (RFC 9110, section 15.4.5).
        ("HTTP/1.1 304 Not Modified", &[etag, ("content-length", "5")]),
    ] {
        let model = ModelServer::answering(head(start, fields)).await;
        let touchmark = Touchmark::before(&model);
        let mut client = touchmark.connect().await;
        for _ in 0..2 {
            client.send(infer()).await;
            let answer = client.answer().await;
            assert_eq!(answer.head.start, start);
            assert!(answer.head.lacks("transfer-encoding"), "{start}");
            assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
        }
        assert_eq!(model.received().connections, 1, "{start}");
        for entry in touchmark.predictions(2).await {
            entry.ended("complete", answer_status(start)).gave("");
        }
        assert!(touchmark.ledger.of_kind("begin").is_empty(), "no body is held: {start}");
    }
}

fn answer_status(start: &str) -> u64 {
    start.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let request = post_with(INFER, &[("expect", "100-continue")], INPUT);
    client.send(&request[..request.len() - INPUT.len()]).await;
    assert_eq!(client.head().await.status(), 100);
    client.send(INPUT).await;
    assert_eq!(client.answer().await.head.status(), 200);
    assert!(model.request().head.lacks("expect"), "ours to answer");
    touchmark.prediction().await.ended("complete", 200).took(INPUT);
}

#[tokio::test]
async fn a_refusal_comes_instead_of_100() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.proxy.limits.body = touchmark::units::Size(10));
    let touchmark = setup.start();
    let mut client = touchmark.connect().await;
    let fields = [("host", "h"), ("expect", "100-continue"), ("content-length", "11")];
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &fields)).await;
    assert_eq!(client.head().await.status(), 413, "the body is not asked for");
    touchmark.prediction().await.ended("rejected", 413);
}

#[tokio::test]
async fn an_early_answer_comes_at_once() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &[("host", "h"), ("content-length", "1000")])).await;
    client.send("the beginning").await;
    let mut upstream = model.accept().await;
    upstream.until("the beginning").await;
    upstream.send(message("HTTP/1.1 400 Bad Request", &[("connection", "close")], "{}")).await;
    let answer = client.answer().await;
    assert_eq!(answer.head.status(), 400, "before the request has been sent whole");
    assert_eq!(answer.head.all("x-lineage-trace-id").len(), 1);
    touchmark.prediction().await.ended("complete", 400);
}

#[tokio::test]
async fn a_half_closed_client_is_answered() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    // Closed with the request in one go, and later, while the answer is waited for.
    for later in [false, true] {
        let mut client = touchmark.connect().await;
        client.send(infer()).await;
        if !later {
            client.finish().await;
        }
        let mut upstream = model.accept().await;
        upstream.request().await;
        if later {
            client.finish().await;
        }
        upstream.send(message("HTTP/1.1 200 OK", &[("connection", "close")], OUTPUT)).await;
        let (answer, ended) = client.read_to_end().await;
        assert!(answer.ends_with(OUTPUT.as_bytes()), "later: {later}");
        assert_eq!(ended, Ended::Fin);
    }
    for entry in touchmark.predictions(2).await {
        entry.ended("complete", 200).took(INPUT);
    }
}

#[tokio::test]
async fn a_half_closed_client_is_answered_though_its_body_waits() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let body = vec![b'x'; 8 << 20];
    let sending = tokio::spawn(async move {
        client.send(post(INFER, &body)).await;
        client.finish().await;
        client
    });
    let mut upstream = model.accept().await;
    let request = upstream.head().await;
    assert_eq!(request.one("content-length"), (8 << 20).to_string());
    upstream.skip(8 << 20).await;
    upstream.send(ok(OUTPUT)).await;
    let mut client = sending.await.unwrap();
    assert_eq!(client.answer().await.body, OUTPUT.as_bytes());
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let model = ModelServer::serving(|request| ok(&request.body)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send([post(INFER, "1"), post(INFER, "22"), get(HEALTH, &[]), post(INFER, "333")].concat()).await;
    for body in ["1", "22", "", "333"] {
        assert_eq!(client.answer().await.text(), body);
    }
    let entries = touchmark.predictions(3).await;
    for (entry, body) in entries.iter().zip(["1", "22", "333"]) {
        entry.ended("complete", 200).took(body);
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(message(&format!("POST {INFER} HTTP/1.0"), &[], INPUT)).await;
    let answer = client.answer().await;
    assert_eq!((answer.head.status(), answer.text()), (200, OUTPUT));
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    let head = model.request().head;
    assert_eq!(head.start, format!("POST {INFER} HTTP/1.1"), "ours to say, in our version");
    assert_eq!(head.one("host"), model.address().to_string());
    touchmark.prediction().await.ended("complete", 200).took(INPUT);
}

#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let answer = [head("HTTP/1.1 200 OK", &[("transfer-encoding", "chunked")]), chunk(OUTPUT), LAST_CHUNK.to_vec()];
    let model = ModelServer::answering(answer.concat()).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(message(&format!("POST {INFER} HTTP/1.0"), &[("connection", "keep-alive")], INPUT)).await;
    let answer = client.answer().await;
    assert!(answer.head.lacks("transfer-encoding"), "{:?}", answer.head);
    assert_eq!(answer.text(), OUTPUT);
    touchmark.prediction().await.ended("complete", 200).gave(OUTPUT);
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let fields = [("host", "h"), ("te", "trailers"), ("trailer", "x-sum"), ("transfer-encoding", "chunked")];
    client.send(head(&format!("POST {INFER} HTTP/1.1"), &fields)).await;
    client.send([chunk("one").as_slice(), &chunk("two"), b"0\r\nX-Sum: 6\r\n\r\n"].concat()).await;
    let mut upstream = model.accept().await;
    let request = upstream.request().await;
    assert_eq!(request.text(), "onetwo");
    assert_eq!(request.trailer("x-sum"), ["6"]);
    upstream.send(head("HTTP/1.1 200 OK", &[("trailer", "x-sum"), ("transfer-encoding", "chunked")])).await;
    upstream.send([chunk("three").as_slice(), b"0\r\nX-Sum: 5\r\n\r\n"].concat()).await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "three");
    assert_eq!(answer.trailer("x-sum"), ["5"]);
    touchmark.prediction().await.ended("complete", 200).took("onetwo").gave("three");
}

#[tokio::test]
async fn the_absolute_form_names_the_host() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let start = format!("POST http://true.test:81{INFER}?a=b HTTP/1.1");
    touchmark.call(message(&start, &[("host", "false.test")], INPUT)).await;
    let head = model.request().head;
    assert_eq!(head.start, format!("POST {INFER}?a=b HTTP/1.1"), "the origin form");
    assert_eq!(head.one("host"), "true.test:81", "RFC 9112, section 3.2.2");
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn targets_are_passed_on_as_they_are() {
    let model = ModelServer::answering(ok("{}")).await;
    let touchmark = Touchmark::before(&model);
    let targets = ["/a%2Fb/../c?x=%20&y=[1]", "/v2/models/fraud/%69nfer", "//v2", "/?", "/a;b=c"];
    for target in targets {
        touchmark.call(post(target, "{}")).await;
    }
    let requests = model.received().requests;
    let seen: Vec<&str> = requests.iter().map(|request| request.head.target()).collect();
    assert_eq!(seen, targets);
    touchmark.predictions(1).await[0].ended("complete", 200);
}

#[tokio::test]
async fn interim_answers_are_consumed() {
    let early =
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let model = ModelServer::answering([&early[..], &ok(OUTPUT)].concat()).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    for _ in 0..2 {
        client.send(infer()).await;
        assert_eq!(client.answer().await.head.status(), 200);
    }
    for entry in touchmark.predictions(2).await {
        entry.ended("complete", 200).gave(OUTPUT);
    }
}

#[tokio::test]
async fn an_unasked_switch_of_protocols_is_an_error() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(head("HTTP/1.1 101 Switching Protocols", &[("connection", "upgrade"), ("upgrade", "x")])).await;
    assert_eq!(client.answer().await.head.status(), 502);
    let entry = touchmark.prediction().await;
    assert_eq!(entry.text("/outcome"), Some("upstream_error"));
}

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    for _ in 0..20 {
        client.send(infer()).await;
        assert_eq!(client.answer().await.head.status(), 200);
    }
    // Another client shares what the worker keeps.
    touchmark.call(infer()).await;
    assert_eq!(model.received().connections, 1);
    touchmark.predictions(21).await;
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_closed() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(post_with(INFER, &[("connection", "close")], INPUT)).await;
    let answer = client.answer().await;
    assert_eq!(answer.head.one("connection"), "close");
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Fin));
    touchmark.call(infer()).await;
    assert_eq!(model.received().connections, 1, "the model server's connection is another matter");
    assert!(model.received().requests[0].head.lacks("connection"));
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn a_model_server_that_wants_to_close_is_left() {
    let model = ModelServer::answering(ok_with(&[("connection", "close")], OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    for _ in 0..2 {
        client.send(infer()).await;
        let answer = client.answer().await;
        assert!(answer.head.lacks("connection"), "hop by hop");
    }
    assert_eq!(model.received().connections, 2);
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    // Two answers to one question: the second must not answer the next caller's.
    upstream.send([ok("\"mine\""), ok("\"stolen\"")].concat()).await;
    assert_eq!(client.answer().await.text(), "\"mine\"");
    client.send(infer()).await;
    let mut second = model.accept().await;
    second.request().await;
    second.send(ok("\"yours\"")).await;
    assert_eq!(client.answer().await.text(), "\"yours\"");
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn fields_of_the_model_server_arrive_as_they_are() {
    let fields =
        [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-own", "kept"), ("server", "triton"), ("date", "today")];
    let model = ModelServer::answering(ok_with(&fields, OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let head = touchmark.call(infer()).await.head;
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((head.one("x-own"), head.one("server"), head.one("date")), ("kept", "triton", "today"));
    assert_eq!(head.one("content-length"), OUTPUT.len().to_string());
    touchmark.prediction().await;
}

#[tokio::test]
async fn errors_of_the_model_server_are_its_answers() {
    for (start, status) in [("HTTP/1.1 500 Internal Server Error", 500), ("HTTP/1.1 422 Unprocessable", 422)] {
        let model = ModelServer::answering(message(start, &[], r#"{"error":"no"}"#)).await;
        let touchmark = Touchmark::before(&model);
        let answer = touchmark.call(infer()).await;
        assert_eq!((answer.head.status(), answer.text()), (status, r#"{"error":"no"}"#));
        assert_eq!(answer.head.one("x-model-version"), "v1.2.3", "it did answer");
        touchmark.prediction().await.ended("complete", u64::from(status));
        Books::read(&touchmark.metrics).balance();
    }
}
