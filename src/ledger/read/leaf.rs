//! An entry by its leaf hash, as a receipt or a tile names it.

use super::{Found, Query, ReadError, Reader};
use crate::tlog::{Hash, TILE_WIDTH, Tile, leaf_hash};

impl Reader {
    /// The entry with this leaf hash. Looks through the tree's hashes first; what they do not show, the entries do.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn find_leaf(&self, leaf: &Hash) -> Result<Option<Found>, ReadError> {
        if let Some(index) = self.index_of(leaf)
            && let Some(found) = self.entry(index)?
            && leaf_hash(&found.entry) == *leaf
        {
            return Ok(Some(found));
        }
        // Not in the tree yet, in a log that was set aside, or beside hashes that are wrong.
        for found in self.find(&Query::default()) {
            let found = found?;
            if leaf_hash(&found.entry) == *leaf {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn index_of(&self, leaf: &Hash) -> Option<u64> {
        let tree = self.tree();
        for index in 0.. {
            // The last tile is as wide as it has become.
            let whole = tree.tile(Tile { level: 0, index, width: TILE_WIDTH });
            let (bytes, last) = match whole {
                Ok(bytes) => (bytes, false),
                Err(_) => (tree.rest(index * TILE_WIDTH).ok()?, true),
            };
            let (hashes, _) = bytes.as_chunks::<32>();
            if let Some(at) = hashes.iter().position(|hash| hash == leaf) {
                return Some(index * TILE_WIDTH + at as u64);
            }
            if last {
                return None;
            }
        }
        None
    }
}
