//! Receipts: a log's promise to show an entry, in the hand of whoever asked for the prediction.
//!
//! A checkpoint comes up to a second later; a receipt comes with the answer. It names the log, the entry's leaf hash and
//! the time, signed with the log's own Ed25519 key, so that a log that leaves the entry out breaks a promise that can be
//! shown to others. Written as a structured field (RFC 9651): `log="…", leaf=:…:, time=…, sig=:…:`.

use std::fmt;
use std::str::FromStr;

use super::{Hash, Scheme, Signer, VerifierKey, base64, decimal, unbase64, unbase64_hash};

/// What the signed text begins with: it is no checkpoint, whose second line is a number.
const FIRST_LINE: &str = "touchmark/receipt/v1";
/// The most bytes of a receipt.
const RECEIPT_BYTES_MAX: usize = 1024;

/// A promise to show an entry in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The log.
    pub origin: String,
    /// The entry's leaf hash.
    pub leaf: Hash,
    /// When it was promised, in seconds since 1970.
    pub time: u64,
    /// The key's id.
    id: [u8; 4],
    signature: Vec<u8>,
}

/// Why a receipt cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not the form of one.
    #[error("this is no receipt: {0}")]
    Form(&'static str),
    /// Another key's.
    #[error("the receipt is of the log {0:?}, and none of the given keys is that log's")]
    Untrusted(String),
    /// Its signature does not fit.
    #[error("the receipt was changed, or another key signed it")]
    Forged,
}

impl Receipt {
    /// Signs the promise. `None` where the key signs no plain text.
    pub fn sign(leaf: Hash, time: u64, signer: &Signer) -> Option<Self> {
        if signer.verifier().scheme() != Scheme::Ed25519 {
            return None;
        }
        let origin = signer.verifier().name().to_owned();
        let made = signer.sign(&text(&origin, &leaf, time), time)?;
        Some(Self { origin, leaf, time, id: made.id, signature: made.bytes })
    }

    /// Checks that the log of one of these keys made the promise.
    ///
    /// # Errors
    /// Where none did.
    pub fn verify<'a>(&self, keys: impl IntoIterator<Item = &'a VerifierKey>) -> Result<(), ReceiptError> {
        let fits =
            |key: &&VerifierKey| key.name() == self.origin && key.id() == self.id && key.scheme() == Scheme::Ed25519;
        let key = keys.into_iter().find(fits).ok_or_else(|| ReceiptError::Untrusted(self.origin.clone()))?;
        let text = text(&self.origin, &self.leaf, self.time);
        key.verify(&text, &self.signature).map(|_| ()).ok_or(ReceiptError::Forged)
    }
}

fn text(origin: &str, leaf: &Hash, time: u64) -> String {
    format!("{FIRST_LINE}\n{origin}\n{}\n{time}\n", base64(leaf))
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = base64(&[&self.id[..], &self.signature].concat());
        write!(f, "log=\"{}\", leaf=:{}:, time={}, sig=:{signature}:", self.origin, base64(&self.leaf), self.time)
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    fn from_str(receipt: &str) -> Result<Self, ReceiptError> {
        let form = ReceiptError::Form;
        if receipt.len() > RECEIPT_BYTES_MAX {
            return Err(form("it is too long"));
        }
        let members: Vec<(&str, &str)> =
            receipt.trim().split(", ").map(|member| member.split_once('=').unwrap_or((member, ""))).collect();
        let [("log", log), ("leaf", leaf), ("time", time), ("sig", signature)] = members[..] else {
            return Err(form("it is not log=\"…\", leaf=:…:, time=…, sig=:…:"));
        };
        let bytes = |text: &str| text.strip_prefix(':').and_then(|text| text.strip_suffix(':')).map(str::to_owned);
        let origin = log.strip_prefix('"').and_then(|log| log.strip_suffix('"')).filter(|log| !log.is_empty());
        let origin = origin.filter(|origin| !origin.contains(['"', '\\', '\n'])).ok_or(form("its log has no name"))?;
        let leaf = bytes(leaf).and_then(|leaf| unbase64_hash(&leaf)).ok_or(form("its leaf is no hash"))?;
        let time = decimal(time).ok_or(form("its time is no number"))?;
        let signature = bytes(signature).and_then(|text| unbase64(&text)).ok_or(form("its signature is no base 64"))?;
        let (id, signature) = signature.split_first_chunk::<4>().ok_or(form("its signature is too short"))?;
        Ok(Self { origin: origin.to_owned(), leaf, time, id: *id, signature: signature.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::leaf_hash;

    #[test]
    fn a_receipt_reads_back_and_holds_until_it_is_changed() {
        let signer = Signer::from_pkcs8("fraud/07", &Signer::generate_ed25519().unwrap(), false).unwrap();
        let other = Signer::from_pkcs8("fraud/07", &Signer::generate_ed25519().unwrap(), false).unwrap();
        let receipt = Receipt::sign(leaf_hash(b"entry"), 1_795_195_741, &signer).unwrap();
        let text = receipt.to_string();
        assert_eq!(text.parse::<Receipt>(), Ok(receipt.clone()));
        assert_eq!(receipt.verify([other.verifier(), signer.verifier()]), Ok(()));
        assert!(matches!(receipt.verify([other.verifier()]), Err(ReceiptError::Untrusted(_))));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Receipt>().ok());
            assert!(read.is_none_or(|read| read.verify([signer.verifier()]).is_err()), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_receipt_is_told() {
        for bad in ["", "log=\"a\"", "log=\"\", leaf=:AA==:, time=1, sig=:AA==:", "a, b, c, d"] {
            assert!(matches!(bad.parse::<Receipt>(), Err(ReceiptError::Form(_))), "{bad}");
        }
    }
}
