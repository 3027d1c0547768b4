//! Private keys in files: read, or made where they are missing.
//!
//! PKCS #8 in PEM, which `openssl genpkey` writes too. A file that is made here can be read by its owner alone. Which
//! file it is, and under which name a key signs, is the matter of whoever signs: the ledger, a witness.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::durable;
use crate::tlog::{KeyError, Scheme, Signer, base64};

/// Only the owner reads and writes.
const MODE: u32 = 0o600;
/// Letters of a line of PEM (RFC 7468, section 2).
const LINE_LEN: usize = 64;
/// The most bytes of a key file that are read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("{key}: {}: {source}", file.display())]
    Io {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{key}: {} holds no private key in PKCS #8: it must begin with -----BEGIN PRIVATE KEY-----", file.display())]
    Pem {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// It holds a key of another kind.
    #[error("{key}: {}: {problem}", file.display())]
    Key {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A file with a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// The configuration's key that names it.
    pub(crate) key: &'static str,
    /// Where it is.
    pub(crate) file: PathBuf,
    /// What a key is made for where there is none.
    pub(crate) scheme: Scheme,
}

impl KeyFile {
    /// The key in PKCS #8 (DER); made where there is no file.
    pub(crate) fn read_or_make(&self) -> Result<Vec<u8>, KeyFileError> {
        match self.read() {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => self.make(),
            read => read,
        }
    }

    /// The key in PKCS #8 (DER).
    pub(crate) fn read(&self) -> Result<Vec<u8>, KeyFileError> {
        let mut pem = Vec::new();
        let file = File::open(&self.file).map_err(|error| self.io(error))?;
        let mode = file.metadata().map_err(|error| self.io(error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let (file, mode) = (self.file.display(), format!("{:o}", mode & 0o777));
            tracing::warn!(key = self.key, %file, mode, "others may read the private key");
        }
        file.take(FILE_BYTES_MAX).read_to_end(&mut pem).map_err(|error| self.io(error))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem)
            .map_err(|_| KeyFileError::Pem { key: self.key, file: self.file.clone() })?;
        let der = key.secret_pkcs8_der().to_vec();
        Signer::from_pkcs8("key", &der, false).map_err(|error| self.wrong(&error))?;
        Ok(der)
    }

    /// Makes a key and its file, which must not be there yet.
    pub(crate) fn make(&self) -> Result<Vec<u8>, KeyFileError> {
        let made = match self.scheme {
            Scheme::MlDsa44 => Signer::generate_ml_dsa_44(),
            Scheme::Ed25519 | Scheme::CosignatureV1 => Signer::generate_ed25519(),
        };
        let der = made.map_err(|error| self.wrong(&error))?;
        self.keep(&der)?;
        tracing::info!(key = self.key, file = %self.file.display(), "made a private key; keep a copy apart");
        Ok(der)
    }

    /// Makes the file of a key, which must not be there yet.
    pub(crate) fn keep(&self, der: &[u8]) -> Result<(), KeyFileError> {
        durable::create(&self.file, pem(der).as_bytes(), MODE).map_err(|error| self.io(error))
    }

    /// The file cannot be read or written.
    pub(crate) fn io(&self, source: io::Error) -> KeyFileError {
        KeyFileError::Io { key: self.key, file: self.file.clone(), source }
    }

    /// The key cannot be used.
    pub(crate) fn wrong(&self, error: &KeyError) -> KeyFileError {
        self.unfit(error.to_string())
    }

    /// The key cannot be used for what it was named for.
    pub(crate) fn unfit(&self, problem: String) -> KeyFileError {
        KeyFileError::Key { key: self.key, file: self.file.clone(), problem }
    }
}

fn pem(der: &[u8]) -> String {
    let text = base64(der);
    // Base 64 is ASCII: every place is between letters.
    let lines: Vec<&str> =
        (0..text.len()).step_by(LINE_LEN).map(|at| &text[at..text.len().min(at + LINE_LEN)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
