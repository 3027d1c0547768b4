//! Where the demo keeps its ledger and files: a folder of the caller's, or one that goes with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Transactions are nobody else's business.
const MODE: u32 = 0o700;
/// The folder beside the ledger for datasets, models and a request.
const FILES: &str = "demo";

/// A data directory. A temporary one is removed when this is dropped.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Place {
    /// The given directory, made where it is missing; without one, a new one under the system's temporary directory.
    /// `keep` keeps that one, too.
    pub fn new(data: Option<&Path>, keep: bool) -> io::Result<Self> {
        let dir = data.map_or_else(
            || std::env::temp_dir().join(format!("touchmark-demo-{:08x}", rand::random::<u32>())),
            Path::to_owned,
        );
        // A temporary name that is taken is somebody else's: only one's own directory may be there already.
        DirBuilder::new().mode(MODE).recursive(data.is_some()).create(&dir)?;
        let place = Self { dir, temporary: data.is_none() && !keep };
        DirBuilder::new().mode(MODE).recursive(true).create(place.files())?;
        Ok(place)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder for the demo's own files.
    pub fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "the demo's temporary directory stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_place_goes_and_others_stay() {
        let (gone, kept) = (Place::new(None, false).unwrap(), Place::new(None, true).unwrap());
        let dirs = [gone.dir().to_owned(), kept.dir().to_owned()];
        assert!(gone.files().is_dir() && dirs[0] != dirs[1]);
        drop((gone, kept));
        assert!(!dirs[0].exists() && dirs[1].exists());
        let own = dirs[1].join("a/b");
        drop(Place::new(Some(&own), false).unwrap());
        drop(Place::new(Some(&own), false).unwrap());
        assert!(own.exists());
        fs::remove_dir_all(&dirs[1]).unwrap();
    }
}
