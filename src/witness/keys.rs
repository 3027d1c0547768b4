//! Private keys in files: read, or made where they are missing.
//!
//! PKCS #8 in PEM, which `openssl genpkey` writes too. A file that is made here can be read by its owner alone.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Config, durable};
use crate::tlog::{KeyError, Scheme, Signer, base64};

/// Only the owner reads and writes.
const MODE: u32 = 0o600;
/// Letters of a line of PEM (RFC 7468, section 2).
const LINE_LEN: usize = 64;

/// A key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("{key}: {}", file.display())]
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

/// A key file that the configuration names.
struct KeyFile {
    key: &'static str,
    file: PathBuf,
    scheme: Scheme,
}

fn files(config: &Config) -> impl Iterator<Item = KeyFile> {
    let first = KeyFile { key: "witness.key", file: config.key_file(), scheme: Scheme::CosignatureV1 };
    let second = config.ml_dsa_key.clone();
    let second = second.map(|file| KeyFile { key: "witness.ml_dsa_key", file, scheme: Scheme::MlDsa44 });
    std::iter::once(first).chain(second)
}

/// Whether any of the keys is there already: what it has cosigned must be remembered.
pub(super) fn any_exists(config: &Config) -> bool {
    files(config).any(|key| key.file.exists())
}

/// Reads every key, the Ed25519 one first; makes those that are missing.
pub(super) fn load(config: &Config, name: &str) -> Result<Vec<Signer>, KeyFileError> {
    files(config).map(|key| key.load(name)).collect()
}

impl KeyFile {
    fn load(&self, name: &str) -> Result<Signer, KeyFileError> {
        let pem = match fs::read(&self.file) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            Err(error) => return Err(self.io(error)),
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem)
            .map_err(|_| KeyFileError::Pem { key: self.key, file: self.file.clone() })?;
        let signer = Signer::from_pkcs8(name, der.secret_pkcs8_der(), true).map_err(|error| self.wrong(&error))?;
        if signer.verifier().scheme() != self.scheme {
            let problem = match self.scheme {
                Scheme::MlDsa44 => "is an Ed25519 key: name it in witness.key, or write null here",
                _ => "is an ML-DSA-44 key: name it in witness.ml_dsa_key, and an Ed25519 key here",
            };
            return Err(KeyFileError::Key { key: self.key, file: self.file.clone(), problem: problem.to_owned() });
        }
        Ok(signer)
    }

    fn make(&self) -> Result<Vec<u8>, KeyFileError> {
        let made = match self.scheme {
            Scheme::MlDsa44 => Signer::generate_ml_dsa_44(),
            _ => Signer::generate_ed25519(),
        };
        let pem = pem(&made.map_err(|error| self.wrong(&error))?).into_bytes();
        durable::create(&self.file, &pem, MODE).map_err(|error| self.io(error))?;
        tracing::info!(key = self.key, file = %self.file.display(), "made a new private key");
        Ok(pem)
    }

    fn io(&self, source: io::Error) -> KeyFileError {
        KeyFileError::Io { key: self.key, file: self.file.clone(), source }
    }

    fn wrong(&self, error: &KeyError) -> KeyFileError {
        KeyFileError::Key { key: self.key, file: self.file.clone(), problem: error.to_string() }
    }
}

fn pem(der: &[u8]) -> String {
    let text = base64(der);
    // Base 64 is ASCII: every place is between letters.
    let lines: Vec<&str> =
        (0..text.len()).step_by(LINE_LEN).map(|at| &text[at..text.len().min(at + LINE_LEN)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
