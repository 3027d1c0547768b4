//! How much memory a peer takes for thousands of connections, most of them idle; and that it closes none of them.
//!
//! Two kinds of idle: silent ones have been accepted and have said nothing, kept ones have had an answer, with all that
//! a peer allocates for it. All are silent while some are busy; then each asks once and all are kept while some are
//! busy. In the end each idle one asks again, and must be answered on its connection.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::{Limit, Load};
use crate::memory::mib;
use crate::peer::Kind;
use crate::stage::{self, Backends, Stage};
use crate::support::request;
use crate::{Run, note};

/// Bytes of a request's body.
const BODY_BYTES: usize = 1024;
/// Connections that are opened, and asked on, at once.
const AT_ONCE: usize = 200;
/// How long the busy ones are.
const BUSY: Duration = Duration::from_secs(4);
/// Descriptors of a process beside its connections.
const DESCRIPTORS_ELSE: u64 = 512;

/// One peer's memory, in MiB.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Connections {
    #[serde(serialize_with = "crate::report::kind")]
    pub(crate) kind: Kind,
    pub(crate) idle: usize,
    pub(crate) busy: usize,
    /// RSS after the start.
    pub(crate) start: f64,
    /// RSS when all are silent, but for a few.
    pub(crate) silent: f64,
    /// Peak RSS while some were busy beside them.
    pub(crate) silent_peak: f64,
    /// RSS when all are kept, right after the last was answered.
    pub(crate) kept: f64,
    /// RSS when they have been kept while some were busy: what a peer gives back of idle ones is back by then.
    pub(crate) rested: f64,
    /// Peak RSS of the whole run.
    pub(crate) kept_peak: f64,
    /// Requests that were answered, each with its entry where it is Touchmark.
    pub(crate) requests: usize,
}

/// Measures each peer that is a process.
pub(crate) fn measure(run: &Run<'_>, idle: usize) -> anyhow::Result<Vec<Connections>> {
    let busy = run.args.busy as usize;
    // A busy connection may have one of its own to the server behind.
    allow_descriptors((idle + 2 * busy) as u64 + DESCRIPTORS_ELSE)?;
    let backends = Backends::start(run.cores.load, false)?;
    let stage = Stage::new(run, &backends).with_connections(idle, busy);
    let proxies = run.kinds.iter().copied().filter(|kind| !matches!(kind, Kind::Direct | Kind::NginxLog));
    proxies.map(|kind| one(kind, idle, busy, stage).with_context(|| kind.as_str())).collect()
}

fn one(kind: Kind, idle: usize, busy: usize, stage: Stage<'_>) -> anyhow::Result<Connections> {
    note(&format!("{}: {idle} idle connections and {busy} busy ones", kind.as_str()))?;
    let mut peer = stage::start(kind, &format!("{kind:?}-connections"), stage)?;
    let start = mib(&peer, "VmRSS")?;
    let request = request(BODY_BYTES);
    let mut load = Load::connect(peer.address, 0, &request, peer.stamps(), peer.tls(stage))?;
    let mut requests = 0;
    for some in groups(idle + busy) {
        load.grow(some.len())?;
        // One of them asks, so that the others before it were accepted.
        requests += once(&mut load, some.end - 1..some.end)?;
    }
    let silent = mib(&peer, "VmRSS")?;
    let work = Limit { requests: usize::MAX, time: BUSY };
    requests += load.run_on(idle..idle + busy, work)?.len();
    let silent_peak = mib(&peer, "VmHWM")?;
    for some in groups(idle) {
        requests += once(&mut load, some)?;
    }
    let kept = mib(&peer, "VmRSS")?;
    requests += load.run_on(idle..idle + busy, work)?.len();
    let rested = mib(&peer, "VmRSS")?;
    for some in groups(idle) {
        requests += once(&mut load, some).context("on a connection that was idle")?;
    }
    let kept_peak = mib(&peer, "VmHWM")?;
    peer.sent(requests);
    peer.check_recorded()?;
    Ok(Connections { kind, idle, busy, start, silent, silent_peak, kept, rested, kept_peak, requests })
}

/// One request on each of these.
fn once(load: &mut Load<'_>, some: Range<usize>) -> anyhow::Result<usize> {
    let limit = Limit { requests: some.len(), time: Duration::MAX };
    Ok(load.run_on(some, limit)?.len())
}

fn groups(connections: usize) -> impl Iterator<Item = Range<usize>> {
    (0..connections).step_by(AT_ONCE).map(move |first| first..connections.min(first + AT_ONCE))
}

/// Raises the limit of open files for this process and its children.
fn allow_descriptors(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let enough = limit.maximum.is_none_or(|maximum| maximum >= wanted);
    ensure!(enough, "this takes {wanted} open files a process, of which {limit:?} are allowed (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).context("raising the limit of open files")
}
