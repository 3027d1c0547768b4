//! File systems of their own, on loop devices: one that fills up, and one whose power fails.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::judge::{all_recorded, comes_back, gaps};
use super::load::{Seen, model_server};
use super::scene::Scene;
use crate::support::touchmark::Folder;
use crate::support::{eventually, skipped};

/// Bytes of a file system: a few segments of the least size.
const DISK_BYTES: u64 = 24 << 20;
/// Bytes left when it is "full": less than two segments, with what lies beside them.
const LEFT_BYTES: u64 = 1600 << 10;
/// `EXT4_IOC_SHUTDOWN`, once a line is read, and how: with the journal's transactions in memory written, or lost as the
/// rest.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
disk = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(disk, 0x8004587D, struct.pack('I', int(sys.argv[2])))";
const LOG_FLUSHED: &str = "1";
const LOG_LOST: &str = "2";

/// An ext4 on a loop device.
struct Disk {
    folder: Folder,
}

impl Disk {
    /// Where this user may not have one, says so and gives nothing.
    fn new() -> Option<Self> {
        let disk = Self { folder: Folder::new() };
        std::fs::create_dir(disk.at()).unwrap();
        std::fs::File::create(disk.image()).unwrap().set_len(DISK_BYTES).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", disk.image().to_str().unwrap()]).and_then(|()| disk.mount());
        made.map_err(|why| skipped(&format!("no file system can be made and mounted here: {why}")))
            .is_ok()
            .then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    fn at(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", self.image().to_str().unwrap(), self.at().to_str().unwrap()])
    }

    async fn remount(&self) {
        // The device is let go of once the last process that used it is reaped.
        eventually("umount", || run("umount", &[self.at().to_str().unwrap()]).ok()).await;
        self.mount().unwrap();
    }

    /// What is not on the device or in its journal is gone from here on, and calls fail. `dark` says so before it is.
    fn lose_power(&self, how: &str, dark: &AtomicBool) {
        let mut python = Command::new("python3");
        python.args(["-c", SHUTDOWN, self.at().to_str().unwrap(), how]);
        let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        python.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        dark.store(true, Ordering::SeqCst);
        python.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert!(python.wait().unwrap().success());
    }

    fn ballast(&self) -> PathBuf {
        self.at().join("ballast")
    }

    /// Fills it up, but for so many bytes.
    fn fill(&self, left: u64) {
        let free = rustix::fs::statvfs(self.at()).unwrap();
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(left);
        let ballast = std::fs::File::create(self.ballast()).unwrap();
        rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    }

    fn scene(&self, scene: Scene) -> Scene {
        Scene { data: self.at().join("data"), ..scene }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at()).output();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        other => Err(format!("{program} {arguments:?}: {other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_or_passes_and_goes_on_by_itself() {
    let model = model_server().await;
    for (on_failure, durability) in [("reject", "write"), ("pass", "write"), ("reject", "sync")] {
        let Some(disk) = Disk::new() else { return };
        let scene = disk.scene(Scene { on_failure, ..Scene::new(&model, durability) });
        let serving = scene.start(&[]).await.unwrap();
        disk.fill(LEFT_BYTES);
        let mut seen = Seen::default();
        let mut unrecorded = 0;
        for _ in 0..4 {
            seen.add(serving.full_load().await);
            unrecorded = serving.books_balance().await;
        }
        assert!(unrecorded > 0, "it is full: {}", scene.log());
        assert_eq!(seen.refused > 0, on_failure == "reject");
        std::fs::remove_file(disk.ballast()).unwrap();
        seen.add(super::errors::recovers(&serving).await);
        let unrecorded = serving.books_balance().await;
        assert!(serving.stop().await.success(), "{}", scene.log());
        let entries = comes_back(&scene, &[], false).await;
        assert_eq!(gaps(&entries), unrecorded, "gaps say what is not recorded");
        if on_failure == "reject" {
            all_recorded(&entries, &seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_takes_nothing_that_was_seen_under_sync() {
    let model = model_server().await;
    for how in [LOG_LOST, LOG_FLUSHED] {
        let Some(disk) = Disk::new() else { return };
        let scene = disk.scene(Scene::new(&model, "sync"));
        let mut seen = Seen::default();
        for calls in [1, 7, 40, 100, 170] {
            seen.add(lose_power_after(&disk, &scene, calls, how).await);
            all_recorded(&comes_back(&scene, &[], true).await, &seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_leaves_a_log_that_verifies_under_write() {
    let model = model_server().await;
    let Some(disk) = Disk::new() else { return };
    let scene = disk.scene(Scene::new(&model, "write"));
    for calls in [1, 7, 40, 100, 170] {
        lose_power_after(&disk, &scene, calls, LOG_LOST).await;
        comes_back(&scene, &[], true).await;
    }
}

/// Takes the power away while calls go on, so many of them after the start. What was seen before: the shutdown is not as
/// sudden as a power loss. A sync that it overtakes can succeed although what it synced is lost (the kernel does not
/// report a conversion of preallocated blocks that failed for the shutdown), and the process lives to answer.
async fn lose_power_after(disk: &Disk, scene: &Scene, calls: usize, how: &str) -> Seen {
    let serving = scene.start(&[]).await.unwrap();
    let mut seen = serving.load(calls).await;
    let dark = AtomicBool::new(false);
    let until_it_fails = async {
        loop {
            let more = serving.load(1).await;
            let fails = more.refused + more.cut > 0;
            if !dark.load(Ordering::SeqCst) {
                seen.add(more);
            }
            if fails {
                return;
            }
        }
    };
    tokio::join!(until_it_fails, async { tokio::task::block_in_place(|| disk.lose_power(how, &dark)) });
    serving.kill().await;
    disk.remount().await;
    seen
}
