//! The listener's certificate: read at the start, and again when its files may have changed.
//!
//! A connection keeps what it began with.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::AdminError;
use crate::tls::{HTTP11, Maker, TlsConfig};

/// TLS as it is in force. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: TlsConfig,
    in_force: Arc<ArcSwap<ServerConfig>>,
    /// A hash over the files that it was made from.
    files: Arc<Mutex<[u8; 32]>>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(config: &TlsConfig) -> Result<Self, AdminError> {
        let (made, files) = make(config)?;
        let (in_force, files) = (Arc::new(ArcSwap::new(made)), Arc::new(Mutex::new(files)));
        Ok(Self { config: config.clone(), in_force, files })
    }

    /// For a new connection.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.in_force.load_full()
    }

    /// Reads the files again. Whether they hold something else; where they cannot be used, the old stay in force.
    pub(super) fn renew(&self) -> Result<bool, AdminError> {
        let (made, files) = make(&self.config)?;
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == files {
            return Ok(false);
        }
        *known = files;
        self.in_force.store(made);
        Ok(true)
    }
}

fn make(config: &TlsConfig) -> Result<(Arc<ServerConfig>, [u8; 32]), AdminError> {
    let mut maker = Maker::new();
    let made = maker.server("admin.tls", config, &[HTTP11])?;
    Ok((made, maker.digest()))
}
