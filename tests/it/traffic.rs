//! Traffic between versions: callers that keep theirs, and weights moved while calls run, each move on record.

use serde_json::{Value, json};
use touchmark::config::Source;

use crate::support::message::{INFER, INPUT, get, infer, message, ok, post_with};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark, backend, token};
use crate::support::wire::Wire;

/// Two versions of one model, each behind a server of its own.
async fn pair() -> (ModelServer, ModelServer, Setup) {
    let (a, b) = (ModelServer::answering(ok("\"a\"")).await, ModelServer::answering(ok("\"b\"")).await);
    let version = |version: &str| json!([{"name": "fraud", "version": version}]);
    let setup = Setup::new(&a).with(|config| {
        config.backends = vec![backend("a", a.address(), &version("v1")), backend("b", b.address(), &version("v2"))];
        config.admin.tokens = vec![token("hand", "operator")];
    });
    (a, b, setup)
}

/// The traffic as the admin listener shows it.
async fn shown(touchmark: &Touchmark) -> Value {
    let mut admin = Wire::connect(touchmark.admin).await;
    admin.send(get("/api/v1/traffic", &[("authorization", "Bearer hand")])).await;
    serde_json::from_str(admin.answer().await.text()).unwrap()
}

/// Sends a change of traffic to the admin listener.
async fn put(touchmark: &Touchmark, weights: Value) -> (u16, Value) {
    let mut admin = Wire::connect(touchmark.admin).await;
    let fields = [("host", "admin"), ("content-type", "application/json"), ("authorization", "Bearer hand")];
    let body = json!({"weights": weights}).to_string();
    admin.send(message("PUT /api/v1/traffic HTTP/1.1", &fields, body)).await;
    let answer = admin.answer().await;
    (answer.head.status(), serde_json::from_str(answer.text()).unwrap())
}

#[tokio::test]
async fn a_caller_keeps_its_backend() {
    let (a, b, setup) = pair().await;
    let touchmark = setup.with(|config| config.proxy.sticky.header = Some("x-user".to_owned())).start();
    let mut kept = Vec::new();
    for user in 0..16 {
        let user = format!("user-{user}");
        let request = post_with(INFER, &[("x-user", &user)], INPUT);
        let first = touchmark.call(&request).await.text().to_owned();
        for _ in 0..3 {
            assert_eq!(touchmark.call(&request).await.text(), first, "{user}");
        }
        kept.push(first);
    }
    assert!(kept.contains(&"\"a\"".to_owned()) && kept.contains(&"\"b\"".to_owned()), "{kept:?}");
    // Nobody's call goes by the dice.
    for _ in 0..64 {
        touchmark.call(infer()).await;
    }
    let own = |server: &ModelServer| server.received().requests.iter().filter(|one| one.head.lacks("x-user")).count();
    assert!(own(&a) > 0 && own(&b) > 0);
    touchmark.predictions(16 * 4 + 64).await;
}

#[tokio::test]
async fn a_cookie_does_as_well_and_outlives_a_restart() {
    let (_a, _b, setup) = pair().await;
    let setup = setup.with(|config| config.proxy.sticky.cookie = Some("session".to_owned()));
    let (config, folder) = (setup.config.clone(), std::sync::Arc::clone(&setup.folder));
    let calls = |touchmark: Touchmark| async move {
        let mut said = Vec::new();
        for session in 0..8 {
            let cookie = format!("a=1; session=s{session}");
            said.push(touchmark.call(post_with(INFER, &[("cookie", &cookie)], INPUT)).await.text().to_owned());
        }
        touchmark.forget();
        said
    };
    let before = calls(setup.start()).await;
    assert_eq!(calls(Setup::from(config, folder).start()).await, before);
}

#[tokio::test]
async fn weights_are_moved_at_run_time_and_each_move_is_on_record() {
    let (_a, _b, setup) = pair().await;
    let touchmark = setup.with(|config| config.backends[1].weight = 0).start();
    assert_eq!(shown(&touchmark).await, json!({"weights": {"a": 1, "b": 0}}));
    assert_eq!(touchmark.call(infer()).await.head.one("x-model-version"), "v1");
    assert_eq!(put(&touchmark, json!({"a": 0, "b": 5})).await, (200, json!({"weights": {"a": 0, "b": 5}})));
    for _ in 0..8 {
        assert_eq!(touchmark.call(infer()).await.head.one("x-model-version"), "v2");
    }
    for (wrong, says) in [(json!({"c": 1}), "there are a, b"), (json!({"b": 0}), "every weight would be 0")] {
        let (status, problem) = put(&touchmark, wrong).await;
        assert_eq!(status, 422);
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    assert_eq!(put(&touchmark, json!({"b": 5})).await.0, 200, "no move");
    touchmark.predictions(9).await;
    let events = touchmark.ledger.of_kind("lifecycle");
    let moves: Vec<_> = events.iter().filter(|event| event.text("/event") == Some("traffic")).collect();
    assert_eq!(moves.len(), 1);
    assert_eq!(moves[0].0["detail"], json!({"weights": {"a": 0, "b": 5}, "before": {"a": 1, "b": 0}}));
}

#[tokio::test]
async fn a_reload_moves_what_the_file_moves_and_keeps_what_a_hand_moved() {
    let (_a, _b, setup) = pair().await;
    let path = setup.config.ledger.dir.join("touchmark.yaml");
    let write = |config: &touchmark::config::Config| {
        std::fs::write(&path, serde_json::to_string(config).unwrap()).unwrap();
        Source::file(&path)
    };
    let source = write(&setup.config);
    let mut config = source.load().unwrap();
    let mut touchmark = Setup { config: config.clone(), ..setup }.start();
    put(&touchmark, json!({"a": 7})).await;
    config.proxy.retry_after = touchmark::units::Period::secs(2);
    touchmark.app().reload(&write(&config)).unwrap();
    assert_eq!(shown(&touchmark).await["weights"], json!({"a": 7, "b": 1}));
    config.backends[0].weight = 3;
    touchmark.app().reload(&write(&config)).unwrap();
    assert_eq!(shown(&touchmark).await["weights"], json!({"a": 3, "b": 1}));
    // Each alone leaves something to serve; together they would not, and the file wins.
    put(&touchmark, json!({"a": 0})).await;
    config.backends[1].weight = 0;
    touchmark.app().reload(&write(&config)).unwrap();
    assert_eq!(shown(&touchmark).await["weights"], json!({"a": 3, "b": 0}));
    let events = touchmark.ledger.of_kind("lifecycle");
    let events: Vec<_> = events.iter().filter_map(|event| event.text("/event")).collect();
    assert_eq!(events, ["start", "traffic", "config", "traffic", "traffic", "traffic"]);
}
