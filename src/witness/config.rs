//! The `witness` section of the configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Logs;

/// The port, where the configuration does not say otherwise.
const PORT: u16 = 9092;
/// Bytes of a name that an ML-DSA-44 cosignature can hold.
const NAME_BYTES_MAX: usize = 255;
/// The folder under the data directory that holds all that a witness keeps.
const FOLDER: &str = "witness";
/// Where the Ed25519 key is, unless the configuration says otherwise.
const KEY_FILE: &str = "key.pem";

/// The section `witness`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "WitnessConfig"))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The witness's name in its cosignatures, such as `witness.example/w1`.
    pub name: Option<String>,
    /// The data directory: memory, lock and key are in its `witness` folder.
    pub dir: PathBuf,
    /// The Ed25519 private key, PKCS #8 in PEM. Default: `key.pem` beside the memory. Made where it is missing.
    pub key: Option<PathBuf>,
    /// An ML-DSA-44 private key to cosign with too, PKCS #8 in PEM. Made where it is missing.
    pub ml_dsa_key: Option<PathBuf>,
    /// The logs to cosign for.
    pub logs: Vec<LogConfig>,
}

/// A log, or a family of logs, that is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "WitnessLogConfig"))]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The log's verifier key, `NAME+ID+BASE64`.
    pub vkey: String,
    /// The log's origin, or `PREFIX/*` for every log below a prefix that signs with this public key under its own
    /// origin as the key's name. Default: the verifier key's name.
    #[serde(default)]
    pub origin: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            name: None,
            dir: PathBuf::from("./touchmark-data"),
            key: None,
            ml_dsa_key: None,
            logs: Vec::new(),
        }
    }
}

impl Config {
    /// Where memory, lock and, by default, the key are.
    pub fn folder(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }

    /// Where the Ed25519 key is.
    pub fn key_file(&self) -> PathBuf {
        self.key.clone().unwrap_or_else(|| self.folder().join(KEY_FILE))
    }

    /// Everything that is wrong by meaning, by key, with the mend. `runs` where a witness is to be run from it.
    pub fn problems(&self, runs: bool) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, problem: String| problems.push((format!("witness.{key}"), problem));
        match &self.name {
            Some(name) if !fits_a_note(name) => {
                wrong("name", format!("'{}' must be 1 to 255 bytes without spaces and '+'", name.escape_debug()));
            }
            None if runs => {
                wrong("name", "none: name the witness, such as witness.example/w1; verifiers know it by that".into());
            }
            _ => {}
        }
        if self.dir.as_os_str().is_empty() {
            wrong("dir", "must not be empty".to_owned());
        }
        for (key, file) in [("key", &self.key), ("ml_dsa_key", &self.ml_dsa_key)] {
            if file.as_deref().is_some_and(|file| file == Path::new("")) {
                wrong(key, "must not be empty: name a file, or write null".to_owned());
            }
        }
        if self.ml_dsa_key.as_ref().is_some_and(|file| *file == self.key_file()) {
            wrong("ml_dsa_key", "is witness.key too: each scheme has a key of its own".to_owned());
        }
        if let Err(logs) = Logs::compile(&self.logs) {
            problems.extend(logs);
        }
        problems
    }
}

/// Whether a note can hold the name (C2SP signed-note), and an ML-DSA-44 cosignature too.
pub(super) fn fits_a_note(name: &str) -> bool {
    fits_a_line(name) && !name.contains(|char: char| char.is_whitespace() || char == '+')
}

/// Whether it can be an origin, also in an ML-DSA-44 cosignature.
pub(super) fn fits_a_line(origin: &str) -> bool {
    !origin.is_empty() && origin.len() <= NAME_BYTES_MAX && !origin.contains(char::is_control)
}
