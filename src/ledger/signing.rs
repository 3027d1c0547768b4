//! The keys that the ledger signs with, and the name that it signs under.
//!
//! A log's origin, which is its key's name too, is `DEPLOYMENT/LOG`: chosen when the log begins, kept in a file beside
//! the segments, so that a deployment that is renamed later goes on under the old name. The private key is made on the
//! first start, or given; it never leaves its file but into memory.

use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::key_file::{KeyFile, KeyFileError};
use crate::ledger::index::put_file;
use crate::ledger::rotation::Incoming;
use crate::ledger::segment::{Storage, read_exact_at};
use crate::sha256::hex;
use crate::tlog::{Checkpoint, KeyError, Note, Scheme, Signer, VerifierKey};

/// The Ed25519 key's file in the data directory, unless another is configured.
const KEY_NAME: &str = "signing-key.pem";
/// The ML-DSA-44 key's file beside it.
const ML_DSA_KEY_NAME: &str = "signing-key.ml-dsa-44.pem";
/// Where the key after it waits until the log has it.
const NEXT_KEY_NAME: &str = "signing-key.next.pem";
/// The file in the ledger's folder that keeps a log's origin.
const ORIGIN_NAME: &str = "origin";
/// The most bytes of an origin: an ML-DSA-44 signature covers no more.
const ORIGIN_BYTES_MAX: usize = 255;
/// Bytes of `/` and a log id in hexadecimal.
const LOG_BYTES: usize = 33;
/// What names may hold beside letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The configuration's key that names the file.
const CONFIG_KEY: &str = "ledger.signing_key";

/// How a key is had from its file.
type Get = fn(&KeyFile) -> Result<Vec<u8>, KeyFileError>;

/// Private keys in PKCS #8, not yet under a name.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    ed25519: Vec<u8>,
    ml_dsa_44: Option<Vec<u8>>,
    /// The Ed25519 key's file.
    file: PathBuf,
    /// Where a new one waits for its place, unless the file was given and is not ours to replace.
    next: Option<KeyFile>,
    /// What waits there.
    waiting: Option<Vec<u8>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the keys, made where there are none.
    pub(crate) fn open(dir: &Path, given: Option<&Path>, ml_dsa: bool) -> Result<Self, KeyFileError> {
        let read = |file: &KeyFile| file.read_or_make();
        Self::read(dir, given, ml_dsa, (if given.is_none() { read } else { |file| file.read() }, read))
    }

    /// Reads the keys; none is made.
    pub(crate) fn existing(dir: &Path, given: Option<&Path>, ml_dsa: bool) -> Result<Self, KeyFileError> {
        Self::read(dir, given, ml_dsa, (|file| file.read(), |file| file.read()))
    }

    fn read(dir: &Path, given: Option<&Path>, ml_dsa: bool, (first, second): (Get, Get)) -> Result<Self, KeyFileError> {
        let file = given.map_or_else(|| dir.join(KEY_NAME), Path::to_owned);
        let of = |file: PathBuf, scheme| KeyFile { key: CONFIG_KEY, file, scheme };
        let ed25519 = first(&of(file.clone(), Scheme::Ed25519))?;
        let ml_dsa_44 = ml_dsa.then(|| second(&of(file.with_file_name(ML_DSA_KEY_NAME), Scheme::MlDsa44)));
        let next = given.is_none().then(|| of(dir.join(NEXT_KEY_NAME), Scheme::Ed25519));
        let waiting = next.as_ref().filter(|next| next.file.exists()).map(KeyFile::read).transpose()?;
        Ok(Self { ed25519, ml_dsa_44: ml_dsa_44.transpose()?, file, next, waiting })
    }

    /// Fresh keys that no file keeps, for tests.
    #[cfg(test)]
    pub(crate) fn fresh() -> Self {
        Self { ed25519: Signer::generate_ed25519().unwrap_or_default(), ..Self::default() }
    }

    /// The Ed25519 key.
    pub(crate) fn ed25519(&self) -> &[u8] {
        &self.ed25519
    }

    /// Signs with another Ed25519 key from here on.
    pub(crate) fn set_ed25519(&mut self, der: Vec<u8>) {
        self.ed25519 = der;
    }

    /// A key to go on with: the one in `file`, else a new one.
    pub(crate) fn incoming(&self, file: Option<&Path>) -> Result<Incoming, KeyFileError> {
        let made = KeyFile { key: CONFIG_KEY, file: self.file.clone(), scheme: Scheme::Ed25519 };
        let given = file.map(|file| KeyFile { key: "--new-key", file: file.to_owned(), ..made.clone() });
        let der = match &given {
            Some(given) => given.read()?,
            None => Signer::generate_ed25519().map_err(|error| made.wrong(&error))?,
        };
        let from = given.as_ref().unwrap_or(&made);
        let signer = Signer::from_pkcs8("key", &der, false).map_err(|error| from.wrong(&error))?;
        if signer.verifier().scheme() != Scheme::Ed25519 {
            return Err(from.unfit("it is an ML-DSA-44 key; a log's first key is an Ed25519 key".to_owned()));
        }
        let place = given.filter(|_| self.next.is_none()).map_or_else(|| self.file.clone(), |given| given.file);
        Ok(Incoming { der, waits: self.next.clone(), place })
    }

    /// A key that was made to go on with, and has not taken its place.
    pub(crate) fn take_waiting(&mut self) -> Option<Incoming> {
        let der = self.waiting.take()?;
        Some(Incoming { der, waits: self.next.clone(), place: self.file.clone() })
    }

    /// The Ed25519 key alone under a log's name.
    pub(crate) fn ed25519_under(&self, origin: &str) -> Result<Signer, KeyError> {
        Signer::from_pkcs8(origin, &self.ed25519, false)
    }

    /// The keys under a log's name.
    pub(crate) fn under(&self, origin: &str) -> Result<Notary, KeyError> {
        let ders = std::iter::once(&self.ed25519).chain(&self.ml_dsa_44);
        let signers: Vec<Signer> = ders.map(|der| Signer::from_pkcs8(origin, der, false)).collect::<Result<_, _>>()?;
        Ok(Notary { origin: origin.to_owned(), signers })
    }
}

/// Signs a log's checkpoints.
#[derive(Debug)]
pub(crate) struct Notary {
    origin: String,
    signers: Vec<Signer>,
}

impl Notary {
    /// The keys that check what it signs; the Ed25519 key first.
    pub(crate) fn verifiers(&self) -> impl Iterator<Item = &VerifierKey> {
        self.signers.iter().map(Signer::verifier)
    }

    /// Signs that the log has this head.
    pub(crate) fn checkpoint(&self, head: crate::ledger::segment::Head, unix_seconds: u64) -> Option<Note> {
        let text = Checkpoint { origin: self.origin.clone(), size: head.size, root: head.root }.to_string();
        let signatures = self.signers.iter().map(|signer| signer.sign(&text, unix_seconds)).collect::<Option<_>>()?;
        Some(Note { text, signatures })
    }
}

/// The origin of a log, kept from its first start on.
pub(crate) fn origin(storage: &dyn Storage, deployment: &str, log: [u8; 16]) -> io::Result<String> {
    let id = hex(log);
    if storage.list()?.iter().any(|name| name == ORIGIN_NAME) {
        let file = storage.open(ORIGIN_NAME)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0).min(ORIGIN_BYTES_MAX + 1)];
        read_exact_at(&*file, &mut bytes, 0)?;
        let kept = String::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n').map(str::to_owned));
        if let Some(kept) = kept.filter(|kept| kept.ends_with(&format!("/{id}"))) {
            return Ok(kept);
        }
    }
    let mut name = utf8_percent_encode(deployment, PLAIN).to_string();
    // Percent-encoded: every byte is a character.
    name.truncate(ORIGIN_BYTES_MAX - LOG_BYTES);
    let origin = format!("{name}/{id}");
    put_file(storage, ORIGIN_NAME, format!("{origin}\n").as_bytes())?;
    Ok(origin)
}
