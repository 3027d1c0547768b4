//! Writes proofs from a ledger, and verifies each before it is given away.

use uuid::Uuid;

use super::{Bundle, Extension, Piece, Reason, Refused, Trust};
use crate::ledger::entry::Kind;
use crate::ledger::parse::Entry;
use crate::ledger::read::{Found, Query, ReadError, Reader};
use crate::tlog::{Checkpoint, Note, SignedCheckpoint, TILE_WIDTH, Tile, base64, leaf_hash, verify_inclusion};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// Not in the ledger.
    #[error("prediction:{0} is not in the ledger")]
    Absent(Uuid),
    /// It is under way.
    #[error("prediction:{0} has begun and not ended: there is nothing to prove before its end is recorded")]
    Unfinished(Uuid),
    /// In a log that was set aside, and not to be proved from what is left of it.
    #[error("prediction:{id} stands in a log that was set aside ({files}*): {why}")]
    SetAside {
        /// The prediction.
        id: Uuid,
        /// What that log's files begin with.
        files: String,
        /// Why there is no proof.
        why: String,
    },
    /// The checkpoint is still to come.
    #[error("no checkpoint covers entry {0} yet: one comes each second while touchmark serve runs, and as it stops")]
    Uncovered(u64),
    /// The document is not there.
    #[error("the lineage document {0}, to which the prediction refers, is not in the ledger")]
    NoDocument(String),
    /// Nothing was ever committed to.
    #[error("no checkpoint is in the log: start touchmark on it")]
    NoCheckpoint,
    /// The checkpoint that was brought is not of this log's past.
    #[error(
        "this ledger does not continue the {end} checkpoint of {size} entries: its first {size} entries lead to another \
         root. Either the log was rewritten, or tree-*.hash are damaged: stop touchmark, remove {folder}/tree-*.hash, \
         start it again and repeat this"
    )]
    Forked {
        /// Which of the two.
        end: End,
        /// Its size.
        size: u64,
        /// The ledger's folder.
        folder: String,
    },
    /// The log is shorter than it once was.
    #[error("the {0} checkpoint speaks of {1} entries, and the newest of this ledger of {2}: entries are missing")]
    Shrunk(End, u64, u64),
    /// Another log's checkpoint.
    #[error("the {0} checkpoint is of the log {1:?}, this ledger is {2:?}")]
    OtherLog(End, String, String),
    /// The first is newer than the second.
    #[error("the old checkpoint has {0} entries, the new one {1}: give them in the order in which they were made")]
    Reversed(u64, u64),
    /// The entry on disk is not the one that was committed to.
    #[error("entry {0} was changed after a checkpoint had committed to it: run touchmark audit show, keep the files")]
    Changed(u64),
    /// The derived hashes are damaged.
    #[error(
        "the tree's hashes do not lead to the checkpoint ({refused}): stop touchmark, remove {folder}/tree-*.hash and \
         start it again, it makes them anew"
    )]
    Tree {
        /// What did not hold.
        refused: Refused,
        /// The ledger's folder.
        folder: String,
    },
    /// The proof does not hold for another reason.
    #[error("the proof that was made does not hold: {0}")]
    Refused(Refused),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Which of two checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The earlier.
    Old,
    /// The later.
    New,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Old => "old",
            Self::New => "new",
        })
    }
}

impl Unproven {
    /// The same of a log that nobody goes on with: what is derived of it is not made again, and nothing is to come.
    fn of_old(&self) -> String {
        match self {
            Self::Uncovered(index) => format!("no checkpoint of that log covers entry {index}: nobody committed to it"),
            Self::Tree { refused, .. } => {
                format!("the tree's hashes beside it do not lead to its checkpoint ({refused}), and are not made again")
            }
            Self::Unfinished(_) => "it had begun there, and its end was never recorded".to_owned(),
            other => other.to_string(),
        }
    }
}

impl Reader {
    /// Proves a prediction: of the current log, else of the newest of those set aside that has it.
    ///
    /// # Errors
    /// Why there is no proof of it, or none yet.
    pub fn prove_prediction(&self, id: Uuid) -> Result<Bundle, Unproven> {
        let current = self.prove_here(id);
        if !matches!(current, Err(Unproven::Absent(_) | Unproven::Read(_))) {
            return current;
        }
        for (files, reader) in self.set_aside()?.into_iter().rev() {
            match reader.prove_here(id) {
                Err(Unproven::Absent(_)) => {}
                Err(why) => return Err(Unproven::SetAside { id, files, why: why.of_old() }),
                proved => return proved,
            }
        }
        // Behind damage, where a log that goes on would end: a missing match is never silent.
        match self.find(&Query { prediction: Some(id), ..Query::default() }).find_map(Result::err) {
            Some(damage) => Err(damage.into()),
            None => current,
        }
    }

    fn prove_here(&self, id: Uuid) -> Result<Bundle, Unproven> {
        let (prediction, begin) = self.entries_of(id)?;
        let lineage = self.document_of(&prediction)?;
        let last = [Some(&prediction), lineage.as_ref()].into_iter().flatten().map(|found| found.index).max();
        let last = last.unwrap_or(prediction.index);
        let committed = self.checkpoint_over(last)?.ok_or(Unproven::Uncovered(last))?;
        let keys = self.readable_keys();
        let piece = |found: &Found| self.piece(found, &committed);
        let Piece { entry, proof } = piece(&prediction)?;
        let bundle = Bundle {
            entry,
            proof,
            lineage: lineage.as_ref().map(piece).transpose()?,
            begin: begin.as_ref().map(piece).transpose()?,
            keys: keys.iter().map(ToString::to_string).collect(),
            rotations: self.rotations(),
        };
        let parts: Vec<&Found> = [Some(&prediction), lineage.as_ref(), begin.as_ref()].into_iter().flatten().collect();
        match (Trust { keys, witnesses: 0 }).bundle(&bundle) {
            Ok(_) => Ok(bundle),
            Err(refused) => Err(self.diagnose(refused, &parts, &committed)),
        }
    }

    /// Proves that the log only grew from one checkpoint to another.
    ///
    /// # Errors
    /// Why it is not so, or cannot be shown.
    pub fn prove_extension(&self, old: &Note, new: &Note) -> Result<Extension, Unproven> {
        let newest = self.newest_checkpoint()?.ok_or(Unproven::NoCheckpoint)?.checkpoint;
        let old_head = self.known(End::Old, old, &newest)?;
        let new_head = self.known(End::New, new, &newest)?;
        if old_head.size > new_head.size {
            return Err(Unproven::Reversed(old_head.size, new_head.size));
        }
        let keys = self.keys()?;
        let extension = Extension {
            old: old.to_string(),
            new: new.to_string(),
            consistency: self
                .prove_consistency(old_head.size, new_head.size)?
                .iter()
                .map(|hash| base64(hash))
                .collect(),
            keys: keys.iter().map(ToString::to_string).collect(),
            rotations: self.rotations(),
        };
        match (Trust { keys, witnesses: 0 }).extension(&extension) {
            Ok(_) => Ok(extension),
            Err(refused @ Refused { reason: Reason::Forked(_), .. }) => {
                Err(Unproven::Tree { refused, folder: self.folder() })
            }
            Err(refused) => Err(Unproven::Refused(refused)),
        }
    }

    /// A prediction's end and, where its answer was streamed, its beginning, of the current log.
    fn entries_of(&self, id: Uuid) -> Result<(Found, Option<Found>), Unproven> {
        let (mut prediction, mut begin) = (None, None);
        let mut damage = None;
        for found in self.find_here(&Query { prediction: Some(id), ..Query::default() }) {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    damage.get_or_insert(error);
                    continue;
                }
            };
            match Entry::parse(&found.entry).map(|entry| entry.kind.to_string()).as_deref() {
                Ok("prediction") => prediction = Some(found),
                Ok("begin") => begin = Some(found),
                _ => {}
            }
        }
        match (prediction, damage) {
            (Some(prediction), _) => Ok((prediction, begin)),
            (None, Some(damage)) => Err(damage.into()),
            (None, None) if begin.is_some() => Err(Unproven::Unfinished(id)),
            (None, None) => Err(Unproven::Absent(id)),
        }
    }

    fn document_of(&self, prediction: &Found) -> Result<Option<Found>, Unproven> {
        let entry = Entry::parse(&prediction.entry).unwrap_or_default();
        let Some(digest) = entry.lineage.as_deref() else { return Ok(None) };
        let mut damage = None;
        for found in self.find_here(&Query { kind: Some(Kind::Lineage), ..Query::default() }) {
            match found {
                Ok(found) => {
                    if Entry::parse(&found.entry).is_ok_and(|entry| entry.digest.as_deref() == Some(digest)) {
                        return Ok(Some(found));
                    }
                }
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        Err(damage.map_or_else(|| Unproven::NoDocument(digest.to_owned()), Unproven::Read))
    }

    fn piece(&self, found: &Found, committed: &SignedCheckpoint) -> Result<Piece, ReadError> {
        let proof = self.prove(found.index, committed)?.to_string();
        let entry = String::from_utf8_lossy(&found.entry).into_owned();
        Ok(Piece { entry, proof })
    }

    /// Why a proof that was just made does not hold: the hashes beside the log are derived, the entry is not.
    fn diagnose(&self, refused: Refused, parts: &[&Found], committed: &SignedCheckpoint) -> Unproven {
        if !matches!(refused.reason, Reason::Path(_)) {
            return Unproven::Refused(refused);
        }
        let changed = parts.iter().find(|found| {
            let tile = Tile { level: 0, index: found.index / TILE_WIDTH, width: found.index % TILE_WIDTH + 1 };
            let kept = self.tile(tile).ok().and_then(|hashes| hashes.as_chunks::<32>().0.last().copied());
            let (Some(kept), Ok(proof)) = (kept, self.prove(found.index, committed)) else { return false };
            let Checkpoint { size, root, .. } = &committed.checkpoint;
            // The hash that is kept does lead to the signed root, and this entry has another.
            kept != leaf_hash(&found.entry) && verify_inclusion(&kept, found.index, *size, root, &proof.hashes).is_ok()
        });
        match changed {
            Some(found) => Unproven::Changed(found.index),
            None => Unproven::Tree { refused, folder: self.folder() },
        }
    }

    /// A checkpoint that this log continues.
    fn known(&self, end: End, note: &Note, newest: &Checkpoint) -> Result<Checkpoint, Unproven> {
        let checkpoint = Checkpoint::parse(&note.text)
            .map_err(|error| Unproven::Refused(Refused { part: end.part(), reason: Reason::Checkpoint(error) }))?;
        if checkpoint.origin != newest.origin {
            return Err(Unproven::OtherLog(end, checkpoint.origin, newest.origin.clone()));
        }
        if checkpoint.size > newest.size {
            return Err(Unproven::Shrunk(end, checkpoint.size, newest.size));
        }
        if self.root_at(checkpoint.size)? != checkpoint.root {
            return Err(Unproven::Forked { end, size: checkpoint.size, folder: self.folder() });
        }
        Ok(checkpoint)
    }
}

impl End {
    const fn part(self) -> super::Part {
        match self {
            Self::Old => super::Part::Old,
            Self::New => super::Part::New,
        }
    }
}
