//! Hours of rising and falling load, and what they leave behind: memory, descriptors, the books.
//!
//! Load climbs and falls in steps. Each step has connections of its own beside one that lives as long as the soak,
//! bodies of another size, and clients that leave in the middle of what they send or of what they are sent. At the end
//! all leave, and what was opened since the start must be closed again.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::backend::ANSWER_BYTES;
use crate::client::{Limit, Load};
use crate::memory::mib;
use crate::peer::{Kind, Peer};
use crate::stage::{self, Backends, Stage};
use crate::support::{PATH, request};
use crate::wire::Wire;
use crate::{Run, grpc, interrupt, message, note};

/// Connections and requests a second of each step, after which they begin anew: a day in little.
const STEPS: [(usize, usize); 8] =
    [(1, 50), (8, 200), (32, 1000), (128, 2000), (512, 4000), (128, 2000), (32, 500), (4, 20)];
/// How long a step is.
const STEP: Duration = Duration::from_secs(5);
/// A step is made of slices; in each some clients leave.
const SLICE: Duration = Duration::from_secs(1);
/// KiB of the bodies, a step each. Of the largest, only so many a second.
const SIZES_KIB: [usize; 5] = [1, 4, 16, 1, 256];
const LARGE_KIB: usize = 256;
const LARGE_PER_SECOND_MAX: usize = 200;
/// Connections and requests before the soak.
const WARM: (usize, usize) = (32, 5000);
/// Clients of a slice that leave in the middle of their request, and of their answer.
const LEAVING: usize = 2;
/// Of the answer that nobody reads to its end.
const LEFT_ANSWER_BYTES: usize = 8 << 20;
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// Of the requests, the share that comes by gRPC as well, and its streams at a time.
const GRPC_SHARE: usize = 10;
const GRPC_STREAMS_MAX: usize = 64;
/// How long it may take until all is as it was at the start.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// MiB by which memory may rise over the second half.
const RISE_MAX: f64 = 4.0;
/// Of each round of all steps, the least memory is compared, since that is what stays; and there must be some rounds.
const ROUNDS_MIN: usize = 6;

/// One look.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Look {
    pub(crate) seconds: f64,
    /// MiB.
    pub(crate) rss: f64,
    pub(crate) descriptors: usize,
    /// Answered since the start.
    pub(crate) requests: usize,
}

/// What a soak found.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Soak {
    #[serde(serialize_with = "crate::report::kind")]
    pub(crate) kind: Kind,
    pub(crate) looks: Vec<Look>,
    /// Requests answered whole, and clients that left.
    pub(crate) requests: usize,
    pub(crate) left: usize,
    /// How many of each kind.
    pub(crate) descriptors_at_start: BTreeMap<String, usize>,
    pub(crate) descriptors_at_end: BTreeMap<String, usize>,
    /// MiB over the second half, by the line that fits it best; `None` where it was too short to say.
    pub(crate) rise: Option<f64>,
    pub(crate) peak: f64,
}

impl Soak {
    /// What is not as it should be.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let (start, end) = (leakable(&self.descriptors_at_start), leakable(&self.descriptors_at_end));
        if end > start {
            let (before, after) = (&self.descriptors_at_start, &self.descriptors_at_end);
            findings.push(format!(
                "{end} descriptors are open at the end, {start} were at the start: {before:?}, {after:?}"
            ));
        }
        if let Some(rise) = self.rise.filter(|rise| *rise > RISE_MAX) {
            findings.push(format!("memory rose by {rise:.1} MiB over the second half, beyond {RISE_MAX} MiB"));
        }
        findings
    }
}

/// Soaks Touchmark: in the default durability, or in the one that is asked for.
pub(crate) fn measure(run: &Run<'_>, time: Duration) -> anyhow::Result<Soak> {
    let touchmark = |kind: &&Kind| kind.durability().is_some();
    let write = run.kinds.iter().find(|kind| **kind == Kind::Write);
    let kind = *write.or_else(|| run.kinds.iter().find(touchmark)).context("--soak needs a Touchmark among --peer")?;
    let backends = Backends::start(run.cores.load, run.wire == Wire::Http1)?;
    let stage = Stage::new(run, &backends);
    let mut peer = stage::start(kind, "soak", stage)?;
    let bodies = SIZES_KIB.map(|kib| (kib, request(kib << 10)));
    let first = request(SIZES_KIB[0] << 10);
    let connect = |connections| Load::connect(peer.address, connections, &first, peer.stamps(), peer.tls(stage));
    // What is opened once and kept, such as the exporter's connection, is there before the count.
    let warmed = connect(WARM.0)?.run(Limit { requests: WARM.1, time: Duration::MAX })?.len();
    let mut soak = Soak { descriptors_at_start: settled(&peer, 0)?, ..Soak::new(kind) };
    let mut oldest = connect(1)?;
    let start = Instant::now();
    for (number, step) in STEPS.into_iter().cycle().enumerate() {
        let (kib, body) = &bodies[number % bodies.len()];
        soak.step(step, (*kib, body), &mut oldest, &peer, (stage, start, time))?;
        if start.elapsed() >= time {
            break;
        }
    }
    drop(oldest);
    soak.descriptors_at_end = settled(&peer, count(&soak.descriptors_at_start))?;
    soak.peak = mib(&peer, "VmHWM")?;
    soak.rise = rise(&soak.looks);
    peer.sent(warmed + soak.requests);
    // Who left may have been answered before, or may not have been noticed to have asked.
    peer.check_recorded_but(soak.left)?;
    Ok(soak)
}

impl Soak {
    fn new(kind: Kind) -> Self {
        let (descriptors_at_start, descriptors_at_end) = (BTreeMap::new(), BTreeMap::new());
        let looks = Vec::new();
        Self { kind, looks, requests: 0, left: 0, descriptors_at_start, descriptors_at_end, rise: None, peak: 0.0 }
    }

    /// One step: so many connections of its own and requests a second, in slices.
    fn step(
        &mut self,
        (connections, rate): (usize, usize),
        (kib, body): (usize, &[u8]),
        oldest: &mut Load<'_>,
        peer: &Peer,
        (stage, start, time): (Stage<'_>, Instant, Duration),
    ) -> anyhow::Result<()> {
        let rate = if kib == LARGE_KIB { rate.min(LARGE_PER_SECOND_MAX) } else { rate };
        let mut load = Load::connect(peer.address, connections, body, peer.stamps(), peer.tls(stage))?;
        let message = message::request(kib << 10);
        let streams = connections.min(GRPC_STREAMS_MAX);
        let grpc = |_| grpc::Load::connect(peer.address, streams, &message, peer.stamps());
        let mut grpc = stage.grpc.map(grpc).transpose()?;
        let began = Instant::now();
        while began.elapsed() < STEP && start.elapsed() < time {
            let slice = Instant::now();
            self.requests += load.run(Limit { requests: rate, time: SLICE })?.len();
            self.requests += oldest.run(Limit { requests: 1, time: SLICE })?.len();
            self.left += leave(stage, peer)?;
            if let Some(grpc) = &mut grpc {
                self.requests += grpc.run(Limit { requests: rate / GRPC_SHARE, time: SLICE })?.len();
                grpc.leave(LEAVING)?;
                self.left += LEAVING;
            }
            self.look(peer, start, time)?;
            std::thread::sleep(SLICE.saturating_sub(slice.elapsed()));
            interrupt::check()?;
        }
        Ok(())
    }

    /// Looks, where it is time to, and says what is seen.
    fn look(&mut self, peer: &Peer, start: Instant, time: Duration) -> anyhow::Result<()> {
        // Of a short soak, often enough for a line.
        let every = LOOK.min(time / 20);
        let seconds = start.elapsed().as_secs_f64();
        if self.looks.last().is_some_and(|last| seconds - last.seconds < every.as_secs_f64()) {
            return Ok(());
        }
        let look = Look {
            seconds,
            rss: mib(peer, "VmRSS")?,
            descriptors: count(&peer.descriptors()?),
            requests: self.requests,
        };
        let Look { rss, descriptors, requests, .. } = look;
        note(&format!("{seconds:6.0} s  {rss:6.1} MiB  {descriptors:5} descriptors  {requests:9} requests"))?;
        self.looks.push(look);
        Ok(())
    }
}

/// Descriptors once they have come down to a number, or when there has been time enough.
fn settled(peer: &Peer, wanted: usize) -> anyhow::Result<BTreeMap<String, usize>> {
    let start = Instant::now();
    while count(&peer.descriptors()?) > wanted && start.elapsed() < QUIET_MAX {
        std::thread::sleep(Duration::from_millis(100));
        interrupt::check()?;
    }
    peer.descriptors()
}

/// All but the ledger's own files: as it grows it comes to have another level of the tree, and a segment in reserve.
fn leakable(kinds: &BTreeMap<String, usize>) -> usize {
    kinds.iter().filter(|(kind, _)| !kind.contains("/ledger/")).map(|(_, count)| count).sum()
}

fn count(kinds: &BTreeMap<String, usize>) -> usize {
    kinds.values().sum()
}

/// Clients that leave: some when they have sent half a request, some when they have read the beginning of an answer.
fn leave(stage: Stage<'_>, peer: &Peer) -> anyhow::Result<usize> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let open = || {
        let socket = TcpStream::connect(peer.address).context("connecting to leave")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        crate::tls::Stream::new(socket, peer.tls(stage))
    };
    for _ in 0..LEAVING {
        let whole = request(16 << 10);
        open()?.write_all(&whole[..whole.len() / 2])?;
        let mut stream = open()?;
        write!(
            stream,
            "POST {PATH} HTTP/1.1\r\nHost: models.example\r\n{ANSWER_BYTES}: {LEFT_ANSWER_BYTES}\r\nContent-Length: 2\r\n\r\n{{}}"
        )?;
        stream.flush()?;
        ensure!(stream.read(&mut [0; 1024])? > 0, "no answer to leave in the middle of");
    }
    Ok(2 * LEAVING)
}

/// MiB over the second half, by least squares over the least of each round of steps.
#[expect(clippy::cast_precision_loss, reason = "a few hundred looks")]
fn rise(looks: &[Look]) -> Option<f64> {
    let round = STEP.as_secs_f64() * STEPS.len() as f64;
    let half = looks.last()?.seconds / 2.0;
    let second = looks.iter().filter(|look| look.seconds >= half);
    let mut least: Vec<Look> = Vec::new();
    for look in second {
        let place = |look: &Look| ((look.seconds - half) / round).floor();
        match least.last_mut().filter(|here| place(here) >= place(look)) {
            Some(here) if here.rss > look.rss => *here = *look,
            Some(_) => {}
            None => least.push(*look),
        }
    }
    let count = least.len() as f64;
    let mean = |of: fn(&Look) -> f64| least.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(|look| look.seconds), mean(|look| look.rss));
    let with = least.iter().map(|look| (look.seconds - time) * (look.rss - memory)).sum::<f64>();
    let alone = least.iter().map(|look| (look.seconds - time).powi(2)).sum::<f64>();
    (least.len() >= ROUNDS_MIN).then(|| with / alone * half)
}
