//! A peer as a process: started on a core, measured from outside, ended with the bench.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to end by itself.
const END_MAX: Duration = Duration::from_secs(15);

/// A child process; ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a program on one core. It is told to end when the bench dies, however that comes about. What it says
    /// goes into a file.
    pub(crate) fn start(name: &str, core: usize, program: &Path, args: &[&str], log: &Path) -> anyhow::Result<Self> {
        let log = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name} with setpriv and taskset (util-linux)"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// A child that is running already.
    pub(crate) fn adopt(name: &str, child: Child) -> Self {
        Self { child, name: name.to_owned() }
    }

    /// Waits until a condition holds, as long as the process lives.
    pub(crate) fn ready(&mut self, mut is_ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        const READY_MAX: Duration = Duration::from_secs(15);
        let start = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start: {status}", self.name);
            }
            if start.elapsed() > READY_MAX {
                bail!("{} was not ready after {READY_MAX:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut run_ns = HashMap::new();
        for pid in self.pids() {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let path = task?.path().join("schedstat");
                // A thread that has just ended has no file any more.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
                run_ns.insert(path.display().to_string(), ns.with_context(|| format!("reading {}", path.display()))?);
            }
        }
        Ok(Usage { run_ns })
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmRSS` or `VmHWM`, of all its processes together.
    pub(crate) fn memory_kib(&self, line: &str) -> anyhow::Result<u64> {
        let mut sum = 0;
        for pid in self.pids() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
            let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            sum += kib.with_context(|| format!("/proc/{pid}/status has no {line}"))?;
        }
        Ok(sum)
    }

    /// Open descriptors of all its processes together: how many of each kind, such as `socket`, or of each file.
    pub(crate) fn descriptors(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut kinds = BTreeMap::new();
        for pid in self.pids() {
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).context("counting descriptors")? {
                // What was closed meanwhile has no name.
                let Ok(name) = fs::read_link(entry?.path()) else { continue };
                let name = name.to_string_lossy();
                let kind = name.split_once(":[").map_or(&*name, |(kind, _)| kind);
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
        Ok(kinds)
    }

    /// The process and its children, such as nginx's worker.
    fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its standard input, where the bench holds it, says that it is over.
        drop(self.child.stdin.take());
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > END_MAX {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The run time of each thread up to now.
#[derive(Debug)]
pub(crate) struct Usage {
    run_ns: HashMap<String, u64>,
}

impl Usage {
    /// Nanoseconds on a core since an earlier moment, of all threads together.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let spent = |(thread, ns): (&String, &u64)| ns.saturating_sub(earlier.run_ns.get(thread).copied().unwrap_or(0));
        self.run_ns.iter().map(spent).sum()
    }
}
