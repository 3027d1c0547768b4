//! The ledger's tail: the segment being written, and what an I/O error does to it.
//!
//! Whoever holds the [`Tail`] is its only writer; it is passed from hand to hand (see `writer`). An error poisons
//! the segment: it is never synced again, since a kernel may call pages clean that it failed to write. Everything
//! that it held beyond the last sync is read back, checked, and written to a new segment, synced before it gets
//! its name; the new one's header says from which index on it takes the old one's place. So indices stay dense and
//! never fork. This file knows nothing of threads, locks or tickets.

mod group;

use std::io;
use std::sync::Arc;

pub(crate) use group::{Group, Waiter};

use crate::ledger::frame::{FrameKind, MARK_FRAME_BYTES, Mark, Parsed, parse, put_checkpoint, put_entry, put_mark};
use crate::ledger::integrator::Published;
use crate::ledger::segment::{DATA_START, File, Head, Header, SPARE_NAME, Storage, segment_name};

/// The segment being written, and the group in hand.
#[derive(Debug)]
pub(crate) struct Tail {
    storage: Arc<dyn Storage>,
    log: [u8; 16],
    /// How large segments are to be.
    pub(crate) segment_bytes: u64,
    /// The segment's first index.
    pub(crate) first: u64,
    /// Where the next frame goes.
    pub(crate) offset: u64,
    /// Entries in the log, all of them written.
    pub(crate) size: u64,
    /// The last size and place known to be on stable storage.
    pub(crate) synced: Synced,
    /// The segment.
    pub(crate) file: Arc<dyn File>,
    /// The newest tree that covers none but synced entries.
    pub(crate) tree: Option<Head>,
    /// The next segment, made ahead of need.
    spare: Option<Arc<dyn File>>,
    /// An I/O error happened: nothing more may be written to the segment, nor believed of a sync.
    pub(crate) poisoned: bool,
    /// The segment's seal is on disk; it takes no more entries.
    sealed: bool,
    /// What the holder is writing.
    pub(crate) group: Group,
}

/// A point in the active segment up to which everything is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    /// Entries in the log.
    pub(crate) size: u64,
    /// The place in the segment after them.
    pub(crate) offset: u64,
}

/// Why a group is not written yet.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// The segment is full.
    Full,
    /// The segment is poisoned.
    Io(io::Error),
}

/// A segment that is written no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// Its first index.
    pub(crate) first: u64,
    /// Acknowledged entries that could not be read back when it was replaced.
    pub(crate) lost: u64,
}

impl Tail {
    /// Makes the first segment of a run, whose entries begin at `first`, in the place of those that it replaces.
    pub(crate) fn start(
        storage: Arc<dyn Storage>,
        log: [u8; 16],
        (first, replaces, tree): (u64, Option<u64>, Option<Head>),
        segment_bytes: u64,
    ) -> io::Result<Self> {
        let header = Header { log, first, replaces, salt: rand::random(), tree };
        let file = storage.create(SPARE_NAME, segment_bytes)?;
        publish(&*storage, &*file, &header.encode(), &header)?;
        Ok(Self {
            storage,
            log,
            segment_bytes,
            first,
            offset: DATA_START,
            size: first,
            synced: Synced { size: first, offset: DATA_START },
            file,
            tree,
            spare: None,
            poisoned: false,
            sealed: false,
            group: Group::default(),
        })
    }

    /// Writes the group and its commit frame, in one positioned write. On failure the group stays in hand.
    pub(crate) fn write(&mut self) -> Result<(), Stuck> {
        let entries = self.group.frames.len();
        let size = self.size + u64::from(self.group.count);
        let fits = self.offset + (entries + 2 * MARK_FRAME_BYTES) as u64 <= self.segment_bytes;
        // A group larger than a whole segment gets one to itself.
        if self.sealed || self.poisoned || (!fits && self.offset > DATA_START) {
            return Err(Stuck::Full);
        }
        put_mark(&mut self.group.frames, FrameKind::Commit, Mark { size, synced: self.synced.size, root: None });
        match self.file.write_at(&self.group.frames, self.offset) {
            Ok(()) => {
                self.offset += self.group.frames.len() as u64;
                self.size = size;
                Ok(())
            }
            Err(error) => {
                self.group.frames.truncate(entries);
                self.poisoned = true;
                Err(Stuck::Io(error))
            }
        }
    }

    /// Writes a commit frame, and checkpoints before it. Only with an empty group in hand.
    pub(crate) fn write_mark(&mut self, checkpoints: &[Arc<Published>]) -> Result<(), Stuck> {
        for published in checkpoints {
            put_checkpoint(&mut self.group.frames, self.size, published.note.to_string().as_bytes());
        }
        let result = self.write();
        self.group.clear();
        result
    }

    /// Writes the group and syncs it. On failure the group stays in hand, and is not in the log.
    pub(crate) fn write_and_sync(&mut self) -> Result<(), Stuck> {
        let (size, offset, entries) = (self.size, self.offset, self.group.frames.len());
        self.write()?;
        self.sync().map_err(|error| {
            (self.size, self.offset) = (size, offset);
            self.group.frames.truncate(entries);
            Stuck::Io(error)
        })
    }

    /// Syncs the segment. An error poisons it.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let result = self.file.sync();
        self.poisoned |= result.is_err();
        result?;
        self.synced = Synced { size: self.size, offset: self.offset };
        Ok(())
    }

    /// Whether the segment is so full that the next should be begun while nobody waits for it.
    pub(crate) fn wants_rotation(&self) -> bool {
        self.offset >= rotation_mark(self.segment_bytes)
    }

    /// Whether the segment has grown, from `before`, past a point where the keeper has something to do.
    pub(crate) fn crossed(&self, before: u64) -> bool {
        let marks = [spare_mark(self.segment_bytes), rotation_mark(self.segment_bytes)];
        marks.iter().any(|mark| before < *mark && *mark <= self.offset)
    }

    /// Takes a file made ahead of need.
    pub(crate) fn set_spare(&mut self, spare: Option<Arc<dyn File>>) {
        self.spare = spare.or(self.spare.take());
    }

    /// Whether the next segment is at hand.
    pub(crate) fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    /// Gives the file made ahead of need back to its maker.
    pub(crate) fn take_spare(&mut self) -> Option<Arc<dyn File>> {
        self.spare.take()
    }

    /// Seals the segment: no more entries, everything synced. An error poisons it.
    pub(crate) fn seal(&mut self, stop: bool) -> io::Result<()> {
        if self.sealed {
            return Ok(());
        }
        // Synced before it is sworn to: the seal then tells damage before it from a tail that was never durable.
        self.sync()?;
        let mut seal = Vec::new();
        let root = self.tree.filter(|tree| tree.size == self.size).map(|tree| tree.root);
        put_mark(&mut seal, FrameKind::Seal { stop }, Mark { size: self.size, synced: self.size, root });
        if let Err(error) = self.file.write_at(&seal, self.offset) {
            self.poisoned = true;
            return Err(error);
        }
        self.offset += seal.len() as u64;
        self.sync()?;
        self.sealed = true;
        // What was preallocated and not used goes back. Its length is no promise: readers stop at the seal.
        drop(self.file.truncate(self.offset));
        Ok(())
    }

    /// Seals the segment and goes on in a new one.
    pub(crate) fn rotate(&mut self) -> io::Result<Done> {
        self.seal(false)?;
        let done = Done { first: self.first, lost: 0 };
        self.begin(&self.header(self.size, None), &[])?;
        self.synced = Synced { size: self.size, offset: self.offset };
        Ok(done)
    }

    /// Goes on in a new segment that takes the poisoned one's place from its last sync on, the group in hand with it.
    pub(crate) fn replace(&mut self) -> io::Result<Done> {
        let first = self.synced.size;
        let (mut frames, kept) = self.read_back();
        let lost = self.size - first - kept;
        let size = first + kept + u64::from(self.group.count);
        if lost > 0 {
            // The group's entries move up to where the lost ones were: indices stay dense.
            self.group.renumber(first + kept);
        }
        frames.extend_from_slice(&self.group.frames);
        put_mark(&mut frames, FrameKind::Commit, Mark { size, synced: first, root: None });
        let done = Done { first: self.first, lost };
        self.begin(&self.header(first, Some(first)), &frames)?;
        self.size = size;
        self.synced = Synced { size, offset: self.offset };
        Ok(done)
    }

    fn header(&self, first: u64, replaces: Option<u64>) -> Header {
        Header { log: self.log, first, replaces, salt: rand::random(), tree: self.tree }
    }

    /// Makes a new segment durable under its name, and only then writes to it.
    fn begin(&mut self, header: &Header, frames: &[u8]) -> io::Result<()> {
        let file = match self.spare.take() {
            Some(spare) => spare,
            None => create_spare(&*self.storage, self.segment_bytes)?,
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(frames);
        publish(&*self.storage, &*file, &bytes, header)?;
        self.file = file;
        self.first = header.first;
        self.offset = bytes.len() as u64;
        self.poisoned = false;
        self.sealed = false;
        Ok(())
    }

    /// The entry frames that the poisoned segment holds beyond its last sync. Where some are lost, the others move
    /// up: what they say outlives the place that they had.
    fn read_back(&self) -> (Vec<u8>, u64) {
        let len = usize::try_from(self.offset - self.synced.offset).unwrap_or(0);
        let mut bytes = vec![0; len];
        let mut frames = Vec::with_capacity(len);
        let read = self.file.read_at(&mut bytes, self.synced.offset).unwrap_or(0);
        bytes.truncate(read);
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            let Parsed::Frame(frame) = parse(&bytes[at..]) else {
                at += 8;
                continue;
            };
            if frame.kind == FrameKind::Entry && (self.synced.size..self.size).contains(&frame.index) {
                put_entry(&mut frames, self.synced.size + kept, frame.payload, crc32c::crc32c(frame.payload));
                kept += 1;
            }
            at += frame.len();
        }
        (frames, kept)
    }
}

/// Where in a segment the next should be made.
pub(crate) const fn spare_mark(segment_bytes: u64) -> u64 {
    segment_bytes / 2
}

/// Where in a segment the next should be begun, while there is still room to go on in this one meanwhile.
pub(crate) const fn rotation_mark(segment_bytes: u64) -> u64 {
    segment_bytes / 8 * 7
}

/// Makes the file that will be the next segment.
pub(crate) fn create_spare(storage: &dyn Storage, bytes: u64) -> io::Result<Arc<dyn File>> {
    match storage.create(SPARE_NAME, bytes) {
        // Left by an attempt that failed half way. Nothing in it was ever acknowledged.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove(SPARE_NAME)?;
            storage.create(SPARE_NAME, bytes)
        }
        result => result,
    }
}

/// Fills a new segment, syncs it, names it, and syncs the name.
fn publish(storage: &dyn Storage, file: &dyn File, bytes: &[u8], header: &Header) -> io::Result<()> {
    file.write_at(bytes, 0)?;
    file.sync()?;
    storage.rename(SPARE_NAME, &segment_name(header.first))?;
    storage.sync_dir()
}
