//! Backends that are asked whether they can take calls, each in its own way, and what follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::support::backends::{answers, checked, from_file, told, until, version, write};
use crate::support::eventually;
use crate::support::grpc::{field, framed};
use crate::support::http2::{Http2Server, grpc_status};
use crate::support::message::{Message, head, infer, message, ok, post};
use crate::support::model_server::ModelServer;
use crate::support::tls::{Authority, Front, NAME};
use crate::support::touchmark::{Folder, Setup, backend, fraud};
use crate::support::wire::Wire;

/// A model server that is ready, or not, as the test says. Its inferences work all the same.
async fn switched(letter: &'static str) -> (ModelServer, Arc<AtomicBool>) {
    let ready = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&ready);
    let server = ModelServer::serving(move |request: &Message| {
        let is_health = request.head.start.starts_with("GET ");
        if is_health && !switch.load(Ordering::Relaxed) {
            return message("HTTP/1.1 503 Service Unavailable", &[], "");
        }
        ok(if is_health { r#"{"ready":true}"#.to_owned() } else { format!("\"{letter}\"") })
    })
    .await;
    (server, ready)
}

#[tokio::test]
async fn a_backend_that_is_not_ready_takes_no_calls_until_it_is() {
    let ((a, ready), (b, _)) = (switched("a").await, switched("b").await);
    let way = json!({"protocol": "oip-rest"});
    let setup = Setup::new(&a).with(|config| {
        config.backends =
            vec![checked("a", a.address(), &version("v1"), &way), checked("b", b.address(), &version("v2"), &way)];
    });
    let touchmark = setup.start();
    until(&touchmark, "a", |told| told["check"]["healthy"] == true && told["takes_calls"] == true).await;
    until(&touchmark, "b", |told| told["check"]["healthy"] == true).await;
    ready.store(false, Ordering::Relaxed);
    let out = until(&touchmark, "a", |told| told["takes_calls"] == false).await;
    assert_eq!(out["reason"], "its health check fails: it answers 503");
    assert_eq!(out["check"]["protocol"], "oip-rest");
    assert!(out["check"]["since"].as_str().unwrap().ends_with('Z'), "{out}");
    assert!(answers(&touchmark, 16).await.iter().all(|said| said == "\"b\""));
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200, "the other serves");
    ready.store(true, Ordering::Relaxed);
    until(&touchmark, "a", |told| told["takes_calls"] == true).await;
    assert!(answers(&touchmark, 64).await.contains(&"\"a\"".to_owned()), "it takes calls again");
    touchmark.predictions(16 + 64).await;
    let asked = a.received().requests;
    assert!(asked.iter().any(|request| request.head.target() == "/v2/models/fraud/ready"), "each model is asked for");
    assert!(asked[0].head.one("user-agent").starts_with("touchmark-health/"), "{:?}", asked[0]);
}

#[tokio::test]
async fn where_every_check_fails_readiness_says_why_and_calls_still_go() {
    let (a, ready) = switched("a").await;
    ready.store(false, Ordering::Relaxed);
    let setup = Setup::new(&a).with(|config| {
        config.backends = vec![checked("a", a.address(), &json!([fraud()]), &json!({"protocol": "ping"}))];
    });
    let touchmark = setup.start();
    until(&touchmark, "a", |told| told["takes_calls"] == false).await;
    let readyz = touchmark.admin("/readyz").await;
    assert_eq!(readyz.head.status(), 503);
    assert!(
        readyz.text().contains("every backend fails; a: its health check fails: it answers 503"),
        "{}",
        readyz.text()
    );
    assert_eq!(touchmark.call(infer()).await.text(), "\"a\"", "better than none");
    ready.store(true, Ordering::Relaxed);
    until(&touchmark, "a", |told| told["takes_calls"] == true).await;
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200);
    touchmark.prediction().await.ended("complete", 200);
}

#[tokio::test]
async fn a_model_that_is_not_ready_is_left_out_alone() {
    let server = |letter: &'static str, broken: Option<&'static str>| {
        ModelServer::serving(move |request: &Message| {
            let target = request.head.target();
            match broken {
                Some(model) if target == format!("/v2/models/{model}/ready") => {
                    message("HTTP/1.1 400 Bad Request", &[], r#"{"error":"loading"}"#)
                }
                _ => ok(format!("\"{letter}\"")),
            }
        })
    };
    let (a, b) = (server("a", Some("fraud")).await, server("b", None).await);
    let models = json!([{"name": "fraud", "version": "v1"}, {"name": "churn", "version": "v1"}]);
    let setup = Setup::new(&a).with(|config| {
        let way = json!({"protocol": "oip-rest"});
        config.backends = vec![checked("a", a.address(), &models, &way), checked("b", b.address(), &models, &way)];
    });
    let touchmark = setup.start();
    let told = until(&touchmark, "a", |told| told["models"][0]["ready"] == false).await;
    assert_eq!((&told["takes_calls"], &told["models"][1]["ready"]), (&json!(true), &json!(true)));
    assert!(answers(&touchmark, 16).await.iter().all(|said| said == "\"b\""));
    let mut churn = Vec::new();
    for _ in 0..64 {
        churn.push(touchmark.call(post("/v2/models/churn/infer", "{}")).await.text().to_owned());
    }
    assert!(churn.contains(&"\"a\"".to_owned()), "its other model goes on");
    touchmark.predictions(16 + 64).await;
}

#[tokio::test]
async fn each_kind_of_server_is_recognised() {
    let tfs = r#"{"model_version_status":[{"version":"1","state":"AVAILABLE"}]}"#;
    for (way, knows, body) in [
        ("oip-rest", "/v2/", "{}"),
        ("tfs-rest", "/v1/models/fraud", tfs),
        ("openai", "/v1/models", r#"{"object":"list","data":[{"id":"fraud"}]}"#),
        ("ping", "/ping", "healthy"),
        ("answers", "nothing", ""),
    ] {
        let model = ModelServer::serving(move |request: &Message| {
            let target = request.head.target();
            let known = if knows == "/v2/" { target.starts_with(knows) } else { target == knows };
            if known { ok(body) } else { message("HTTP/1.1 404 Not Found", &[], "no such thing") }
        })
        .await;
        let setup = Setup::new(&model)
            .with(|config| config.backends = vec![checked("a", model.address(), &json!([fraud()]), &json!({}))]);
        let touchmark = setup.start();
        let told = until(&touchmark, "a", |told| told["check"]["healthy"] == true).await;
        assert_eq!(told["check"]["protocol"], way);
        assert_eq!(told["takes_calls"], true, "{told}");
    }
}

#[tokio::test]
async fn a_path_and_a_status_of_ones_own() {
    let status = Arc::new(AtomicU16::new(204));
    let now = Arc::clone(&status);
    let model = ModelServer::serving(move |request: &Message| {
        assert_eq!(request.head.target(), "/healthz?full=1");
        head(&format!("HTTP/1.1 {} Whatever", now.load(Ordering::Relaxed)), &[("content-length", "0")])
    })
    .await;
    let check = json!({"protocol": "http", "path": "/healthz?full=1", "status": 204});
    let setup =
        Setup::new(&model).with(|config| config.backends = vec![checked("a", model.address(), &json!([]), &check)]);
    let touchmark = setup.start();
    until(&touchmark, "a", |told| told["check"]["healthy"] == true).await;
    status.store(200, Ordering::Relaxed);
    let told = until(&touchmark, "a", |told| told["check"]["healthy"] == false).await;
    assert_eq!(told["check"]["failure"], "it answers 200");
    model.received();
}

#[tokio::test]
async fn servers_that_stall_flood_lie_or_refuse_are_out() {
    let refused = ModelServer::listen().await.close().await;
    let stalling = ModelServer::listen().await;
    let endless = ModelServer::serving(|_: &Message| ok(" ".repeat(300 << 10))).await;
    let lying = ModelServer::serving(|_: &Message| head("HTTP/1.1 200 OK", &[("content-length", "10")])).await;
    let garbled = ModelServer::serving(|_: &Message| b"220 smtp.test ready\r\n".to_vec()).await;
    let heads = ModelServer::serving(|_: &Message| {
        let long = "x".repeat(1 << 10);
        let fields: Vec<_> = (0..64).map(|_| ("x-long", long.as_str())).collect();
        message("HTTP/1.1 200 OK", &fields, "")
    })
    .await;
    for (what, address, says) in [
        ("refused", refused, "no connection"),
        ("stalling", stalling.address(), "no answer within 300ms"),
        ("endless", endless.address(), "longer than 256 KiB"),
        ("lying", lying.address(), "no answer within 300ms"),
        ("garbled", garbled.address(), "no answer"),
        ("heads", heads.address(), "no answer"),
    ] {
        for protocol in ["oip-rest", "auto"] {
            let check = json!({"protocol": protocol, "timeout": "300ms"});
            let setup = Setup::new(&stalling)
                .with(|config| config.backends = vec![checked("a", address, &json!([fraud()]), &check)]);
            let touchmark = setup.start();
            let told = until(&touchmark, "a", |told| told["check"]["healthy"] == false).await;
            let failure = told["check"]["failure"].as_str().unwrap();
            // What cannot speak HTTP may still speak gRPC, and is asked; then that is what failed last.
            assert!(failure.contains(says) || protocol == "auto", "{what}: {failure}");
            assert!(failure.len() < 300, "{what}: {failure}");
        }
    }
}

#[tokio::test]
async fn never_two_checks_at_once() {
    let (model, other) = (ModelServer::listen().await, ModelServer::answering(ok("")).await);
    let check = json!({"protocol": "ping", "timeout": "1m"});
    let setup = Setup::new(&model).with(|config| {
        config.backends =
            vec![checked("a", model.address(), &json!([]), &check), checked("b", other.address(), &json!([]), &check)];
    });
    let mut touchmark = setup.start();
    let mut first = model.accept().await;
    first.request().await;
    // Meanwhile another is asked again and again, and nobody else knocks here: the next connection is the test's own.
    eventually("ten intervals", || (other.received().requests.len() > 10).then_some(())).await;
    let mut own = Wire::connect(model.address()).await;
    own.send("mine\r\n").await;
    model.accept().await.until("mine\r\n").await;
    first.send(ok("")).await;
    let mut second = model.accept().await;
    assert_eq!(second.request().await.head.target(), "/ping", "once it has ended, the next begins");
    // A check under way does not keep the process.
    touchmark.stop().await;
}

/// Serves gRPC's checks over HTTP/2 and counts them; `serving` says how it feels.
fn serve_grpc(model: ModelServer, serving: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let Ok(mut server) = Http2Server::try_over(model.accept_any().await).await else { continue };
            let serving = Arc::clone(&serving);
            tokio::spawn(async move {
                while let Some(mut call) = server.next_call().await {
                    let ready = serving.load(Ordering::Relaxed);
                    let path = call.head.uri.path().to_owned();
                    let input = call.input().await;
                    let metadata = [field(1, b"fraud"), field(2, b"1"), field(2, b"9")].concat();
                    match path.as_str() {
                        "/inference.GRPCInferenceService/ServerReady" => {
                            call.answer_grpc(&framed(if ready { &[8, 1] } else { &[] }), grpc_status(0, &[]));
                        }
                        "/inference.GRPCInferenceService/ModelReady" => {
                            assert_eq!(input, framed(&[field(1, b"fraud"), field(2, b"1")].concat()));
                            call.answer_grpc(&framed(&[8, 1]), grpc_status(0, &[]));
                        }
                        "/inference.GRPCInferenceService/ModelMetadata" => {
                            call.answer_grpc(&framed(&metadata), grpc_status(0, &[]));
                        }
                        "/grpc.health.v1.Health/Check" => {
                            assert_eq!(input, framed(&field(1, b"fraud")));
                            call.answer_grpc(&framed(&[8, if ready { 1 } else { 2 }]), grpc_status(0, &[]));
                        }
                        _ => call.answer_grpc(&[], grpc_status(12, &[])),
                    }
                }
            });
        }
    })
}

#[tokio::test]
async fn grpc_servers_are_asked_over_grpc() {
    let models = json!([{"name": "fraud", "version": "v1", "served_as": {"version": "1"}}]);
    for check in [json!({"protocol": "oip-grpc"}), json!({"protocol": "grpc", "service": "fraud"}), json!({})] {
        let model = ModelServer::listen().await;
        let (address, serving) = (model.address(), Arc::new(AtomicBool::new(true)));
        let setup = Setup::new(&model).with(|config| config.backends = vec![checked("a", address, &models, &check)]);
        let server = serve_grpc(model, Arc::clone(&serving));
        let touchmark = setup.start();
        let told = until(&touchmark, "a", |told| told["check"]["healthy"] == true).await;
        let way = check["protocol"].as_str().unwrap_or("oip-grpc");
        assert_eq!(told["check"]["protocol"], way);
        if way == "oip-grpc" {
            let told = until(&touchmark, "a", |told| told["served"].is_object()).await;
            assert_eq!(told["served"]["models"], json!({"fraud": ["1", "9"]}));
            assert_eq!(told["served"]["not_declared"], json!(["fraud@9"]));
        }
        serving.store(false, Ordering::Relaxed);
        let told = until(&touchmark, "a", |told| told["check"]["healthy"] == false).await;
        assert_eq!(told["check"]["failure"], "it says that it is not ready");
        server.abort();
    }
}

#[tokio::test]
async fn http2_is_spoken_where_calls_speak_it() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| {
        let mut one = checked("a", model.address(), &json!([]), &json!({"protocol": "ping"}));
        one.protocol = touchmark::proxy::UpstreamProtocol::Http2;
        config.backends = vec![one];
    });
    let touchmark = setup.start();
    let mut call = model.accept_http2().await.call().await;
    assert_eq!((call.head.method.as_str(), call.head.uri.path()), ("GET", "/ping"));
    call.answer.send_response(http::Response::new(()), true).unwrap();
    until(&touchmark, "a", |told| told["check"]["healthy"] == true).await;
}

#[tokio::test]
async fn tls_is_spoken_as_calls_speak_it() {
    let (model, ready) = switched("a").await;
    let authority = Authority::new();
    let front = Front::before(model.address(), &authority.issue(&[NAME]), None).await;
    let (right, wrong) = (authority.pem.clone(), Authority::new().pem);
    for (pem, healthy) in [(right, true), (wrong, false)] {
        let setup = Setup::new(&model).with(|config| {
            let ca = config.ledger.dir.join("ca.crt");
            std::fs::write(&ca, pem).unwrap();
            let mut one = checked("a", front.address, &json!([fraud()]), &json!({"protocol": "tcp"}));
            one.url = format!("https://{}", front.address);
            one.tls = Some(serde_json::from_value(json!({"ca": ca, "server_name": NAME})).unwrap());
            config.backends = vec![one];
        });
        let touchmark = setup.start();
        let told = until(&touchmark, "a", |told| told["check"]["healthy"].is_boolean()).await;
        assert_eq!(told["check"]["healthy"], healthy, "{told}");
    }
    drop(ready);
}

#[tokio::test]
async fn what_is_served_is_compared_with_what_is_declared() {
    let model = ModelServer::serving(|request: &Message| match request.head.target() {
        "/v2/models/fraud" => ok(r#"{"name":"fraud","versions":["1","3"],"platform":"x"}"#),
        "/v2/models/gone" => message("HTTP/1.1 404 Not Found", &[], "{}"),
        _ => ok("{}"),
    })
    .await;
    let models = json!([
        {"name": "fraud", "version": "v1", "served_as": {"version": "1"}},
        {"name": "fraud", "version": "v2", "served_as": {"version": "2"}},
        {"name": "gone", "version": "v1"},
    ]);
    let setup = Setup::new(&model).with(|config| {
        config.backends = vec![checked("a", model.address(), &models, &json!({"protocol": "oip-rest"}))];
    });
    let touchmark = setup.start();
    let told = until(&touchmark, "a", |told| told["served"].is_object()).await;
    assert_eq!(told["served"]["models"], json!({"fraud": ["1", "3"]}));
    assert_eq!(told["served"]["not_served"], json!(["fraud@2", "gone"]));
    assert_eq!(told["served"]["not_declared"], json!(["fraud@3"]));
    // It changes neither stamps nor what is counted.
    let answer = touchmark.call(post("/v2/models/fraud/versions/1/infer", "{}")).await;
    assert_eq!(answer.head.one("x-model-version"), "v1");
    assert_eq!(touchmark.prediction().await.text("/version_source"), Some("path"));
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_backends_that_stay() {
    let ((a, ready), gone) = (switched("a").await, ModelServer::listen().await.close().await);
    ready.store(false, Ordering::Relaxed);
    let setup = Setup::new(&a).with(|config| {
        let mut one = checked(
            "a",
            a.address(),
            &version("v1"),
            &json!({"protocol": "ping", "interval": "1h", "metadata_interval": "0s"}),
        );
        one.weight = 0;
        config.backends = vec![one, backend("gone", gone, &version("v1")), backend("b", a.address(), &version("v1"))];
        config.backends[2].weight = 0;
    });
    let (mut touchmark, mut config, path) = from_file(setup);
    until(&touchmark, "a", |told| told["check"]["healthy"] == false).await;
    for _ in 0..3 {
        assert_eq!(touchmark.call(infer()).await.head.status(), 502);
    }
    assert_eq!(told(&touchmark, "gone").await["reason"], "calls in a row had no answer");
    config.proxy.retry_after = touchmark::units::Period::secs(7);
    config.backends[2].weight = 1;
    touchmark.app().reload(&write(&path, &config)).unwrap();
    let kept = told(&touchmark, "gone").await;
    assert_eq!((&kept["takes_calls"], &kept["ejection"]["repeat"]), (&json!(false), &json!(1)));
    assert_eq!(told(&touchmark, "a").await["check"]["healthy"], false);
    assert!(answers(&touchmark, 8).await.iter().all(|said| said == "\"a\""), "nobody has to find out anew");
    // Another address is another server; and what nobody asks any more does not count any more.
    config.backends[1].url = format!("http://{}", a.address());
    config.backends[0].health_check = None;
    touchmark.app().reload(&write(&path, &config)).unwrap();
    assert_eq!(told(&touchmark, "gone").await["takes_calls"], true);
    let unasked = told(&touchmark, "a").await;
    assert_eq!((&unasked["check"], &unasked["reason"]), (&Value::Null, &json!("its weight is 0")));
    touchmark.predictions(3 + 8).await;
}

#[tokio::test]
async fn a_reload_begins_and_ends_checks() {
    let (a, b) = (ModelServer::answering(ok("{}")).await, ModelServer::answering(ok("{}")).await);
    let setup = Setup::new(&a).with(|config| config.backends = vec![backend("a", a.address(), &json!([fraud()]))]);
    let (mut touchmark, mut config, path) = from_file(setup);
    assert_eq!(told(&touchmark, "a").await["check"], Value::Null, "nobody is asked by default");
    config.backends = vec![checked("a", a.address(), &json!([fraud()]), &json!({"protocol": "ping"}))];
    touchmark.app().reload(&write(&path, &config)).unwrap();
    until(&touchmark, "a", |told| told["check"]["healthy"] == true).await;
    assert_eq!(a.received().requests.first().unwrap().head.target(), "/ping");
    config.backends[0].url = format!("http://{}", b.address());
    touchmark.app().reload(&write(&path, &config)).unwrap();
    eventually("the other server is asked", || (!b.received().requests.is_empty()).then_some(())).await;
    let before = a.everything().await.requests.len();
    let asked = b.received().requests.len();
    eventually("some more", || (b.received().requests.len() > asked + 2).then_some(())).await;
    assert_eq!(a.received().requests.len(), before, "nobody asks the old one any more");
}

/// A process whose log goes to a file.
struct Logging(std::process::Child);

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn each_change_is_one_line_in_the_log() {
    let (model, ready) = switched("a").await;
    let folder = Folder::new();
    let (file, log) = (folder.path().join("touchmark.yaml"), folder.path().join("log"));
    let check = json!({"protocol": "ping", "interval": "100ms", "unhealthy_threshold": 1, "metadata_interval": "0s"});
    let config = json!({
        "proxy": {"listen": "127.0.0.1:0"}, "admin": {"listen": "127.0.0.1:0"},
        "ledger": {"dir": folder.path().join("data")},
        "backends": [{"name": "champion", "url": format!("http://{}", model.address()), "health_check": check}],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_touchmark"))
        .args(["serve", "--config"])
        .arg(&file)
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn();
    let _process = Logging(command.unwrap());
    let lines = |text: &str| -> Vec<Value> {
        let log = std::fs::read_to_string(&log).unwrap();
        let found = log.lines().filter(|line| line.contains(text)).map(|line| serde_json::from_str(line).unwrap());
        found.collect()
    };
    let (passes, fails) = ("passes its health checks", "fails its health checks");
    eventually("the first check", || (lines(passes).len() == 1).then_some(())).await;
    ready.store(false, Ordering::Relaxed);
    let line = eventually("that it fails", || lines(fails).pop()).await;
    let text = line.to_string();
    assert!(text.contains("champion") && text.contains("it answers 503") && text.contains("WARN"), "{text}");
    let asked = model.received().requests.len();
    eventually("further checks", || (model.received().requests.len() > asked + 3).then_some(())).await;
    ready.store(true, Ordering::Relaxed);
    eventually("that it passes again", || (lines(passes).len() == 2).then_some(())).await;
    assert_eq!(lines(fails).len(), 1, "once a change");
}
