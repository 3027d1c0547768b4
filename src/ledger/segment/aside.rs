//! A log that was set aside, as if it were the current one: its files under the names that they had. For reading alone.

use std::io;
use std::sync::Arc;

use super::{File, Storage};

/// The files whose names begin with a prefix.
#[derive(Debug)]
pub(crate) struct Aside {
    storage: Arc<dyn Storage>,
    prefix: String,
}

impl Aside {
    pub(crate) fn new(storage: Arc<dyn Storage>, prefix: String) -> Self {
        Self { storage, prefix }
    }
}

impl Storage for Aside {
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.storage.open(&format!("{}{name}", self.prefix))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.storage.list()?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn File>> {
        Err(read_only())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(read_only())
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}
