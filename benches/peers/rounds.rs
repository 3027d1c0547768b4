//! The rounds: each peer has its turn in each, and only turns of one round are compared with each other.

use std::time::Duration;

use anyhow::Context as _;

use crate::backend::EXPORTS_PATH;
use crate::client::Limit;
use crate::costs::{Disk, sha256_micros};
use crate::load::{Load, request};
use crate::peer::{self, Kind, Peer};
use crate::process::Process;
use crate::report::{Report, Row};
use crate::stage::{self, Backends, Stage};
use crate::support::{median, quantile};
use crate::wire::Wire;
use crate::{Run, interrupt, note};

/// Requests of one turn at most.
const REQUESTS_MAX: usize = 500_000;
/// Requests of a turn that are not measured, a connection: they open the proxy's own connections.
const WARM_PER_CONNECTION: usize = 8;
/// The least of them.
const WARM_MIN: usize = 64;
/// After a turn's last answer, until what it left to other threads is done and counts for it.
const SETTLE: Duration = Duration::from_millis(10);
/// Syncs of the disk in each round.
const SYNCS: usize = 20;

/// What one peer's turn gave, in µs.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// The proxy's time on its core, a request.
    cpu: f64,
    p50: f64,
    p99: f64,
    requests: usize,
}

/// Measures every case and leaves the rows in the report.
pub(crate) fn measure(run: &Run<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (args, kinds) = (run.args, run.kinds);
    let backends = Backends::start(run.cores.load, run.wire == Wire::Grpc)?;
    let stage = Stage::new(run, &backends);
    let mut peers = kinds
        .iter()
        .map(|kind| stage::start(*kind, &format!("{kind:?}"), stage))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut disk = Disk::new(run.dir)?;
    for kib in args.size.iter().copied() {
        let bytes = kib as usize * 1024;
        report.sha256_micros.insert(kib, sha256_micros(bytes).context("nothing was hashed")?);
        let request = request(run.wire, bytes);
        for connections in args.concurrency.iter().copied() {
            note(&format!("{kib} KiB, {connections} at a time"))?;
            let rounds = (0..args.rounds() as usize)
                .map(|round| {
                    disk.sync(SYNCS)?;
                    self::round(&mut peers, round, connections as usize, &request, (stage, args.slice()))
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            for peer in &peers {
                peer.check_recorded()?;
            }
            report.rows.extend(rows(kinds, kib, connections, &rounds)?);
        }
    }
    report.fdatasync_micros = disk.p50_micros();
    report.recorded = peers.iter().map(Peer::recorded).sum();
    report.span_exports = peer::get(stage.spans, EXPORTS_PATH)?.trim().parse().ok();
    Ok(())
}

/// One turn of each peer, in `peers`' order, beginning with another one each time.
fn round(
    peers: &mut [Peer],
    round: usize,
    connections: usize,
    request: &[u8],
    on: (Stage<'_>, Duration),
) -> anyhow::Result<Vec<Turn>> {
    let count = peers.len();
    let mut turns = vec![None; count];
    for place in 0..count {
        let index = (round + place) % count;
        let peer = &mut peers[index];
        let name = peer.kind.as_str();
        turns[index] = Some(turn(peer, connections, request, on).with_context(|| name)?);
        interrupt::check()?;
    }
    Ok(turns.into_iter().flatten().collect())
}

fn turn(
    peer: &mut Peer,
    connections: usize,
    request: &[u8],
    (stage, slice): (Stage<'_>, Duration),
) -> anyhow::Result<Turn> {
    let mut load = Load::connect(peer, connections, request, stage)?;
    let warm = Limit { requests: WARM_MIN.max(WARM_PER_CONNECTION * connections), time: slice };
    let warmed = load.run(warm)?.len();
    peer.sent(warmed);
    std::thread::sleep(SETTLE);
    let before = peer.process.as_ref().map(Process::usage).transpose()?;
    let latencies = load.run(Limit { requests: REQUESTS_MAX, time: slice })?;
    peer.sent(latencies.len());
    std::thread::sleep(SETTLE);
    let after = peer.process.as_ref().map(Process::usage).transpose()?;
    let run_ns = before.zip(after).map_or(0, |(before, after)| after.since(&before));
    let p50 = quantile(latencies, 0.5).context("no request was measured")?;
    let p99 = quantile(latencies, 0.99).context("no request was measured")?;
    let requests = latencies.len();
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
    let cpu = run_ns as f64 / 1e3 / requests as f64;
    Ok(Turn { cpu, p50: f64::from(p50) / 1e3, p99: f64::from(p99) / 1e3, requests })
}

/// The medians over the rounds.
fn rows(kinds: &[Kind], kib: u32, connections: u32, rounds: &[Vec<Turn>]) -> anyhow::Result<Vec<Row>> {
    let place = |wanted: Kind| kinds.iter().position(|kind| *kind == wanted);
    let (direct, nginx, envoy) = (place(Kind::Direct), place(Kind::Nginx), place(Kind::Envoy));
    let over = |index: usize, value: &dyn Fn(&[Turn], Turn) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(|turns| value(turns, turns[index])).collect();
        median(&mut values).context("no rounds were measured")
    };
    let row = |(index, kind): (usize, &Kind)| {
        let against = |base: Option<usize>, value: fn(Turn, Turn) -> f64| {
            base.map(|base| over(index, &|turns, own| value(own, turns[base]))).transpose()
        };
        Ok(Row {
            kind: *kind,
            kib,
            connections,
            cpu: over(index, &|_, own| own.cpu)?,
            cpu_to_nginx: against(nginx, |own, nginx| own.cpu / nginx.cpu)?,
            cpu_to_envoy: against(envoy, |own, envoy| own.cpu / envoy.cpu)?,
            p50: over(index, &|_, own| own.p50)?,
            p99: over(index, &|_, own| own.p99)?,
            p50_added: against(direct, |own, direct| own.p50 - direct.p50)?,
            p99_added: against(direct, |own, direct| own.p99 - direct.p99)?,
            p50_to_nginx: against(nginx, |own, nginx| own.p50 - nginx.p50)?,
            cpu_over_nginx: against(nginx, |own, nginx| own.cpu - nginx.cpu)?,
            requests: rounds.iter().map(|turns| turns[index].requests).sum(),
        })
    };
    kinds.iter().enumerate().map(row).collect()
}
