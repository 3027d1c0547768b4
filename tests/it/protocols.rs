//! `TensorFlow` Serving and `TorchServe`, over REST and gRPC: which model a call is for, and which one answered.

use serde_json::{Value, json};

use crate::support::grpc::{field, framed};
use crate::support::http2::{grpc, grpc_status, whole};
use crate::support::message::{INPUT, get, message, ok, post};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark};

/// Two versions of a model and what the server calls them; calls without a version go to the first.
fn models() -> Value {
    json!([
        {"name": "fraud", "version": "v1.2.3", "datasets": ["transactions@v2.0"], "served_as": {"version": "300"},
            "default": true},
        {"name": "fraud", "version": "v2.0.0", "datasets": ["transactions@v3.0"],
            "served_as": {"version": "301", "labels": ["canary"]}},
    ])
}

#[tokio::test]
async fn a_label_is_the_version_that_it_is_declared_for_or_none() {
    let model = ModelServer::answering(ok(r#"{"predictions":[0.25]}"#)).await;
    let touchmark = Setup::with_models(&model, &models()).start();
    let answer = touchmark.call(post("/v1/models/fraud/labels/canary:predict", INPUT)).await;
    assert_eq!(answer.head.one("x-model-version"), "v2.0.0");
    let answer = touchmark.call(post("/v1/models/fraud/labels/stable:predict", INPUT)).await;
    assert!(answer.head.lacks("x-model-version"), "which version it stands for nobody has said");
    let entries = touchmark.predictions(2).await;
    assert_eq!(entries[0].text("/version"), Some("v2.0.0"));
    assert_eq!(entries[0].text("/route"), Some("/v1/models/{model}/labels/{label}:predict"));
    assert_eq!((entries[1].text("/model"), entries[1].text("/version")), (Some("fraud"), None));
    // Where but one is declared, as whichever the server has, it is that.
    let touchmark = Touchmark::before(&model);
    let answer = touchmark.call(post("/v1/models/fraud/labels/stable:predict", INPUT)).await;
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
}

/// `ModelSpec` with a name and, where it is not 0, a version.
fn model_spec(version: u64) -> Vec<u8> {
    let number = if version < 128 { vec![version] } else { vec![version % 128 + 128, version / 128] };
    let number: Vec<u8> = number.into_iter().map(|byte| u8::try_from(byte).unwrap()).collect();
    let version = if version == 0 { Vec::new() } else { field(2, &[&[1 << 3], &number[..]].concat()) };
    [field(1, b"fraud"), version, field(3, b"serving_default")].concat()
}

/// Calls a method; gives the Touchmark, the stamps for model, version and dataset, and that the bytes went through.
async fn call(path: &str, input: &[u8], output: &[u8]) -> (Touchmark, [String; 3]) {
    let model = ModelServer::listen().await;
    let touchmark = Setup::with_models(&model, &models()).start();
    let mut client = touchmark.http2().await;
    let (answer, mut stream) = client.open(grpc(path, &[]), false).await;
    stream.send_data(framed(input).into(), true).unwrap();
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    assert_eq!(call.head.uri.path(), path);
    assert_eq!(call.input().await, framed(input));
    call.answer_grpc(&framed(output), grpc_status(0, &[]));
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.body.clone(), answer.trailer("grpc-status")), (framed(output), vec!["0"]));
    let stamps = ["x-model-name", "x-model-version", "x-dataset-version"].map(|name| answer.all(name).join(","));
    (touchmark, stamps)
}

const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";

#[tokio::test]
async fn tensorflow_serving_over_rest() {
    let model = ModelServer::answering(ok(r#"{"predictions":[0.25]}"#)).await;
    let touchmark = Setup::with_models(&model, &models()).start();
    let calls = [
        ("/v1/models/fraud/versions/301:predict", "/v1/models/{model}/versions/{version}:predict", Some("301")),
        ("/v1/models/fraud:classify", "/v1/models/{model}:classify", None),
        ("/v1/models/fraud:explain", "/v1/models/{model}:explain", None),
        ("/V1/models/fraud/versions/301:Predict", "/v1/models/{model}/versions/{version}:predict", Some("301")),
        ("/v1/models/%66raud%3Apredict", "/v1/models/{model}:predict", None),
    ];
    for (path, _, version) in calls {
        let answer = touchmark.call(post(path, INPUT)).await;
        let (stamped, dataset) = if version.is_some() { ("v2.0.0", "v3.0") } else { ("v1.2.3", "v2.0") };
        assert_eq!(answer.head.one("x-model-name"), "fraud", "{path}");
        assert_eq!(answer.head.one("x-model-version"), stamped, "{path}");
        assert_eq!(answer.head.one("x-dataset-version"), dataset, "{path}");
    }
    let entries = touchmark.predictions(calls.len()).await;
    for (entry, (path, route, version)) in entries.iter().zip(calls) {
        entry.ended("complete", 200).took(INPUT);
        assert_eq!((entry.text("/protocol"), entry.text("/route")), (Some("tfs-rest"), Some(route)));
        assert_eq!((entry.text("/model"), entry.text("/requested_version")), (Some("fraud"), version), "{path}");
        assert_eq!(entry.text("/observed_version"), None, "the answers name none");
    }
}

#[tokio::test]
async fn tensorflow_serving_over_grpc() {
    let input = [field(1, &model_spec(301)), field(2, b"\x0a\x01x")].concat();
    let output = [field(1, b"\x0a\x01y"), field(2, &model_spec(301))].concat();
    let (touchmark, stamps) = call(PREDICT, &input, &output).await;
    assert_eq!(stamps, ["fraud", "v2.0.0", "v3.0"]);
    let entry = touchmark.prediction().await;
    entry.ended("complete", 200).took(&input).gave(&output);
    assert_eq!((entry.text("/protocol"), entry.text("/route")), (Some("tfs-grpc"), Some(PREDICT)));
    assert_eq!((entry.text("/model"), entry.text("/version")), (Some("fraud"), Some("v2.0.0")));
    assert_eq!((entry.text("/requested_version"), entry.text("/observed_version")), (Some("301"), Some("301")));
}

#[tokio::test]
async fn tensorflow_serving_says_which_version_a_label_stood_for() {
    let labelled = [field(1, b"fraud"), field(4, b"canary")].concat();
    let output = [field(1, b"\x0a\x01y"), field(2, &model_spec(301))].concat();
    let (touchmark, stamps) = call(PREDICT, &field(1, &labelled), &output).await;
    assert_eq!(stamps, ["fraud", "v2.0.0", "v3.0"], "what was observed");
    let entry = touchmark.prediction().await;
    assert_eq!((entry.text("/requested_version"), entry.text("/observed_version")), (None, Some("301")));
    assert_eq!(entry.text("/version_source"), Some("response"));
}

#[tokio::test]
async fn tensorflow_serving_names_the_model_in_each_task() {
    let path = "/tensorflow.serving.PredictionService/MultiInference";
    let task = |version, rest: &[u8]| field(1, &[&field(1, &model_spec(version))[..], rest].concat());
    let input = [task(301, &field(2, b"classify")), task(301, &field(2, b"regress"))].concat();
    let output = [task(301, b""), task(301, b"")].concat();
    let (touchmark, stamps) = call(path, &input, &output).await;
    assert_eq!(stamps, ["fraud", "v2.0.0", "v3.0"]);
    let entry = touchmark.prediction().await;
    assert_eq!((entry.text("/protocol"), entry.text("/route")), (Some("tfs-grpc"), Some(path)));
    assert_eq!((entry.text("/requested_version"), entry.text("/observed_version")), (Some("301"), Some("301")));
}

#[tokio::test]
async fn torchserve_over_rest() {
    let model = ModelServer::answering(ok("[0.25]")).await;
    let touchmark = Setup::with_models(&model, &models()).start();
    let put = |path: &str| message(&format!("PUT {path} HTTP/1.1"), &[("host", "models.test")], INPUT);
    let calls = [
        (post("/predictions/fraud/301", INPUT), "/predictions/{model}/{version}", Some("301")),
        (post("/predictions/fraud", INPUT), "/predictions/{model}", None),
        (post("/explanations/fraud/301", INPUT), "/explanations/{model}/{version}", Some("301")),
        // `curl -T` puts.
        (put("/predictions/fraud/301"), "/predictions/{model}/{version}", Some("301")),
    ];
    for (request, route, version) in &calls {
        let answer = touchmark.call(request).await;
        assert_eq!((answer.head.status(), answer.head.one("x-model-name")), (200, "fraud"), "{route}");
        let stamped = if version.is_some() { "v2.0.0" } else { "v1.2.3" };
        assert_eq!(answer.head.one("x-model-version"), stamped, "{route}");
    }
    let entries = touchmark.predictions(calls.len()).await;
    for (entry, (_, route, version)) in entries.iter().zip(calls) {
        entry.ended("complete", 200).took(INPUT).gave("[0.25]");
        assert_eq!((entry.text("/protocol"), entry.text("/route")), (Some("torchserve-rest"), Some(route)));
        assert_eq!((entry.text("/model"), entry.text("/requested_version")), (Some("fraud"), version));
        assert_eq!(entry.text("/observed_version"), None, "the answers name none");
    }
}

#[tokio::test]
async fn torchserve_over_grpc() {
    let input = [field(1, b"fraud"), field(2, b"301"), field(3, b"\x0a\x04data\x12\x01x")].concat();
    // Field 1 of the answer is what was predicted, and no name.
    let output = field(1, b"churn");
    for method in ["Predictions", "StreamPredictions", "StreamPredictions2"] {
        let path = format!("/org.pytorch.serve.grpc.inference.InferenceAPIsService/{method}");
        let (touchmark, stamps) = call(&path, &input, &output).await;
        assert_eq!(stamps, ["fraud", "v2.0.0", "v3.0"], "{method}");
        let entry = touchmark.prediction().await;
        entry.ended("complete", 200).took(&input).gave(&output);
        assert_eq!((entry.text("/protocol"), entry.text("/route")), (Some("torchserve-grpc"), Some(path.as_str())));
        assert_eq!((entry.text("/model"), entry.text("/requested_version")), (Some("fraud"), Some("301")));
        assert_eq!((entry.text("/observed_version"), entry.text("/observed_model")), (None, None));
    }
}

#[tokio::test]
async fn asking_about_models_is_no_prediction() {
    let model = ModelServer::answering(ok("{}")).await;
    let touchmark = Setup::with_models(&model, &models()).start();
    for path in ["/v1/models", "/v1/models/fraud", "/v1/models/fraud:predict", "/predictions/fraud", "/ping"] {
        let answer = touchmark.call(get(path, &[])).await;
        assert!(answer.head.status() == 200 && answer.head.lacks("x-lineage-trace-id"), "{path}");
    }
    for path in ["/v1/models/fraud/metadata", "/models?url=fraud.mar", "/api-description"] {
        let answer = touchmark.call(post(path, "{}")).await;
        assert!(answer.head.status() == 200 && answer.head.lacks("x-lineage-trace-id"), "{path}");
    }
    assert!(touchmark.predictions(0).await.is_empty());
}
