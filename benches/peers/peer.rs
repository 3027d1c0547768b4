//! Who is measured: the backend itself, nginx, `HAProxy`, Envoy, Touchmark in each durability mode, and as a yardstick
//! the least that a proxy over hyper can do.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustls::ClientConfig;

use crate::process::Process;
use crate::stage::Stage;
use crate::wire::Wire;

/// Where Debian's `nginx` and `nginx-light` put it.
pub(crate) const NGINX: &str = "/usr/sbin/nginx";
/// Where Debian's `haproxy` puts it.
pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";
/// Where `tests/real/run` puts Envoy.
const ENVOY: &str = "target/debian-venv/lib/python3.11/site-packages/envoy/_bin/envoy";
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
    /// Envoy without access log.
    Envoy,
    /// The least over hyper, HTTP/1.1 in the clear alone.
    Hyper,
    /// The same, with both bodies hashed and a record written.
    HyperRecord,
    /// Touchmark, `ledger.durability: queue`.
    Queue,
    /// Touchmark, `ledger.durability: write`.
    Write,
    /// Touchmark, `ledger.durability: sync`.
    Sync,
}

impl Kind {
    /// All of them, in the order in which they take turns.
    pub(crate) const ALL: [Self; 10] = [
        Self::Direct,
        Self::Nginx,
        Self::NginxLog,
        Self::Haproxy,
        Self::Envoy,
        Self::Hyper,
        Self::HyperRecord,
        Self::Queue,
        Self::Write,
        Self::Sync,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::NginxLog => "nginx + access log",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Queue => "touchmark queue",
            Self::Write => "touchmark write",
            Self::Sync => "touchmark sync",
            Self::Hyper => "hyper alone",
            Self::HyperRecord => "hyper + record",
        }
    }

    /// `ledger.durability`, where it is Touchmark.
    pub(crate) const fn durability(self) -> Option<&'static str> {
        match self {
            Self::Queue => Some("queue"),
            Self::Write => Some("write"),
            Self::Sync => Some("sync"),
            Self::Direct
            | Self::Nginx
            | Self::NginxLog
            | Self::Haproxy
            | Self::Envoy
            | Self::Hyper
            | Self::HyperRecord => None,
        }
    }

    /// Those that are measured unless told otherwise.
    pub(crate) fn usual() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| !kind.is_yardstick())
    }

    /// Whether it is there to measure by, and no peer that anybody runs.
    pub(crate) const fn is_yardstick(self) -> bool {
        matches!(self, Self::Hyper | Self::HyperRecord)
    }

    /// Whether it is measured with such messages.
    pub(crate) fn speaks(self, wire: Wire) -> bool {
        wire == Wire::Http1 || !self.is_yardstick()
    }

    /// The program that it needs, where that is not ours, and how it is had.
    pub(crate) fn needs(self) -> Option<(PathBuf, &'static str)> {
        match self {
            Self::Nginx | Self::NginxLog => Some((NGINX.into(), "apt-get install nginx-light")),
            Self::Haproxy => Some((HAPROXY.into(), "apt-get install haproxy")),
            Self::Envoy => Some((envoy(), "run tests/real/run once, or name it in the variable ENVOY")),
            Self::Direct | Self::Hyper | Self::HyperRecord | Self::Queue | Self::Write | Self::Sync => None,
        }
    }
}

/// Envoy: as the environment says, else on the path, else where `tests/real/run` puts it.
fn envoy() -> PathBuf {
    if let Some(named) = std::env::var_os("ENVOY") {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("envoy")).find(|file| file.is_file());
    installed.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(ENVOY))
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
    /// One that keeps no ledger.
    pub(crate) fn new(kind: Kind, address: SocketAddr, process: Option<Process>) -> Self {
        Self { kind, address, process, admin: None, recorded: 0, sent: 0 }
    }

    /// The same with a ledger, and the address where it says what is in it.
    pub(crate) fn recording(self, admin: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { admin: Some(admin), recorded: Recorded::read(admin)?.entries, ..self })
    }

    /// What every answer of its must carry.
    pub(crate) fn stamps(&self) -> &'static [&'static str] {
        if self.admin.is_some() { STAMPS } else { &[] }
    }

    /// How a client speaks to it under TLS, where it is asked to: the backend alone does not.
    pub(crate) fn tls<'a>(&self, stage: Stage<'a>) -> Option<&'a Arc<ClientConfig>> {
        (stage.wire == Wire::Tls && self.process.is_some()).then_some(&stage.identity.client)
    }

    /// Notes requests that were answered.
    pub(crate) fn sent(&mut self, requests: usize) {
        self.sent += requests as u64;
    }

    /// Requests that were sent through it and, as [`Peer::check_recorded`] found, recorded.
    pub(crate) fn recorded(&self) -> u64 {
        if self.admin.is_some() { self.sent } else { 0 }
    }

    /// Its open descriptors, how many of each kind.
    pub(crate) fn descriptors(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        self.process.as_ref().context("the peer has no process")?.descriptors()
    }

    /// Fails unless each request so far has its entry, and none is unaccounted for.
    pub(crate) fn check_recorded(&self) -> anyhow::Result<()> {
        self.check_recorded_but(0)
    }

    /// The same beside so many clients that left, whose requests may have been recorded.
    pub(crate) fn check_recorded_but(&self, left: usize) -> anyhow::Result<()> {
        const SETTLED_MAX: Duration = Duration::from_secs(5);
        let Some(admin) = self.admin else { return Ok(()) };
        let start = Instant::now();
        loop {
            let now = Recorded::read(admin)?;
            let entries = now.entries - self.recorded;
            let expected = self.sent..=self.sent + left as u64;
            if expected.contains(&entries) && now.predictions == now.entries + now.unrecorded {
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
