//! Anchors: where checkpoints are kept apart from the log, so that a log that was put back to an earlier day is found out.
//!
//! An anchor remembers, for each running copy, which log it wrote last and that log's newest checkpoint. At a start the
//! local log must be that one, and must still lead to that checkpoint. It is as good as the volume that it lies on is
//! out of reach of whoever could change the log; it is no witness, since it signs nothing.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::durable;
use crate::tlog::{Checkpoint, Hash, Note};

/// What names may hold beside letters and digits. No dot: no name may lead out of the folder.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// The most bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 128 << 10;
/// Others may read, and check.
const MODE: u32 = 0o644;
const CHECKPOINT_NAME: &str = "checkpoint";

/// Where checkpoints are kept. A folder today; an object store would be another.
pub(crate) trait Anchor: Debug + Send + Sync {
    /// What people call it.
    fn name(&self) -> String;
    /// The newest checkpoint of the log that this copy wrote last.
    fn newest(&self) -> io::Result<Option<Note>>;
    /// Keeps a checkpoint, durably, in the place of an earlier one of the same log.
    fn keep(&self, checkpoint: &Note) -> io::Result<()>;
}

/// A folder on another volume: `DEPLOYMENT/LOG/checkpoint`, and `DEPLOYMENT/INSTANCE.log`, which names the log.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    pointer: PathBuf,
}

impl Folder {
    /// The folder of one running copy of a deployment.
    pub(crate) fn new(dir: &Path, deployment: &str, instance: &str) -> Self {
        let of_deployment = dir.join(plain(deployment));
        Self { dir: dir.to_owned(), pointer: of_deployment.join(format!("{}.log", plain(instance))) }
    }

    fn place(&self, origin: &str) -> PathBuf {
        let (deployment, log) = origin.rsplit_once('/').unwrap_or(("", origin));
        self.dir.join(plain(deployment)).join(plain(log))
    }
}

impl Anchor for Folder {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn newest(&self) -> io::Result<Option<Note>> {
        // A volume that is not mounted looks like one that nobody has written to.
        fs::read_dir(&self.dir)?;
        let Some(origin) = read(&self.pointer)? else { return Ok(None) };
        let Some(note) = read(&self.place(origin.trim_end()).join(CHECKPOINT_NAME))? else { return Ok(None) };
        note.parse().map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn keep(&self, checkpoint: &Note) -> io::Result<()> {
        let origin = checkpoint.text.lines().next().unwrap_or_default();
        write(&self.place(origin).join(CHECKPOINT_NAME), checkpoint.to_string().as_bytes())?;
        let named = format!("{origin}\n");
        if read(&self.pointer)?.as_deref() == Some(&named) { Ok(()) } else { write(&self.pointer, named.as_bytes()) }
    }
}

/// What a start found of its log.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// The log's id in hexadecimal.
    pub(crate) log: String,
    /// Entries in it.
    pub(crate) size: u64,
    /// The log that it says it follows.
    pub(crate) follows: Option<String>,
}

/// Why a local log is not the one that was anchored; `None` where it is. `root_at` gives the local root at a size.
pub(crate) fn contradiction(
    anchored: &Checkpoint,
    local: &Local,
    root_at: impl FnOnce(u64) -> io::Result<Hash>,
) -> io::Result<Option<String>> {
    let log = anchored.origin.rsplit('/').next().unwrap_or_default();
    let (there, here) = (anchored.size, local.size);
    if log != local.log {
        if local.follows.as_deref() == Some(log) {
            // It was set aside, and the log after it has not been anchored yet.
            return Ok(None);
        }
        return Ok(Some(if here == 0 {
            format!("the log {log} with {there} entries was anchored, and there is none here: its volume was lost")
        } else {
            format!("the log {log} was anchored after the one that is here: an earlier state was restored")
        }));
    }
    if here < there {
        return Ok(Some(format!("{there} entries were anchored, and {here} are here: an earlier state was restored")));
    }
    let same = root_at(there)? == anchored.root;
    Ok((!same).then(|| format!("the first {there} entries are not those that were anchored")))
}

fn plain(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text).map(|_| Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    durable::replace(path, bytes, MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "aa";
    const NEW: &str = "bb";

    fn anchored(log: &str, size: u64) -> Checkpoint {
        Checkpoint { origin: format!("fraud/{log}"), size, root: [7; 32] }
    }

    #[test]
    fn only_the_anchored_log_grown_further_is_believed() {
        let check = |anchored: &Checkpoint, local, root| contradiction(anchored, &local, |_| Ok(root)).unwrap();
        let local = |log: &str, size, follows: Option<&str>| Local {
            log: log.to_owned(),
            size,
            follows: follows.map(str::to_owned),
        };
        assert_eq!(check(&anchored(OLD, 5), local(OLD, 5, None), [7; 32]), None);
        assert_eq!(check(&anchored(OLD, 5), local(OLD, 9, None), [7; 32]), None);
        assert_eq!(check(&anchored(OLD, 5), local(NEW, 1, Some(OLD)), [0; 32]), None);
        for (there, here, root, what) in [
            (anchored(OLD, 5), local(OLD, 4, None), [7; 32], "5 entries were anchored, and 4 are here"),
            (anchored(OLD, 5), local(OLD, 5, None), [8; 32], "not those"),
            (anchored(OLD, 5), local(NEW, 0, None), [0; 32], "volume was lost"),
            (anchored(NEW, 5), local(OLD, 90, None), [7; 32], "anchored after the one"),
        ] {
            let reason = check(&there, here, root).unwrap();
            assert!(reason.contains(what), "{reason}");
        }
    }
}
