//! What a prediction costs through Touchmark, beside nginx, `HAProxy`, Envoy and no proxy at all, under the same load.
//!
//! `cargo bench --bench peers -- --help` says what can be asked. Peers are separate processes on one core with the
//! client and the backend (or, with `--cross`, on another): then wake-ups between cores do not hide what a proxy
//! does. They take turns in rounds, and medians of what one round's turns make of each other are what repeats on a
//! noisy machine. A proxy's cost is its threads' time on the core, from `/proc`, not what a client sees. Each run
//! also checks that every request was recorded. Everything stays on loopback and in a folder of its own.

mod args;
mod backend;
mod bare;
mod client;
mod connections;
mod costs;
mod grpc;
mod grpc_backend;
mod interrupt;
mod load;
mod memory;
mod message;
mod peer;
mod process;
mod report;
mod rounds;
mod setup;
mod soak;
mod stage;
mod targets;
mod tls;
mod wire;

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use args::Args;
use peer::Kind;
use report::Report;
use tls::Identity;
use wire::Wire;

/// Touchmark's own, so that the yardstick (`bare`) has no other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The cores that are used.
#[derive(Clone, Copy, Debug)]
struct Cores {
    /// The client's and the backend's.
    load: usize,
    /// The proxy's.
    proxy: usize,
}

/// What is measured, and where.
#[derive(Debug)]
struct Run<'a> {
    args: &'a Args,
    cores: Cores,
    dir: &'a Path,
    kinds: &'a [Kind],
    wire: Wire,
    identity: &'a Identity,
}

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(backend::COMMAND) => return backend::serve(),
        Some(grpc_backend::COMMAND) => return grpc_backend::serve(),
        Some(bare::COMMAND) => return bare::serve(std::env::args().skip(2)),
        _ => {}
    }
    let args = Args::parse();
    if !args.bench {
        return Ok(());
    }
    interrupt::watch()?;
    let cores = Cores::choose(args.cross)?;
    if args.realtime {
        realtime()?;
    }
    let dir = Folder::new()?;
    let kinds = present(&args.peer, args.wire())?;
    let identity = Identity::new(&dir.0)?;
    let run = Run { args: &args, cores, dir: &dir.0, kinds: &kinds, wire: args.wire(), identity: &identity };
    let mut report = Report::new(&args)?;
    match (args.soak, args.connections) {
        (Some(seconds), _) => report.soak = Some(soak::measure(&run, Duration::from_secs(seconds))?),
        (_, Some(idle)) => report.connections = connections::measure(&run, idle as usize)?,
        _ if args.memory => report.memory = memory::measure(&run)?,
        _ => rounds::measure(&run, &mut report)?,
    }
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report.json())?;
        fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    let text = if args.markdown { report.markdown() } else { report.text() };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let findings = report.soak.as_ref().map(soak::Soak::findings).unwrap_or_default();
    ensure!(findings.is_empty(), "the soak found: {}", findings.join("; "));
    Ok(())
}

/// The peers that can be measured here.
fn present(asked: &[Kind], wire: Wire) -> anyhow::Result<Vec<Kind>> {
    let missing = |kind: &Kind| kind.needs().filter(|(program, _)| !program.exists());
    let mut told = Vec::new();
    for (program, mend) in asked.iter().filter_map(missing) {
        if !told.contains(&program) {
            note(&format!("{} is missing, so nothing is compared with it: {mend}", program.display()))?;
            told.push(program);
        }
    }
    for kind in asked.iter().filter(|kind| !kind.speaks(wire)) {
        note(&format!("{} is left out: it speaks HTTP/1.1 in the clear alone", kind.as_str()))?;
    }
    // In the order of Kind::ALL, each once.
    let here = |kind: &Kind| asked.contains(kind) && missing(kind).is_none() && kind.speaks(wire);
    Ok(Kind::ALL.into_iter().filter(here).collect())
}

/// Puts this process and all its children before everything else on their cores. The kernel still leaves others a
/// twentieth of the time, so that nothing locks up.
fn realtime() -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("chrt").args(["--fifo", "--pid", "1", &pid]).status();
    let status = status.context("starting chrt (util-linux)")?;
    ensure!(status.success(), "--realtime needs root or CAP_SYS_NICE: chrt ended with {status}");
    Ok(())
}

/// Says something beside the results.
fn note(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr().lock(), "{text}").context("writing to standard error")
}

impl Cores {
    /// Puts this process on its core.
    fn choose(cross: bool) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let load = cores.next().context("no core is allowed")?;
        let other = cores.next();
        ensure!(!cross || other.is_some(), "--cross needs a second core");
        let mut own = CpuSet::new();
        own.set(load);
        sched_setaffinity(None, &own)?;
        Ok(Self { load, proxy: other.filter(|_| cross).unwrap_or(load) })
    }
}

/// A folder for configurations and ledgers; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("touchmark-peers-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
