//! Files that are whole or not there, also after power loss.
//!
//! A draft beside the file, synced, then one step that gives it its name, then the folder synced. What a segment is
//! made of the ledger's own storage does; here is what lies outside of it: keys, anchors, a witness's memory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Ends the name of a file that is not yet what it is to become.
pub(crate) const DRAFT: &str = ".new";

/// Makes a directory that stays.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // The directory's own name must survive too, or everything in it is lost with it.
    sync_dir(&parent(dir))
}

/// Writes a draft of a file beside it, and brings it to stable storage.
pub(crate) fn draft(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(DRAFT);
    let draft = PathBuf::from(name);
    // One that a crash left may have another mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    Ok(draft)
}

/// Makes a file that must not be there yet.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path, bytes, mode)?;
    // A link, unlike a rename, never replaces what is there. Some file systems of other houses have none.
    match fs::hard_link(&draft, path) {
        Err(error) if without_links(&error) && !path.exists() => fs::rename(&draft, path)?,
        linked => {
            fs::remove_file(&draft)?;
            linked?;
        }
    }
    sync_dir(&parent(path))
}

/// Makes a file, in the place of one that may be there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    rename(&draft(path, bytes, mode)?, path)
}

/// Gives a file on stable storage another name in the same folder, in the place of what may be there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir(&parent(to))
}

/// Removes a file for good.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_dir(&parent(path))
}

fn without_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

/// Brings the names in a directory to stable storage.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_made_once_replaced_whole_and_removed() {
        let dir = std::env::temp_dir().join(format!("touchmark-durable-{}", std::process::id()));
        create_dir(&dir).unwrap();
        let path = dir.join("file");
        create(&path, b"one", 0o600).unwrap();
        assert_eq!(create(&path, b"two", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        // What a crash left of a draft, readable by others, is no draft of ours.
        fs::write(dir.join("file.new"), b"junk that is longer than what follows").unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = dir.join("other");
        rename(&path, &other).unwrap();
        remove(&other).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir(&dir).unwrap();
    }
}
