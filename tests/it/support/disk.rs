//! A disk that is small, full or read-only: a file system made for a test.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use touchmark::exchange::OnFailure;
use touchmark::units::Size;

use super::message::{INFER, INPUT, post};
use super::model_server::ModelServer;
use super::skipped;
use super::touchmark::{Folder, Setup, Touchmark};

/// A file system of a given size, made for a test and gone with it.
#[derive(Debug)]
pub(crate) struct Mounted(pub Arc<Folder>);

impl Mounted {
    /// Where this user may not mount, says so and gives nothing.
    pub(crate) fn tmpfs(options: &str) -> Option<Self> {
        let folder = Arc::new(Folder::new());
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                skipped(&format!("no file system can be mounted here: {other:?}"));
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Room for the first segment and not for the second.
pub(crate) fn almost_full(model: &ModelServer, disk: &Mounted, on_failure: OnFailure) -> Touchmark {
    let mut config = Setup::new(model).config;
    config.ledger.segment_size = Size(1 << 20);
    config.ledger.on_failure = on_failure;
    Setup::from(config, Arc::clone(&disk.0)).start()
}

/// Calls until one is refused by status 503, or so many have been served.
pub(crate) async fn call_until_refused(touchmark: &Touchmark, calls: usize) -> Option<usize> {
    let mut client = touchmark.connect().await;
    for call in 0..calls {
        client.send(post(INFER, INPUT)).await;
        if client.answer().await.head.status() == 503 {
            return Some(call);
        }
    }
    None
}

/// More than a segment of the least size holds.
pub(crate) const MANY: usize = 4_000;

pub(crate) fn remount(path: &Path, options: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(path).status().unwrap();
    assert!(status.success());
}
