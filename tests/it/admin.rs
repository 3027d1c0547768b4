//! The admin listener beside the data path: health, metrics and status, apart from it and guarded.

use touchmark::admin::Secret;
use touchmark::app::{App, StartError};

use crate::support::message::{INFER, INPUT, OUTPUT, get, infer, ok, post};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark};
use crate::support::wire::Wire;

#[tokio::test]
async fn health_is_told() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    assert_eq!(touchmark.admin("/livez").await.text(), r#"{"live":true}"#);
    let ready = touchmark.admin("/readyz").await;
    assert_eq!((ready.head.status(), ready.text()), (200, r#"{"ready":true,"reasons":[]}"#));
    let status: serde_json::Value = serde_json::from_slice(&touchmark.admin("/api/v1/status").await.body).unwrap();
    assert_eq!((status["deployment"].as_str(), status["instance"].as_str()), (Some("fraud-test"), Some("it")));
    assert_eq!(touchmark.admin("/nothing/here").await.head.status(), 404);
}

#[tokio::test]
async fn what_is_served_there_is_not_served_here() {
    let model = ModelServer::answering(ok("\"the model server's\"")).await;
    let touchmark = Touchmark::before(&model);
    for path in ["/metrics", "/readyz", "/api/v1/status"] {
        let answer = touchmark.call(get(path, &[])).await;
        assert_eq!(answer.text(), "\"the model server's\"", "{path} belongs to the model server");
    }
    let mut client = Wire::connect(touchmark.admin).await;
    client.send(post(INFER, INPUT)).await;
    assert_eq!(client.answer().await.head.status(), 404);
    assert!(touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_configured() {
    let model = ModelServer::listen().await;
    let secret: Secret = serde_json::from_str("\"open-sesame\"").unwrap();
    let touchmark = Setup::new(&model).with(|config| config.admin.token = Some(secret)).start();
    assert_eq!(touchmark.admin("/livez").await.head.status(), 200);
    assert_eq!(touchmark.admin("/metrics").await.head.status(), 401);
    for (token, status) in [("Bearer wrong", 401), ("Bearer open-sesame", 200)] {
        let mut client = Wire::connect(touchmark.admin).await;
        client.send(get("/metrics", &[("authorization", token)])).await;
        assert_eq!(client.answer().await.head.status(), status, "{token}");
    }
}

#[tokio::test]
async fn an_open_address_needs_a_token() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.admin.listen = ([0, 0, 0, 0], 0).into());
    let error = App::start(setup.config.clone(), &std::sync::Arc::default()).unwrap_err();
    assert!(matches!(error, StartError::Admin(_)));
    assert!(error.to_string().contains("token"), "{error}");
}

#[tokio::test]
async fn it_answers_while_the_data_path_is_full() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| {
        config.proxy.inflight = 1;
        config.proxy.connections = 1;
    });
    let touchmark = setup.start();
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    assert_eq!(touchmark.admin("/livez").await.head.status(), 200);
    assert!(touchmark.admin("/metrics").await.text().contains("touchmark_inflight_predictions 1"));
    upstream.send(ok(OUTPUT)).await;
    client.answer().await;
    touchmark.prediction().await.ended("complete", 200);
}
