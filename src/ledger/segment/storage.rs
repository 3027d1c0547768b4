//! What the ledger asks of a file system: eleven calls, so that a test can stand in for a disk that fails.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// The ledger's directory. Names are plain file names.
pub(crate) trait Storage: Debug + Send + Sync {
    /// Makes a new file of zeros, `size` bytes allocated. Fails if there is one.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>>;
    /// Opens a file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Every file's name, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Gives a file another name; a file that had it is gone, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable. Until then a power loss may undo any of the calls above.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file of the ledger.
pub(crate) trait File: Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads at a place; fewer bytes than asked only at the file's end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes at a place.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes contents and length durable. After an error nothing may be assumed of what was not durable before,
    /// and a second call proves nothing.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to a length.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// Fills `buf`, or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(buf, offset)? == buf.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
