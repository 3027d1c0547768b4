//! Signed notes: a text and who signed it (C2SP signed-note v1.0.0).
//!
//! Reading one believes nothing: [`Note::verified_by`] says which of the keys that the reader trusts did sign.

use std::fmt;
use std::str::FromStr;

use super::{Signer, VerifierKey, base64, unbase64};

/// The most bytes of a note; room for sixteen post-quantum signatures, as verifiers must have.
const NOTE_BYTES_MAX: usize = 128 << 10;
/// The most signatures of a note that are looked at.
const SIGNATURES_MAX: usize = 64;
const DASH: &str = "\u{2014} ";

/// A signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// The signature, without the id.
    pub bytes: Vec<u8>,
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Ends in a newline.
    pub text: String,
    /// In the order in which they stand.
    pub signatures: Vec<Signature>,
}

/// Why a note cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a note.
    #[error("this is no signed note: {0}")]
    Form(&'static str),
    /// A trusted key's signature does not fit the text.
    #[error("the signature of {0:?} does not fit: the text or the signature was changed")]
    Forged(String),
    /// None of the trusted keys signed it.
    #[error("none of the given keys signed it")]
    Untrusted,
}

impl Note {
    /// A text signed by one key.
    pub fn sign(text: String, signer: &Signer, time: u64) -> Option<Self> {
        let signature = signer.sign(&text, time)?;
        Some(Self { text, signatures: vec![signature] })
    }

    /// Adds a signature, unless the same key's is there already.
    pub fn add(&mut self, signature: Signature) {
        if !self.signatures.iter().any(|other| other.name == signature.name && other.id == signature.id) {
            self.signatures.push(signature);
        }
    }

    /// Which of `keys` signed it, each with the time of its cosignature. Signatures of other keys are passed over.
    ///
    /// # Errors
    /// Where a signature of one of `keys` is false, or none of them signed.
    pub fn verified_by<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<Vec<(&'a VerifierKey, Option<u64>)>, NoteError> {
        let mut verified = Vec::new();
        for key in keys {
            let id = key.id();
            let own = self.signatures.iter().filter(|line| line.name == key.name() && line.id == id);
            // Every one of them: a true signature must not hide a false one behind it.
            let times: Option<Vec<_>> = own.map(|line| key.verify(&self.text, &line.bytes)).collect();
            let times = times.ok_or_else(|| NoteError::Forged(key.name().to_owned()))?;
            if let Some(time) = times.first() {
                verified.push((key, *time));
            }
        }
        if verified.is_empty() { Err(NoteError::Untrusted) } else { Ok(verified) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.bytes].concat();
        writeln!(f, "{DASH}{} {}", self.name, base64(&bytes))
    }
}

impl FromStr for Signature {
    type Err = NoteError;

    /// Reads a line, with or without its newline.
    fn from_str(line: &str) -> Result<Self, NoteError> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let fields = line.strip_prefix(DASH).and_then(|line| line.split_once(' '));
        let (name, encoded) = fields.ok_or(NoteError::Form("a signature line is not `— NAME BASE64`"))?;
        let bytes = unbase64(encoded).ok_or(NoteError::Form("a signature is no base 64"))?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form("a signature is too short"))?;
        if name.is_empty() || bytes.is_empty() || name.contains(|char: char| char.is_whitespace() || char == '+') {
            return Err(NoteError::Form("a signature line has no name or no signature"));
        }
        Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Form("it is too long"));
        }
        if note.chars().any(|char| char < ' ' && char != '\n') {
            return Err(NoteError::Form("it has control characters"));
        }
        // The text is separated from the signatures by the last empty line.
        let at = note.rfind("\n\n").ok_or(NoteError::Form("no empty line stands before its signatures"))?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form("it does not end with a newline"))?;
        let signatures: Vec<Signature> =
            lines.split('\n').take(SIGNATURES_MAX + 1).map(str::parse).collect::<Result<_, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::Form("it has too many signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(name: &str) -> Signer {
        Signer::from_pkcs8(name, &Signer::generate_ed25519().unwrap(), false).unwrap()
    }

    #[test]
    fn a_note_reads_back_and_says_who_signed() {
        let (log, other, stranger) = (signer("log"), signer("other"), signer("log"));
        let mut note = Note::sign("one\n\ntwo\n".to_owned(), &log, 0).unwrap();
        note.add(other.sign(&note.text, 0).unwrap());
        note.add(other.sign(&note.text, 0).unwrap());
        let read: Note = note.to_string().parse().unwrap();
        assert_eq!(read, note);
        assert_eq!(read.signatures.len(), 2);
        let keys = [log.verifier(), other.verifier(), stranger.verifier()];
        let names = read.verified_by(keys).unwrap();
        assert_eq!(names.iter().map(|(key, _)| key.name()).collect::<Vec<_>>(), ["log", "other"]);
        assert_eq!(read.verified_by([stranger.verifier()]), Err(NoteError::Untrusted));
        let mut doubled = read.clone();
        doubled.signatures.push(Signature { bytes: vec![0; 64], ..read.signatures[0].clone() });
        assert_eq!(doubled.verified_by([log.verifier()]), Err(NoteError::Forged("log".to_owned())));
        let mut forged = read;
        forged.text = "one\n\nthree\n".to_owned();
        assert_eq!(forged.verified_by([log.verifier()]), Err(NoteError::Forged("log".to_owned())));
    }

    #[test]
    fn what_is_no_note_is_told() {
        for bad in
            ["", "text\n", "text\n\n", "text\n\n— a", "text\n\n— a b\n", "te\txt\n\n— a AAAAAAA=\n", "t\n\n— a AAAA\n"]
        {
            assert!(matches!(bad.parse::<Note>(), Err(NoteError::Form(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_what_is_read_is_written_the_same(text in "[a— \n+=A]{0,60}") {
            if let Ok(note) = text.parse::<Note>() {
                prop_assert_eq!(note.to_string(), text);
            }
        }
    }
}
