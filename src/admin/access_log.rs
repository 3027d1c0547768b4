//! The access log: who changed something, and who read the ledger, as JSON lines in `DIR/access.jsonl`.
//!
//! A write has two lines: `asked`, before it is done, and its status. A disk that does not take the first one has it
//! refused, so that nothing is done by an unknown author. A read of the ledger, and what was refused, has one line,
//! before the answer leaves. Lines are handed to the kernel, not synced. At [`FILE_BYTES_MAX`] a file is set aside as
//! `access.1.jsonl`, and so on; the oldest goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use super::access::Role;

/// Bytes of one file; some 80,000 lines.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files that were set aside, at most: 256 MiB with the one that is written.
const FILES_MAX: u32 = 15;
/// Bytes of a path as it is logged.
const PATH_BYTES_MAX: usize = 1024;
/// What a line may take; a disk that takes longer does not take it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Only we may read who did what.
const MODE: u32 = 0o600;

/// The log. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// Locked by threads that may wait for a disk.
    file: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    /// When it was written: RFC 3339 in UTC.
    time: String,
    /// The same in both lines of a request.
    id: String,
    /// The token's name; none where it is not known who asks.
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    peer: String,
    method: String,
    path: String,
    /// None before it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl Line {
    pub(super) fn new(author: Option<(&str, Option<Role>)>, peer: String, method: &Method, path: &str) -> Self {
        let mut path = path.to_owned();
        if path.len() > PATH_BYTES_MAX {
            path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
            path.push('…');
        }
        Self {
            time: String::new(),
            id: format!("{:016x}", rand::random::<u64>()),
            author: author.map(|(name, _)| name.to_owned()),
            role: author.and_then(|(_, role)| role),
            peer,
            method: method.to_string(),
            path,
            status: None,
        }
    }

    pub(super) fn answered(mut self, status: StatusCode) -> Self {
        self.status = Some(status.as_u16());
        self
    }
}

impl AccessLog {
    /// The log in a data directory; its file is opened with the first line.
    pub fn new(dir: &Path) -> Self {
        Self(Arc::new(Inner { dir: dir.to_owned(), file: Mutex::new(None) }))
    }

    /// Writes a line, on a thread that may wait. `false` where the disk did not take it in time; the log says why.
    pub(super) async fn write(&self, line: &Line) -> bool {
        let line = Line { time: format!("{:.6}", jiff::Timestamp::now()), ..line.clone() };
        let Ok(mut text) = serde_json::to_vec(&line) else { return false };
        text.push(b'\n');
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || inner.append(&text));
        let why = match timeout(PATIENCE, written).await {
            Ok(Ok(Ok(()))) => return true,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk takes too long".to_owned(),
        };
        tracing::error!(error = why, file = %self.0.path(0).display(), "a line of the access log cannot be written");
        false
    }
}

impl Inner {
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = match place.take() {
            Some(open) => open,
            None => Open::new(&self.path(0))?,
        };
        if open.len + line.len() as u64 > FILE_BYTES_MAX {
            self.rotate()?;
            open = Open::new(&self.path(0))?;
        }
        if let Err(error) = open.file.write_all(line) {
            // Half a line would spoil the next. Where this fails too, opening it anew mends it.
            let _mended = open.file.set_len(open.len);
            return Err(error);
        }
        open.len += line.len() as u64;
        *place = Some(open);
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (0..FILES_MAX).rev() {
            match std::fs::rename(self.path(number), self.path(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        let name = if number == 0 { "access.jsonl".to_owned() } else { format!("access.{number}.jsonl") };
        self.dir.join(name)
    }
}

impl Open {
    /// Opens a file for appending; one that ends in half a line, as after a crash, gets its end.
    fn new(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let mut len = file.metadata()?.len();
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                len += 1;
            }
        }
        Ok(Self { file, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("touchmark-access-{:016x}", rand::random::<u64>()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn half_a_line_does_not_spoil_the_next() {
        let folder = Folder::new();
        let path = folder.0.join("access.jsonl");
        std::fs::write(&path, "{\"half").unwrap();
        let log = AccessLog::new(&folder.0);
        log.0.append(b"{}\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"half\n{}\n");
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_goes() {
        let folder = Folder::new();
        let log = AccessLog::new(&folder.0);
        for number in 0..=FILES_MAX + 2 {
            log.0.append(format!("{number}\n").as_bytes()).unwrap();
            log.0.file.lock().unwrap().as_mut().unwrap().len = FILE_BYTES_MAX;
        }
        let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).unwrap();
        assert_eq!((read("access.jsonl"), read("access.1.jsonl")), ("17\n".to_owned(), "16\n".to_owned()));
        assert_eq!(read("access.15.jsonl"), "2\n");
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 16);
    }

    #[tokio::test]
    async fn a_disk_that_takes_no_line_is_told() {
        let folder = Folder::new();
        let log = AccessLog::new(&folder.0.join("not/there"));
        let line = Line::new(None, "127.0.0.1:1".to_owned(), &Method::GET, &"é".repeat(2000));
        assert!(!log.write(&line).await);
        std::fs::create_dir_all(folder.0.join("not/there")).unwrap();
        assert!(log.write(&line.answered(StatusCode::OK)).await, "and it is tried again");
    }
}
