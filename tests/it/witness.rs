//! The witness over real sockets: the protocol, whoever races, floods or stalls, and a memory that outlives kills.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use touchmark::tlog::{Checkpoint, Note, Scheme, Signer, VerifierKey};

use super::support::ledger::sha256;
use super::support::log::Log;
use super::support::message::{Message, get, message, post};
use super::support::process::Running;
use super::support::touchmark::Folder;
use super::support::wire::Wire;
use super::support::witness::Here;
use super::support::{eventually, soon};

const ADD: &str = "/add-checkpoint";

/// A witness that knows these logs.
fn here(logs: &[&Log]) -> Here {
    Here::knowing(&logs.iter().map(|log| (log.vkey(), None)).collect::<Vec<_>>())
}

async fn call(address: SocketAddr, request: Vec<u8>) -> Message {
    let mut wire = Wire::connect(address).await;
    wire.send(request).await;
    wire.answer().await
}

async fn add(address: SocketAddr, body: &str) -> (u16, String) {
    let answer = call(address, post(ADD, body)).await;
    (answer.head.status(), answer.text().to_owned())
}

fn path(log: &Log) -> String {
    format!("/{}/checkpoint", sha256(log.origin().as_bytes()))
}

/// The size of the checkpoint that a witness shows.
async fn shown(address: SocketAddr, log: &Log) -> u64 {
    let answer = call(address, get(&path(log), &[])).await;
    assert_eq!(answer.head.status(), 200);
    Checkpoint::parse(&answer.text().parse::<Note>().unwrap().text).unwrap().size
}

#[tokio::test]
async fn the_whole_protocol_on_one_connection() {
    let log = Log::new("example.com/log");
    let witness = here(&[&log]);
    let mut wire = Wire::connect(witness.address()).await;
    wire.send(get(&path(&log), &[])).await;
    assert_eq!(wire.answer().await.head.status(), 404, "never cosigned");
    for (old, size) in [(0, 0), (0, 5), (5, 5), (5, 130), (130, 256)] {
        wire.send(post(ADD, log.body(0, old, size))).await;
        let answer = wire.answer().await;
        assert_eq!(answer.head.status(), 200, "{old} {size}: {}", answer.text());
        // As the specification has a client do it: the answer's lines after the checkpoint's.
        let note: Note = format!("{}{}", log.note(0, size), answer.text()).parse().unwrap();
        let signed = note.verified_by([witness.vkey()]).unwrap();
        assert!(signed[0].1.is_some_and(|time| time > 1_700_000_000));
        wire.send(get(&path(&log), &[])).await;
        let shown = wire.answer().await;
        assert_eq!(shown.head.one("content-type"), "text/plain; charset=utf-8");
        let shown: Note = shown.text().parse().unwrap();
        let log_key: VerifierKey = log.vkey().parse().unwrap();
        assert_eq!(shown.verified_by([&log_key, witness.vkey()]).unwrap().len(), 2);
        assert_eq!(shown.text, note.text);
    }
    assert_eq!(witness.vkey().scheme(), Scheme::CosignatureV1);
}

#[tokio::test]
async fn each_status_is_the_specified_one() {
    let (log, stranger) = (Log::new("example.com/log"), Log::new("example.com/other"));
    let impostor = Log::new("example.com/log");
    let witness = here(&[&log]);
    let address = witness.address();
    assert_eq!(add(address, &log.body(0, 0, 7)).await.0, 200);
    let wrong_root = log.body(0, 7, 9).replacen("\n\n", &format!("\n{}\n\n", "A".repeat(43) + "="), 1);
    for (body, status, says) in [
        (stranger.body(0, 0, 7), 404, "unknown log"),
        (impostor.body(0, 7, 9), 403, "not signed"),
        (log.body(0, 7, 9).replace("\u{2014} example.com/log ", "\u{2014} example.com/log AA"), 400, "signature"),
        (log.body(0, 9, 7), 400, "larger"),
        (log.body(0, 7, 9).replace("old 7", "old x"), 400, "old SIZE"),
        (String::new(), 400, "empty line"),
        (log.body(0, 0, 9), 409, "7\n"),
        (log.body(0, 8, 9), 409, "7\n"),
        (log.body(1, 7, 9), 422, "inconsistent"),
        (log.body(1, 7, 7), 422, "inconsistent"),
        (wrong_root, 422, "inconsistent"),
        (log.body(0, 7, 9), 200, "\u{2014} witness.example/w1 "),
        (log.body(0, 7, 9), 409, "9\n"),
    ] {
        let answer = call(address, post(ADD, &body)).await;
        assert_eq!(answer.head.status(), status, "{body}");
        assert!(answer.text().contains(says), "{status}: {:?}", answer.text());
        let kind = if status == 409 { "text/x.tlog.size" } else { "text/plain; charset=utf-8" };
        assert_eq!(answer.head.one("content-type"), kind);
        if status == 409 {
            assert_eq!(answer.text(), says);
        }
    }
    assert_eq!(shown(address, &log).await, 9);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let log = Log::new("example.com/log");
    let witness = here(&[&log]);
    let address = witness.address();
    assert_eq!(add(address, &log.body(0, 0, 7)).await.0, 200);
    let hash = sha256(log.origin().as_bytes());
    for (request, status) in [
        (get("/livez", &[]), 200),
        (get(ADD, &[]), 405),
        (post(&path(&log), ""), 405),
        (post("/livez", ""), 405),
        (get("/", &[]), 404),
        (get("/checkpoint", &[]), 404),
        (get(&format!("/{}/checkpoint", hash.to_uppercase()), &[]), 404),
        (get(&format!("/{}/checkpoint", "0".repeat(64)), &[]), 404),
        (get("/../witness/key.pem/checkpoint", &[]), 404),
        (get(&format!("/{hash}/checkpoint/"), &[]), 404),
    ] {
        let shown = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(call(address, request).await.head.status(), status, "{shown}");
    }
}

/// Sends all of them at once; gives the statuses, sorted.
async fn race(address: SocketAddr, bodies: Vec<String>) -> Vec<u16> {
    let mut racers = Vec::new();
    for body in bodies {
        racers.push((Wire::connect(address).await, post(ADD, &body)));
    }
    let racers = racers.into_iter().map(|(mut wire, request)| {
        tokio::spawn(async move {
            wire.send(request).await;
            wire.answer().await.head.status()
        })
    });
    let mut statuses = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        statuses.push(soon("an answer", racer).await.unwrap());
    }
    statuses.sort_unstable();
    statuses
}

#[tokio::test]
async fn of_those_that_race_all_but_one_conflict() {
    let log = Log::new("example.com/log");
    let witness = here(&[&log]);
    let address = witness.address();
    for old in (0..200).step_by(10) {
        // As in the specification's example: the larger must not be rolled back by the smaller.
        let bodies = [5, 10, 5, 10].map(|more| log.body(0, old, old + more)).to_vec();
        assert_eq!(race(address, bodies).await, [200, 409, 409, 409], "at {old}");
        let size = shown(address, &log).await;
        assert_eq!(add(address, &log.body(0, size, old + 10)).await.0, 200);
    }
}

#[tokio::test]
async fn of_two_histories_that_race_one_is_cosigned() {
    let logs: Vec<Log> = (0..10).map(|number| Log::new(&format!("example.com/{number}"))).collect();
    let witness = here(&logs.iter().collect::<Vec<_>>());
    for log in &logs {
        assert_eq!(race(witness.address(), vec![log.body(0, 0, 7), log.body(1, 0, 7)]).await, [200, 409]);
        let both = [0, 1].map(|history| log.body(history, 7, 9)).to_vec();
        assert_eq!(race(witness.address(), both).await[0], 200);
        assert_eq!(shown(witness.address(), log).await, 9);
    }
}

#[tokio::test]
async fn who_floods_or_stalls_costs_nobody_an_answer() {
    let log = Log::new("example.com/log");
    let witness = here(&[&log]);
    let address = witness.address();
    // Heads that never end, bodies that never come, answers that nobody reads.
    let mut stalled = Vec::new();
    for kind in 0..90 {
        let mut wire = Wire::connect(address).await;
        let whole = post(ADD, log.body(0, 0, 7));
        let part = match kind % 3 {
            0 => whole[..9].to_vec(),
            1 => whole[..whole.len() - 9].to_vec(),
            _ => get("/livez", &[]).repeat(50),
        };
        wire.send(part).await;
        stalled.push(wire);
    }
    assert_eq!(add(address, &log.body(0, 0, 7)).await.0, 200);
    // Too long, by its own word or when it comes, and far too long a head.
    let flood = "x".repeat(140 << 10);
    assert_eq!(add(address, &flood).await.0, 413);
    let mut wire = Wire::connect(address).await;
    wire.send(message("POST /add-checkpoint HTTP/1.1", &[("host", "w"), ("transfer-encoding", "chunked")], "")).await;
    wire.send(format!("{:x}\r\n{flood}\r\n", flood.len())).await;
    assert_eq!(wire.some_answer().await.head.status(), 413);
    let mut wire = Wire::connect(address).await;
    wire.send(get("/livez", &[("x", &"y".repeat(20 << 10))])).await;
    assert_eq!(wire.some_answer().await.head.status(), 431);
    assert_eq!(add(address, &log.body(0, 7, 9)).await.0, 200);
    drop(stalled);
    assert_eq!(shown(address, &log).await, 9);
}

#[tokio::test]
async fn a_stalled_body_is_told_and_a_stop_waits_for_nobody() {
    let log = Log::new("example.com/log");
    let witness = here(&[&log]);
    let mut wire = Wire::connect(witness.address()).await;
    let whole = post(ADD, log.body(0, 0, 7));
    wire.send(&whole[..whole.len() - 9]).await;
    assert_eq!(wire.some_answer().await.head.status(), 408);
    let mut idle = Wire::connect(witness.address()).await;
    idle.send(&whole[..9]).await;
    soon("the stop", tokio::task::spawn_blocking(move || witness.handle.stop())).await.unwrap();
    idle.read_to_end().await;
}

/// A `touchmark witness` of its own.
struct Process {
    child: Running,
    address: SocketAddr,
    vkey: VerifierKey,
}

impl Process {
    fn command(config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
        command.args(["witness", "--json", "--listen", "127.0.0.1:0", "--config"]).arg(config);
        command
    }

    fn start(config: &Path) -> Self {
        let mut child = Running::spawn(Self::command(config).stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let says: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("it said {line:?}"));
        let address = says["listen"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, address, vkey: says["vkeys"][0].as_str().unwrap().parse().unwrap() }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    async fn stop(self) {
        let ended = self.child.terminated().await;
        assert!(ended.success(), "{ended}");
    }
}

/// Writes a configuration; `logs` are verifier keys and origins.
fn configure(folder: &Folder, logs: &[(String, Option<&str>)]) -> PathBuf {
    let file = folder.path().join("witness.yaml");
    let mut text = format!("witness:\n  name: witness.example/w1\n  dir: {}\n  logs:\n", folder.path().display());
    for (vkey, origin) in logs {
        writeln!(text, "    - vkey: {vkey}").unwrap();
        if let Some(origin) = origin {
            writeln!(text, "      origin: {origin}").unwrap();
        }
    }
    let draft = folder.path().join("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(&draft, &file).unwrap();
    file
}

#[tokio::test]
async fn a_restart_keeps_key_and_memory() {
    let (folder, log) = (Folder::new(), Log::new("example.com/log"));
    let config = configure(&folder, &[(log.vkey(), None)]);
    let first = Process::start(&config);
    assert_eq!(add(first.address, &log.body(0, 0, 7)).await.0, 200);
    let vkey = first.vkey.clone();
    first.stop().await;
    let second = Process::start(&config);
    assert_eq!(second.vkey, vkey);
    assert_eq!(shown(second.address, &log).await, 7);
    assert_eq!(add(second.address, &log.body(0, 0, 9)).await, (409, "7\n".to_owned()));
    assert_eq!(add(second.address, &log.body(1, 7, 9)).await.0, 422, "the other history");
    assert_eq!(add(second.address, &log.body(0, 7, 9)).await.0, 200);
    second.stop().await;
}

#[tokio::test]
async fn a_kill_between_memory_and_answer_forgets_nothing() {
    let (folder, log) = (Folder::new(), Log::new("example.com/log"));
    let config = configure(&folder, &[(log.vkey(), None)]);
    let file = folder.path().join("witness").join(format!("{}.checkpoint", sha256(log.origin().as_bytes())));
    let remembered = || -> Option<u64> { std::fs::read_to_string(&file).ok()?.lines().nth(2)?.parse().ok() };
    let mut size = 0;
    for round in 1..=12 {
        let process = Process::start(&config);
        let (old, next) = (size, size + 7);
        // The answer is not read: the kill comes as soon as the file is there, or some lines later.
        let mut wire = Wire::connect(process.address).await;
        wire.send(post(ADD, log.body(0, old, next))).await;
        if round % 3 == 0 {
            process.kill();
        } else {
            eventually("the memory", || (remembered()? == next).then_some(())).await;
            process.kill();
        }
        let answered = wire.next_head().await.is_some();
        size = remembered().unwrap_or(0);
        assert!(size == next || (size == old && !answered && round % 3 == 0), "round {round}: {old} {size}");
        let process = Process::start(&config);
        if size > 0 {
            assert_eq!(shown(process.address, &log).await, size);
            assert_eq!(add(process.address, &log.body(1, size, size + 1)).await.0, 422);
        }
        if old != size {
            assert_eq!(add(process.address, &log.body(0, old, next + 1)).await, (409, format!("{size}\n")));
        }
        process.stop().await;
    }
    assert!(size > 0);
}

#[tokio::test]
async fn killed_under_load_it_never_goes_back() {
    let (folder, log) = (Folder::new(), Arc::new(Log::new("example.com/log")));
    let config = configure(&folder, &[(log.vkey(), None)]);
    let mut seen = 0;
    for round in 0..5_u64 {
        let process = Process::start(&config);
        let mut wire = Wire::connect(process.address).await.without_patience();
        let answers = Arc::new(AtomicU64::new(0));
        let load = tokio::spawn({
            let (log, answers) = (Arc::clone(&log), Arc::clone(&answers));
            async move {
                let mut cosigned = seen;
                for size in seen + 1..=299 {
                    wire.send(post(ADD, log.body(0, cosigned, size))).await;
                    let Some(head) = wire.next_head().await else { break };
                    if !wire.rest_of(head.clone()).await.whole {
                        break;
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(head.status(), 200);
                    cosigned = size;
                }
                cosigned
            }
        });
        eventually("answers", || (answers.load(Ordering::Relaxed) > 7 * round).then_some(())).await;
        process.kill();
        let cosigned = soon("the client's end", load).await.unwrap();
        let process = Process::start(&config);
        seen = shown(process.address, &log).await;
        assert!(seen == cosigned || seen == cosigned + 1, "{seen} after {cosigned}");
        process.stop().await;
    }
}

#[tokio::test]
async fn a_damaged_memory_ends_the_start() {
    let (folder, log) = (Folder::new(), Log::new("example.com/log"));
    let config = configure(&folder, &[(log.vkey(), None)]);
    let process = Process::start(&config);
    assert_eq!(add(process.address, &log.body(0, 0, 7)).await.0, 200);
    // A second one beside it would have a memory of its own.
    let second = Process::command(&config).output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another witness"));
    process.kill();
    let file = folder.path().join("witness").join(format!("{}.checkpoint", sha256(log.origin().as_bytes())));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\n7\n", "\n3\n")).unwrap();
    let refused = Process::command(&config).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(says.contains("is damaged") && says.contains(".checkpoint"), "{says}");
    std::fs::write(&file, text).unwrap();
    Process::start(&config).stop().await;
}

#[tokio::test]
async fn a_new_log_of_a_known_deployment_needs_no_restart_and_another_only_a_reload() {
    let folder = Folder::new();
    let key = Signer::generate_ed25519().unwrap();
    let logs = ["0001", "0002"].map(|id| Log::with_key(&format!("fraud-prod/{id}"), &key));
    let (stranger, late) = (Log::new("fraud-prod/0003"), Log::new("example.com/late"));
    let config = configure(&folder, &[(logs[0].vkey(), Some("fraud-prod/*"))]);
    let process = Process::start(&config);
    for log in &logs {
        assert_eq!(add(process.address, &log.body(0, 0, 7)).await.0, 200);
    }
    assert_eq!(add(process.address, &stranger.body(0, 0, 7)).await.0, 403);
    assert_eq!(add(process.address, &late.body(0, 0, 7)).await.0, 404);
    configure(&folder, &[(logs[0].vkey(), Some("fraud-prod/*")), (late.vkey(), None)]);
    until(process.address, &late, 200).await;
    // What is wrong is refused whole: the old ones stay.
    configure(&folder, &[("nonsense".to_owned(), None)]);
    process.signal(rustix::process::Signal::HUP);
    configure(&folder, &[(late.vkey(), None)]);
    until(process.address, &logs[0], 404).await;
    assert_eq!(shown(process.address, &logs[0]).await, 7, "what was cosigned is shown still");
    process.stop().await;
}

/// Submits until the answer is this one: the configuration is loaded again some time after it changed.
async fn until(address: SocketAddr, log: &Log, status: u16) {
    let began = std::time::Instant::now();
    while add(address, &log.body(0, 0, 7)).await.0 != status {
        assert!(began.elapsed() < super::support::PATIENCE, "never {status}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn its_key_is_shown_and_both_schemes_sign() {
    let (folder, log) = (Folder::new(), Log::new("example.com/log"));
    let config = configure(&folder, &[(log.vkey(), None)]);
    let text = std::fs::read_to_string(&config).unwrap();
    let more = format!("witness:\n  ml_dsa_key: {}/ml.pem\n", folder.path().display());
    std::fs::write(&config, text.replace("witness:\n", &more)).unwrap();
    let output = Process::command(&config).arg("--show-key").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let says: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let vkeys: Vec<VerifierKey> =
        says["vkeys"].as_array().unwrap().iter().map(|vkey| vkey.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!([vkeys[0].scheme(), vkeys[1].scheme()], [Scheme::CosignatureV1, Scheme::MlDsa44]);
    let process = Process::start(&config);
    assert_eq!(process.vkey, vkeys[0]);
    let (status, lines) = add(process.address, &log.body(0, 0, 7)).await;
    assert_eq!(status, 200);
    let note: Note = format!("{}{lines}", log.note(0, 7)).parse().unwrap();
    assert_eq!(note.verified_by(&vkeys).unwrap().len(), 2);
    process.stop().await;
}

#[tokio::test]
async fn what_is_wrong_in_its_configuration_is_named() {
    let folder = Folder::new();
    let config = folder.path().join("witness.yaml");
    std::fs::write(&config, "witness:\n  nam: w\n  logs: [{vkey: junk}]\n").unwrap();
    let output = Process::command(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    for what in ["did you mean 'name'", "witness.name: none", "witness.logs[0].vkey", "NAME+ID+BASE64"] {
        assert!(says.contains(what), "{what}: {says}");
    }
    assert!(!folder.path().join("witness").exists(), "nothing is begun");
}
