//! Verifies what [`Bundle`] and [`Extension`] claim. Pure: no file, no clock, and no trust but in the given keys.

use std::fmt;

use super::trust::Believed;
use super::{Bundle, Extension, Piece, Signed, Trust};
use crate::ledger::parse::{Entry, unhex};
use crate::sha256::Sha256;
use crate::tlog::{
    Checkpoint, CheckpointError, Hash, Note, NoteError, Proof, ProofError, ProofTextError, leaf_hash, unbase64_hash,
    verify_consistency, verify_inclusion,
};

/// An entry that is shown to be in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Its place.
    pub index: u64,
    /// The checkpoint that covers it.
    pub signed: Signed,
}

/// A lineage document that is shown to be the one referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Where its entry stands.
    pub included: Included,
    /// SHA-256 of its RFC 8785 form, in hexadecimal.
    pub digest: String,
    /// False where it was too large for an entry, and the log has its digest alone.
    pub whole: bool,
}

/// What a bundle has been shown to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The prediction.
    pub prediction: Included,
    /// Its lineage document, where it refers to one.
    pub lineage: Option<Lineage>,
    /// The beginning of its answer, where the bundle has one.
    pub begin: Option<Included>,
}

/// A part of what is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The prediction's entry.
    Prediction,
    /// The lineage document's.
    Lineage,
    /// The `begin` entry.
    Begin,
    /// An entry on its own.
    Entry,
    /// The earlier checkpoint.
    Old,
    /// The later checkpoint.
    New,
    /// What joins the two.
    Consistency,
    /// The changes of the log's key.
    Rotations,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prediction => "the prediction",
            Self::Lineage => "the lineage document",
            Self::Begin => "the begin entry",
            Self::Entry => "the entry",
            Self::Old => "the old checkpoint",
            Self::New => "the new checkpoint",
            Self::Consistency => "the consistency proof",
            Self::Rotations => "a change of the log's key",
        })
    }
}

/// It is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct Refused {
    /// Of what.
    pub part: Part,
    /// Why.
    pub reason: Reason,
}

/// Why something is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The proof's text is none.
    #[error("{0}")]
    Text(ProofTextError),
    /// A signature is false, or nobody trusted signed.
    #[error("{0}")]
    Note(#[from] NoteError),
    /// A signed text that is no checkpoint.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// Nobody signed for the log itself.
    #[error("its checkpoint is of the log {0:?}; none of the given keys that signed it has that name")]
    NotTheLog(String),
    /// Too few cosignatures.
    #[error("{found} of the given witnesses cosigned its checkpoint, {wanted} are wanted")]
    Witnesses {
        /// Witnesses that did.
        found: usize,
        /// Witnesses that should have.
        wanted: usize,
    },
    /// The entry was changed, or never was in the log.
    #[error("it is not what the log committed to at this place: {0}")]
    Path(ProofError),
    /// Two trees that do not belong together.
    #[error("the new checkpoint's log does not extend the old one's: {0}")]
    Forked(ProofError),
    /// Another log's.
    #[error("it is of the log {found:?}, the other part of {wanted:?}")]
    OtherLog {
        /// Its own.
        found: String,
        /// The one that it should be of.
        wanted: String,
    },
    /// Bytes that are no entry.
    #[error("it is no entry of a ledger")]
    NoEntry,
    /// An entry of another kind.
    #[error("it is a {found} entry, where a {wanted} entry belongs")]
    Kind {
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The prediction has no lineage, the bundle does.
    #[error("the prediction refers to none")]
    Unreferred,
    /// The prediction has a lineage, the bundle does not.
    #[error("the prediction refers to {0}, which is not here")]
    Missing(String),
    /// A document that the prediction does not refer to.
    #[error("its digest is {found}, the prediction refers to {wanted}")]
    OtherDocument {
        /// What the entry says.
        found: String,
        /// What the prediction says.
        wanted: String,
    },
    /// A document that does not hash to its digest.
    #[error("the document does not hash to its digest {0}")]
    Digest(String),
    /// The beginning of another prediction.
    #[error("it has the id {found:?}, the prediction {wanted:?}")]
    OtherId {
        /// Its own.
        found: String,
        /// The prediction's.
        wanted: String,
    },
    /// A beginning after the end.
    #[error("it stands after the prediction's end")]
    Order,
    /// A change of the key that does not hold.
    #[error("{0}")]
    NoRotation(String),
    /// A hash of the consistency proof is none.
    #[error("a line of it is no hash")]
    Hash,
}

impl Trust {
    /// Verifies a bundle whole.
    ///
    /// # Errors
    /// The first thing that is not shown.
    pub fn bundle(&self, bundle: &Bundle) -> Result<Verdict, Refused> {
        let at = |part| move |reason| Refused { part, reason };
        let believed = self.following(&bundle.rotations).map_err(at(Part::Rotations))?;
        let main = Piece { entry: bundle.entry.clone(), proof: bundle.proof.clone() };
        let (prediction, entry) = believed.piece(&main, "prediction").map_err(at(Part::Prediction))?;
        let lineage = match (&bundle.lineage, entry.lineage.as_deref()) {
            (None, None) => None,
            (Some(piece), Some(digest)) => {
                let (included, entry) = believed.piece(piece, "lineage").map_err(at(Part::Lineage))?;
                let whole = document(&entry, digest).map_err(at(Part::Lineage))?;
                Some(Lineage { included, digest: digest.to_owned(), whole })
            }
            (None, Some(digest)) => return Err(at(Part::Lineage)(Reason::Missing(digest.to_owned()))),
            (Some(_), None) => return Err(at(Part::Lineage)(Reason::Unreferred)),
        };
        let begin = match &bundle.begin {
            None => None,
            Some(piece) => {
                let (included, begin) = believed.piece(piece, "begin").map_err(at(Part::Begin))?;
                same_call(&begin, &entry).map_err(at(Part::Begin))?;
                if included.index >= prediction.index {
                    return Err(at(Part::Begin)(Reason::Order));
                }
                Some(included)
            }
        };
        let others = lineage.iter().map(|lineage| (Part::Lineage, &lineage.included));
        for (part, included) in others.chain(begin.iter().map(|begin| (Part::Begin, begin))) {
            same_log(&included.signed, &prediction.signed).map_err(at(part))?;
        }
        Ok(Verdict { prediction, lineage, begin })
    }

    /// Verifies that an entry's bytes are in a log.
    ///
    /// # Errors
    /// What is not shown.
    pub fn entry(&self, entry: &[u8], proof: &str) -> Result<Included, Refused> {
        let believed = self.following(&[]);
        let included = believed.and_then(|believed| believed.included(entry, proof));
        included.map_err(|reason| Refused { part: Part::Entry, reason })
    }

    /// Verifies that a log only grew; gives the old checkpoint and the new.
    ///
    /// # Errors
    /// The first thing that is not shown.
    pub fn extension(&self, extension: &Extension) -> Result<(Signed, Signed), Refused> {
        let believed = self.following(&extension.rotations);
        let believed = believed.map_err(|reason| Refused { part: Part::Rotations, reason })?;
        let checkpoint = |part, text: &str| {
            let note = text.parse::<Note>().map_err(Reason::from);
            note.and_then(|note| believed.checkpoint(&note)).map_err(|reason| Refused { part, reason })
        };
        let old = checkpoint(Part::Old, &extension.old)?;
        let new = checkpoint(Part::New, &extension.new)?;
        let at = |reason| Refused { part: Part::Consistency, reason };
        same_log(&new, &old).map_err(at)?;
        let hashes: Option<Vec<Hash>> = extension.consistency.iter().map(|line| unbase64_hash(line)).collect();
        let hashes = hashes.ok_or_else(|| at(Reason::Hash))?;
        let heads = [&old, &new].map(|signed| (signed.checkpoint.size, &signed.checkpoint.root));
        verify_consistency(heads[0], heads[1], &hashes).map_err(|error| at(Reason::Forked(error)))?;
        Ok((old, new))
    }
}

impl Believed {
    fn piece<'a>(&self, piece: &'a Piece, kind: &'static str) -> Result<(Included, Entry<'a>), Reason> {
        let included = self.included(piece.entry.as_bytes(), &piece.proof)?;
        let entry = Entry::parse(piece.entry.as_bytes()).map_err(|_| Reason::NoEntry)?;
        if *entry.kind != *kind {
            return Err(Reason::Kind { found: entry.kind.to_string(), wanted: kind });
        }
        Ok((included, entry))
    }

    fn included(&self, entry: &[u8], proof: &str) -> Result<Included, Reason> {
        let proof: Proof = proof.parse().map_err(Reason::Text)?;
        let signed = self.checkpoint(&proof.checkpoint)?;
        let Checkpoint { size, root, .. } = &signed.checkpoint;
        verify_inclusion(&leaf_hash(entry), proof.index, *size, root, &proof.hashes).map_err(Reason::Path)?;
        Ok(Included { index: proof.index, signed })
    }
}

/// Whether the entry holds the document itself, once it is shown to be the one with this digest.
fn document(entry: &Entry<'_>, digest: &str) -> Result<bool, Reason> {
    let found = entry.digest.as_deref().unwrap_or_default();
    if found != digest {
        return Err(Reason::OtherDocument { found: found.to_owned(), wanted: digest.to_owned() });
    }
    let wrong = || Reason::Digest(digest.to_owned());
    let Some(document) = entry.document else {
        return if entry.truncated { Ok(false) } else { Err(wrong()) };
    };
    let value: serde_json::Value = serde_json::from_str(document.get()).map_err(|_| wrong())?;
    let canonical = serde_json_canonicalizer::to_vec(&value).map_err(|_| wrong())?;
    if unhex(digest) == Some(Sha256::digest(canonical)) { Ok(true) } else { Err(wrong()) }
}

fn same_call(begin: &Entry<'_>, end: &Entry<'_>) -> Result<(), Reason> {
    match (begin.id.as_deref(), end.id.as_deref()) {
        (Some(begin), Some(end)) if begin == end => Ok(()),
        (found, wanted) => Err(Reason::OtherId {
            found: found.unwrap_or_default().to_owned(),
            wanted: wanted.unwrap_or_default().to_owned(),
        }),
    }
}

fn same_log(part: &Signed, other: &Signed) -> Result<(), Reason> {
    let (found, wanted) = (&part.checkpoint.origin, &other.checkpoint.origin);
    if found == wanted {
        return Ok(());
    }
    Err(Reason::OtherLog { found: found.clone(), wanted: wanted.clone() })
}
