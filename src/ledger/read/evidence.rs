//! What proves an entry: the checkpoints in the log, and the tree's hashes beside it.

use std::io;
use std::sync::Arc;

use super::{ReadError, Reader, Segment};
use crate::ledger::frame::FrameKind;
use crate::ledger::segment::{Scanner, Step};
use crate::ledger::tree::TreeReader;
use crate::tlog::{Hash, Proof, SignedCheckpoint, Tile, consistency_proof, inclusion_proof};

impl Reader {
    /// Every checkpoint of the current log, in the order in which they were written. One that is not to be read as such
    /// is passed over here, and a finding of verification.
    ///
    /// # Errors
    /// Where a segment cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<SignedCheckpoint>, ReadError> {
        let mut found = Vec::new();
        for segment in self.segments()?.iter().filter(|segment| !segment.old) {
            found.extend(self.checkpoints_of(segment)?);
        }
        Ok(found)
    }

    /// The best checkpoint over entry `index` and all before it: of those in the newest segment that has any, the one
    /// that most signed, and of these the newest.
    ///
    /// # Errors
    /// Where a segment cannot be read.
    pub fn checkpoint_over(&self, index: u64) -> Result<Option<SignedCheckpoint>, ReadError> {
        self.best_checkpoint(|found| {
            (found.checkpoint.size > index).then_some((found.note.signatures.len(), found.checkpoint.size))
        })
    }

    /// That entry `index` is in the log that a checkpoint commits to.
    ///
    /// # Errors
    /// Where the tree's hashes cannot be read.
    pub fn prove(&self, index: u64, committed: &SignedCheckpoint) -> Result<Proof, ReadError> {
        let hashes =
            inclusion_proof(&self.tree(), index, committed.checkpoint.size).map_err(|error| self.lost(error))?;
        Ok(Proof { extra: None, index, hashes, checkpoint: committed.note.clone() })
    }

    /// That the log of `size` entries extends that of `old`.
    ///
    /// # Errors
    /// Where the tree's hashes cannot be read.
    pub fn prove_consistency(&self, old: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
        consistency_proof(&self.tree(), old, size).map_err(|error| self.lost(error))
    }

    /// The root over the first `size` entries, as the tree's hashes have it.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Hash, ReadError> {
        self.tree().root(size).map_err(|error| self.lost(error))
    }

    /// A tile's hashes, one after the other (C2SP tlog-tiles).
    ///
    /// # Errors
    /// Where they cannot be read, or are not all there.
    pub fn tile(&self, tile: Tile) -> Result<Vec<u8>, ReadError> {
        self.tree().tile(tile).map_err(|error| self.lost(error))
    }

    /// The tree's hashes.
    pub(crate) fn tree(&self) -> TreeReader {
        TreeReader::new(Arc::clone(&self.storage))
    }

    pub(super) fn checkpoints_of(&self, segment: &Segment) -> Result<Vec<SignedCheckpoint>, ReadError> {
        self.scan_checkpoints(segment).map_err(|error| self.error(&segment.name, error))
    }

    fn scan_checkpoints(&self, segment: &Segment) -> io::Result<Vec<SignedCheckpoint>> {
        let mut scanner = Scanner::new(self.storage.open(&segment.name)?);
        let mut found = Vec::new();
        while let Step::Frame { kind, index, payload, .. } = scanner.step()? {
            // What a poisoned segment holds beyond the next one's beginning is discarded.
            if segment.limit.is_some_and(|limit| kind == FrameKind::Entry && index >= limit) {
                break;
            }
            if kind == FrameKind::Checkpoint
                && let Ok(committed) = SignedCheckpoint::from_bytes(scanner.payload(payload))
            {
                found.push(committed);
            }
        }
        Ok(found)
    }

    fn lost(&self, error: io::Error) -> ReadError {
        // Those of a log that was set aside nobody makes again.
        let old = self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("old-"));
        let mend = if old { "" } else { " (remove them and start touchmark: it makes them again)" };
        self.error(&format!("tree-*.hash{mend}"), error)
    }
}
