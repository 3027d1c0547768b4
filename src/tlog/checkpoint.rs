//! Checkpoints: what a log commits to, as a note's text (C2SP tlog-checkpoint v1.0.0).

use std::fmt;
use std::str::FromStr;

use super::{Hash, Note, NoteError, base64, decimal, unbase64_hash};

/// A log's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Why a text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no checkpoint: {0}")]
pub struct CheckpointError(&'static str);

impl Checkpoint {
    /// Reads a note's text. Extension lines may follow, and are passed over.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError("it does not end with a newline"))?;
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or(CheckpointError("it has no origin"))?;
        let size = lines.next().and_then(decimal).ok_or(CheckpointError("its second line is no size"))?;
        let root = lines.next().and_then(unbase64_hash).ok_or(CheckpointError("its third line is no root hash"))?;
        if lines.any(str::is_empty) {
            return Err(CheckpointError("it has an empty line"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, base64(&self.root))
    }
}

/// A checkpoint as the note that it is: what it says, and who says it. Reading one believes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Who says it.
    pub note: Note,
}

/// Why something is no signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedCheckpointError {
    /// Not UTF-8.
    #[error("it is no text")]
    Text,
    /// Not the form of a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A note of something else.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl SignedCheckpoint {
    /// Reads the bytes of a note.
    ///
    /// # Errors
    /// Where it is none.
    pub fn from_bytes(note: &[u8]) -> Result<Self, SignedCheckpointError> {
        std::str::from_utf8(note).map_err(|_| SignedCheckpointError::Text)?.parse()
    }
}

impl FromStr for SignedCheckpoint {
    type Err = SignedCheckpointError;

    fn from_str(text: &str) -> Result<Self, SignedCheckpointError> {
        let note: Note = text.parse()?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        Ok(Self { checkpoint, note })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_example_of_the_specification_reads_and_writes() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!((checkpoint.size, checkpoint.to_string().as_str()), (20_852_163, EXAMPLE));
        assert_eq!(Checkpoint::parse(&format!("{EXAMPLE}extension\n")), Ok(checkpoint));
    }

    #[test]
    fn what_is_no_checkpoint_is_told() {
        for (from, to) in [
            ("\n20852163", "\n020852163"),
            ("\n20852163", "\n+20852163"),
            ("\n20852163", "\n"),
            ("2I=\n", "2I=\n\n"),
            ("2I=\n", "2I="),
            ("2I=\n", "2J=\n"),
            ("CsUY", ""),
            ("example.com/behind-the-sofa", ""),
        ] {
            assert!(Checkpoint::parse(&EXAMPLE.replace(from, to)).is_err(), "{from:?} {to:?}");
        }
    }
}
