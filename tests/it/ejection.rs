//! Backends that are left out for what their calls tell of them.

use crate::support::backends::{told, version};
use crate::support::grpc::{MODEL_INFER, framed};
use crate::support::http2::{grpc, grpc_answer, grpc_status};
use crate::support::message::{head, infer, message, ok};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, backend};

/// A server that fails by status, and one that works.
async fn failing(answer: Vec<u8>) -> (ModelServer, ModelServer, Setup) {
    let (a, b) = (ModelServer::answering(answer).await, ModelServer::answering(ok("\"b\"")).await);
    let setup = Setup::new(&a).with(|config| {
        config.backends = vec![backend("a", a.address(), &version("v1")), backend("b", b.address(), &version("v2"))];
        for backend in &mut config.backends {
            (backend.health.minimum_calls, backend.health.window) = (5, touchmark::units::Period::secs(3600));
            backend.health.eject = touchmark::units::Period::secs(60);
        }
    });
    (a, b, setup)
}

#[tokio::test]
async fn a_backend_whose_answers_say_that_it_fails_is_ejected() {
    let (a, _b, setup) = failing(message("HTTP/1.1 503 Service Unavailable", &[], "overloaded")).await;
    let touchmark = setup.start();
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(touchmark.call(infer()).await.head.status() == 503);
    }
    assert_eq!(failed, 5, "minimum_calls");
    let told = told(&touchmark, "a").await;
    assert_eq!(told["reason"], "too large a share of its calls failed");
    assert_eq!(told["ejection"]["repeat"], 1);
    assert!(told["ejection"]["seconds_left"].as_f64().unwrap() > 1.0, "{told}");
    assert_eq!(a.received().requests.len(), 5);
    touchmark.predictions(100).await;
}

#[tokio::test]
async fn what_may_be_the_inputs_doing_is_not_held_against_a_backend() {
    for answer in ["HTTP/1.1 500 Internal Server Error", "HTTP/1.1 400 Bad Request", "HTTP/1.1 429 Too Many Requests"] {
        let (a, _b, setup) = failing(message(answer, &[], "{}")).await;
        let touchmark = setup.start();
        for _ in 0..64 {
            touchmark.call(infer()).await;
        }
        assert_eq!(told(&touchmark, "a").await["takes_calls"], true, "{answer}");
        assert!(a.received().requests.len() > 5);
        touchmark.predictions(64).await;
    }
}

#[tokio::test]
async fn not_all_are_ejected_for_their_answers() {
    let (a, b, setup) = failing(message("HTTP/1.1 503 Service Unavailable", &[], "")).await;
    let setup = setup.with(|config| config.backends[1].url = format!("http://{}", a.address()));
    let touchmark = setup.start();
    for _ in 0..64 {
        assert_eq!(touchmark.call(infer()).await.head.status(), 503);
    }
    let out = [told(&touchmark, "a").await, told(&touchmark, "b").await];
    assert_eq!(out.iter().filter(|told| told["takes_calls"] == false).count(), 1, "{out:?}");
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200, "an overload is no reason to send nothing");
    touchmark.predictions(64).await;
    drop(b);
}

#[tokio::test]
async fn answers_that_break_off_count_as_failed() {
    let cut = head("HTTP/1.1 200 OK", &[("content-length", "10"), ("connection", "close")]);
    let (a, b) = (ModelServer::listen().await, ModelServer::answering(ok("\"b\"")).await);
    let (_, _, setup) = failing(Vec::new()).await;
    let setup = setup.with(|config| {
        config.backends[0].url = format!("http://{}", a.address());
        config.backends[1].url = format!("http://{}", b.address());
    });
    let touchmark = setup.start();
    let serving = tokio::spawn(async move {
        loop {
            let mut wire = a.accept().await;
            wire.request().await;
            wire.send(&cut).await;
        }
    });
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(touchmark.call(infer()).await.head.status() == 502);
    }
    assert_eq!(failed, 5);
    assert_eq!(told(&touchmark, "a").await["takes_calls"], false);
    touchmark.predictions(100).await;
    serving.abort();
}

#[tokio::test]
async fn grpc_that_is_unavailable_counts_as_failed() {
    for trailers_only in [true, false] {
        let (a, b) = (ModelServer::listen().await, ModelServer::listen().await);
        let (_, _, setup) = failing(Vec::new()).await;
        let setup = setup.with(|config| {
            config.backends[0].url = format!("http://{}", a.address());
            config.backends[1].url = format!("http://{}", b.address());
        });
        let serve = |model: ModelServer, status: u16| {
            tokio::spawn(async move {
                let mut server = model.accept_http2().await;
                while let Some(mut call) = server.next_call().await {
                    call.input().await;
                    if trailers_only && status != 0 {
                        let head = grpc_answer(&[("grpc-status", &status.to_string())]);
                        call.answer.send_response(head, true).unwrap();
                    } else {
                        call.answer_grpc(&framed(b"x"), grpc_status(status, &[]));
                    }
                }
            })
        };
        let serving = [serve(a, 14), serve(b, 0)];
        let touchmark = setup.start();
        let mut client = touchmark.http2().await;
        let mut failed = 0;
        for _ in 0..64 {
            let answer = client.call(grpc(MODEL_INFER, &[]), framed(b"x")).await;
            failed += usize::from([answer.all("grpc-status"), answer.trailer("grpc-status")].concat() == ["14"]);
        }
        assert_eq!(failed, 5, "trailers only: {trailers_only}");
        assert_eq!(told(&touchmark, "a").await["takes_calls"], false);
        touchmark.predictions(64).await;
        serving.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn a_deadline_of_the_callers_own_is_not_held_against_a_backend() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends[0].health.failures = 1);
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let (calling, mut server) =
        tokio::join!(client.call(grpc(MODEL_INFER, &[("grpc-timeout", "20m")]), framed(b"x")), model.accept_http2());
    let _unanswered = server.call().await;
    assert_eq!(calling.all("grpc-status"), ["4"]);
    assert_eq!(told(&touchmark, "champion").await["takes_calls"], true);
    touchmark.prediction().await.ended("timeout", 200);
}
