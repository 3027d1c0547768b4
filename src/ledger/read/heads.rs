//! Which log this is, and its checkpoints by size: read backwards, since who asks mostly asks for what is new.

use super::{ReadError, Reader, invalid};
use crate::ledger::segment::Header;
use crate::tlog::{Note, SignedCheckpoint};

/// A checkpoint that was looked for by its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BySize {
    /// It stands in the log.
    Exact(Note),
    /// It does not; these are the sizes next to it that do, as far as was looked.
    Nearest(Option<u64>, Option<u64>),
}

impl Reader {
    /// The current log's id; `None` where there is no log.
    ///
    /// # Errors
    /// Where the newest segment cannot be read.
    pub fn log(&self) -> Result<Option<[u8; 16]>, ReadError> {
        let Some(segment) = self.segments()?.pop_back().filter(|segment| !segment.old) else { return Ok(None) };
        let header = self.storage.open(&segment.name).and_then(|file| Header::read(&*file));
        let header = header.and_then(|header| header.map_err(|_| invalid("its header is damaged")));
        header.map(|header| Some(header.log)).map_err(|error| self.error(&segment.name, error))
    }

    /// The ledger's folder, for messages.
    pub fn folder(&self) -> String {
        self.path.display().to_string()
    }

    /// The largest checkpoint in the log; of several over as many entries the one that most signed.
    ///
    /// # Errors
    /// Where a segment cannot be read.
    pub fn newest_checkpoint(&self) -> Result<Option<SignedCheckpoint>, ReadError> {
        self.best_checkpoint(|found| Some((found.checkpoint.size, found.note.signatures.len())))
    }

    /// The best checkpoint, by what `rank` gives, of the newest segment that has any that counts.
    pub(super) fn best_checkpoint<R: Ord>(
        &self,
        rank: impl Fn(&SignedCheckpoint) -> Option<R>,
    ) -> Result<Option<SignedCheckpoint>, ReadError> {
        for segment in self.segments()?.iter().rev().filter(|segment| !segment.old) {
            let ranked = self.checkpoints_of(segment)?.into_iter().filter_map(|found| Some((rank(&found)?, found)));
            // The last of several that rank alike.
            let best = ranked.max_by(|(one, _), (other, _)| one.cmp(other));
            if let Some((_, best)) = best {
                return Ok(Some(best));
            }
        }
        Ok(None)
    }

    /// The checkpoint over exactly so many entries; of several the one that most signed.
    ///
    /// # Errors
    /// Where a segment cannot be read.
    pub fn checkpoint_of(&self, size: u64) -> Result<BySize, ReadError> {
        let (mut exact, mut below, mut above): (Option<Note>, Option<u64>, Option<u64>) = (None, None, None);
        for segment in self.segments()?.iter().rev().filter(|segment| !segment.old) {
            for SignedCheckpoint { checkpoint, note } in self.checkpoints_of(segment)? {
                match checkpoint.size.cmp(&size) {
                    std::cmp::Ordering::Less => below = below.max(Some(checkpoint.size)),
                    std::cmp::Ordering::Greater => {
                        above = Some(above.map_or(checkpoint.size, |above| above.min(checkpoint.size)));
                    }
                    std::cmp::Ordering::Equal => {
                        let most = exact.as_ref().is_none_or(|most| most.signatures.len() < note.signatures.len());
                        exact = if most { Some(note) } else { exact };
                    }
                }
            }
            // It was written after all that it covers: not in a segment before one that has smaller ones.
            if below.is_some() {
                break;
            }
        }
        Ok(exact.map_or(BySize::Nearest(below, above), BySize::Exact))
    }
}
