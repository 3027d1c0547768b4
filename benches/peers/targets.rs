//! What was promised of Touchmark's cost, beside what was measured.

use crate::connections::Connections;
use crate::memory::Memory;
use crate::peer::Kind;
use crate::report::{Report, Row};

/// CPU against nginx at 1 KiB and 32 connections, at most.
const CPU_RATIO_MAX: [(Kind, f64); 3] = [(Kind::Queue, 1.1), (Kind::Write, 1.2), (Kind::Sync, 1.3)];
/// What it is hoped to be.
const CPU_RATIO_AIM: f64 = 1.0;
/// µs at the median that may come on top of nginx at 1 KiB and one connection.
const P50_OVER_NGINX_MAX: [(Kind, f64); 2] = [(Kind::Queue, 3.0), (Kind::Write, 8.0)];
/// Syncs of the disk that may come on top of nginx.
const SYNCS_OVER_NGINX_MAX: f64 = 1.5;
/// MiB after the start, at 256 KiB and 128 connections, and by which a body of 2 GiB moves it.
const RSS_START_MAX: f64 = 25.0;
const RSS_LOAD_MAX: f64 = 40.0;
const RSS_HUGE_MAX: f64 = 16.0;
/// MiB with at most so many idle and so many busy connections, in the clear.
const RSS_CONNECTIONS_MAX: f64 = 150.0;
const CONNECTIONS: (usize, usize) = (10_000, 1000);

/// One promise.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) limit: f64,
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
}

impl Target {
    pub(crate) fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

/// Every promise of which this run has the figures.
pub(crate) fn all(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    // Times are promised for HTTP/1.1 in the clear alone.
    for row in report.rows.iter().filter(|_| report.plain) {
        small_bodies(row, report.fdatasync_micros, &mut targets);
        if let Some(sha256) = report.sha256_micros.get(&row.kib).filter(|_| row.kib > 1) {
            large_bodies(row, *sha256, report.fdatasync_micros, &mut targets);
        }
    }
    report.memory.iter().filter(|memory| memory.kind.durability().is_some()).for_each(|m| memory(m, &mut targets));
    let ours = report.connections.iter().filter(|one| report.plain && one.kind.durability().is_some());
    targets.extend(ours.filter(|one| (one.idle, one.busy) == CONNECTIONS).flat_map(connections));
    targets
}

fn connections(of: &Connections) -> [Target; 2] {
    let name = of.kind.as_str();
    [("silent", of.silent_peak), ("kept", of.kept_peak)].map(|(how, measured)| {
        let what = format!("{name}: peak RSS, {} {how} and {} busy connections", of.idle, of.busy);
        Target { what, limit: RSS_CONNECTIONS_MAX, measured, unit: "MiB" }
    })
}

fn small_bodies(row: &Row, fdatasync: Option<f64>, targets: &mut Vec<Target>) {
    let name = row.kind.as_str();
    let limit = |limits: &[(Kind, f64)]| limits.iter().find(|(kind, _)| *kind == row.kind).map(|(_, limit)| *limit);
    match (row.kib, row.connections) {
        (1, 32) => {
            if let (Some(limit), Some(measured)) = (limit(&CPU_RATIO_MAX), row.cpu_to_nginx) {
                let what = format!("{name}: CPU against nginx, 1 KiB, c=32 (aim {CPU_RATIO_AIM})");
                targets.push(Target { what, limit, measured, unit: "×" });
            }
        }
        (1, 1) => {
            let sync = fdatasync.filter(|_| row.kind == Kind::Sync).map(|micros| SYNCS_OVER_NGINX_MAX * micros);
            if let (Some(limit), Some(measured)) = (limit(&P50_OVER_NGINX_MAX).or(sync), row.p50_to_nginx) {
                let what = format!("{name}: p50 over nginx, 1 KiB, c=1");
                targets.push(Target { what, limit, measured, unit: "µs" });
            }
        }
        _ => {}
    }
}

/// Larger bodies may cost their hash beside what nginx costs; `sync` has its syncs in the time of one connection.
fn large_bodies(row: &Row, sha256: f64, fdatasync: Option<f64>, targets: &mut Vec<Target>) {
    if row.kind.durability().is_none() {
        return;
    }
    let case = format!("{}, {} KiB, c={}", row.kind.as_str(), row.kib, row.connections);
    if let Some(measured) = row.cpu_over_nginx {
        targets
            .push(Target { what: format!("{case}: CPU over nginx (SHA-256)"), limit: sha256, measured, unit: "µs" });
    }
    if let (1, Some(measured)) = (row.connections, row.p50_to_nginx) {
        let sync = fdatasync.filter(|_| row.kind == Kind::Sync).map_or(0.0, |micros| SYNCS_OVER_NGINX_MAX * micros);
        let what = format!("{case}: p50 over nginx (SHA-256{})", if sync > 0.0 { " + sync" } else { "" });
        targets.push(Target { what, limit: sha256 + sync, measured, unit: "µs" });
    }
}

fn memory(memory: &Memory, targets: &mut Vec<Target>) {
    let name = memory.kind.as_str();
    for (what, limit, measured) in [
        ("RSS after the start", RSS_START_MAX, memory.start),
        ("peak RSS, 256 KiB, c=128", RSS_LOAD_MAX, memory.load_peak),
        ("RSS moved by a body of 2 GiB", RSS_HUGE_MAX, memory.huge_moved),
    ] {
        targets.push(Target { what: format!("{name}: {what}"), limit, measured, unit: "MiB" });
    }
}
