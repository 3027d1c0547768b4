//! The results as a plain table, as Markdown for `docs/performance.md`, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde::{Serialize, Serializer};

use crate::args::Args;
use crate::connections::Connections;
use crate::memory::Memory;
use crate::peer::{Kind, NGINX};
use crate::soak::Soak;
use crate::targets::{self, Target};
use crate::wire::Wire;

/// The medians of one peer in one case, in µs.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "kind")]
    pub(crate) kind: Kind,
    pub(crate) kib: u32,
    pub(crate) connections: u32,
    /// The proxy's time on its core, a request.
    pub(crate) cpu: f64,
    pub(crate) cpu_to_nginx: Option<f64>,
    pub(crate) cpu_over_nginx: Option<f64>,
    pub(crate) cpu_to_envoy: Option<f64>,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Over the backend alone.
    pub(crate) p50_added: Option<f64>,
    pub(crate) p99_added: Option<f64>,
    pub(crate) p50_to_nginx: Option<f64>,
    /// Measured, of all rounds.
    pub(crate) requests: usize,
}

/// Everything that a run found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The machine, in a line.
    pub(crate) machine: String,
    /// How it was measured, in a line.
    pub(crate) method: String,
    pub(crate) rows: Vec<Row>,
    /// By KiB.
    pub(crate) sha256_micros: BTreeMap<u32, f64>,
    pub(crate) fdatasync_micros: Option<f64>,
    /// Predictions found in the ledgers, each of which was sent.
    pub(crate) recorded: u64,
    pub(crate) span_exports: Option<u64>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) connections: Vec<Connections>,
    pub(crate) soak: Option<Soak>,
    /// Whether this is the way of speaking that the targets of time are for.
    #[serde(skip)]
    pub(crate) plain: bool,
}

/// Makes a table of a head and rows.
type Table = fn(&[&str], &[Vec<String>]) -> String;

/// A peer by its name in the tables.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn kind<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

impl Report {
    /// A report of nothing yet.
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let place = if args.cross { "client and backend on one core, the proxy on another" } else { "all on one core" };
        let alone = if args.realtime { ", before everything else (SCHED_FIFO)" } else { "" };
        let how = args.wire().as_str();
        let method = format!("{how}, {place}{alone}, {} rounds of {:?} each", args.rounds(), args.slice());
        Ok(Self { machine: machine()?, method, plain: args.wire() == Wire::Http1, ..Self::default() })
    }

    /// The run and its targets as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({"run": self, "targets": targets::all(self)})
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        self.render(plain)
    }

    /// For `docs/performance.md`.
    pub(crate) fn markdown(&self) -> String {
        self.render(markdown)
    }

    fn render(&self, table: Table) -> String {
        let mut out = format!("{}; {}.\n", self.machine, self.method);
        if !self.rows.is_empty() {
            out += "\nµs per request, medians:\n\n";
            out += &table(&CASES, &self.rows.iter().map(case).collect::<Vec<_>>());
            out += "\n";
            out += &self.floor();
        }
        if !self.memory.is_empty() {
            out += "\nMemory, MiB:\n\n";
            out += &table(&MEMORY, &self.memory.iter().map(memory).collect::<Vec<_>>());
        }
        if !self.connections.is_empty() {
            out += "\nMemory with idle and busy connections, MiB:\n\n";
            out += &table(&CONNECTIONS, &self.connections.iter().map(connections).collect::<Vec<_>>());
        }
        if let Some(soak) = &self.soak {
            out += "\nSoak:\n\n";
            out += &table(&SOAK, &[self::soak(soak)]);
        }
        let targets: Vec<_> = targets::all(self).iter().map(target).collect();
        if !targets.is_empty() {
            out += "\nTargets:\n\n";
            out += &table(&TARGETS, &targets);
        }
        out
    }

    fn floor(&self) -> String {
        let mut out = String::new();
        for (kib, micros) in &self.sha256_micros {
            let _ = write!(out, "SHA-256 of {kib} KiB: {micros:.1} µs. ");
        }
        if let Some(micros) = self.fdatasync_micros {
            let _ = write!(out, "fdatasync, p50: {micros:.0} µs. ");
        }
        let _ = writeln!(out, "{} predictions were sent to Touchmark and found in its ledgers.", self.recorded);
        out
    }
}

const CASES: [&str; 11] =
    ["body", "c", "peer", "CPU", "CPU / nginx", "CPU / Envoy", "p50", "p50 added", "p50 − nginx", "p99", "p99 added"];
const MEMORY: [&str; 4] = ["peer", "after start", "256 KiB, c=128: peak", "2 GiB each way: moved by"];
const CONNECTIONS: [&str; 10] = [
    "peer",
    "idle",
    "busy",
    "after start",
    "silent",
    "silent + busy: peak",
    "kept",
    "kept + busy",
    "kept + busy: peak",
    "requests",
];
const SOAK: [&str; 8] = ["peer", "seconds", "requests", "left", "peak", "rise", "descriptors, start", "end"];
const TARGETS: [&str; 4] = ["target", "at most", "measured", ""];

fn case(row: &Row) -> Vec<String> {
    let micros = |value: f64| format!("{value:.1}");
    let maybe = |value: Option<f64>, text: fn(f64) -> String| value.map_or_else(|| "–".to_owned(), text);
    let proxy = |value: Option<f64>| if row.kind == Kind::Direct { None } else { value };
    vec![
        format!("{} KiB", row.kib),
        row.connections.to_string(),
        row.kind.as_str().to_owned(),
        maybe(proxy(Some(row.cpu)), micros),
        maybe(proxy(row.cpu_to_nginx), |ratio| format!("{ratio:.2}×")),
        maybe(proxy(row.cpu_to_envoy), |ratio| format!("{ratio:.2}×")),
        micros(row.p50),
        maybe(proxy(row.p50_added), micros),
        maybe(proxy(row.p50_to_nginx), |micros| format!("{micros:+.1}")),
        micros(row.p99),
        maybe(proxy(row.p99_added), micros),
    ]
}

fn memory(memory: &Memory) -> Vec<String> {
    let mib = |value: f64| format!("{value:.1}");
    vec![memory.kind.as_str().to_owned(), mib(memory.start), mib(memory.load_peak), mib(memory.huge_moved)]
}

fn connections(of: &Connections) -> Vec<String> {
    let figures =
        [of.start, of.silent, of.silent_peak, of.kept, of.rested, of.kept_peak].map(|mib| format!("{mib:.1}"));
    let named = [of.kind.as_str().to_owned(), of.idle.to_string(), of.busy.to_string()];
    named.into_iter().chain(figures).chain([of.requests.to_string()]).collect()
}

fn soak(of: &Soak) -> Vec<String> {
    let seconds = of.looks.last().map_or(0.0, |look| look.seconds);
    vec![
        of.kind.as_str().to_owned(),
        format!("{seconds:.0}"),
        of.requests.to_string(),
        of.left.to_string(),
        format!("{:.1}", of.peak),
        of.rise.map_or_else(|| "too short".to_owned(), |rise| format!("{rise:+.1}")),
        of.descriptors_at_start.values().sum::<usize>().to_string(),
        of.descriptors_at_end.values().sum::<usize>().to_string(),
    ]
}

fn target(target: &Target) -> Vec<String> {
    let met = if target.is_met() { "met" } else { "missed" };
    let value = |value: f64| format!("{value:.2} {}", target.unit);
    vec![target.what.clone(), value(target.limit), value(target.measured), met.to_owned()]
}

fn plain(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            // Words to the left, figures to the right.
            let is_word = cell.starts_with(|c: char| c.is_alphabetic());
            let _ = if is_word { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut head.iter().copied());
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
}

fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

/// The processor, its cores, the kernel and nginx, in a line.
fn machine() -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, model)| model);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let sha = if cpuinfo.contains(" sha_ni") { "with" } else { "without" };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // What else ran: on a busy machine only ratios mean something, and even they suffer.
    let busy = fs::read_to_string("/proc/loadavg")?;
    let busy = busy.split(' ').next().unwrap_or_default();
    let nginx = Command::new(NGINX).arg("-v").output().ok();
    let nginx = nginx.map_or_else(|| "no nginx".to_owned(), |out| String::from_utf8_lossy(&out.stderr).into_owned());
    let nginx = nginx.trim().trim_start_matches("nginx version: ").to_owned();
    Ok(format!("{model}, {cores} cores, {sha} SHA-NI, Linux {}, {nginx}, load average {busy} before", kernel.trim()))
}
