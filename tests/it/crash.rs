//! The binary killed at many moments under load: what a client has seen is in the ledger, and a start says what it found.
//!
//! G1, G2 and G5 (`docs/guarantees.md`), from outside: real processes, real sockets, SIGKILL. Where the moment is a chosen
//! system call, or the power fails, is for `campaign`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::ledger::{Entry, Ledger, sha256};
use super::support::message::{CHAT, INFER, LAST_CHUNK, OUTPUT, chunk, get, head, ok, post, streaming};
use super::support::model_server::ModelServer;
use super::support::touchmark::Folder;
use super::support::wire::{Ended, Wire};
use super::support::{eventually, skipped_without, soon};

/// Clients that send at once.
const CLIENTS: usize = 8;

/// A `touchmark serve` of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts it before `model`, under `wrapper` where there is one, and waits until it serves.
    pub(crate) async fn start(folder: &Folder, model: SocketAddr, durability: &str, wrapper: &[&str]) -> Self {
        let announced = folder.path().join("serve.json");
        // A process that was killed left its own.
        let _ = std::fs::remove_file(&announced);
        let binary = env!("CARGO_BIN_EXE_touchmark");
        let mut words = wrapper.iter().copied().chain([binary, "serve"]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(["--upstream", &format!("http://{model}"), "--model", "fraud@v1.2.3"])
            .args(["--dataset", "transactions@v2.0", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--data")
            .arg(folder.path())
            .env("TOUCHMARK_LEDGER__DURABILITY", durability)
            .env("TOUCHMARK_LEDGER__SEGMENT_SIZE", "1MiB")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = eventually("serve.json", || serving_at(&announced)).await;
        Self { child, address }
    }

    /// Ends it without a word.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let ended = eventually("the process's end", || self.child.try_wait().unwrap()).await;
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of a test that failed. One that has ended is not signalled.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving_at(announced: &Path) -> Option<SocketAddr> {
    let says: serde_json::Value = serde_json::from_slice(&std::fs::read(announced).ok()?).ok()?;
    says["listen"].as_str()?.strip_prefix("http://")?.parse().ok()
}

/// What one client has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Whole held answers: the prediction's id and its input's hash.
    held: Vec<(String, String)>,
    /// Streamed answers whose head came.
    streamed: Vec<String>,
    /// Those of them whose end came.
    ended: Vec<String>,
}

/// Sends until the process is gone. Every third call streams.
async fn hammer(mut wire: Wire, client: usize, answers: Arc<AtomicUsize>) -> Seen {
    let mut seen = Seen::default();
    for number in 0.. {
        let streams = number % 3 == 2;
        let input = format!(r#"{{"client":{client},"number":{number}}}"#);
        wire.send(post(if streams { CHAT } else { INFER }, &input)).await;
        let Some(head) = wire.next_head().await else { break };
        assert_eq!(head.status(), 200);
        let id = head.one("x-lineage-trace-id").to_owned();
        if streams {
            seen.streamed.push(id.clone());
        }
        if !wire.rest_of(head).await.whole {
            break;
        }
        if streams {
            seen.ended.push(id);
        } else {
            seen.held.push((id, sha256(input.as_bytes())));
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

async fn model_server() -> ModelServer {
    ModelServer::serving(|request| {
        if request.head.target() == CHAT {
            [streaming(&[]), chunk("data: {}\n\n"), LAST_CHUNK.to_vec()].concat()
        } else {
            ok(OUTPUT)
        }
    })
    .await
}

/// Lets the clients get `count` answers, kills the process, and gives what they have seen.
async fn run_and_kill(folder: &Folder, model: SocketAddr, durability: &str, count: usize) -> Vec<Seen> {
    let process = Process::start(folder, model, durability, &[]).await;
    let answers = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        // Connected here: a process that is killed at once refuses connections.
        let wire = Wire::connect(process.address).await.without_patience();
        clients.push(tokio::spawn(hammer(wire, client, Arc::clone(&answers))));
    }
    eventually("answers", || (answers.load(Ordering::Relaxed) >= count).then_some(())).await;
    process.kill();
    let mut seen = Vec::new();
    for client in clients {
        seen.push(soon("a client's end", client).await.unwrap());
    }
    seen
}

fn by_id<'a>(entries: &'a [Entry], kind: &str) -> HashMap<&'a str, &'a Entry> {
    entries.iter().filter(|entry| entry.kind() == kind).map(|entry| (entry.id(), entry)).collect()
}

fn starts(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| entry.text("/event") == Some("start")).collect()
}

async fn killed_at_many_moments(durability: &str, keeps: bool) {
    let model = model_server().await;
    let folder = Folder::new();
    let mut all = Vec::new();
    for count in [0, 1, 2, 5, 17, 60, 150, 400] {
        all.extend(run_and_kill(&folder, model.address(), durability, count).await);
    }
    Process::start(&folder, model.address(), durability, &[]).await.stop().await;

    // `entries` asserts that indices are dense: nothing is lost, doubled or forked between the runs.
    let entries = Ledger::at(folder.path().to_owned()).entries();
    let (predictions, begins) = (by_id(&entries, "prediction"), by_id(&entries, "begin"));
    for id in begins.keys() {
        assert!(predictions.contains_key(id), "begun and not ended, not even as interrupted: {id}");
    }
    for seen in all.iter().filter(|_| keeps) {
        for (id, hash) in &seen.held {
            let entry = predictions.get(id.as_str()).unwrap_or_else(|| panic!("seen and not recorded: {id}"));
            assert_eq!(entry.ended("complete", 200).text("/input/hash"), Some(hash.as_str()));
        }
        for id in &seen.streamed {
            assert!(begins.contains_key(id.as_str()), "its head was seen, its begin is not recorded: {id}");
        }
        for id in &seen.ended {
            predictions[id.as_str()].ended("complete", 200);
        }
    }
    let starts = starts(&entries);
    assert_eq!(starts.len(), 9);
    let unclean: Vec<_> = starts.iter().map(|start| start.0["detail"]["unclean"] == true).collect();
    assert_eq!(unclean, [false, true, true, true, true, true, true, true, true], "each says what it found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_no_seen_answer_under_write() {
    killed_at_many_moments("write", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_no_seen_answer_under_sync() {
    killed_at_many_moments("sync", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_may_lose_answers_under_queue_but_never_its_order() {
    killed_at_many_moments("queue", false).await;
}

#[tokio::test]
async fn an_orderly_stop_keeps_everything_in_every_mode_and_says_so() {
    let model = model_server().await;
    for durability in ["queue", "write", "sync"] {
        let folder = Folder::new();
        let process = Process::start(&folder, model.address(), durability, &[]).await;
        let mut wire = Wire::connect(process.address).await;
        wire.send(post(INFER, "{}")).await;
        let id = wire.answer().await.head.one("x-lineage-trace-id").to_owned();
        process.stop().await;
        Process::start(&folder, model.address(), durability, &[]).await.stop().await;
        let entries = Ledger::at(folder.path().to_owned()).entries();
        by_id(&entries, "prediction")[id.as_str()].ended("complete", 200);
        assert!(starts(&entries).iter().all(|start| start.0["detail"]["unclean"] == false), "{durability}");
        assert_eq!(entries.iter().filter(|entry| entry.text("/event") == Some("stop")).count(), 2);
    }
}

#[tokio::test]
async fn a_killed_process_leaves_its_tunnels_interrupted() {
    let (model, folder) = (ModelServer::listen().await, Folder::new());
    let pattern = ["env", "TOUCHMARK_PROXY__PATTERNS__0__PATH=/stream/{model}"];
    let process = Process::start(&folder, model.address(), "write", &pattern).await;
    let (mut ids, mut open) = (Vec::new(), Vec::new());
    let upgrade = [("connection", "upgrade"), ("upgrade", "demo")];
    for _ in 0..3 {
        let mut client = Wire::connect(process.address).await;
        client.send(get("/stream/fraud", &upgrade)).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        upstream.send(head("HTTP/1.1 101 Switching Protocols", &upgrade)).await;
        ids.push(client.head().await.one("x-lineage-trace-id").to_owned());
        client.send("?").await;
        upstream.until("?").await;
        open.push((client, upstream));
    }
    // One has ended in order before.
    let (mut client, upstream) = open.remove(0);
    drop(upstream);
    assert_eq!(client.read_to_end().await.1, Ended::Fin);
    process.kill();
    Process::start(&folder, model.address(), "write", &[]).await.stop().await;
    let entries = Ledger::at(folder.path().to_owned()).entries();
    let (predictions, begins) = (by_id(&entries, "prediction"), by_id(&entries, "begin"));
    assert_eq!((predictions.len(), begins.len()), (3, 3));
    predictions[ids[0].as_str()].ended("complete", 101).took("?").gave("");
    for id in &ids[1..] {
        assert_eq!(predictions[id.as_str()].text("/outcome"), Some("interrupted"));
        assert_eq!(begins[id.as_str()].text("/route"), Some("/stream/{model}"));
    }
}

/// The order of system calls shows it: the entry is handed to the kernel before the answer that it records.
#[tokio::test]
async fn the_entry_is_written_before_the_answer_is_sent() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return skipped_without("strace");
    }
    let (model, folder) = (model_server().await, Folder::new());
    let trace = folder.path().join("trace");
    let calls = "trace=pwrite64,write,writev,sendto,sendmsg,fdatasync";
    let strace = ["strace", "-f", "-qq", "-s", "4096", "-e", calls, "-o", trace.to_str().unwrap()];
    for (durability, synced) in [("write", false), ("sync", true)] {
        let process = Process::start(&folder, model.address(), durability, &strace).await;
        let mut wire = Wire::connect(process.address).await;
        let mut ids = Vec::new();
        for path in [INFER, CHAT, INFER] {
            wire.send(post(path, "{}")).await;
            ids.push(wire.answer().await.head.one("x-lineage-trace-id").to_owned());
        }
        stop_traced(process).await;
        let trace = std::fs::read_to_string(&trace).unwrap();
        let lines: Vec<&str> = trace.lines().collect();
        for id in ids {
            let written = lines.iter().position(|line| line.contains("pwrite64(") && line.contains(&id));
            let sent = lines
                .iter()
                .position(|line| !line.contains("pwrite64(") && line.contains("HTTP/1.1 200") && line.contains(&id));
            let (written, sent) = (written.expect("the entry is written"), sent.expect("the answer is sent"));
            assert!(written < sent, "{durability}: {} before {}", lines[sent], lines[written]);
            let flushed = lines[written..sent].iter().any(|line| line.contains("fdatasync"));
            assert!(flushed || !synced, "{durability}: not synced between {} and {}", lines[written], lines[sent]);
        }
    }
}

/// `strace` passes on no signal: the traced process is the one to end, by the id that it announced.
async fn stop_traced(mut process: Process) {
    let Process { child, .. } = &mut process;
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let traced: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    let traced = rustix::process::Pid::from_raw(traced).unwrap();
    rustix::process::kill_process(traced, rustix::process::Signal::TERM).unwrap();
    let ended = eventually("the traced process's end", || child.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}
