//! The body of `add-checkpoint`: an old size, a consistency proof, and a checkpoint.
//!
//! Reading it believes nothing: whose checkpoint it is, and whether it may be cosigned, is for the witness to judge.

use crate::tlog::{Checkpoint, CheckpointError, Hash, Note, NoteError, decimal, unbase64_hash};

/// The most lines of a proof that a client may send.
const PROOF_LINES_MAX: usize = 63;

/// A checkpoint that is to be cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The size that the client takes for the last one that was cosigned.
    pub old: u64,
    /// The consistency proof from there to the checkpoint.
    pub proof: Vec<Hash>,
    /// The checkpoint with its signatures.
    pub note: Note,
    /// What it says.
    pub checkpoint: Checkpoint,
}

/// Why a body is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not its form.
    #[error("{0}")]
    Form(&'static str),
    /// The checkpoint is no note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let form = RequestError::Form;
        let body = std::str::from_utf8(body).map_err(|_| form("the body is not UTF-8"))?;
        let (head, note) = body.split_once("\n\n").ok_or(form("no empty line stands before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old = old.ok_or(form("the first line is not `old SIZE`"))?;
        let proof: Option<Vec<Hash>> = lines.take(PROOF_LINES_MAX + 1).map(unbase64_hash).collect();
        let proof = proof.ok_or(form("a line of the proof is no hash in base 64"))?;
        if proof.len() > PROOF_LINES_MAX {
            return Err(form("the proof has more than 63 lines"));
        }
        let note: Note = note.parse()?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        Ok(Self { old, proof, note, checkpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
";

    #[test]
    fn the_example_of_the_specification() {
        let request = Request::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
        assert_eq!((request.checkpoint.size, request.note.signatures.len()), (20_852_163, 2));
        assert!(EXAMPLE.ends_with(&request.note.to_string()));
    }

    #[test]
    fn what_is_no_request_is_told() {
        let line = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
        let most = EXAMPLE.replace(line, &line.repeat(60));
        assert_eq!(Request::parse(most.as_bytes()).unwrap().proof.len(), PROOF_LINES_MAX);
        for (from, to) in [
            ("old 2", "old 02"),
            ("old 2", "old  2"),
            ("old 2", "old -2"),
            ("old 2", "old +2"),
            ("old 2", "new 2"),
            ("old 20852014", "old 99999999999999999999"),
            ("old 20852014\n", ""),
            ("old 20852014\n", "old 20852014\r\n"),
            ("kaw=\n", "kaw\n"),
            ("kaw=\n", "kaw= \n"),
            ("kaw=\n", "kax=\n"),
            ("kaw=\n", "kaw=\n\n"),
            ("/0=\n\n", "/0=\n"),
            ("\n20852163\n", "\nmany\n"),
            ("YQ8=\n", "YQ8="),
            ("\u{2014} ", "- "),
            (line, &line.repeat(61)),
        ] {
            let body = EXAMPLE.replacen(from, to, 1);
            assert_ne!(body, EXAMPLE);
            assert!(Request::parse(body.as_bytes()).is_err(), "{from:?} {to:?}");
        }
        assert!(Request::parse(&[0xff; 9]).is_err());
        assert!(Request::parse(b"").is_err());
    }
}
