//! `strace` as the hand that kills a process at its n-th call, or lets the call fail.
//!
//! It counts calls for each thread apart, so one thread is traced at a time: the main one through a start, or one of a
//! running process, found by its name. What counts is then the n-th call of that thread and of no other.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{eventually, skipped_without};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process is killed before it.
    Kill,
    /// It fails once.
    Once(&'static str),
    /// It fails, and so does every later one.
    Always(&'static str),
}

/// Which call, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Injection {
    /// The call's names, on whatever machine: a set as `strace` takes it.
    pub calls: &'static str,
    pub fault: Fault,
    /// Counted from 1.
    pub nth: usize,
}

/// To a place in a file, as the ledger's are written; sockets are not.
pub(super) const WRITE: &str = "?pwrite64,?pwritev";
pub(super) const READ: &str = "?pread64,?preadv";
pub(super) const APPEND: &str = "?write";
pub(super) const FDATASYNC: &str = "?fdatasync";
pub(super) const FSYNC: &str = "?fsync";
pub(super) const TRUNCATE: &str = "?ftruncate";
pub(super) const ALLOCATE: &str = "?fallocate";
pub(super) const RENAME: &str = "?rename,?renameat,?renameat2";
pub(super) const UNLINK: &str = "?unlink,?unlinkat";
pub(super) const OPEN: &str = "?open,?openat";

impl Injection {
    /// The words before a command that is to be traced.
    pub(super) fn words(&self, trace: &Path) -> Vec<String> {
        let Self { calls, fault, nth } = self;
        let what = match fault {
            Fault::Kill => format!("signal=SIGKILL:when={nth}"),
            Fault::Once(error) => format!("error={error}:when={nth}"),
            Fault::Always(error) => format!("error={error}:when={nth}+"),
        };
        let words = ["strace", "-o", trace.to_str().unwrap(), "-e", &format!("trace={calls}"), "-e"];
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain([format!("inject={calls}:{what}")]).collect()
    }

    /// Traces a thread of a running process from here on.
    pub(super) async fn attach(&self, process: u32, thread: &str, folder: &Path) -> Attached {
        let id = eventually(thread, || thread_id(process, thread)).await;
        let (trace, says) = (folder.join("trace"), folder.join("strace"));
        let words = self.words(&trace);
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["-p", &id])
            .stderr(std::fs::File::create(&says).unwrap())
            .spawn()
            .unwrap();
        eventually("strace to attach", || {
            let said = std::fs::read_to_string(&says).unwrap();
            assert!(!said.contains("not permitted"), "{said}");
            said.contains("attached").then_some(())
        })
        .await;
        Attached(child)
    }

    /// Whether a call failed.
    pub(super) fn failed_in(trace: &Path) -> bool {
        std::fs::read_to_string(trace).is_ok_and(|trace| trace.contains("(INJECTED)"))
    }
}

/// A running `strace`.
pub(super) struct Attached(Child);

impl Attached {
    /// Lets go of the thread: its calls do what they should again.
    pub(super) fn detach(mut self) {
        let id = rustix::process::Pid::from_child(&self.0);
        // It may have ended with the process.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn thread_id(process: u32, name: &str) -> Option<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut named = threads
        .map(|thread| thread.unwrap())
        .filter(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    Some(named.next()?.file_name().into_string().unwrap())
}

/// Whether calls can be injected here. The gate has all that it needs for that: there, a machine without is a failure.
pub(super) fn is_here() -> bool {
    let traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let here = traced.is_ok_and(|status| status.success());
    if !here {
        skipped_without("strace");
    }
    here
}
