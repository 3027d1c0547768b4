//! Files that are whole or not there, also after power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Ends the name of a file that is not yet what it is to become.
pub(super) const DRAFT: &str = ".new";

/// Makes a directory that stays.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // The directory's own name must survive too, or everything in it is lost with it.
    sync_dir(&parent(dir))
}

/// Writes a draft of a file beside it, and brings it to stable storage.
pub(super) fn draft(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(DRAFT);
    let draft = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    Ok(draft)
}

/// Makes a file that must not be there yet.
pub(super) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path, bytes, mode)?;
    // A link, unlike a rename, never replaces what is there.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    sync_dir(&parent(path))
}

/// Brings the names in a directory to stable storage.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
