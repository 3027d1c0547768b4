//! Processes that a test starts. They end with it, also where it fails.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::ledger::sha256;
use super::message::get;
use super::touchmark::Folder;
use super::wire::Wire;
use super::{eventually, soon};

/// A process. A [`Child`] that is dropped would run on.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Asks it to end in order, and waits until it has.
    pub(crate) async fn terminated(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        eventually("the process's end", || self.0.try_wait().unwrap()).await
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended, and was waited for, is not signalled.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `touchmark catalog serve`.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) process: Running,
    pub(crate) admin: SocketAddr,
    folder: Folder,
}

impl Fleet {
    /// One with a token for each of these roles, which is the role's name, and with what the test adds.
    pub(crate) async fn start(roles: &[&str], admin: Value, lineage: Value) -> Self {
        let folder = Folder::new();
        let token =
            |role: &&str| json!({"name": format!("the {role}"), "role": role, "sha256": sha256(role.as_bytes())});
        let mut config = json!({"admin": admin, "lineage": lineage});
        config["admin"]["tokens"] = roles.iter().map(token).collect();
        let file = folder.path().join("touchmark.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
        command.args(["catalog", "serve", "--admin", "127.0.0.1:0", "--config"]).arg(&file);
        let process = Running::spawn(command.arg("--data").arg(folder.path().join("data")).stderr(Stdio::null()));
        let announced = folder.path().join("data/serve.json");
        let admin = eventually("serve.json", || {
            let says: Value = serde_json::from_slice(&std::fs::read(&announced).ok()?).ok()?;
            says["admin"].as_str()?.split_once("://")?.1.parse().ok()
        })
        .await;
        Self { process, admin, folder }
    }

    /// Where its catalog and its access log lie.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// A folder that goes away with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the catalog is open, where it is met in the clear.
    pub(crate) async fn opened(&self) {
        let ready = async {
            loop {
                let mut client = Wire::connect(self.admin).await;
                client.send(get("/readyz", &[])).await;
                if client.answer().await.head.status() == 200 {
                    return;
                }
            }
        };
        soon("the catalog", ready).await;
    }
}
