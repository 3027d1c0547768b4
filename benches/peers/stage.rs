//! The stage of a run: the servers behind the peers, and how a peer is started before them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::peer::{Kind, Peer, get};
use crate::process::Process;
use crate::tls::Identity;
use crate::wire::Wire;
use crate::{Run, backend, bare, grpc_backend, setup};

/// The servers behind the peers.
pub(crate) struct Backends {
    processes: Vec<Process>,
    http: SocketAddr,
    grpc: Option<SocketAddr>,
}

impl Backends {
    /// Starts them on a core: one for HTTP/1.1, which takes spans as well, and where it is asked for one for gRPC.
    pub(crate) fn start(core: usize, with_grpc: bool) -> anyhow::Result<Self> {
        let (process, http) = child(backend::COMMAND, core)?;
        let mut backends = Self { processes: vec![process], http, grpc: None };
        if with_grpc {
            let (process, grpc) = child(grpc_backend::COMMAND, core)?;
            backends.processes.push(process);
            backends.grpc = Some(grpc);
        }
        Ok(backends)
    }
}

fn child(command: &str, core: usize) -> anyhow::Result<(Process, SocketAddr)> {
    let mut child = Command::new("taskset")
        .args(["-c", &core.to_string()])
        .arg(std::env::current_exe()?)
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting the {command} with taskset (util-linux)"))?;
    let stdout = child.stdout.take();
    let process = Process::adopt(command, child);
    let mut line = String::new();
    BufReader::new(stdout.with_context(|| format!("the {command} has no output"))?).read_line(&mut line)?;
    let port = line.trim().parse::<u16>().with_context(|| format!("the {command} named no port"))?;
    Ok((process, (Ipv4Addr::LOCALHOST, port).into()))
}

/// Where peers run, and what they stand before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage<'a> {
    /// Their core.
    pub(crate) core: usize,
    /// The folder for their folders.
    pub(crate) dir: &'a Path,
    /// The server that takes Touchmark's spans.
    pub(crate) spans: SocketAddr,
    /// The server that answers predictions, and one for gRPC beside it.
    pub(crate) model: SocketAddr,
    pub(crate) grpc: Option<SocketAddr>,
    /// Touchmark's binary.
    pub(crate) touchmark: &'a Path,
    /// How is spoken.
    pub(crate) wire: Wire,
    /// What peers show under TLS.
    pub(crate) identity: &'a Identity,
    /// Connections of clients, and those of them that are not idle.
    pub(crate) connections: usize,
    busy: Option<usize>,
}

impl<'a> Stage<'a> {
    /// For a usual number of connections, all of them busy.
    pub(crate) fn new(run: &'a Run<'a>, backends: &Backends) -> Self {
        Self {
            core: run.cores.proxy,
            dir: run.dir,
            spans: backends.http,
            model: backends.grpc.filter(|_| run.wire == Wire::Grpc).unwrap_or(backends.http),
            grpc: backends.grpc,
            touchmark: &run.args.touchmark,
            wire: run.wire,
            identity: run.identity,
            connections: 1024,
            busy: None,
        }
    }

    /// For so many connections.
    pub(crate) fn with_connections(self, idle: usize, busy: usize) -> Self {
        Self { connections: idle + busy, busy: Some(busy), ..self }
    }

    /// Connections that are not idle.
    pub(crate) fn busy(&self) -> usize {
        self.busy.unwrap_or(self.connections)
    }
}

/// Starts a peer with its files in a folder of this name.
pub(crate) fn start(kind: Kind, folder: &str, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let dir = &stage.dir.join(folder);
    fs::create_dir_all(dir)?;
    match (kind, kind.durability()) {
        (Kind::Direct, _) => Ok(Peer::new(kind, stage.model, None)),
        (_, Some(durability)) => start_touchmark(kind, durability, dir, stage),
        _ if kind.is_yardstick() => start_bare(kind, dir, stage),
        _ => start_foreign(kind, dir, stage),
    }
}

fn start_bare(kind: Kind, dir: &Path, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let words = [bare::COMMAND.to_owned(), address.to_string(), stage.model.to_string()];
    let records = (kind == Kind::HyperRecord).then(|| dir.join("records").display().to_string());
    let words: Vec<&str> = words.iter().chain(&records).map(String::as_str).collect();
    listening(kind, (&std::env::current_exe()?, &words), address, dir, stage)
}

/// Starts a program that keeps no ledger, and waits until it listens.
fn listening(
    kind: Kind,
    (program, words): (&Path, &[&str]),
    address: SocketAddr,
    dir: &Path,
    stage: Stage<'_>,
) -> anyhow::Result<Peer> {
    let mut process = Process::start(kind.as_str(), stage.core, program, words, &dir.join("output"))?;
    process.ready(|| TcpStream::connect(address).is_ok()).with_context(|| said(dir))?;
    Ok(Peer::new(kind, address, Some(process)))
}

fn start_foreign(kind: Kind, dir: &Path, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let (program, _) = kind.needs().with_context(|| format!("{} is no program", kind.as_str()))?;
    // JSON is YAML, which Envoy knows by the name.
    let file = dir.join("config.yaml");
    let path = file.display().to_string();
    let (text, args) = match kind {
        Kind::Haproxy => (setup::haproxy(address, stage), vec!["-db", "-f", &path]),
        Kind::Envoy => {
            let args = vec!["-c", &path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
            (setup::envoy(address, stage).to_string(), args)
        }
        _ => {
            let log = dir.join("access.log").display().to_string();
            let log = if kind == Kind::NginxLog { &log } else { "off" };
            (setup::nginx(dir, address, stage, log), vec!["-c", &path, "-e", "stderr"])
        }
    };
    fs::write(&file, text)?;
    listening(kind, (&program, &args), address, dir, stage)
}

fn start_touchmark(kind: Kind, durability: &str, dir: &Path, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let (address, admin) = (free_address()?, free_address()?);
    let file = dir.join("touchmark.yaml");
    // JSON is YAML.
    fs::write(&file, setup::touchmark(dir, [address, admin], stage, durability).to_string())?;
    let args = ["serve", "--config", &file.display().to_string()];
    let mut process = Process::start(kind.as_str(), stage.core, stage.touchmark, &args, &dir.join("output"))?;
    process.ready(|| get(admin, "/readyz").is_ok()).with_context(|| said(dir))?;
    Peer::new(kind, address, Some(process)).recording(admin)
}

fn said(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("output")).unwrap_or_default();
    format!("it said: {}", text.trim())
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
