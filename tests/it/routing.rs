//! Which backend and which model: by path, by body, by weight, by health; and which calls are predictions at all.

use serde_json::json;

use crate::support::ledger::sum;
use crate::support::message::{
    CHAT, HEALTH, INFER, INPUT, Message, OUTPUT, get, head, infer, message, ok, post, post_with,
};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark, backend, fraud};

/// Two model servers, each of which says its letter.
async fn pair() -> (ModelServer, ModelServer) {
    (ModelServer::answering(ok("\"a\"")).await, ModelServer::answering(ok("\"b\"")).await)
}

/// A backend of each, with its own model.
fn before(a: &ModelServer, b: &ModelServer, models: [serde_json::Value; 2]) -> Setup {
    let [first, second] = models;
    Setup::new(a).with(|config| {
        config.backends = vec![backend("a", a.address(), &json!([first])), backend("b", b.address(), &json!([second]))];
    })
}

fn version(version: &str) -> serde_json::Value {
    json!({"name": "fraud", "version": version, "datasets": [format!("t@{version}")]})
}

#[tokio::test]
async fn a_model_is_found_by_the_path() {
    let (a, b) = pair().await;
    let models = [json!({"name": "fraud", "version": "v1"}), json!({"name": "churn", "version": "v7"})];
    let touchmark = before(&a, &b, models).start();
    for _ in 0..5 {
        assert_eq!(touchmark.call(post("/v2/models/churn/infer", "{}")).await.text(), "\"b\"");
        assert_eq!(touchmark.call(infer()).await.text(), "\"a\"");
    }
    for (at, entry) in touchmark.predictions(10).await.iter().enumerate() {
        assert_eq!(entry.text("/backend"), Some(if at % 2 == 0 { "b" } else { "a" }));
        assert_eq!(entry.text("/version"), Some(if at % 2 == 0 { "v7" } else { "v1" }));
    }
}

#[tokio::test]
async fn a_model_is_found_by_the_body_wherever_it_stands() {
    let (a, b) = pair().await;
    let models = [json!({"name": "small", "version": "v1"}), json!({"name": "large", "version": "v7"})];
    let touchmark = before(&a, &b, models).start();
    let long = "x".repeat(40_000);
    for body in [
        r#"{"model":"large","messages":[]}"#.to_owned(),
        r#"{"messages":[{"model":"small"}],"model":"large"}"#.to_owned(),
        format!(r#"{{"messages":["{long}"],"model":"large"}}"#),
    ] {
        for _ in 0..3 {
            let answer = touchmark.call(post(CHAT, &body)).await;
            assert_eq!(answer.text(), "\"b\"");
            assert_eq!(answer.head.one("x-model-version"), "v7");
        }
        assert_eq!(b.received().requests.last().unwrap().body, body.as_bytes(), "what was read ahead is sent whole");
    }
    for entry in touchmark.predictions(9).await {
        entry.ended("complete", 200);
    }
}

#[tokio::test]
async fn a_model_named_at_the_end_of_a_long_body_is_recorded() {
    let model = ModelServer::answering(ok("{}")).await;
    let models = json!([{"name": "small", "version": "v1"}, {"name": "large", "version": "v7"}]);
    let touchmark = Setup::with_models(&model, &models).start();
    let body = format!(r#"{{"messages":["{}"],"model":"large"}}"#, "x".repeat(1 << 20));
    let answer = touchmark.call(post(CHAT, &body)).await;
    assert_eq!(answer.head.one("x-model-version"), "v7");
    touchmark.prediction().await.ended("complete", 200).took(&body);
}

#[tokio::test]
async fn two_versions_share_the_traffic_and_each_answer_says_which() {
    let (a, b) = pair().await;
    let touchmark = before(&a, &b, [version("v1"), version("v2")]).start();
    let mut seen = [0, 0];
    for _ in 0..200 {
        let answer = touchmark.call(infer()).await;
        let which = usize::from(answer.text() == "\"b\"");
        assert_eq!(answer.head.one("x-model-version"), ["v1", "v2"][which]);
        assert_eq!(answer.head.one("x-dataset-version"), ["v1", "v2"][which]);
        seen[which] += 1;
    }
    // By halves: that one gets fewer than 50 of 200 happens once in 10^13.
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    touchmark.predictions(200).await;
    for (version, count) in [("v1", seen[0]), ("v2", seen[1])] {
        assert_eq!(sum(&touchmark.metrics, "predictions_total", &[("version", version)]), count);
    }
}

#[tokio::test]
async fn no_weight_takes_nothing() {
    let (a, b) = pair().await;
    let setup = before(&a, &b, [version("v1"), version("v2")]).with(|config| config.backends[0].weight = 0);
    let touchmark = setup.start();
    for _ in 0..20 {
        assert_eq!(touchmark.call(infer()).await.text(), "\"b\"");
    }
    touchmark.predictions(20).await;
}

#[tokio::test]
async fn a_backend_that_fails_is_left_out() {
    let gone = ModelServer::listen().await.close().await;
    let model = ModelServer::answering(ok("\"b\"")).await;
    let setup = Setup::new(&model).with(|config| {
        config.backends = vec![
            backend("gone", gone, &json!([version("v1")])),
            backend("b", model.address(), &json!([version("v2")])),
        ];
    });
    let touchmark = setup.start();
    let mut failed = 0;
    for _ in 0..100 {
        failed += u64::from(touchmark.call(infer()).await.head.status() == 502);
    }
    assert_eq!(failed, 3, "health.failures in a row");
    touchmark.predictions(100).await;
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &[("outcome", "upstream_error")]), 3);
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200, "the other serves");
}

#[tokio::test]
async fn where_every_backend_fails_readiness_says_so() {
    let gone = ModelServer::listen().await.close().await;
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends = vec![backend("gone", gone, &json!([fraud()]))]);
    let touchmark = setup.start();
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200);
    for _ in 0..4 {
        assert_eq!(touchmark.call(infer()).await.head.status(), 502, "tried nevertheless");
    }
    let answer = touchmark.admin("/readyz").await;
    assert_eq!(answer.head.status(), 503);
    assert!(answer.text().contains("backends"), "{}", answer.text());
    touchmark.predictions(4).await;
}

#[tokio::test]
async fn a_version_in_the_path_chooses_the_entry() {
    let model = ModelServer::answering(ok("{}")).await;
    let models = json!([
        {"name": "fraud", "version": "v1.2.3", "served_as": {"name": "fraud-prod", "version": "1"}},
        {"name": "fraud", "version": "v2.0.0", "served_as": {"name": "fraud-prod", "version": "2"}, "default": true},
    ]);
    let touchmark = Setup::with_models(&model, &models).start();
    for (path, version) in [
        ("/v2/models/fraud-prod/versions/1/infer", Some("v1.2.3")),
        ("/v2/models/fraud-prod/versions/2/infer", Some("v2.0.0")),
        ("/v2/models/fraud-prod/infer", Some("v2.0.0")),
        ("/v2/models/fraud-prod/versions/3/infer", None),
        ("/v2/models/fraud/infer", None),
    ] {
        let answer = touchmark.call(post(path, INPUT)).await;
        assert_eq!(answer.head.all("x-model-version").first().copied(), version, "{path}");
    }
    let entries = touchmark.predictions(5).await;
    assert_eq!(entries[0].text("/version_source"), Some("path"));
    assert_eq!(entries[3].text("/requested_version"), Some("3"));
    assert_eq!(sum(&touchmark.metrics, "unresolved_predictions_total", &[]), 2);
}

#[tokio::test]
async fn predictions_of_every_protocol_are_recognised() {
    let model = ModelServer::answering(ok("{}")).await;
    let patterns = json!([{"path": "/score/{model}/{version}"}]);
    let setup = Setup::new(&model).with(|config| config.proxy.patterns = serde_json::from_value(patterns).unwrap());
    let touchmark = setup.start();
    let sagemaker = post_with("/invocations", &[("x-amzn-sagemaker-target-model", "fraud")], INPUT);
    let calls: [(Vec<u8>, &str, &str); 10] = [
        (infer(), "oip-rest", "/v2/models/{model}/infer"),
        (post("/v2/models/fraud/generate", INPUT), "oip-rest", "/v2/models/{model}/generate"),
        (post("/v2/models/fraud/generate_stream", INPUT), "oip-rest", "/v2/models/{model}/generate_stream"),
        (post("/v2/models/fraud/versions/1/infer", INPUT), "oip-rest", "/v2/models/{model}/versions/{version}/infer"),
        (post(CHAT, INPUT), "openai", "/v1/chat/completions"),
        (post("/v1/embeddings", INPUT), "openai", "/v1/embeddings"),
        (post("/v1/responses", INPUT), "openai", "/v1/responses"),
        (post("/invocations", INPUT), "mlflow", "/invocations"),
        (sagemaker, "sagemaker", "/invocations"),
        (post("/score/fraud/7", INPUT), "custom", "/score/{model}/{version}"),
    ];
    let count = calls.len();
    let mut expected = Vec::new();
    for (request, protocol, route) in calls {
        assert_eq!(touchmark.call(request).await.head.status(), 200);
        expected.push((protocol, route));
    }
    for (entry, (protocol, route)) in touchmark.predictions(count).await.iter().zip(expected) {
        assert_eq!((entry.text("/protocol"), entry.text("/route")), (Some(protocol), Some(route)));
        entry.ended("complete", 200).took(INPUT);
    }
}

#[tokio::test]
async fn disguised_predictions_are_recognised() {
    let model = ModelServer::answering(ok("{}")).await;
    let touchmark = Touchmark::before(&model);
    let disguises =
        ["/v2/models/fraud/%69nfer", "//v2/models/fraud/infer", "/v2/models/fraud/infer/", "/v2/./models/fraud/infer"];
    for path in disguises {
        assert_eq!(touchmark.call(post(path, INPUT)).await.head.all("x-lineage-trace-id").len(), 1, "{path}");
    }
    touchmark.predictions(disguises.len()).await;
}

#[tokio::test]
async fn other_calls_are_none() {
    let model = ModelServer::serving(|request: &Message| {
        if request.head.start.starts_with("HEAD") { head("HTTP/1.1 200 OK", &[]) } else { ok("{}") }
    })
    .await;
    let touchmark = Touchmark::before(&model);
    for request in [
        get(INFER, &[]),
        get("/v2/models/fraud", &[]),
        get(HEALTH, &[]),
        post("/v2/repository/models/fraud/load", "{}"),
        message(&format!("PUT {INFER} HTTP/1.1"), &[("host", "h")], INPUT),
        message("OPTIONS * HTTP/1.1", &[("host", "h")], ""),
    ] {
        assert_eq!(touchmark.call(request).await.head.status(), 200);
    }
    assert_eq!(model.received().requests.len(), 6);
    assert!(touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn a_decision_is_read_from_a_held_answer() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let mut declared = fraud();
    declared["decision"] = json!("/outputs/0/data/0");
    let touchmark = Setup::with_models(&model, &json!([declared])).start();
    touchmark.call(infer()).await;
    assert_eq!(touchmark.prediction().await.text("/decision"), Some("0.25"));
}

#[tokio::test]
async fn without_any_backend_calls_fail_and_are_recorded() {
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.backends = Vec::new()).start();
    assert_eq!(touchmark.call(infer()).await.head.status(), 502);
    assert_eq!(touchmark.call(get(HEALTH, &[])).await.head.status(), 502);
    touchmark.prediction().await.ended("upstream_error", 502);
}
