//! `touchmark demo` as a newcomer runs it: the real binary, and every command that it tells one to try.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const TOUCHMARK: &str = env!("CARGO_BIN_EXE_touchmark");

/// A demo that was told to go on, and its directory.
struct Kept {
    child: Child,
    dir: PathBuf,
    facts: Value,
}

impl Kept {
    fn start() -> Self {
        // A blank and a quote, since commands name files in it.
        let dir = std::env::temp_dir().join(format!("touchmark demo's {}", std::process::id()));
        let mut command = Command::new(TOUCHMARK);
        command.args(["demo", "--keep", "--json", "--data"]).arg(&dir);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, dir, facts: serde_json::from_str(&line).unwrap() }
    }

    fn text(&self, pointer: &str) -> &str {
        self.facts.pointer(pointer).and_then(Value::as_str).unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Ended already, unless the test failed.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a command prints; it must succeed.
fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_newcomer_gets_a_tour_and_nothing_stays_behind() {
    let temporary = std::env::temp_dir().join(format!("touchmark-newcomer-{}", std::process::id()));
    std::fs::create_dir_all(&temporary).unwrap();
    let output = Command::new(TOUCHMARK).arg("demo").env("TMPDIR", &temporary).output().unwrap();
    let (tour, complaints) = (text(&output), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    for shown in ["1. The stamp", "x-model-version: v1.", "2. The ledger", "the books balance", "demo --keep"] {
        assert!(tour.contains(shown), "{shown}: {tour}");
    }
    assert!(!tour.contains('\u{1b}'), "colour without a terminal: {tour}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    std::fs::remove_dir(&temporary).unwrap();
}

#[test]
fn every_command_that_it_names_works_and_ctrl_c_ends_it() {
    let mut kept = Kept::start();
    let commands: Vec<String> = serde_json::from_value(kept.facts["commands"].clone()).unwrap();
    let printed: Vec<(&str, String)> = commands.iter().map(|command| (command.as_str(), shell(command))).collect();
    let of = |part: &str| -> Vec<&str> {
        printed.iter().filter(|(command, _)| command.contains(part)).map(|(_, text)| text.as_str()).collect()
    };

    let (mut versions, mut ids) = (Vec::new(), Vec::new());
    for answer in of("/infer") {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        versions.push(field("x-model-version: "));
        ids.push(field("x-lineage-trace-id: "));
    }
    assert_eq!((versions.len(), of("sha256sum").len()), (2, 1), "{commands:#?}");
    let sum = of("sha256sum")[0];
    assert!(sum.starts_with(kept.text("/input/sha256")), "{sum}");

    // Those two came after the demo's own two.
    let found = of("audit find")[0];
    assert_eq!(found.lines().count(), 1 + 4, "{found}");
    for id in ids.iter().map(String::as_str).chain(["/found/0/entry/id", "/found/1/entry/id"].map(|id| kept.text(id))) {
        assert!(found.contains(id), "{id}: {found}");
    }
    assert!(of("audit show")[0].contains(kept.text("/found/0/entry/datasets/0")), "{printed:#?}");
    assert!(of("/metrics")[0].contains("outcome=\"complete\""), "{printed:#?}");

    stop(&mut kept);
    let events = audit(&["tail", "-n", "1"], &kept.dir);
    assert!(events.contains("\"event\":\"stop\""), "{events}");
}

/// Ctrl-C; ended in order.
fn stop(kept: &mut Kept) {
    kill_process(Pid::from_child(&kept.child), Signal::INT).unwrap();
    assert_eq!(kept.child.wait().unwrap().code(), Some(0));
}

fn audit(arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(TOUCHMARK).arg("audit").args(arguments).args(["--json", "--data"]).arg(dir).output();
    text(&output.unwrap())
}
