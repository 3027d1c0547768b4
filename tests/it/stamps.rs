//! Lineage headers: exactly once each, never forged, never nominated away; what is unknown is absent.

use serde_json::json;

use crate::support::ledger::sum;
use crate::support::message::{
    CHAT, HEALTH, INFER, INPUT, LAST_CHUNK, OUTPUT, chunk, get, infer, ok, ok_with, post, post_with, streaming,
};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark, fraud};

const STAMPS: [&str; 5] =
    ["x-lineage-trace-id", "x-model-name", "x-model-version", "x-dataset-version", "x-reproducible"];

/// Every stamp forged, each in a value that no model here has.
const FORGED: [(&str, &str); 6] = [
    ("X-Lineage-Trace-Id", "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10"),
    ("x-model-name", "forged"),
    ("X-MODEL-VERSION", "forged"),
    ("X-Model-Version", "forged twice"),
    ("X-Dataset-Version", "forged"),
    ("X-Reproducible", "true"),
];

#[tokio::test]
async fn an_answer_says_who_gave_it_once() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let answer = touchmark.call(infer()).await;
    assert_eq!(answer.body, OUTPUT.as_bytes());
    assert_eq!(answer.head.one("x-model-name"), "fraud");
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
    assert_eq!(answer.head.one("x-dataset-version"), "v2.0");
    assert_eq!(answer.head.one("x-reproducible"), "false");
    let entry = touchmark.prediction().await;
    entry.ended("complete", 200).took(INPUT).gave(OUTPUT);
    assert_eq!(answer.head.one("x-lineage-trace-id"), entry.id());
    assert_eq!(entry.text("/version_source"), Some("declared"));
    assert_eq!(entry.text("/route"), Some("/v2/models/{model}/infer"));
    assert_eq!(entry.text("/input/type"), Some("application/json"));
    assert_eq!(entry.text("/deployment"), Some("fraud-test"));
}

#[tokio::test]
async fn neither_side_can_forge_or_double_a_stamp() {
    let model = ModelServer::answering(ok_with(&FORGED, OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let answer = touchmark.call(post_with(INFER, &FORGED, INPUT)).await;
    let entry = touchmark.prediction().await;
    assert_eq!(answer.head.one("x-lineage-trace-id"), entry.id());
    assert_eq!(answer.head.one("x-model-name"), "fraud");
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
    assert_eq!(answer.head.one("x-dataset-version"), "v2.0");
    assert_eq!(answer.head.one("x-reproducible"), "false");
    let request = model.request();
    assert_eq!(request.head.one("x-lineage-trace-id"), entry.id(), "the model server is told the true id");
    for stamp in &STAMPS[1..] {
        assert!(request.head.lacks(stamp), "{stamp} reached the model server");
    }
}

#[tokio::test]
async fn neither_side_can_nominate_a_stamp_away() {
    let nominated = "x-lineage-trace-id, X-Model-Version,x-model-name, x-dataset-version, x-reproducible, x-private";
    let fields = [("connection", nominated), ("x-private", "hop by hop")];
    let model = ModelServer::answering(ok_with(&fields, OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let answer = touchmark.call(post_with(INFER, &fields, INPUT)).await;
    for stamp in STAMPS {
        answer.head.one(stamp);
    }
    assert!(answer.head.lacks("x-private"), "what is nominated ends here");
    let request = model.request();
    assert_eq!(request.head.one("x-lineage-trace-id"), touchmark.prediction().await.id());
    assert!(request.head.lacks("x-private"));
}

#[tokio::test]
async fn stamps_forged_in_trailers_are_dropped() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    let forged = b"0\r\nX-Model-Version: forged\r\nx-lineage-trace-id: forged\r\nx-checksum: kept\r\n\r\n";
    let head = post_with(CHAT, &[("te", "trailers"), ("transfer-encoding", "chunked")], "");
    let head = String::from_utf8(head).unwrap().replace("content-length: 0\r\n", "");
    client.send([head.as_bytes(), &chunk(INPUT), forged].concat()).await;
    let mut upstream = model.accept().await;
    let request = upstream.request().await;
    assert_eq!(request.body, INPUT.as_bytes());
    for stamp in STAMPS {
        assert!(request.trailer(stamp).is_empty(), "{stamp} in a trailer to the model server");
    }
    let trailer = ("trailer", "x-model-version, x-lineage-trace-id, x-checksum");
    upstream.send([streaming(&[trailer]).as_slice(), &chunk(OUTPUT), forged].concat()).await;
    let answer = client.answer().await;
    for stamp in STAMPS {
        answer.head.one(stamp);
        assert!(answer.trailer(stamp).is_empty(), "{stamp} in a trailer to the client");
    }
    assert_eq!(answer.trailer("x-checksum"), ["kept"]);
    touchmark.prediction().await.ended("complete", 200).took(INPUT).gave(OUTPUT);
}

#[tokio::test]
async fn other_traffic_carries_no_stamps_either_way() {
    let model = ModelServer::answering(ok_with(&FORGED, "{}")).await;
    let touchmark = Touchmark::before(&model);
    for request in [get(HEALTH, &FORGED), post_with("/v2/repository/index", &FORGED, "{}")] {
        let answer = touchmark.call(request).await;
        assert_eq!(answer.body, b"{}");
        for stamp in STAMPS {
            assert!(answer.head.lacks(stamp), "{stamp} on an answer that is no prediction");
        }
    }
    for request in model.received().requests {
        for stamp in STAMPS {
            assert!(request.head.lacks(stamp), "{stamp} on a request that is no prediction");
        }
    }
    assert!(touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn what_is_unknown_is_absent() {
    let models = json!([{"name": "fraud", "version": "v1.2.3"}]);
    let model = ModelServer::answering(ok("{}")).await;
    let touchmark = Setup::with_models(&model, &models).start();
    let answer = touchmark.call(infer()).await;
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
    assert!(answer.head.lacks("x-dataset-version"));
    let answer = touchmark.call(post("/v2/models/unheard-of/infer", INPUT)).await;
    for stamp in &STAMPS[1..] {
        assert!(answer.head.lacks(stamp), "{stamp} of a model that is not known");
    }
    let entries = touchmark.predictions(2).await;
    assert_eq!(answer.head.one("x-lineage-trace-id"), entries[1].id());
    assert_eq!(entries[1].text("/model"), Some("unheard-of"));
    assert_eq!(entries[1].text("/version"), None);
    assert_eq!(entries[1].text("/lineage"), None);
    assert_eq!(sum(&touchmark.metrics, "unresolved_predictions_total", &[]), 1);
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &[("model", "unheard-of")]), 0, "no label of the caller's");
    assert_eq!(sum(&touchmark.metrics, "predictions_total", &[("model", "other")]), 1);
}

#[tokio::test]
async fn several_datasets_are_all_named() {
    let datasets = json!([
        "transactions@v2.0", "a b/c@1+1", {"name": "holdout", "version": "v9", "role": "test"},
    ]);
    let models = json!([{"name": "fraud", "version": "v1.2.3", "datasets": datasets}]);
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::with_models(&model, &models).start();
    let answer = touchmark.call(infer()).await;
    let stamp = answer.head.one("x-dataset-version");
    let (first, second) = stamp.split_once('+').expect("two training datasets");
    assert_eq!(first, "transactions@v2.0");
    assert!(!second.contains(['+', ' ']), "reserved bytes are encoded: {second}");
    assert!(!stamp.contains("holdout"), "training inputs only");
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn cors_exposes_the_stamps() {
    let fields = [("access-control-allow-origin", "*"), ("access-control-expose-headers", "x-own")];
    let model = ModelServer::answering(ok_with(&fields, OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    let answer = touchmark.call(infer()).await;
    let exposed = answer.head.all("access-control-expose-headers").join(",").to_ascii_lowercase();
    let exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
    for name in STAMPS.iter().chain(&["x-own"]) {
        assert_eq!(exposed.iter().filter(|exposed| exposed == &name).count(), 1, "{name} in {exposed:?}");
    }
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn answers_without_cors_expose_nothing() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    assert!(touchmark.call(infer()).await.head.lacks("access-control-expose-headers"));
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn the_callers_ids_are_kept_beside_ours() {
    let parent = "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10";
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let fields = [
        ("x-lineage-trace-id", parent),
        ("x-request-id", "req-17"),
        ("traceparent", traceparent.as_str()),
        ("tracestate", "vendor=1"),
    ];
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    touchmark.call(post_with(INFER, &fields, INPUT)).await;
    let entry = touchmark.prediction().await;
    assert_eq!(entry.text("/parent"), Some(parent));
    assert_ne!(entry.id(), parent);
    assert_eq!(entry.text("/client_request_id"), Some("req-17"));
    assert_eq!(entry.text("/trace"), Some(trace));
    let head = model.request().head;
    assert_eq!(head.one("x-request-id"), "req-17");
    assert_eq!(head.one("tracestate"), "vendor=1");
    let passed_on = head.one("traceparent");
    assert!(passed_on.starts_with(&format!("00-{trace}-")), "{passed_on}");
    assert!(!passed_on.contains("b7ad6b7169203331"), "the model server's parent is our own span: {passed_on}");
}

#[tokio::test]
async fn a_call_without_ids_is_given_some() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    touchmark.call(post_with(INFER, &[("x-lineage-trace-id", "no uuid"), ("traceparent", "nonsense")], INPUT)).await;
    let entry = touchmark.prediction().await;
    assert_eq!(entry.text("/parent"), None);
    assert_eq!(entry.text("/client_request_id"), None);
    let head = model.request().head;
    assert_eq!(head.one("x-request-id"), entry.id());
    let trace = entry.text("/trace").unwrap();
    assert!(head.one("traceparent").starts_with(&format!("00-{trace}-")));
    assert_ne!(trace.replace('-', ""), entry.id().replace('-', ""), "a prediction's id is no trace id");
}

#[tokio::test]
async fn forwarded_says_who_asked() {
    let theirs = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")];
    let model = ModelServer::answering(ok("{}")).await;
    let touchmark = Touchmark::before(&model);
    touchmark.call(get(HEALTH, &theirs)).await;
    let head = model.request().head;
    assert_eq!(head.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(head.one("x-forwarded-proto"), "http");
    assert_eq!(head.one("x-forwarded-host"), "models.test");
    assert!(head.one("forwarded").starts_with("for=127.0.0.1"));
    drop(touchmark);
    let model = ModelServer::answering(ok("{}")).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.forwarded.trust = true).start();
    touchmark.call(get(HEALTH, &theirs)).await;
    let head = model.request().head;
    assert_eq!(head.one("x-forwarded-for"), "6.6.6.6, 127.0.0.1");
    assert_eq!(head.one("x-forwarded-proto"), "https");
    assert!(head.one("forwarded").starts_with("for=6.6.6.6, for=127.0.0.1"));
}

/// The server's "1" is v1.2.3, its "2" is v2.0.0.
fn two_versions(model: &ModelServer) -> Setup {
    let models = json!([
        {"name": "fraud", "version": "v1.2.3", "served_as": {"version": "1"}, "default": true, "datasets": ["t@v1"]},
        {"name": "fraud", "version": "v2.0.0", "served_as": {"version": "2"}, "datasets": ["t@v2"]},
    ]);
    Setup::with_models(model, &models)
}

#[tokio::test]
async fn a_held_answer_that_names_another_version_is_corrected() {
    let output = r#"{"model_name":"fraud","model_version":"2"}"#;
    let model = ModelServer::answering(ok(output)).await;
    let touchmark = two_versions(&model).start();
    let answer = touchmark.call(post("/v2/models/fraud/versions/1/infer", INPUT)).await;
    assert_eq!(answer.head.one("x-model-version"), "v2.0.0");
    assert_eq!(answer.head.one("x-dataset-version"), "v2");
    let entry = touchmark.prediction().await;
    assert_eq!(entry.text("/version"), Some("v2.0.0"));
    assert_eq!(entry.text("/version_source"), Some("response"));
    assert_eq!(entry.text("/requested_version"), Some("1"));
    assert_eq!(entry.text("/observed_version"), Some("2"));
    let labels = [("declared", "v1.2.3"), ("observed", "v2.0.0")];
    assert_eq!(sum(&touchmark.metrics, "version_mismatch_total", &labels), 1);
}

#[tokio::test]
async fn a_version_that_nobody_declared_is_not_claimed() {
    let model = ModelServer::answering(ok(r#"{"model_name":"fraud","model_version":"99"}"#)).await;
    let touchmark = two_versions(&model).start();
    let answer = touchmark.call(post("/v2/models/fraud/versions/1/infer", INPUT)).await;
    assert_eq!(answer.head.one("x-model-name"), "fraud");
    assert!(answer.head.lacks("x-model-version"));
    assert!(answer.head.lacks("x-dataset-version"));
    let entry = touchmark.prediction().await;
    assert_eq!(entry.text("/version"), Some("v1.2.3"), "the entry keeps what was declared, beside what was observed");
    assert_eq!(entry.text("/observed_version"), Some("99"));
    assert_eq!(sum(&touchmark.metrics, "version_mismatch_total", &[("observed", "other")]), 1);
}

#[tokio::test]
async fn a_held_answer_that_names_its_version_resolves_the_call() {
    let models = json!([
        {"name": "fraud", "version": "v1.2.3", "served_as": {"version": "1"}, "datasets": ["t@v1"]},
        {"name": "fraud", "version": "v2.0.0", "served_as": {"version": "2"}, "datasets": ["t@v2"]},
    ]);
    let named = [
        (r#"{"model_name":"fraud","model_version":"2"}"#, Some("v2.0.0")),
        (r#"{"model_version":"1"}"#, Some("v1.2.3")),
        (r#"{"model_name":"fraud","model_version":"99"}"#, None),
        (r#"{"model_name":"other","model_version":"2"}"#, None),
        (r#"{"model_name":"fraud"}"#, None),
        ("{}", None),
    ];
    for (output, version) in named {
        let model = ModelServer::answering(ok(output)).await;
        let touchmark = Setup::with_models(&model, &models).start();
        let answer = touchmark.call(post("/v2/models/fraud/infer", INPUT)).await;
        assert_eq!(answer.head.all("x-model-version").first().copied(), version, "{output}");
        let entry = touchmark.prediction().await;
        assert_eq!(entry.text("/version"), version, "{output}");
        assert_eq!(entry.text("/version_source"), version.map(|_| "response"));
        let unresolved = sum(&touchmark.metrics, "unresolved_predictions_total", &[]);
        assert_eq!(unresolved, u64::from(version.is_none()), "{output}");
        assert_eq!(sum(&touchmark.metrics, "version_mismatch_total", &[]), 0, "nothing was declared of the call");
    }
    let model = ModelServer::answering(ok(named[0].0)).await;
    let setup = Setup::with_models(&model, &models);
    let touchmark = setup.with(|config| config.proxy.on_mismatch = touchmark::proxy::OnMismatch::Warn).start();
    assert!(touchmark.call(post("/v2/models/fraud/infer", INPUT)).await.head.lacks("x-model-version"), "as declared");
    touchmark.prediction().await;
}

#[tokio::test]
async fn on_warn_the_declaration_stands() {
    let model = ModelServer::answering(ok(r#"{"model_name":"fraud","model_version":"2"}"#)).await;
    let setup = two_versions(&model).with(|config| config.proxy.on_mismatch = touchmark::proxy::OnMismatch::Warn);
    let touchmark = setup.start();
    let answer = touchmark.call(post("/v2/models/fraud/versions/1/infer", INPUT)).await;
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
    let entry = touchmark.prediction().await;
    assert_eq!((entry.text("/version"), entry.text("/observed_version")), (Some("v1.2.3"), Some("2")));
    assert_eq!(sum(&touchmark.metrics, "version_mismatch_total", &[]), 1);
}

#[tokio::test]
async fn a_stream_that_names_another_version_is_counted_and_recorded() {
    let model = ModelServer::answering(
        [streaming(&[]).as_slice(), &chunk("data: {\"model\":\"other-model\"}\n\n"), LAST_CHUNK].concat(),
    )
    .await;
    let touchmark = Setup::with_models(&model, &json!([fraud()])).start();
    let answer = touchmark.call(post(CHAT, r#"{"model":"fraud","stream":true}"#)).await;
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3", "its head had left");
    touchmark.prediction().await.ended("complete", 200);
    assert_eq!(sum(&touchmark.metrics, "version_mismatch_total", &[]), 1);
}
