//! What must never be forgotten: the last cosigned checkpoint of each log.
//!
//! One file a log, named by the SHA-256 of its origin: a line with the SHA-256 of what follows, then the checkpoint with
//! the log's signatures and ours, which is what monitors are given. A file is replaced whole (written, synced, renamed,
//! its folder synced), so that after a crash it is the old one or the new one. `known` lists the logs, a line each,
//! appended when the first file of a log is durable; a log whose file then is missing is a loss that is noticed. At the
//! start every file is read and judged, and anything that is not whole ends it: a witness that forgets is worse than
//! one that does not run.
//!
//! Sizes and roots are kept in memory, bounded by [`LOGS_MAX`]; checkpoints are read from their files. Writing to one
//! log does not wait for another's.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::durable::{self, DRAFT};
use crate::sha256::{Sha256, hex};
use crate::tlog::{Checkpoint, Hash, Note};

/// Logs remembered, at most: some 15 MiB of memory.
pub(super) const LOGS_MAX: usize = 65_536;
/// Bytes of a log's file: a whole note and its line.
const FILE_BYTES_MAX: u64 = 192 << 10;
/// The file whose lock keeps a second witness out.
const LOCK: &str = "lock";
/// The file that lists the logs.
const KNOWN: &str = "known";
/// Ends the name of a log's file.
const SUFFIX: &str = ".checkpoint";
/// Bytes of a line of it: a hash in hex.
const LINE_BYTES: u64 = 65;
/// How long the same checkpoint is cosigned again without being written again: whoever replays it costs no disk.
const WRITE_AGAIN: Duration = Duration::from_mins(1);
/// How long a log's broken promise is not told again.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// Readable by everybody: nothing in it is secret.
const MODE: u32 = 0o644;

/// The memory cannot be had whole.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A file or the folder cannot be read or written.
    #[error("{}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another witness{}", folder.display(), .holder.map_or(String::new(), |id| format!(", process {id}")))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process.
        holder: Option<u32>,
    },
    /// There is a key, which may have cosigned, and nothing that says what.
    #[error(
        "{} has no memory, but a key of this witness is there: bring the folder back, or, if the key has never cosigned, \
         start once with --new",
        folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file is not what was written.
    #[error("{} is damaged ({problem}): bring it back as it was; without it this witness could sign a second history", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The disk failed when it was written last.
    #[error("{} may not be on the disk: it is shown once a checkpoint of this log was written again", file.display())]
    Unsure {
        /// The file.
        file: PathBuf,
    },
    /// There are more logs than fit.
    #[error("{} knows more than {LOGS_MAX} logs", folder.display())]
    TooMany {
        /// The folder.
        folder: PathBuf,
    },
}

/// The last cosigned checkpoint of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// All logs.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    logs: Mutex<HashMap<Hash, Arc<Mutex<State>>>>,
    known: Mutex<Known>,
    _lock: File,
}

/// One log.
#[derive(Debug, Default)]
struct State {
    /// The latest that a file was renamed to: never goes back, even where the disk failed afterwards.
    head: Option<Head>,
    /// Whether that is on stable storage and listed, and so may be shown.
    durable: bool,
    /// Whether `known` lists it.
    listed: bool,
    /// When it was last told that the log does not keep its promise.
    told: Option<Instant>,
    /// The text that this process wrote last, by its hash, and when.
    written: Option<(Hash, Instant)>,
}

/// The list of logs.
#[derive(Debug)]
struct Known {
    file: File,
    len: u64,
}

/// One log, for as long as nobody else looks at it.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    memory: &'a Memory,
    origin: Hash,
    state: MutexGuard<'a, State>,
}

impl Memory {
    /// Opens the folder, which is made where it is missing, and reads all of it. Where nothing is remembered yet,
    /// `begin` says whether that may be so.
    pub(super) fn open(folder: &Path, begin: bool) -> Result<Self, MemoryError> {
        durable::create_dir(folder).map_err(io_error(folder))?;
        let lock = take_lock(folder)?;
        let path = folder.join(KNOWN);
        let mut logs = read_files(folder)?;
        // A file that was renamed just before a kill may be there and not yet stay there.
        durable::sync_dir(folder).map_err(io_error(folder))?;
        if !path.exists() {
            if !begin {
                return Err(MemoryError::Missing { folder: folder.to_owned() });
            }
            durable::create(&path, b"", MODE).map_err(io_error(&path))?;
        }
        let known = Known::open(&path, folder, &mut logs)?;
        let logs = logs.into_iter().map(|(origin, state)| (origin, Arc::new(Mutex::new(state)))).collect();
        Ok(Self { folder: folder.to_owned(), logs: Mutex::new(logs), known: Mutex::new(known), _lock: lock })
    }

    /// How many logs are remembered.
    pub(super) fn len(&self) -> usize {
        lock(&self.logs).len()
    }

    /// Looks at a log that nobody else looks at meanwhile. `None` where it is new and there is no room for it.
    pub(super) fn turn<T>(&self, origin: &str, what: impl FnOnce(Turn<'_>) -> T) -> Option<T> {
        let origin = Sha256::digest(origin);
        let state = {
            let mut logs = lock(&self.logs);
            if !logs.contains_key(&origin) && logs.len() >= LOGS_MAX {
                return None;
            }
            Arc::clone(logs.entry(origin).or_default())
        };
        Some(what(Turn { memory: self, origin, state: lock(&state) }))
    }

    /// The last cosigned checkpoint of the log whose origin has this hash, as it was written.
    pub(super) fn checkpoint(&self, origin: &Hash) -> Result<Option<String>, MemoryError> {
        let Some(state) = lock(&self.logs).get(origin).map(Arc::clone) else { return Ok(None) };
        let state = lock(&state);
        match (state.head, state.durable) {
            (None, _) => Ok(None),
            (Some(_), false) => Err(MemoryError::Unsure { file: self.path(origin) }),
            (Some(_), true) => read_file(&self.path(origin)).map(|(_, note)| Some(note)),
        }
    }

    fn path(&self, origin: &Hash) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", hex(origin)))
    }
}

impl Turn<'_> {
    /// The last cosigned checkpoint.
    pub(super) fn head(&self) -> Option<Head> {
        self.state.head
    }

    /// Whether to tell of a broken promise: not at once again, since whoever replays it must not fill the log of ours.
    pub(super) fn may_tell(&mut self) -> bool {
        let may = self.state.told.is_none_or(|at| at.elapsed() >= TELL_AGAIN);
        if may {
            self.state.told = Some(Instant::now());
        }
        may
    }

    /// Remembers a later one, with its signatures. Durable once this returns.
    ///
    /// # Errors
    /// Where it may not be; it must not be answered then. What was remembered before is not forgotten.
    pub(super) fn remember(&mut self, head: Head, note: &Note) -> io::Result<()> {
        let text = Sha256::digest(&note.text);
        let just_written = |(last, at): &(Hash, Instant)| *last == text && at.elapsed() < WRITE_AGAIN;
        if self.state.durable && self.state.written.as_ref().is_some_and(just_written) {
            return Ok(());
        }
        let path = self.memory.path(&self.origin);
        let note = note.to_string();
        let whole = format!("{}\n{note}", hex(Sha256::digest(&note)));
        let draft = durable::draft(&path, whole.as_bytes(), MODE)?;
        // From here on nobody knows what the disk holds until it has said so.
        self.state.durable = false;
        fs::rename(&draft, &path)?;
        self.state.head = Some(head);
        durable::sync_dir(&self.memory.folder)?;
        if !self.state.listed {
            lock(&self.memory.known).append(&self.origin)?;
            self.state.listed = true;
        }
        self.state.durable = true;
        self.state.written = Some((text, Instant::now()));
        Ok(())
    }
}

impl Known {
    /// Opens the list, marks what it lists, and lists what a crash left out.
    fn open(path: &Path, folder: &Path, logs: &mut HashMap<Hash, State>) -> Result<Self, MemoryError> {
        let failed = io_error(path);
        let mut text = String::new();
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(&failed)?;
        let damaged = |problem| MemoryError::Damaged { file: path.to_owned(), problem };
        file.read_to_string(&mut text).map_err(|_| damaged("it is no text"))?;
        // A crash may have cut the last line; its log's file is there.
        let mut lines = text.split_inclusive('\n').peekable();
        let mut len = 0;
        while let Some(line) = lines.next() {
            let line = line.strip_suffix('\n').unwrap_or_default();
            let Some(origin) = unhex(line) else {
                if lines.peek().is_none() {
                    break;
                }
                return Err(damaged("a line is no hash"));
            };
            let file = || folder.join(format!("{line}{SUFFIX}"));
            let missing = || MemoryError::Damaged { file: file(), problem: "it is missing" };
            logs.get_mut(&origin).ok_or_else(missing)?.listed = true;
            len += LINE_BYTES;
        }
        let mut known = Self { file, len };
        for (origin, state) in logs.iter_mut().filter(|(_, state)| !state.listed) {
            known.append(origin).map_err(&failed)?;
            state.listed = true;
        }
        Ok(known)
    }

    fn append(&mut self, origin: &Hash) -> io::Result<()> {
        let line = format!("{}\n", hex(origin));
        // What an append that failed left behind is written over.
        self.file.write_all_at(line.as_bytes(), self.len)?;
        self.file.sync_data()?;
        self.len += LINE_BYTES;
        Ok(())
    }
}

fn take_lock(folder: &Path) -> Result<File, MemoryError> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _unreadable = file.read_to_string(&mut holder);
            return Err(MemoryError::Held { folder: folder.to_owned(), holder: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(io_error(&path)(error)),
    }
    // Who holds it is a courtesy to whoever is turned away; the lock itself is the kernel's.
    let id = format!("{}\n", std::process::id());
    let _courtesy = file.set_len(0).and_then(|()| file.write_all_at(id.as_bytes(), 0));
    Ok(file)
}

/// Every log's file. Drafts that a crash left are removed.
fn read_files(folder: &Path) -> Result<HashMap<Hash, State>, MemoryError> {
    let mut logs = HashMap::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        let path = entry.map_err(io_error(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(&format!("{SUFFIX}{DRAFT}")) {
            fs::remove_file(&path).map_err(io_error(&path))?;
        } else if let Some(stem) = name.strip_suffix(SUFFIX) {
            let (checkpoint, _) = read_file(&path)?;
            let origin = Sha256::digest(&checkpoint.origin);
            if unhex(stem) != Some(origin) {
                return Err(MemoryError::Damaged { file: path, problem: "its name is another log's" });
            }
            let head = Head { size: checkpoint.size, root: checkpoint.root };
            logs.insert(origin, State { head: Some(head), durable: true, ..State::default() });
        }
    }
    if logs.len() > LOGS_MAX {
        return Err(MemoryError::TooMany { folder: folder.to_owned() });
    }
    Ok(logs)
}

/// A log's file: what its checkpoint says, and the note as it stands there.
fn read_file(path: &Path) -> Result<(Checkpoint, String), MemoryError> {
    let damaged = |problem| MemoryError::Damaged { file: path.to_owned(), problem };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io_error(path))?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error(path))?;
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
    let (sum, note) = text.split_once('\n').ok_or_else(|| damaged("it is cut"))?;
    if unhex(sum) != Some(Sha256::digest(note)) {
        return Err(damaged("its sum does not fit"));
    }
    let read: Note = note.parse().map_err(|_| damaged("it is no note"))?;
    let checkpoint = Checkpoint::parse(&read.text).map_err(|_| damaged("it is no checkpoint"))?;
    Ok((checkpoint, note.to_owned()))
}

fn io_error(file: &Path) -> impl Fn(io::Error) -> MemoryError + '_ {
    |source| MemoryError::Io { file: file.to_owned(), source }
}

/// What a panic left is as whole as what a crash leaves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads 64 lower-case hexadecimal digits, and nothing else.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}
