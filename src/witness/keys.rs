//! A witness's keys: which files hold them, and what each must be.

use super::Config;
use crate::key_file::{KeyFile, KeyFileError};
use crate::tlog::{Scheme, Signer};

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
    files(config).map(|key| under(&key, name)).collect()
}

fn under(key: &KeyFile, name: &str) -> Result<Signer, KeyFileError> {
    let signer = Signer::from_pkcs8(name, &key.read_or_make()?, true).map_err(|error| key.wrong(&error))?;
    if signer.verifier().scheme() != key.scheme {
        let problem = match key.scheme {
            Scheme::MlDsa44 => "is an Ed25519 key: name it in witness.key, or write null here",
            _ => "is an ML-DSA-44 key: name it in witness.ml_dsa_key, and an Ed25519 key here",
        };
        return Err(key.unfit(problem.to_owned()));
    }
    Ok(signer)
}
