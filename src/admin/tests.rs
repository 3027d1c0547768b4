//! The admin listener over real sockets, spoken to in bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::access::Right;
use super::routes::ROUTES;
use super::*;
use crate::ledger::{self, Ledger};
use crate::lineage::catalog::Opening;
use crate::telemetry::Metrics;
use crate::units::Size;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two backends.
#[derive(Debug)]
struct Shares(Mutex<BTreeMap<String, u32>>);

impl Default for Shares {
    fn default() -> Self {
        Self(Mutex::new([("a".to_owned(), 1), ("b".to_owned(), 0)].into()))
    }
}

impl Traffic for Shares {
    fn weights(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap().clone()
    }

    fn shift(&self, weights: &BTreeMap<String, u32>) -> Result<(), String> {
        if weights.contains_key("c") {
            return Err("no backend is called 'c'".to_owned());
        }
        self.0.lock().unwrap().extend(weights.clone());
        Ok(())
    }
}

/// One backend that is out.
#[derive(Debug)]
struct OneOut;

impl Backends for OneOut {
    fn backends(&self) -> Vec<BackendState> {
        let reason = "its health check fails: no connection".to_owned();
        let check = CheckState {
            protocol: Some("oip-rest"),
            healthy: Some(false),
            since: Some("2026-11-20T17:29:01.123Z".to_owned()),
            last: Some("2026-11-20T17:29:06.123Z".to_owned()),
            failure: Some("no connection".to_owned()),
        };
        let model = ModelState {
            model: "fraud".to_owned(),
            version: "v1".to_owned(),
            served_name: "fraud".to_owned(),
            served_version: None,
            ready: Some(true),
        };
        let ejection = EjectionState { cause: "calls", since: None, seconds_left: 1.5, repeat: 2 };
        let served = ServedState {
            time: None,
            models: [("fraud".to_owned(), vec!["1".to_owned()])].into(),
            not_served: Vec::new(),
            not_declared: vec!["fraud@1".to_owned()],
        };
        vec![BackendState {
            name: "a".to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            grpc_url: "http://127.0.0.1:1".to_owned(),
            weight: 1,
            takes_calls: false,
            reason: Some(reason),
            check: Some(check),
            ejection: Some(ejection),
            models: vec![model],
            served: Some(served),
        }]
    }
}

/// A ledger's folder that goes away with the test.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Running {
    handle: Handle,
    ledger: Ledger,
    folder: Folder,
    metrics: Metrics,
    readiness: Readiness,
    #[expect(dead_code, reason = "kept for as long as the listener")]
    control: tokio::runtime::Runtime,
}

fn start(json: &str) -> Running {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..serde_json::from_str(json).unwrap() };
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = Folder(std::env::temp_dir().join(format!("touchmark-admin-{:016x}", rand::random::<u64>())));
    let ledger_config =
        ledger::Config { dir: folder.0.clone(), segment_size: Size(1 << 20), ..ledger::Config::default() };
    let origin = ledger::Origin { deployment: "fraud-prod".to_owned(), instance: "it".to_owned() };
    let ledger = Ledger::open(&ledger_config, &origin, &Arc::new(Metrics::new())).unwrap();
    let parts = Parts {
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        status: Status::new("fraud-prod", "fraud-prod-7c9d"),
        auth: Auth::load(&config).unwrap(),
        serving: Some(Serving {
            traffic: Arc::<Shares>::default(),
            backends: Arc::new(OneOut),
            tiles: Arc::new(ledger.tiles(&folder.0)),
            dir: folder.0.clone(),
        }),
        rate: config.rate,
        access_log: AccessLog::new(&folder.0),
        webhooks: crate::lineage::mlflow::webhook::Receiver::default(),
        openlineage: Arc::default(),
        catalog: Opening::default(),
        control: control.handle().clone(),
    };
    let handle = serve(bind(&config).unwrap(), parts, None).unwrap();
    Running { handle, ledger, folder, metrics, readiness, control }
}

/// Status, head and body of an answer.
struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(running: &Running, method: &str, path: &str, headers: &str) -> Answered {
    let mut stream = connect(running.handle.address());
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn get(running: &Running, path: &str) -> Answered {
    ask(running, "GET", path, "")
}

#[test]
fn health_follows_the_components() {
    let running = start("{}");
    assert_eq!(get(&running, "/livez").status, 200);
    let ready = get(&running, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"ready":true,"reasons":[]}"#));
    running.readiness.set("ledger", Err("the disk is full".into()));
    let ready = get(&running, "/readyz?verbose");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, r#"{"ready":false,"reasons":[{"component":"ledger","reason":"the disk is full"}]}"#);
    assert_eq!(get(&running, "/livez").status, 200, "a full disk is no reason to be restarted");
    running.handle.stop();
}

#[test]
fn metrics_are_prometheus_text() {
    let running = start("{}");
    running.metrics.ledger_tree_size.set(42);
    let metrics = get(&running, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", metrics.head);
    assert!(metrics.body.contains("\n# TYPE touchmark_ledger_tree_size gauge\ntouchmark_ledger_tree_size 42\n"));
    assert!(
        metrics.body.contains(concat!("touchmark_build_info{commit=\"unknown\",version=\"", env!("CARGO_PKG_VERSION")))
    );
    running.handle.stop();
}

#[test]
fn tiles_are_what_a_checkpoint_covers() {
    let running = start("{}");
    let began = std::time::Instant::now();
    while running.ledger.checkpoint().is_none() {
        assert!(began.elapsed() < PATIENCE, "no checkpoint");
        std::thread::yield_now();
    }
    let checkpoint = get(&running, "/checkpoint");
    assert_eq!(checkpoint.body, running.ledger.checkpoint().unwrap().to_string());
    assert!(checkpoint.head.contains("content-type: text/plain; charset=utf-8"), "{}", checkpoint.head);
    assert!(checkpoint.head.contains("cache-control: no-store"), "{}", checkpoint.head);
    let head = ask(&running, "HEAD", "/tile/0/000.p/1", "");
    assert!(head.status == 200 && head.head.contains("content-length: 32"), "{}", head.head);
    let entries = get(&running, "/tile/entries/000.p/1");
    assert!(entries.body.contains(r#""event":"start""#), "{}", entries.body);
    for line in ["content-type: application/octet-stream", "cache-control: max-age=31536000, immutable"] {
        assert!(entries.head.contains(line), "{}", entries.head);
    }
    for not_there in ["/tile/0/000", "/tile/0/000.p/2", "/tile/0/001.p/1", "/tile/1/000.p/1", "/tile/63/000.p/1"] {
        let answered = get(&running, not_there);
        assert_eq!(answered.status, 404, "{not_there}");
        assert!(answered.head.contains("cache-control: no-store"), "{}", answered.head);
    }
    for no_tile in
        ["/tile", "/tile/", "/tile/0/0", "/tile/0/000.p/0", "/tile/64/000", "/tile/entries/x000/001", "/Checkpoint"]
    {
        assert_eq!(get(&running, no_tile).status, 404, "{no_tile}");
    }
    assert_eq!(ask(&running, "POST", "/tile/0/000.p/1", "").status, 405);
    running.handle.stop();
}

/// What cannot be read is an error of ours, told, and no tile to be kept for a year.
#[test]
fn a_damaged_tile_is_no_answer() {
    let running = start("{}");
    let began = std::time::Instant::now();
    while running.ledger.checkpoint().is_none() {
        assert!(began.elapsed() < PATIENCE, "no checkpoint");
        std::thread::yield_now();
    }
    let folder = running.folder.0.join("ledger");
    std::fs::write(folder.join("tree-0.hash"), b"").unwrap();
    let segment = std::fs::OpenOptions::new().write(true).open(folder.join("seg-00000000000000000000.log")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&segment, b"damaged", 160).unwrap();
    for path in ["/tile/0/000.p/1", "/tile/entries/000.p/1"] {
        let answered = get(&running, path);
        assert_eq!(answered.status, 500, "{path}");
        assert!(answered.head.contains("cache-control: no-store"), "{}", answered.head);
        assert!(!answered.body.contains("touchmark-admin-"), "no path to whoever asks: {}", answered.body);
    }
    running.handle.stop();
}

#[test]
fn a_head_has_no_body_but_its_length() {
    let running = start("{}");
    let head = ask(&running, "HEAD", "/livez", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: 13"), "{}", head.head);
    running.handle.stop();
}

#[test]
fn errors_are_problem_details() {
    let running = start("{}");
    let unknown = get(&running, "/api/v2");
    assert_eq!((unknown.status, unknown.json()["status"].as_u64()), (404, Some(404)));
    assert!(unknown.head.contains("content-type: application/problem+json"), "{}", unknown.head);
    let posted = ask(&running, "POST", "/livez", "content-length: 3\r\n");
    assert_eq!((posted.status, posted.json()["title"].as_str()), (405, Some("Method Not Allowed")));
    assert!(posted.head.contains("allow: get, head"), "{}", posted.head);
    running.handle.stop();
}

#[test]
fn traffic_is_moved_with_put() {
    let running = start(r#"{"token":"s3cret"}"#);
    let token = "authorization: Bearer s3cret\r\n";
    let put = |fields: &str, body: &str| {
        let fields = format!("{fields}content-length: {}\r\n\r\n{body}", body.len());
        ask(&running, "PUT", "/api/v1/traffic", &fields)
    };
    let json = format!("{token}content-type: application/json\r\n");
    assert_eq!(put("content-type: application/json\r\n", "{}").status, 401);
    assert_eq!(put(token, "{}").status, 415);
    for wrong in ["", "{}", r#"{"weights":{"a":-1}}"#, r#"{"weights":{},"other":1}"#] {
        assert_eq!(put(&json, wrong).status, 400, "{wrong}");
    }
    assert_eq!(put(&json, r#"{"weights":{"c":1}}"#).json()["detail"], "no backend is called 'c'");
    assert_eq!(put(&json, &" ".repeat(20_000)).status, 413);
    let moved = put(&json, r#"{"weights":{"b":9}}"#);
    assert_eq!((moved.status, moved.body.as_str()), (200, r#"{"weights":{"a":1,"b":9}}"#));
    assert_eq!(ask(&running, "GET", "/api/v1/traffic", token).body, moved.body);
    let posted = ask(&running, "POST", "/api/v1/traffic", token);
    assert_eq!(posted.status, 405);
    assert!(posted.head.contains("allow: get, head, put"), "{}", posted.head);
    running.handle.stop();
}

#[test]
fn a_token_guards_everything_but_health() {
    let running = start(r#"{"token":"s3cret"}"#);
    // What is signed shows no token.
    for route in ROUTES.iter().filter(|route| route.right != Right::Signed) {
        let (path, open) = (route.path, route.right == Right::Open);
        let bare = ask(&running, route.method.as_str(), path, "");
        assert_eq!(bare.status, if open { 200 } else { 401 }, "{path}");
        assert_eq!(bare.head.contains("www-authenticate: bearer"), !open, "{path}");
        assert_eq!(open, path == "/livez" || path == "/readyz");
        let known = ask(&running, route.method.as_str(), path, "authorization: Bearer s3cret\r\n");
        assert!(![401, 403, 405].contains(&known.status), "{path}");
    }
    for path in ["/checkpoint", "/tile/0/000", "/tile/entries/000.p/1", "/unknown"] {
        assert_eq!(get(&running, path).status, 401, "what is here is not told: {path}");
    }
    running.handle.stop();
}

#[test]
fn the_description_is_of_what_exists() {
    let running = start("{}");
    let document = get(&running, "/api/v1/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let described = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, does)| (path.clone(), method.to_uppercase(), does.get("requestBody").is_some()))
    });
    let mut described: Vec<_> = described.collect();
    let there = |route: &super::routes::Route| (route.path.to_owned(), route.method.to_string(), route.body_max > 0);
    let mut routes: Vec<_> = ROUTES.iter().map(there).collect();
    described.sort_unstable();
    routes.sort_unstable();
    assert_eq!(described, routes);
    let status = get(&running, "/api/v1/status").json();
    let mut required: Vec<&str> = document["components"]["schemas"]["Status"]["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap())
        .collect();
    required.sort_unstable();
    assert_eq!(status.as_object().unwrap().keys().collect::<Vec<_>>(), required);
    assert_eq!((&status["deployment"], &status["ready"]), (&"fraud-prod".into(), &true.into()));
    assert!(status["started"].as_str().unwrap().ends_with('Z'), "{status}");
    let backend = &get(&running, "/api/v1/backends").json()["backends"][0];
    let schema = &document["components"]["schemas"]["Backend"];
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(backend), keys(&schema["properties"]));
    for inner in ["check", "ejection", "served"] {
        assert_eq!(keys(&backend[inner]), keys(&schema["properties"][inner]["properties"]), "{inner}");
    }
    assert_eq!(keys(&backend["models"][0]), keys(&schema["properties"]["models"]["items"]["properties"]));
    running.handle.stop();
}

#[test]
fn an_open_address_needs_a_token() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9091", "[::ffff:192.0.2.1]:9091"] {
        let config = Config { listen: listen.parse().unwrap(), ..Config::default() };
        let error = bind(&config).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, AdminError::Open { .. }) && said.contains("admin.token_file"), "{said}");
    }
    for listen in ["127.0.0.1:0", "127.8.8.8:0", "[::ffff:127.0.0.1]:0"] {
        bind(&Config { listen: listen.parse().unwrap(), ..Config::default() }).unwrap();
    }
    let config = Config { listen: "0.0.0.0:0".parse().unwrap(), ..serde_json::from_str(r#"{"token":"t"}"#).unwrap() };
    bind(&config).unwrap();
}

#[test]
fn a_taken_port_names_the_mend() {
    let first = bind(&Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() }).unwrap();
    let taken = Config { listen: first.local_addr().unwrap(), ..Config::default() };
    let error = bind(&taken).unwrap_err().to_string();
    assert!(
        error.contains("admin.listen: cannot listen on 127.0.0.1:") && error.contains("another address"),
        "{error}"
    );
}

#[test]
fn a_long_head_is_refused() {
    let running = start("{}");
    let long = ask(&running, "GET", "/livez", &format!("x: {}\r\n", "y".repeat(20_000)));
    assert_eq!(long.status, 431);
    running.handle.stop();
}

/// Idle callers fill every place; stopping ends them all, and the thread with them.
#[test]
fn stopping_does_not_wait_for_idle_callers() {
    let running = start("{}");
    let address = running.handle.address();
    let mut idle: Vec<TcpStream> = (0..80).map(|_| connect(address)).collect();
    // The last ones: they have shown out the first.
    for stream in &mut idle[72..] {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
    }
    running.handle.stop();
    for mut stream in idle {
        // The end, or a reset where the connection was still in the backlog; not a timeout.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!matches!(ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    }
}

#[test]
fn the_section_is_strict() {
    assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    assert!(serde_json::from_str::<Config>(r#"{"lisden":"x"}"#).is_err());
    assert_eq!(Config::default().listen.to_string(), "127.0.0.1:9091");
}
