//! Setting a damaged log aside, whole, so that nothing of it is lost or mixed with its successor.
//!
//! A note is made durable first, then every file of the old log gets another name, then the new log begins. A crash
//! in between leaves the note, and the next start goes on where this one stopped. The note goes once the new log's
//! `start` entry, which repeats it, is durable.

use std::io;

use serde::{Deserialize, Serialize};

use crate::ledger::index::put_file;
use crate::ledger::parse::unhex;
use crate::ledger::segment::{Header, Storage, read_exact_at};
use crate::sha256::hex;

const NOTE_NAME: &str = "quarantine.json";
/// The most bytes of a note that is read.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// Which log was set aside, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The old log's id in hexadecimal; absent where no header could be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) log: Option<String>,
    /// The damaged segment's name at the time; empty where it was not damage.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) segment: String,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// The new log's id in hexadecimal.
    pub(crate) new: String,
    /// How many logs were set aside before. The old files' names begin with `old-`, this and the new log's id, so
    /// that they sort as the logs followed each other.
    pub(crate) number: u32,
}

impl Note {
    /// The new log's id.
    pub(crate) fn new_log(&self) -> [u8; 16] {
        unhex(&self.new).unwrap_or_default()
    }
}

/// Sets a log aside.
pub(crate) fn set_aside(
    storage: &dyn Storage,
    (old, new): (Option<[u8; 16]>, [u8; 16]),
    segment: &str,
    reason: &str,
) -> io::Result<Note> {
    let note = Note {
        log: old.map(hex),
        segment: segment.to_owned(),
        reason: reason.to_owned(),
        new: hex(new),
        number: storage.list()?.iter().filter_map(|name| number(name)).max().map_or(0, |number| number + 1),
    };
    put_file(storage, NOTE_NAME, &serde_json::to_vec(&note)?)?;
    rename_all(storage, &note)?;
    Ok(note)
}

/// Goes on with what a crash interrupted; the note, if the new log has not repeated it yet.
pub(crate) fn resume(storage: &dyn Storage) -> io::Result<Option<Note>> {
    if !storage.list()?.iter().any(|name| name == NOTE_NAME) {
        return Ok(None);
    }
    let file = storage.open(NOTE_NAME)?;
    let len = usize::try_from(file.len()?.min(NOTE_BYTES_MAX)).unwrap_or(0);
    let mut bytes = vec![0; len];
    read_exact_at(&*file, &mut bytes, 0)?;
    let note: Note = serde_json::from_slice(&bytes)?;
    rename_all(storage, &note)?;
    Ok(Some(note))
}

/// Forgets the note: the new log's `start` entry says it now.
pub(crate) fn done(storage: &dyn Storage) -> io::Result<()> {
    storage.remove(NOTE_NAME)?;
    storage.sync_dir()
}

fn rename_all(storage: &dyn Storage, note: &Note) -> io::Result<()> {
    let new = note.new_log();
    let mut names = storage.list()?;
    names.retain(|name| name.starts_with("seg-") || name.starts_with("tree-") || name == "origin");
    // The new log begins only after every name has changed, so one segment of it proves that all have.
    for name in names.iter().filter(|name| name.starts_with("seg-")) {
        if let Ok(Ok(header)) = storage.open(name).and_then(|file| Header::read(&*file))
            && header.log == new
        {
            return Ok(());
        }
    }
    for name in names {
        storage.rename(&name, &format!("old-{:04}-{}-{name}", note.number, note.new))?;
    }
    storage.sync_dir()
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("old-")?.split('-').next()?.parse().ok()
}
