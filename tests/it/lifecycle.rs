//! Start, reload, stop: in process where it can be, as a process where signals are the matter.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use touchmark::app::{App, StartError};
use touchmark::config::{Config, Source};
use touchmark::telemetry::Metrics;
use touchmark::units::Period;

use crate::support::eventually;
use crate::support::ledger::{Entry, Ledger, sum};
use crate::support::message::{CHAT, INPUT, LAST_CHUNK, OUTPUT, chunk, infer, ok, post, streaming};
use crate::support::model_server::{ModelServer, ends};
use crate::support::touchmark::{Folder, Setup, Touchmark, backend, fraud};
use crate::support::wire::Wire;

/// Writes a configuration's file. JSON is YAML.
fn write(path: &Path, config: &Config) -> Source {
    std::fs::write(path, serde_json::to_string(config).unwrap()).unwrap();
    Source::file(path)
}

#[tokio::test]
async fn backends_are_swapped_under_load_and_no_call_is_lost() {
    let first = ModelServer::answering(ok("\"first\"")).await;
    let second = ModelServer::answering(ok("\"second\"")).await;
    let setup = Setup::new(&first);
    let path = setup.config.ledger.dir.join("touchmark.yaml");
    let source = write(&path, &setup.config);
    let mut config = source.load().unwrap();
    let mut touchmark = Setup { config: config.clone(), ..setup }.start();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, calls, address) = (Arc::clone(&stop), Arc::clone(&calls), touchmark.address);
            tokio::spawn(async move {
                let mut client = Wire::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    client.send(infer()).await;
                    let answer = client.answer().await;
                    assert_eq!(answer.head.status(), 200);
                    let expected = if answer.text() == "\"first\"" { "v1.2.3" } else { "v2.0.0" };
                    assert_eq!(answer.head.one("x-model-version"), expected, "the stamp and the answer are one's");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=6 {
        let before = calls.load(Ordering::Relaxed);
        eventually("traffic", || (calls.load(Ordering::Relaxed) > before + 20).then_some(())).await;
        let (server, version) = if round % 2 == 1 { (&second, "v2.0.0") } else { (&first, "v1.2.3") };
        let models = json!([{"name": "fraud", "version": version}]);
        config.backends = vec![backend("champion", server.address(), &models)];
        write(&path, &config);
        touchmark.app().reload(&source).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let calls = calls.load(Ordering::Relaxed);
    for entry in touchmark.predictions(calls).await {
        entry.ended("complete", 200);
    }
    assert_eq!(first.received().requests.len() + second.received().requests.len(), calls);
    assert_eq!(sum(&touchmark.metrics, "config_reloads_total", &[("result", "applied")]), 6);
    let events = touchmark.ledger.of_kind("lifecycle");
    let identities = events.iter().filter(|event| event.text("/event") == Some("identity")).count();
    assert_eq!(identities, 6, "what answers where is on record");
}

#[tokio::test]
async fn a_call_under_way_keeps_the_configuration_that_it_began_with() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let path = setup.config.ledger.dir.join("touchmark.yaml");
    let source = write(&path, &setup.config);
    let mut config = source.load().unwrap();
    let mut touchmark = Setup { config: config.clone(), ..setup }.start();
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    config.backends[0].models[0].version = "v9".to_owned();
    write(&path, &config);
    touchmark.app().reload(&source).unwrap();
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(client.answer().await.head.one("x-model-version"), "v1.2.3");
    client.send(infer()).await;
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(client.answer().await.head.one("x-model-version"), "v9", "the connections stay");
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model);
    let path = setup.config.ledger.dir.join("touchmark.yaml");
    let source = write(&path, &setup.config);
    let config = source.load().unwrap();
    let mut touchmark = Setup { config: config.clone(), ..setup }.start();
    let mut moved = config.clone();
    moved.proxy.listen = SocketAddr::from(([127, 0, 0, 1], 1));
    for text in ["{", "proxy: {inflite: 1}", "backends: [{name: a}]", &serde_json::to_string(&moved).unwrap()] {
        std::fs::write(&path, text).unwrap();
        let error = touchmark.app().reload(&source).unwrap_err().to_string();
        assert!(!error.is_empty(), "{text}");
        assert_eq!(touchmark.call(infer()).await.head.one("x-model-version"), "v1.2.3");
    }
    write(&path, &config);
    touchmark.app().reload(&source).unwrap();
    assert_eq!(sum(&touchmark.metrics, "config_reloads_total", &[("result", "refused")]), 4);
    assert_eq!(sum(&touchmark.metrics, "config_reloads_total", &[("result", "unchanged")]), 1);
    touchmark.predictions(4).await;
}

#[tokio::test]
async fn an_address_in_use_costs_nothing() {
    let model = ModelServer::listen().await;
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    for admin in [false, true] {
        let mut setup = Setup::new(&model);
        let address = taken.local_addr().unwrap();
        *(if admin { &mut setup.config.admin.listen } else { &mut setup.config.proxy.listen }) = address;
        let dir = setup.config.ledger.dir.clone();
        let error = App::start(setup.config.clone(), &Arc::new(Metrics::new())).unwrap_err();
        assert!(matches!(error, StartError::Listen { .. } | StartError::Admin(_)), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(std::fs::read_dir(dir).unwrap().next().is_none(), "no ledger was begun");
    }
}

#[tokio::test]
async fn what_is_under_way_ends_before_the_stop() {
    let model = ModelServer::listen().await;
    let mut touchmark = Setup::new(&model).with(|config| config.shutdown.grace = Period::secs(30)).start();
    let mut held = touchmark.connect().await;
    held.send(infer()).await;
    let mut first = model.accept().await;
    first.request().await;
    let mut streamed = touchmark.connect().await;
    streamed.send(post(CHAT, "{}")).await;
    let mut second = model.accept().await;
    second.request().await;
    second.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    streamed.until("data: 1\n\n").await;
    let mut resting = touchmark.connect().await;
    resting.send(infer()).await;
    let mut third = model.accept().await;
    third.request().await;
    third.send(ok(OUTPUT)).await;
    resting.answer().await;
    let address = touchmark.address;
    let finish = async {
        eventually("the listener closes", || StdListener::bind(address).ok()).await;
        resting.read_to_end().await;
        first.send(ok(OUTPUT)).await;
        assert_eq!(held.answer().await.text(), OUTPUT);
        second.send([chunk("data: 2\n\n").as_slice(), LAST_CHUNK].concat()).await;
        streamed.until("0\r\n\r\n").await;
    };
    let (whole, ()) = tokio::join!(touchmark.stop(), finish);
    assert!(whole, "nothing was cut");
    let entries = touchmark.ledger.entries();
    assert_eq!(entries.iter().filter(|entry| entry.text("/outcome") == Some("complete")).count(), 3);
    assert_eq!(entries.last().unwrap().text("/event"), Some("stop"), "the last word");
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_and_recorded() {
    let model = ModelServer::listen().await;
    let mut touchmark = Setup::new(&model).with(|config| config.shutdown.grace = Period::millis(50)).start();
    let mut held = touchmark.connect().await;
    held.send(infer()).await;
    let mut first = model.accept().await;
    first.request().await;
    let mut streamed = touchmark.connect().await;
    streamed.send(post(CHAT, "{}")).await;
    let mut second = model.accept().await;
    second.request().await;
    second.send([streaming(&[]), chunk("data: 1\n\n")].concat()).await;
    streamed.until("data: 1\n\n").await;
    assert!(!touchmark.stop().await, "something was cut");
    let (rest, _) = streamed.read_to_end().await;
    assert!(!rest.ends_with(LAST_CHUNK), "it does not end as if whole");
    ends(first).await;
    ends(second).await;
    let entries = touchmark.ledger.of_kind("prediction");
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!(entry.text("/outcome"), Some("timeout"), "{entry:?}");
    }
    assert_eq!(touchmark.ledger.entries().last().unwrap().text("/event"), Some("stop"));
}

#[tokio::test]
async fn readiness_fails_before_the_listener_closes() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model).with(|config| {
        config.shutdown.delay = Period::secs(1);
        config.shutdown.grace = Period::secs(30);
    });
    let mut touchmark = setup.start();
    assert_eq!(touchmark.admin("/readyz").await.head.status(), 200);
    let (address, admin) = (touchmark.address, touchmark.admin);
    let meanwhile = async {
        loop {
            let mut client = Wire::connect(admin).await;
            client.send(crate::support::message::get("/readyz", &[])).await;
            let answer = client.answer().await;
            if answer.head.status() == 503 {
                assert!(answer.text().contains("stopping"), "{}", answer.text());
                break;
            }
        }
        let mut client = Wire::connect(address).await;
        client.send(infer()).await;
        assert_eq!(client.answer().await.head.status(), 200, "it still serves");
    };
    let (whole, ()) = tokio::join!(touchmark.stop(), meanwhile);
    assert!(whole);
}

#[tokio::test]
async fn connections_that_wait_are_not_lost_by_several_workers() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.workers = Some(4)).start();
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let address = touchmark.address;
            tokio::spawn(async move {
                let mut client = Wire::connect(address).await;
                for _ in 0..5 {
                    client.send(infer()).await;
                    assert_eq!(client.answer().await.head.status(), 200);
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    touchmark.predictions(320).await;
}

/// `touchmark serve` as a process of its own.
#[derive(Debug)]
struct Process {
    child: Child,
    data: PathBuf,
}

impl Process {
    /// Starts it and waits until it says where it listens.
    async fn start(folder: &Folder, model: &ModelServer) -> (Self, SocketAddr) {
        let data = folder.path().join("data");
        let announced = data.join("serve.json");
        let _ = std::fs::remove_file(&announced);
        let child = Command::new(env!("CARGO_BIN_EXE_touchmark"))
            .args(["serve", "--upstream", &format!("http://{}", model.address())])
            .args(["--model", "fraud@v1.2.3", "--dataset", "transactions@v2.0"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let says: Value =
            eventually("serve.json", || serde_json::from_str(&std::fs::read_to_string(&announced).ok()?).ok()).await;
        let listen = says["listen"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        (Self { child, data }, listen)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What the kernel says of it under this name.
    fn kernel_says(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("the kernel does not tell {name}")).trim().to_owned()
    }

    async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap()).await
    }

    fn entries(&self) -> Vec<Entry> {
        Ledger::at(self.data.clone()).entries()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_process_stops_in_order_on_sigterm() {
    let model = ModelServer::listen().await;
    let folder = Folder::new();
    let (mut process, address) = Process::start(&folder, &model).await;
    let mut client = Wire::connect(address).await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    process.signal(Signal::TERM);
    eventually("the listener closes", || StdListener::bind(address).ok()).await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(client.answer().await.head.one("x-model-version"), "v1.2.3");
    assert_eq!(process.ended().await.code(), Some(0));
    let entries = process.entries();
    assert_eq!(entries.last().unwrap().text("/event"), Some("stop"));
    assert_eq!(entries.iter().filter(|entry| entry.kind() == "prediction").count(), 1);
    assert!(!process.data.join("serve.json").exists());
}

#[tokio::test]
async fn a_process_takes_no_huge_pages() {
    let model = ModelServer::listen().await;
    let folder = Folder::new();
    let (mut process, _) = Process::start(&folder, &model).await;
    assert_eq!(process.kernel_says("THP_enabled"), "0");
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let model = ModelServer::listen().await;
    let folder = Folder::new();
    let (mut process, address) = Process::start(&folder, &model).await;
    let mut client = Wire::connect(address).await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    process.signal(Signal::TERM);
    eventually("the listener closes", || StdListener::bind(address).ok()).await;
    process.signal(Signal::TERM);
    let status = process.ended().await;
    assert_ne!(status.code(), Some(0), "it was no orderly stop: {status:?}");
    drop((client, upstream));
}

#[tokio::test]
async fn a_killed_process_has_recorded_what_it_answered() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let folder = Folder::new();
    let mut answered = Vec::new();
    for round in 0..3 {
        let (mut process, address) = Process::start(&folder, &model).await;
        let mut client = Wire::connect(address).await;
        for _ in 0..20 {
            client.send(infer()).await;
            let answer = client.answer().await;
            answered.push(answer.head.one("x-lineage-trace-id").to_owned());
        }
        // One more is on its way.
        client.send(infer()).await;
        process.signal(Signal::KILL);
        assert_eq!(process.ended().await.code(), None);
        let (process, _) = Process::start(&folder, &model).await;
        let entries = process.entries();
        for id in &answered {
            let found = entries.iter().filter(|entry| entry.kind() == "prediction" && entry.id() == id).count();
            assert_eq!(found, 1, "{id} in round {round}");
        }
        let starts: Vec<_> = entries.iter().filter(|entry| entry.text("/event") == Some("start")).collect();
        assert_eq!(starts.last().unwrap().0.pointer("/detail/unclean"), Some(&json!(true)));
        drop(process);
    }
}

#[tokio::test]
async fn a_process_takes_a_changed_file_over() {
    let model = ModelServer::answering(ok(INPUT)).await;
    let folder = Folder::new();
    let path = folder.path().join("touchmark.yaml");
    let mut config = Config::default();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.proxy.listen, config.admin.listen) = (free, free);
    config.ledger.dir = folder.path().join("data");
    config.backends = vec![backend("champion", model.address(), &json!([fraud()]))];
    write(&path, &config);
    let child = Command::new(env!("CARGO_BIN_EXE_touchmark"))
        .args(["serve", "--config"])
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process { child, data: config.ledger.dir.clone() };
    let announced = config.ledger.dir.join("serve.json");
    let says: Value =
        eventually("serve.json", || serde_json::from_str(&std::fs::read_to_string(&announced).ok()?).ok()).await;
    let address = says["listen"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
    let mut client = Wire::connect(address).await;
    client.send(infer()).await;
    assert_eq!(client.answer().await.head.one("x-model-version"), "v1.2.3");
    config.backends[0].models[0].version = "v2".to_owned();
    // Swapped in one step, as a ConfigMap is.
    let draft = folder.path().join("draft.yaml");
    write(&draft, &config);
    std::fs::rename(&draft, &path).unwrap();
    let identity = || {
        let entries = process.entries();
        entries.iter().any(|entry| entry.text("/event") == Some("identity")).then_some(())
    };
    eventually("the change is on record", identity).await;
    client.send(infer()).await;
    assert_eq!(client.answer().await.head.one("x-model-version"), "v2");
    drop(process);
}

#[tokio::test]
async fn a_touchmark_behind_a_touchmark_keeps_the_outer_id_as_parent() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let inner = Touchmark::before(&model);
    let outer = Setup::new(&model)
        .with(|config| config.backends = vec![backend("inner", inner.address, &json!([fraud()]))])
        .start();
    let answer = outer.call(infer()).await;
    let (outside, inside) = (outer.prediction().await, inner.prediction().await);
    assert_eq!(answer.head.one("x-lineage-trace-id"), outside.id());
    assert_eq!(inside.text("/parent"), Some(outside.id()));
    assert_ne!(inside.id(), outside.id());
    assert_eq!(inside.text("/trace"), outside.text("/trace"), "one trace through both");
}
