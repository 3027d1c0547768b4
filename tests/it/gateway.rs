//! What RFC 9110 asks of a gateway beyond carrying messages: what it adds, and what it must not pass on.

use crate::support::http2::post as post_h2;
use crate::support::message::{INFER, INPUT, OUTPUT, get, head, infer, message, ok, post_with};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::Touchmark;

#[tokio::test]
async fn requests_say_that_they_came_through_here_and_how() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    touchmark.call(infer()).await;
    touchmark.call(post_with(INFER, &[("via", "1.0 edge")], INPUT)).await;
    touchmark.http2().await.call(post_h2(INFER, &[]), INPUT).await;
    touchmark.call(head("GET /v2/health/ready HTTP/1.0", &[("host", "models.test")])).await;
    let vias: Vec<Vec<String>> = model
        .received()
        .requests
        .iter()
        .map(|request| request.head.all("via").iter().map(|value| (*value).to_owned()).collect())
        .collect();
    let expected: [&[&str]; 4] =
        [&["1.1 touchmark"], &["1.0 edge", "1.1 touchmark"], &["2.0 touchmark"], &["1.0 touchmark"]];
    assert_eq!(vias, expected);
    touchmark.predictions(3).await;
}

#[tokio::test]
async fn options_go_no_further_than_they_say() {
    let model = ModelServer::answering(ok("")).await;
    let touchmark = Touchmark::before(&model);
    let options = |left: &str| message("OPTIONS /v2 HTTP/1.1", &[("host", "models.test"), ("max-forwards", left)], "");
    assert_eq!(touchmark.call(options("0")).await.head.status(), 501);
    assert!(model.received().requests.is_empty(), "it ends here");
    assert_eq!(touchmark.call(options("3")).await.head.status(), 200);
    assert_eq!(model.request().head.one("max-forwards"), "2");
    touchmark.call(options("many")).await;
    assert_eq!(model.received().requests[1].head.one("max-forwards"), "many", "not ours to judge");
    touchmark.call(get("/v2/health/ready", &[("max-forwards", "0")])).await;
    assert_eq!(model.received().requests[2].head.one("max-forwards"), "0", "of OPTIONS and TRACE alone");
}

#[tokio::test]
async fn what_is_for_a_proxy_ends_here() {
    let answer = message("HTTP/1.1 200 OK", &[("proxy-authenticate", "Basic"), ("x-own", "1")], OUTPUT);
    let model = ModelServer::answering(answer).await;
    let touchmark = Touchmark::before(&model);
    let answer =
        touchmark.call(post_with(INFER, &[("proxy-authorization", "Basic eA=="), ("x-own", "2")], INPUT)).await;
    assert!(answer.head.lacks("proxy-authenticate"));
    assert_eq!(answer.head.one("x-own"), "1");
    assert!(model.request().head.lacks("proxy-authorization"));
    assert_eq!(model.request().head.one("x-own"), "2");
}

#[tokio::test]
async fn an_answer_without_a_date_gets_one_and_a_date_stays() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    assert!(touchmark.call(infer()).await.head.one("date").ends_with(" GMT"));
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let dated = message("HTTP/1.1 200 OK", &[("date", date)], "{}");
    let model = ModelServer::answering(dated).await;
    let touchmark = Touchmark::before(&model);
    assert_eq!(touchmark.call(infer()).await.head.one("date"), date);
}
