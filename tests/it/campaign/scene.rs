//! A `touchmark serve` with segments that are soon full.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::load::{CALLS, Seen, load};
use crate::support::eventually;
use crate::support::message::get;
use crate::support::model_server::ModelServer;
use crate::support::touchmark::Folder;
use crate::support::wire::Wire;

/// Where a Touchmark runs, and how.
pub(super) struct Scene {
    pub folder: Folder,
    /// The data directory: in the folder, or on a disk of its own.
    pub data: PathBuf,
    pub durability: &'static str,
    pub on_failure: &'static str,
    pub model: SocketAddr,
}

impl Scene {
    pub(super) fn new(model: &ModelServer, durability: &'static str) -> Self {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("anchor")).unwrap();
        let data = folder.path().join("data");
        Self { data, folder, durability, on_failure: "reject", model: model.address() }
    }

    /// The same with its files copied, as they are at this instant.
    pub(super) fn copy(&self) -> Self {
        let folder = Folder::new();
        copy(self.folder.path(), folder.path());
        let data = folder.path().join("data");
        Self { folder, data, ..*self }
    }

    /// A place for what strace says.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// The checkpoint that the anchor keeps.
    pub(super) fn anchored(&self) -> Option<PathBuf> {
        let logs = std::fs::read_dir(self.folder.path().join("anchor/campaign")).ok()?;
        let mut kept = logs.map(|log| log.unwrap().path().join("checkpoint")).filter(|note| note.is_file());
        let note = kept.next();
        assert!(kept.next().is_none(), "more than one log was anchored");
        note
    }

    /// Starts it, under `wrapper` where there is one; how it ended where it does not come to serve.
    pub(super) async fn start(&self, wrapper: &[String]) -> Result<Serving, ExitStatus> {
        let announced = self.data.join("serve.json");
        // A process that was killed left its own.
        let _ = std::fs::remove_file(&announced);
        let long = |letter: &str, length| letter.repeat(length);
        let model = format!("fraud@{}", long("v", 120));
        let binary = env!("CARGO_BIN_EXE_touchmark").to_owned();
        let mut words = wrapper.iter().cloned().chain([binary, "serve".to_owned()]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(["--upstream", &format!("http://{}", self.model), "--model", &model])
            // Long names, so that few calls fill a segment.
            .args(["--dataset", &format!("{}@v2", long("d", 240)), "--dataset", &format!("{}@v2", long("e", 240))])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--deployment", "campaign", "--data"])
            .arg(&self.data)
            .env("TOUCHMARK_LEDGER__DURABILITY", self.durability)
            .env("TOUCHMARK_LEDGER__ON_FAILURE", self.on_failure)
            .env("TOUCHMARK_LEDGER__SEGMENT_SIZE", "1MiB")
            .env("TOUCHMARK_LEDGER__SYNC_INTERVAL", "50ms")
            .env("TOUCHMARK_LEDGER__ANCHOR", self.folder.path().join("anchor"))
            .env("TOUCHMARK_DEPLOYMENT__INSTANCE", long("i", 128))
            .env("TOUCHMARK_PROXY__WORKERS", "1")
            .stderr(std::fs::File::create(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut running = Running(child);
        let began = eventually("serve.json, or the process's end", || {
            let said = std::fs::read(&announced).ok().and_then(|said| Said::parse(&said));
            said.map(Ok).or_else(|| running.0.try_wait().unwrap().map(Err))
        })
        .await;
        began.map(|said| Serving { running, said })
    }

    /// What it said to standard error in its last run.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What `serve.json` says.
#[derive(Clone, Copy)]
struct Said {
    pid: u32,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Said {
    fn parse(json: &[u8]) -> Option<Self> {
        let says: Value = serde_json::from_slice(json).ok()?;
        let at = |name: &str| says[name].as_str()?.strip_prefix("http://")?.parse().ok();
        Some(Self { pid: says["pid"].as_u64()?.try_into().ok()?, listen: at("listen")?, admin: at("admin")? })
    }
}

/// A process that serves. Where it is traced from its start, the child is `strace`, which ends as the process does.
pub(super) struct Serving {
    running: Running,
    said: Said,
}

impl Serving {
    pub(super) fn pid(&self) -> u32 {
        self.said.pid
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.said.pid.cast_signed()).unwrap();
        // It may have been killed meanwhile.
        let _ = kill_process(pid, signal);
    }

    async fn end(&mut self) -> ExitStatus {
        let child = &mut self.running.0;
        eventually("the process's end", || child.try_wait().unwrap()).await
    }

    /// Ends it in order, unless it has been killed already. How it ended.
    pub(super) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end().await
    }

    /// Ends it without a word.
    pub(super) async fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.end().await.signal(), Some(9));
    }

    /// Waits until the accounting identity holds with nothing in flight. What was not recorded.
    pub(super) async fn books_balance(&self) -> u64 {
        let mut seen = String::new();
        for _ in 0..500 {
            let mut wire = Wire::connect(self.said.admin).await;
            wire.send(get("/metrics", &[("connection", "close")])).await;
            wire.answer().await.text().clone_into(&mut seen);
            let sum = |start: &str| -> u64 {
                let lines = seen.lines().filter(|line| line.starts_with(&format!("touchmark_{start}")));
                lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
            };
            let unrecorded = sum("ledger_unrecorded_total{");
            let recorded = sum(r#"ledger_entries_total{kind="prediction"}"#);
            if sum("inflight_predictions") == 0 && sum("predictions_total{") == recorded + unrecorded {
                return unrecorded;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the books do not balance: {seen}");
    }

    /// So many calls of each client, or until the process is gone.
    pub(super) async fn load(&self, calls: usize) -> Seen {
        load(self.said.listen, calls).await
    }

    /// More than a segment holds.
    pub(super) async fn full_load(&self) -> Seen {
        self.load(CALLS).await
    }
}

/// A process that a test which fails takes with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        // `strace` would let go of what it traces.
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let traced = std::fs::read_to_string(children).unwrap_or_default();
        for traced in traced.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
            let _ = kill_process(traced, Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
