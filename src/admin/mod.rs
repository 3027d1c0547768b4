//! The admin listener: health, metrics, the API for people and tools, and the log's tiles, apart from the data path.
//!
//! It has a thread, a runtime and limits of its own, so that neither a scrape slows a prediction nor a flood of
//! predictions starves a health check. It listens on loopback unless a token is configured. Sockets are bound before
//! anything else starts and served when the parts exist, hence [`bind`] and [`serve`].
//!
//! A request's way: `server` (accept, TLS) → `dispatch` (who, may they, the body, the access log) → a handler of the
//! table in `routes`. It is not meant for the open internet.

mod access;
mod access_log;
mod answer;
mod backends;
mod body;
mod config;
mod dispatch;
mod lineage;
mod query;
mod rates;
mod readiness;
mod routes;
mod seats;
mod server;
mod system;
mod tiles;
mod tls;
mod traffic;
mod webhook;

#[cfg(test)]
mod tests;

pub use access::{Auth, Role, Secret};
pub use access_log::AccessLog;
pub use backends::{BackendState, Backends, CheckState, EjectionState, ModelState, ServedState};
pub use config::{Config, TokenConfig};
pub use readiness::{Readiness, Reason};
pub use routes::{Parts, Serving};
pub use server::{Handle, serve};
pub use system::Status;
pub use traffic::Traffic;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::tls::TlsError;

/// Why the admin listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Anybody could reach it.
    #[error(
        "admin.listen: {listen} is not loopback and nothing asks who calls: set admin.token_file (or admin.token), \
         or listen on 127.0.0.1:{}",
        listen.port()
    )]
    Open {
        /// The configured address.
        listen: SocketAddr,
    },
    /// A digest that is none.
    #[error("admin.tokens[{at}].sha256: must be 64 hexadecimal digits: printf %s TOKEN | sha256sum")]
    Digest {
        /// Which token, from 0.
        at: usize,
    },
    /// Both ways to give a token are used.
    #[error("admin.token and admin.token_file are both set: keep one")]
    TwoTokens,
    /// The token is empty, or could not be sent in a header.
    #[error("{key}: the token must be one or more visible ASCII characters: make one with `openssl rand -hex 32`")]
    Token {
        /// `admin.token`, or `admin.token_file` with its path.
        key: String,
    },
    /// The token's file cannot be read.
    #[error("admin.token_file: cannot read {}", path.display())]
    TokenFile {
        /// The configured path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("admin.listen: cannot listen on {listen}: stop what listens there, or set another address")]
    Bind {
        /// The configured address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Its certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No thread could be started.
    #[error("the admin listener's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// Binds the socket. Refuses an address that is not loopback where no token is configured.
pub fn bind(config: &Config) -> Result<TcpListener, AdminError> {
    let listen = config.listen;
    if !Auth::load(config)?.required() && !listen.ip().to_canonical().is_loopback() {
        return Err(AdminError::Open { listen });
    }
    TcpListener::bind(listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| AdminError::Bind { listen, source })
}
