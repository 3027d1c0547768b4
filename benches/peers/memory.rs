//! How much memory a peer takes: when it has just started, under large bodies, and for one huge body each way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::backend::ANSWER_BYTES;
use crate::client::{Limit, Load};
use crate::peer::{Kind, Peer};
use crate::stage::{self, Backends, Stage};
use crate::support::{PATH, number, request};
use crate::{Run, interrupt, note};

/// The large bodies, their connections, and for how long.
const LOAD_BYTES: usize = 256 << 10;
const LOAD_CONNECTIONS: usize = 128;
const LOAD_TIME: Duration = Duration::from_secs(4);
/// The huge body.
const HUGE_BYTES: u64 = 2 << 30;
/// What is written and read at once of it.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a peer may stand still in the middle of it.
const STILL_MAX: Duration = Duration::from_secs(30);
/// After the start, until the threads have settled.
const SETTLE: Duration = Duration::from_secs(1);

/// One peer's memory, in MiB.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Memory {
    #[serde(serialize_with = "crate::report::kind")]
    pub(crate) kind: Kind,
    /// RSS after the start.
    pub(crate) start: f64,
    /// Peak RSS under the large bodies.
    pub(crate) load_peak: f64,
    /// Peak RSS over that before, during one huge body each way.
    pub(crate) huge_moved: f64,
}

/// Measures each peer that is a process, each time a fresh one.
pub(crate) fn measure(run: &Run<'_>) -> anyhow::Result<Vec<Memory>> {
    let backends = Backends::start(run.cores.load, false)?;
    let stage = Stage::new(run, &backends);
    let proxies = run.kinds.iter().copied().filter(|kind| !matches!(kind, Kind::Direct | Kind::NginxLog));
    proxies.map(|kind| one(kind, stage).with_context(|| kind.as_str())).collect()
}

fn one(kind: Kind, stage: Stage<'_>) -> anyhow::Result<Memory> {
    note(&format!("{}: memory", kind.as_str()))?;
    let mut loaded = stage::start(kind, &format!("{kind:?}-load"), stage)?;
    std::thread::sleep(SETTLE);
    let start = mib(&loaded, "VmRSS")?;
    let request_bytes = request(LOAD_BYTES);
    let mut load = Load::connect(loaded.address, LOAD_CONNECTIONS, &request_bytes, loaded.stamps(), None)?;
    let sent = load.run(Limit { requests: usize::MAX, time: LOAD_TIME })?.len();
    loaded.sent(sent);
    let load_peak = mib(&loaded, "VmHWM")?;
    loaded.check_recorded()?;
    drop(loaded);

    let mut fresh = stage::start(kind, &format!("{kind:?}-huge"), stage)?;
    let small = request(1024);
    let warmed = Load::connect(fresh.address, 1, &small, fresh.stamps(), None)?
        .run(Limit { requests: 100, time: LOAD_TIME })?
        .len();
    std::thread::sleep(SETTLE);
    let before = mib(&fresh, "VmRSS")?;
    huge(fresh.address).context("a body of 2 GiB each way")?;
    fresh.sent(warmed + 1);
    let huge_moved = mib(&fresh, "VmHWM")? - before;
    fresh.check_recorded()?;
    Ok(Memory { kind, start, load_peak, huge_moved })
}

/// Sends a huge body, and reads a huge answer.
fn huge(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(STILL_MAX))?;
    stream.set_write_timeout(Some(STILL_MAX))?;
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nHost: models.example\r\nContent-Type: application/octet-stream\r\n\
         {ANSWER_BYTES}: {HUGE_BYTES}\r\nContent-Length: {HUGE_BYTES}\r\n\r\n"
    )?;
    let mut chunk = vec![b' '; CHUNK_BYTES];
    for _ in 0..HUGE_BYTES / CHUNK_BYTES as u64 {
        stream.write_all(&chunk)?;
        interrupt::check()?;
    }
    let mut head = Vec::new();
    let after_head = loop {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the connection was closed before the answer");
        head.extend_from_slice(&chunk[..read]);
        if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&head[..after_head]).into_owned();
    ensure!(text.starts_with("HTTP/1.1 200 "), "the answer is no 200: {text}");
    ensure!(number(&head[..after_head], "content-length") == Some(HUGE_BYTES), "the answer has another length: {text}");
    let mut got = (head.len() - after_head) as u64;
    while got < HUGE_BYTES {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the answer was cut after {got} bytes");
        got += read as u64;
        interrupt::check()?;
    }
    Ok(())
}

/// A line of `/proc/PID/status` in MiB.
pub(crate) fn mib(peer: &Peer, line: &str) -> anyhow::Result<f64> {
    let process = peer.process.as_ref().context("the peer has no process")?;
    #[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
    let mib = process.memory_kib(line)? as f64 / 1024.0;
    Ok(mib)
}
