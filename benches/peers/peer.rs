//! Who is measured: the backend itself, nginx, `HAProxy`, and Touchmark in each durability mode, each with its configuration.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::backend;
use crate::process::Process;

/// Where Debian's `nginx` and `nginx-light` put it.
pub(crate) const NGINX: &str = "/usr/sbin/nginx";
/// Where Debian's `haproxy` puts it.
pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";
/// What Touchmark puts on every answer here.
const STAMPS: &[&str] =
    &["x-lineage-trace-id", "x-model-name", "x-model-version", "x-dataset-version", "x-reproducible"];

/// A peer by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The client against the backend: what the others add to.
    Direct,
    /// nginx without access log.
    Nginx,
    /// nginx with its access log.
    NginxLog,
    /// `HAProxy` without log.
    Haproxy,
    /// Touchmark, `ledger.durability: queue`.
    Queue,
    /// Touchmark, `ledger.durability: write`.
    Write,
    /// Touchmark, `ledger.durability: sync`.
    Sync,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Direct, Self::Nginx, Self::NginxLog, Self::Haproxy, Self::Queue, Self::Write, Self::Sync];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::NginxLog => "nginx + access log",
            Self::Haproxy => "HAProxy",
            Self::Queue => "touchmark queue",
            Self::Write => "touchmark write",
            Self::Sync => "touchmark sync",
        }
    }

    /// `ledger.durability`, where it is Touchmark.
    pub(crate) const fn durability(self) -> Option<&'static str> {
        match self {
            Self::Queue => Some("queue"),
            Self::Write => Some("write"),
            Self::Sync => Some("sync"),
            Self::Direct | Self::Nginx | Self::NginxLog | Self::Haproxy => None,
        }
    }

    /// The program that it needs, where that is not ours, and the package that has it.
    pub(crate) const fn needs(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nginx | Self::NginxLog => Some((NGINX, "nginx-light")),
            Self::Haproxy => Some((HAPROXY, "haproxy")),
            Self::Direct | Self::Queue | Self::Write | Self::Sync => None,
        }
    }
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// `None` for the backend, whose time is not the question.
    pub(crate) process: Option<Process>,
    admin: Option<SocketAddr>,
    /// Predictions in the ledger at the start, and sent since.
    recorded: u64,
    sent: u64,
}

/// Starts the backend on a core.
pub(crate) fn backend(core: usize) -> anyhow::Result<(Process, SocketAddr)> {
    let mut child = Command::new("taskset")
        .args(["-c", &core.to_string()])
        .arg(std::env::current_exe()?)
        .arg(backend::COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the backend with taskset (util-linux)")?;
    let stdout = child.stdout.take();
    let process = Process::adopt("backend", child);
    let mut line = String::new();
    BufReader::new(stdout.context("the backend has no output")?).read_line(&mut line)?;
    let port = line.trim().parse::<u16>().context("the backend named no port")?;
    Ok((process, (Ipv4Addr::LOCALHOST, port).into()))
}

/// Where peers run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage<'a> {
    /// Their core.
    pub(crate) core: usize,
    /// The folder for their folders.
    pub(crate) dir: &'a Path,
    /// The server behind them.
    pub(crate) backend: SocketAddr,
    /// Touchmark's binary.
    pub(crate) touchmark: &'a Path,
}

/// Starts a peer with its files in a folder of this name.
pub(crate) fn start(kind: Kind, folder: &str, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let dir = &stage.dir.join(folder);
    fs::create_dir_all(dir)?;
    match (kind, kind.durability()) {
        (Kind::Direct, _) => {
            Ok(Peer { kind, address: stage.backend, process: None, admin: None, recorded: 0, sent: 0 })
        }
        (_, Some(durability)) => start_touchmark(kind, durability, dir, stage),
        (Kind::Haproxy, _) => start_haproxy(dir, stage),
        _ => start_nginx(kind, dir, stage),
    }
}

fn start_nginx(kind: Kind, dir: &Path, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let file = dir.join("nginx.conf");
    let log = if kind == Kind::NginxLog { format!("{}/access.log", dir.display()) } else { "off".to_owned() };
    fs::write(&file, nginx_conf(dir, address, stage.backend, &log))?;
    let args = ["-c", &file.display().to_string(), "-e", &dir.join("error.log").display().to_string()];
    let mut process = Process::start("nginx", stage.core, Path::new(NGINX), &args, &dir.join("output"))?;
    process.ready(|| TcpStream::connect(address).is_ok()).with_context(|| said(dir, "error.log"))?;
    Ok(Peer { kind, address, process: Some(process), admin: None, recorded: 0, sent: 0 })
}

/// nginx at its best for this load: nothing spooled to files, connections to the backend kept.
fn nginx_conf(dir: &Path, listen: SocketAddr, backend: SocketAddr, access_log: &str) -> String {
    let dir = dir.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    access_log {access_log};
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    upstream backend {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            add_header X-Model-Name fraud;
            add_header X-Model-Version v1.2.3;
            add_header X-Dataset-Version v2.0;
        }}
    }}
}}
"
    )
}

fn start_haproxy(dir: &Path, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let file = dir.join("haproxy.cfg");
    fs::write(&file, haproxy_cfg(address, stage.backend))?;
    let args = ["-db", "-f", &file.display().to_string()];
    let mut process = Process::start("haproxy", stage.core, Path::new(HAPROXY), &args, &dir.join("output"))?;
    process.ready(|| TcpStream::connect(address).is_ok()).with_context(|| said(dir, "output"))?;
    Ok(Peer { kind: Kind::Haproxy, address, process: Some(process), admin: None, recorded: 0, sent: 0 })
}

/// `HAProxy` with one thread, connections to the backend kept and shared.
fn haproxy_cfg(listen: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend models
    bind {listen}
    default_backend model
    http-after-response set-header X-Model-Name fraud
    http-after-response set-header X-Model-Version v1.2.3
    http-after-response set-header X-Dataset-Version v2.0
backend model
    server one {backend}
"
    )
}

fn start_touchmark(kind: Kind, durability: &str, dir: &Path, stage: Stage<'_>) -> anyhow::Result<Peer> {
    let (address, admin) = (free_address()?, free_address()?);
    let file = dir.join("touchmark.yaml");
    fs::write(&file, touchmark_yaml(dir, [address, admin, stage.backend], durability))?;
    let args = ["serve", "--config", &file.display().to_string()];
    let mut process = Process::start(kind.as_str(), stage.core, stage.touchmark, &args, &dir.join("output"))?;
    process.ready(|| get(admin, "/readyz").is_ok()).with_context(|| said(dir, "output"))?;
    let recorded = Recorded::read(admin)?.entries;
    Ok(Peer { kind, address, process: Some(process), admin: Some(admin), recorded, sent: 0 })
}

/// Everything on: stamps, both hashes, ledger, metrics, and traces to a sink at 1 %.
fn touchmark_yaml(dir: &Path, [listen, admin, backend]: [SocketAddr; 3], durability: &str) -> String {
    let dir = dir.display();
    format!(
        "deployment: {{name: bench}}
proxy: {{listen: '{listen}', workers: 1, limits: {{body: 8GiB}}}}
backends:
  - name: local
    url: http://{backend}
    models: [{{name: fraud, version: v1.2.3, served_as: {{name: m, version: '1'}}, datasets: [transactions@v2.0]}}]
ledger: {{dir: '{dir}/data', durability: {durability}}}
telemetry:
  log: {{level: warn}}
  traces: {{endpoint: 'http://{backend}', protocol: http/protobuf, sampler: parentbased_traceidratio, ratio: 0.01}}
admin: {{listen: '{admin}'}}
"
    )
}

fn said(dir: &Path, file: &str) -> String {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    format!("it said: {}", text.trim())
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The body of a `GET`'s answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path} answered {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

impl Peer {
    /// What every answer of its must carry.
    pub(crate) fn stamps(&self) -> &'static [&'static str] {
        if self.admin.is_some() { STAMPS } else { &[] }
    }

    /// Notes requests that were answered.
    pub(crate) fn sent(&mut self, requests: usize) {
        self.sent += requests as u64;
    }

    /// Requests that were sent through it and, as [`Peer::check_recorded`] found, recorded.
    pub(crate) fn recorded(&self) -> u64 {
        if self.admin.is_some() { self.sent } else { 0 }
    }

    /// Fails unless each request so far has its entry, and none is unaccounted for.
    pub(crate) fn check_recorded(&self) -> anyhow::Result<()> {
        const SETTLED_MAX: Duration = Duration::from_secs(5);
        let Some(admin) = self.admin else { return Ok(()) };
        let start = Instant::now();
        loop {
            let now = Recorded::read(admin)?;
            let entries = now.entries - self.recorded;
            if entries == self.sent && now.predictions == now.entries + now.unrecorded {
                return Ok(());
            }
            if start.elapsed() > SETTLED_MAX {
                bail!("{}: {} requests were answered, {entries} recorded: {now:?}", self.kind.as_str(), self.sent);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The accounting identity's terms.
#[derive(Debug)]
struct Recorded {
    predictions: u64,
    entries: u64,
    unrecorded: u64,
}

impl Recorded {
    fn read(admin: SocketAddr) -> anyhow::Result<Self> {
        let text = get(admin, "/metrics").context("reading the metrics")?;
        let sum = |start: &str| -> u64 {
            let samples = text.lines().filter(|line| line.starts_with(start));
            samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        Ok(Self {
            predictions: sum("touchmark_predictions_total"),
            entries: sum("touchmark_ledger_entries_total{kind=\"prediction\"}"),
            unrecorded: sum("touchmark_ledger_unrecorded_total"),
        })
    }
}
