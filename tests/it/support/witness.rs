//! A witness in the test's own process, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;

use touchmark::tlog::VerifierKey;
use touchmark::witness::{Config, Handle, LogConfig, Witness, bind, serve};

use super::touchmark::Folder;

/// A witness in this process.
pub(crate) struct Here {
    pub(crate) handle: Handle,
    vkey: VerifierKey,
    witness: Arc<Witness>,
    folder: Folder,
}

impl Here {
    /// One that knows the logs of these verifier keys and origins.
    pub(crate) fn knowing(logs: &[(String, Option<String>)]) -> Self {
        let folder = Folder::new();
        let witness = Arc::new(Witness::open(&Self::config(&folder, logs), false).unwrap());
        let vkey = witness.verifiers()[0].clone();
        let handle = serve(bind(([127, 0, 0, 1], 0).into()).unwrap(), Arc::clone(&witness)).unwrap();
        Self { handle, vkey, witness, folder }
    }

    /// Knows these from here on, as after a reload.
    pub(crate) fn know(&self, logs: &[(String, Option<String>)]) {
        self.witness.know(&Self::config(&self.folder, logs)).unwrap();
    }

    fn config(folder: &Folder, logs: &[(String, Option<String>)]) -> Config {
        let logs = logs.iter().cloned().map(|(vkey, origin)| LogConfig { vkey, origin });
        Config {
            name: Some("witness.example/w1".to_owned()),
            dir: folder.path().to_owned(),
            logs: logs.collect(),
            ..Config::default()
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.address()
    }

    pub(crate) fn vkey(&self) -> &VerifierKey {
        &self.vkey
    }
}
