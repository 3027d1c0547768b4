//! Changing the key that signs: an entry in which the old key names the new one.
//!
//! The log goes on under the same name. Whoever trusts the old key comes to the new one by the entry, which the old key
//! signed and whose place in the log it names; whoever trusts the new key has the entry, and all before it, under its
//! checkpoints. The entry is the second of its run, and the old key's last words are that run's checkpoints: from the next
//! `start` entry on what it signs counts for nothing.
//!
//! # Life of a rotation
//!
//! The new key is made durable beside the old one; the log is opened under the old key, takes the entry, and is closed
//! under a checkpoint of the old key; the new file takes the old one's name. A start that finds a key that was made and has
//! not taken its place asks the log: where the entry is there, the rotation is finished, else undone.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Event, OpenError};
use crate::durable;
use crate::key_file::KeyFile;
use crate::ledger::parse::Entry;
use crate::ledger::read::Reader;
use crate::ledger::signing::Keys;
use crate::tlog::{Scheme, Signer, VerifierKey, base64, unbase64};

/// What the signed text begins with: it is no checkpoint, whose second line is a number.
const FIRST_LINE: &str = "touchmark/key/v1";
/// The detail of a `key` entry, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The verifier key in force until here.
    pub(crate) old: String,
    /// The one from here on.
    pub(crate) new: String,
    /// Entries before this one.
    pub(crate) size: u64,
    /// The old key's signature, in base 64, over `touchmark/key/v1`, the origin, the size, the old and the new verifier
    /// key, each on a line that ends in a newline.
    pub(crate) signature: String,
}

impl Change {
    /// Signs that `new` comes after the key that signs. `None` where that one signs no plain text.
    pub(crate) fn sign(old: &Signer, new: &VerifierKey, size: u64) -> Option<Self> {
        let key = old.verifier();
        let signature = old.sign(&text(key, new, size), 0).filter(|_| key.scheme() == Scheme::Ed25519)?;
        Some(Self { old: key.to_string(), new: new.to_string(), size, signature: base64(&signature.bytes) })
    }

    /// What a `key` entry says; `None` for any other.
    pub(crate) fn of(entry: &Entry<'_>) -> Option<Result<Self, String>> {
        if &*entry.kind != "lifecycle" || entry.event.as_deref() != Some(Event::Key.as_str()) {
            return None;
        }
        let detail = entry.detail.ok_or_else(|| "it has no detail".to_owned());
        Some(detail.and_then(|detail| serde_json::from_str(detail.get()).map_err(|error| error.to_string())))
    }

    /// The old key and the new one, once it is shown that the old one signed this for the entry at `index`.
    pub(crate) fn verify(&self, index: u64) -> Result<(VerifierKey, VerifierKey), String> {
        let [old, new] =
            [&self.old, &self.new].map(|key| key.parse::<VerifierKey>().map_err(|error| error.to_string()));
        let (old, new) = (old?, new?);
        if old.name() != new.name() {
            return Err(format!("the new key is another log's, {}", new.name()));
        }
        if old.scheme() != Scheme::Ed25519 || new.scheme() != Scheme::Ed25519 {
            return Err("a key is no Ed25519 key of a log".to_owned());
        }
        if self.size != index {
            return Err(format!("it was signed to stand at entry {}", self.size));
        }
        let signature = unbase64(&self.signature).ok_or("its signature is no base 64")?;
        old.verify(&text(&old, &new, index), &signature).ok_or("the old key did not sign it")?;
        Ok((old, new))
    }
}

fn text(old: &VerifierKey, new: &VerifierKey, size: u64) -> String {
    format!("{FIRST_LINE}\n{}\n{size}\n{old}\n{new}\n", old.name())
}

/// A key on its way into the log.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// In PKCS #8.
    pub(crate) der: Vec<u8>,
    /// Where it waits for its place; absent where its file stays where it was given.
    pub(crate) waits: Option<KeyFile>,
    /// Where the next start must find it.
    pub(crate) place: PathBuf,
}

impl Incoming {
    /// The new key under a log's name, on stable storage from here on, where it can follow `old`.
    pub(crate) fn admit(&self, old: &VerifierKey, earlier: &[VerifierKey]) -> Result<VerifierKey, OpenError> {
        let new = verifier(old.name(), &self.der)?;
        if new == *old || earlier.contains(&new) {
            return Err(OpenError::Used { key: new.to_string() });
        }
        if let Some(file) = &self.waits {
            file.keep(&self.der)?;
        }
        Ok(new)
    }

    /// Gives the file its name: the log says so by now.
    pub(crate) fn promote(&self) -> io::Result<()> {
        self.waits.as_ref().map_or(Ok(()), |waits| durable::rename(&waits.file, &self.place))
    }
}

fn verifier(origin: &str, der: &[u8]) -> Result<VerifierKey, OpenError> {
    let signer = Signer::from_pkcs8(origin, der, false);
    let signer = signer.map_err(|error| OpenError::Io { path: origin.into(), source: io::Error::other(error) })?;
    Ok(signer.verifier().clone())
}

/// The keys that the log goes on with: finishes or undoes what a crash interrupted, and refuses a key that was retired.
/// With `whole`, gives the keys that were ever in force too.
pub(crate) fn settle(
    reader: &Reader,
    keys: &Keys,
    origin: &str,
    whole: bool,
) -> Result<(Keys, Vec<VerifierKey>), OpenError> {
    let mut keys = keys.clone();
    let mut own = verifier(origin, keys.ed25519())?;
    let waiting = keys.take_waiting();
    if !whole && waiting.is_none() && !reader.may_change_keys(&own)? {
        return Ok((keys, Vec::new()));
    }
    let changes = reader.key_changes()?;
    if let Some(incoming) = waiting {
        let new = verifier(origin, &incoming.der)?;
        let io = |source| OpenError::Io { path: origin.into(), source };
        if changes.iter().any(|(_, to)| *to == new) {
            incoming.promote().map_err(io)?;
            tracing::warn!(key = %new, "the rotation of the signing key that was interrupted is finished");
            keys.set_ed25519(incoming.der);
            own = new;
        } else {
            incoming.waits.map_or(Ok(()), |waits| durable::remove(&waits.file)).map_err(io)?;
            tracing::warn!("the rotation of the signing key that was interrupted is undone: the log has nothing of it");
        }
    }
    if let Some((_, new)) = changes.iter().find(|(old, _)| *old == own) {
        return Err(OpenError::Retired { key: own.to_string(), new: new.to_string() });
    }
    if !changes.iter().any(|(_, new)| *new == own) && reader.newest_is_of_another(&own)? {
        tracing::error!(key = %own, "another key signed this log, and no rotation leads from it to this one: verification \
            will say so; bring the old key back, or begin a new log");
    }
    Ok((keys, changes.into_iter().flat_map(|(old, new)| [old, new]).collect()))
}
