//! The log as C2SP tlog-tiles: what a client mirrors and checks it from, straight from the ledger's files.
//!
//! It gives what a checkpoint covers and nothing else. How it is served is the admin listener's matter.

use std::path::Path;
use std::sync::Arc;

use super::read::{ReadError, Reader, Starts};
use super::segment::Disk;
use super::{FOLDER, Ledger};
use crate::tlog::TilePath;

/// A running ledger's tiles.
#[derive(Debug)]
pub struct Tiles {
    ledger: Ledger,
    reader: Reader,
    starts: Starts,
}

impl Ledger {
    /// The tiles of this ledger, which lies in the data directory `dir`.
    pub fn tiles(&self, dir: &Path) -> Tiles {
        let path = dir.join(FOLDER);
        let reader = Reader::over(Arc::new(Disk::read_only(&path)), path);
        Tiles { ledger: self.clone(), reader, starts: Starts::default() }
    }
}

impl Tiles {
    /// The newest checkpoint, a signed note; `None` in the first second of a process.
    pub fn checkpoint(&self) -> Option<String> {
        self.ledger.checkpoint().map(|note| note.to_string())
    }

    /// A tile's hashes, or the entries of one; `None` where the newest checkpoint does not cover all of it. Reads files:
    /// mostly the tile itself, for entries that nobody asked for lately up to one segment.
    ///
    /// # Errors
    /// Where a file is damaged or cannot be read.
    pub fn get(&self, path: TilePath) -> Result<Option<Vec<u8>>, ReadError> {
        let (TilePath::Hashes(tile) | TilePath::Entries(tile)) = path;
        let size = self.ledger.inner.shared.checkpoint().map_or(0, |published| published.head.size);
        if !tile.is_in(size) {
            return Ok(None);
        }
        match path {
            TilePath::Hashes(tile) => self.reader.tile(tile),
            TilePath::Entries(tile) => self.reader.bundle(tile, &self.starts),
        }
        .map(Some)
    }
}
