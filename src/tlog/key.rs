//! Keys that sign notes, and the keys that check them (C2SP signed-note v1.0.0, tlog-cosignature v1.0.1).
//!
//! A log signs with Ed25519, and by choice with ML-DSA-44 beside it; a witness cosigns with a time. The private key
//! comes and goes as PKCS #8; where it is kept is the caller's matter.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
};

use super::{Signature, base64, checkpoint::Checkpoint, unbase64};
use crate::sha256::Sha256;

/// Bytes of an Ed25519 public key.
const ED25519_KEY_BYTES: usize = 32;
/// Bytes of an ML-DSA-44 public key (FIPS 204).
const ML_DSA_44_KEY_BYTES: usize = 1312;
/// Bytes of an ML-DSA-44 signature.
const ML_DSA_44_SIGNATURE_BYTES: usize = 2420;
/// Bytes of a cosignature's time.
const TIME_BYTES: usize = 8;
/// The longest name that an ML-DSA-44 cosignature can hold.
const NAME_BYTES_MAX: usize = 255;

/// How a key signs; the signature type identifier byte of signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Ed25519 over the note's text: `0x01`.
    Ed25519,
    /// Timestamped Ed25519 cosignature of a checkpoint: `0x04`.
    CosignatureV1,
    /// Timestamped ML-DSA-44 cosignature of a checkpoint: `0x06`.
    MlDsa44,
}

impl Scheme {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::CosignatureV1 => 4,
            Self::MlDsa44 => 6,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Ed25519),
            4 => Some(Self::CosignatureV1),
            6 => Some(Self::MlDsa44),
            _ => None,
        }
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::CosignatureV1 => ED25519_KEY_BYTES,
            Self::MlDsa44 => ML_DSA_44_KEY_BYTES,
        }
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `name+id+base64`.
    #[error("{0:?} is no verifier key; one has the form NAME+ID+BASE64")]
    Form(String),
    /// The id is another key's.
    #[error("the verifier key of {0:?} was mistyped or cut: its id does not fit")]
    Id(String),
    /// A scheme that this version does not know, or a key of the wrong length.
    #[error("the verifier key of {0:?} is of a kind that is not known here; take Ed25519 or ML-DSA-44")]
    Scheme(String),
    /// A name that no note can hold.
    #[error("{0:?} cannot name a key: take up to 255 bytes without spaces and '+'")]
    Name(String),
    /// The private key cannot be read.
    #[error(
        "the key is no Ed25519 or ML-DSA-44 private key in PKCS #8; make one with `openssl genpkey -algorithm ed25519`"
    )]
    Private,
    /// The system gave no key.
    #[error("no key could be made")]
    Unmade,
}

/// A public key under its name: `name+hex(id)+base64(scheme ‖ key)`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    scheme: Scheme,
    key: Vec<u8>,
}

impl VerifierKey {
    fn new(name: &str, scheme: Scheme, key: &[u8]) -> Result<Self, KeyError> {
        let plain = |name: &str| !name.is_empty() && !name.contains(|char: char| char.is_whitespace() || char == '+');
        if !plain(name) || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(KeyError::Name(name.to_owned()));
        }
        if key.len() != scheme.key_bytes() {
            return Err(KeyError::Scheme(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), scheme, key: key.to_vec() })
    }

    /// The same public key under another name: a log's key is named as the log is.
    ///
    /// # Errors
    /// Where no note can hold the name.
    pub fn renamed(&self, name: &str) -> Result<Self, KeyError> {
        Self::new(name, self.scheme, &self.key)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The public key alone.
    pub fn public_key(&self) -> &[u8] {
        &self.key
    }

    /// The first four bytes of SHA-256(name ‖ newline ‖ scheme ‖ key).
    pub fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(&self.name);
        hash.update([b'\n', self.scheme.byte()]);
        hash.update(&self.key);
        let [first, second, third, fourth, ..] = hash.finish();
        [first, second, third, fourth]
    }

    /// Whether it made a signature of this text. `Some` with the time that a cosignature gives, in seconds since 1970.
    pub fn verify(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        let (time, bytes) = match self.scheme {
            Scheme::Ed25519 => (None, signature),
            Scheme::CosignatureV1 | Scheme::MlDsa44 => {
                let (time, bytes) = signature.split_first_chunk::<TIME_BYTES>()?;
                let time = u64::from_be_bytes(*time);
                // The specification's limit: whoever reads it as a signed number must not see another.
                i64::try_from(time).ok()?;
                (Some(time), bytes)
            }
        };
        let message = message(self.scheme, &self.name, time.unwrap_or_default(), text)?;
        let checked = match self.scheme {
            Scheme::Ed25519 | Scheme::CosignatureV1 => {
                UnparsedPublicKey::new(&ED25519, &self.key).verify(&message, bytes)
            }
            Scheme::MlDsa44 => UnparsedPublicKey::new(&ML_DSA_44, &self.key).verify(&message, bytes),
        };
        checked.ok().map(|()| time)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.scheme.byte()];
        key.extend_from_slice(&self.key);
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), base64(&key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = || KeyError::Form(text.to_owned());
        let [name, id, key] = text.trim().splitn(3, '+').collect::<Vec<_>>().try_into().map_err(|_| form())?;
        let bytes = unbase64(key).ok_or_else(form)?;
        let (scheme, key) = bytes.split_first().ok_or_else(form)?;
        let scheme = Scheme::of(*scheme).ok_or_else(|| KeyError::Scheme(name.to_owned()))?;
        let key = Self::new(name, scheme, key)?;
        if id != format!("{:08x}", u32::from_be_bytes(key.id())) {
            return Err(KeyError::Id(name.to_owned()));
        }
        Ok(key)
    }
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    MlDsa44(Box<PqdsaKeyPair>),
}

/// A private key under its name.
pub struct Signer {
    pair: Pair,
    verifier: VerifierKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.verifier).finish()
    }
}

impl Signer {
    /// A key in PKCS #8 (DER), to sign as `name`. An Ed25519 key signs notes, or cosigns where `witness` says so; an
    /// ML-DSA-44 key always cosigns.
    ///
    /// # Errors
    /// Where it is no such key, or no note can hold the name.
    pub fn from_pkcs8(name: &str, der: &[u8], witness: bool) -> Result<Self, KeyError> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let scheme = if witness { Scheme::CosignatureV1 } else { Scheme::Ed25519 };
            let verifier = VerifierKey::new(name, scheme, pair.public_key().as_ref())?;
            return Ok(Self { pair: Pair::Ed25519(pair), verifier });
        }
        let pair = PqdsaKeyPair::from_pkcs8(&ML_DSA_44_SIGNING, der).map_err(|_| KeyError::Private)?;
        let verifier = VerifierKey::new(name, Scheme::MlDsa44, pair.public_key().as_ref())?;
        Ok(Self { pair: Pair::MlDsa44(Box::new(pair)), verifier })
    }

    /// A new Ed25519 key in PKCS #8 (DER).
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn generate_ed25519() -> Result<Vec<u8>, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Unmade)?;
        Ok(pair.to_pkcs8v1().map_err(|_| KeyError::Unmade)?.as_ref().to_vec())
    }

    /// A new ML-DSA-44 key in PKCS #8 (DER).
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn generate_ml_dsa_44() -> Result<Vec<u8>, KeyError> {
        let pair = PqdsaKeyPair::generate(&ML_DSA_44_SIGNING).map_err(|_| KeyError::Unmade)?;
        Ok(pair.to_pkcs8v1().map_err(|_| KeyError::Unmade)?.as_ref().to_vec())
    }

    /// The key that checks what it signs.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a note's text. `time`, in seconds since 1970, is what a cosignature says; other schemes have none.
    /// `None` where the scheme signs checkpoints alone and this is none, or one with extension lines, which ML-DSA-44
    /// cosignatures do not cover.
    pub fn sign(&self, text: &str, time: u64) -> Option<Signature> {
        let scheme = self.verifier.scheme;
        let message = message(scheme, &self.verifier.name, time, text)?;
        let mut bytes = if scheme == Scheme::Ed25519 { Vec::new() } else { time.to_be_bytes().to_vec() };
        match &self.pair {
            Pair::Ed25519(pair) => bytes.extend_from_slice(pair.sign(&message).as_ref()),
            Pair::MlDsa44(pair) => {
                let mut signature = vec![0; ML_DSA_44_SIGNATURE_BYTES];
                let len = pair.sign(&message, &mut signature).ok()?;
                bytes.extend_from_slice(signature.get(..len)?);
            }
        }
        Some(Signature { name: self.verifier.name.clone(), id: self.verifier.id(), bytes })
    }
}

/// What is signed under a scheme; `None` where the text cannot be.
fn message(scheme: Scheme, name: &str, time: u64, text: &str) -> Option<Vec<u8>> {
    match scheme {
        Scheme::Ed25519 => Some(text.as_bytes().to_vec()),
        Scheme::CosignatureV1 => Some(format!("cosignature/v1\ntime {time}\n{text}").into_bytes()),
        Scheme::MlDsa44 => {
            // Extension lines would stand there as if they had been signed.
            let checkpoint = Checkpoint::parse(text).ok().filter(|checkpoint| checkpoint.to_string() == text)?;
            let mut out = b"subtree/v1\n\0".to_vec();
            put_short(&mut out, name)?;
            out.extend_from_slice(&time.to_be_bytes());
            put_short(&mut out, &checkpoint.origin)?;
            out.extend_from_slice(&0_u64.to_be_bytes());
            out.extend_from_slice(&checkpoint.size.to_be_bytes());
            out.extend_from_slice(&checkpoint.root);
            Some(out)
        }
    }
}

/// `opaque text<1..2^8-1>` of RFC 8446, section 3.
fn put_short(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let len = u8::try_from(text.len()).ok().filter(|len| *len > 0)?;
    out.push(len);
    out.extend_from_slice(text.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "example.com/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn signers() -> [Signer; 3] {
        let (ed, ml) = (Signer::generate_ed25519().unwrap(), Signer::generate_ml_dsa_44().unwrap());
        [
            Signer::from_pkcs8("example.com/log", &ed, false).unwrap(),
            Signer::from_pkcs8("witness.example/w1", &ed, true).unwrap(),
            Signer::from_pkcs8("example.com/log", &ml, false).unwrap(),
        ]
    }

    #[test]
    fn what_a_key_signs_only_its_verifier_takes() {
        for signer in signers() {
            let signature = signer.sign(TEXT, 17).unwrap();
            let key: VerifierKey = signer.verifier().to_string().parse().unwrap();
            assert_eq!(&key, signer.verifier());
            let time = (key.scheme() != Scheme::Ed25519).then_some(17);
            assert_eq!(key.verify(TEXT, &signature.bytes), Some(time));
            assert_eq!(key.verify(&TEXT.replace("\n7\n", "\n8\n"), &signature.bytes), None);
            for at in (0..signature.bytes.len()).step_by(7) {
                let mut changed = signature.bytes.clone();
                changed[at] ^= 1;
                assert_eq!(key.verify(TEXT, &changed), None, "{:?} byte {at}", key.scheme());
            }
            for other in signers() {
                assert_eq!(other.verifier().verify(TEXT, &signature.bytes), None);
            }
        }
    }

    #[test]
    fn what_a_scheme_does_not_cover_is_not_signed_by_it() {
        let [_, witness, ml] = signers();
        let extended = format!("{TEXT}extension\n");
        assert!(ml.sign(&extended, 17).is_none() && witness.sign(&extended, 17).is_some());
        let signature = ml.sign(TEXT, 17).unwrap();
        assert_eq!(ml.verifier().verify(&extended, &signature.bytes), None);
        let late = witness.sign(TEXT, 1 << 63).unwrap();
        assert_eq!(witness.verifier().verify(TEXT, &late.bytes), None);
    }

    #[test]
    fn the_example_of_signed_note() {
        let key: VerifierKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse().unwrap();
        let line = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";
        let bytes = unbase64(line).unwrap();
        assert_eq!(bytes[..4], key.id());
        assert_eq!(key.verify("This is an example message.\n", &bytes[4..]), Some(None));
        assert_eq!(key.verify("This is an example message!\n", &bytes[4..]), None);
    }

    #[test]
    fn a_renamed_key_takes_what_is_signed_under_its_new_name() {
        let der = Signer::generate_ed25519().unwrap();
        let [old, new] = ["example.com/1", "example.com/2"].map(|name| Signer::from_pkcs8(name, &der, false).unwrap());
        assert_eq!(&old.verifier().renamed("example.com/2").unwrap(), new.verifier());
        assert!(matches!(old.verifier().renamed("a b"), Err(KeyError::Name(_))));
    }

    #[test]
    fn what_is_no_key_is_told() {
        let good = signers()[0].verifier().to_string();
        for (bad, what) in [
            ("example.com/foo", "NAME+ID+BASE64"),
            (&good.replace("example", "exemple"), "does not fit"),
            (&good[..good.len() - 4], "not known here"),
            ("a b+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "spaces"),
            ("a+00000000+CekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "not known here"),
        ] {
            let error = bad.parse::<VerifierKey>().unwrap_err().to_string();
            assert!(error.contains(what), "{bad}: {error}");
        }
        assert_eq!(Signer::from_pkcs8("a", b"junk", false).unwrap_err(), KeyError::Private);
        assert!(!format!("{:?}", signers()[0]).contains("pair"), "no private key in a debug print");
    }
}
