//! The witness: remembers the last checkpoint of each log that it knows, and cosigns what extends it (C2SP tlog-witness).
//!
//! A log that shows different people different histories is found out where they compare notes. Witnesses do that for
//! them: each cosigns one history alone, so that whoever trusts a few of them sees what everybody sees. All that a
//! witness must never do is forget: its memory is durable before a cosignature leaves, and it starts only with the
//! whole of it.
//!
//! Life of a checkpoint: `server` takes the request, [`Request`] reads it, [`Witness`] judges it and signs,
//! `memory` keeps it, and only then the answer leaves. It does not fetch anything from a log, sees no entries, and
//! speaks no TLS: what it serves is signed.

mod config;
mod judge;
mod keys;
mod logs;
mod memory;
mod request;
mod server;
#[cfg(test)]
mod tests;

pub use config::{Config, LogConfig};
pub use judge::{Refusal, Witness};
pub use logs::Logs;
pub use memory::MemoryError;
pub use request::{Request, RequestError};
pub use server::{Handle, bind, serve};

use std::io;
use std::net::SocketAddr;

use crate::key_file::KeyFileError;

/// Why a witness cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it is configured with is wrong.
    #[error("{0}")]
    Config(String),
    /// Its memory cannot be had whole.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The address cannot be listened on.
    #[error("witness.listen: cannot listen on {listen}: stop what listens there, or set another address")]
    Bind {
        /// The configured address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread could be started.
    #[error("the witness's thread cannot be started")]
    Thread(#[source] io::Error),
}
