//! `Ledger::rotate`: the log under the old key, the entry, and the new key's file in its place; see `rotation`.
//!
//! It is an opening and a closing of the ledger, so nothing else may write there meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CloseError, Config, FOLDER, Ledger, OpenError, Origin};
use crate::key_file::KeyFileError;
use crate::ledger::opening::{Opening, anchor};
use crate::ledger::read::{ReadError, Reader};
use crate::ledger::segment::{Disk, Storage};
use crate::ledger::signing::Keys;
use crate::telemetry::Metrics;
use crate::tlog::VerifierKey;

/// A key was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The verifier key until now.
    pub old: VerifierKey,
    /// The one from now on.
    pub new: VerifierKey,
    /// Where the private key is that the next start must find.
    pub file: PathBuf,
}

/// Why a key could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// There is nothing that it signs.
    #[error("{}: no log is there whose key could be changed", dir.display())]
    NoLog {
        /// The data directory.
        dir: PathBuf,
    },
    /// The configuration names the key's file.
    #[error(
        "ledger.signing_key: {} was given, and is not replaced: make another key, give it with --new-key FILE, and name \
         that file in ledger.signing_key afterwards",
        file.display()
    )]
    Given {
        /// The configured file.
        file: PathBuf,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A key's file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The entry is there, and the log could not be closed.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The entry is there, and the file has not taken the old one's place.
    #[error("{}: {source}; the log has the new key, and the next start takes it up", file.display())]
    Promote {
        /// The old key's file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Ledger {
    /// Goes on under another Ed25519 key, made here or taken from the file `new`. Nothing else may write there.
    ///
    /// # Errors
    /// Where it could not be done. Whatever was begun the next start finishes or undoes.
    pub fn rotate(
        config: &Config,
        origin: &Origin,
        metrics: &Arc<Metrics>,
        new: Option<&Path>,
    ) -> Result<Rotated, RotateError> {
        let dir = &config.dir;
        if Reader::open(dir)?.log()?.is_none() {
            return Err(RotateError::NoLog { dir: dir.clone() });
        }
        if let (Some(file), None) = (&config.signing_key, new) {
            return Err(RotateError::Given { file: file.clone() });
        }
        let _lock = super::lock(dir)?;
        let path = dir.join(FOLDER);
        let disk = Disk::create(&path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let keys = Keys::existing(dir, config.signing_key.as_deref(), config.ml_dsa_44)?;
        let opening = Opening { config, origin, keys: &keys, metrics, anchor: anchor(config, origin) };
        opening.rotate(Arc::new(disk), &path, new)
    }
}

impl Opening<'_> {
    /// Opens the log, has it take the new key, and closes it.
    pub(crate) fn rotate(
        self,
        storage: Arc<dyn Storage>,
        path: &Path,
        new: Option<&Path>,
    ) -> Result<Rotated, RotateError> {
        let incoming = self.keys.incoming(new)?;
        let (ledger, keys) = self.open_with(storage, None, (path, Some(&incoming)))?;
        ledger.close()?;
        let file = incoming.place.clone();
        incoming.promote().map_err(|source| RotateError::Promote { file: file.clone(), source })?;
        let (old, new) = keys.ok_or_else(|| RotateError::NoLog { dir: path.to_owned() })?;
        Ok(Rotated { old, new, file })
    }
}
