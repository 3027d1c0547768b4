//! What a start finds on disk, and how it becomes a log that can go on.
//!
//! Every whole frame up to the torn tail is kept, acknowledged or not; what is torn is cut off. Frames after the
//! first gap decide whether it was a torn tail at all: where one of them swears that more had been synced than can
//! be read, committed entries were damaged. Then nothing is cut: the whole log is set aside under other names and
//! a new one begins that says which one it follows and why. Each segment is read at most twice, so this ends.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::ledger::frame::{FrameKind, MARK_FRAME_BYTES, Mark, Parsed, parse, put_mark};
use crate::ledger::index::{Builder, Index, Summary};
use crate::ledger::parse::unhex;
use crate::ledger::quarantine;
use crate::ledger::segment::{
    BadHeader, File, Head, Header, Scanner, Step, Storage, later_marks, list, read_exact_at, segment_name,
};
use crate::ledger::tree::Tree;
use crate::tlog::{Checkpoint, Hash, LeafBatch, Range, SignedCheckpoint};

/// A log that can go on.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Its id.
    pub(crate) log: [u8; 16],
    /// The next entry's index.
    pub(crate) next: u64,
    /// Documents that it holds.
    pub(crate) known: Vec<[u8; 32]>,
    /// `begin` entries without their `prediction`.
    pub(crate) open: BTreeMap<Uuid, u64>,
    /// The last run did not stop in order.
    pub(crate) unclean: bool,
    /// Entries found beyond the last point that is known to have been synced.
    pub(crate) unsynced: u64,
    /// The log that this one follows, where one was set aside.
    pub(crate) follows: Option<quarantine::Note>,
    /// What the log itself says of its tree, oldest first.
    pub(crate) heads: Vec<Head>,
    /// The first index that the next segment replaces: it takes the name of one that did so, and that nothing was written to.
    pub(crate) replaces: Option<u64>,
    /// Where the segment begins that a crash left unsealed: what it holds must lead to the heads that it states.
    pub(crate) suspect: Option<u64>,
}

/// Why a log cannot go on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A file or call failed.
    Io(String, io::Error),
    /// A file is no segment.
    Foreign(String),
    /// A later Touchmark wrote it.
    Newer(String, u32),
}

/// What stops a walk through the segments.
enum Stop {
    Failure(Failure),
    /// Committed entries are damaged: the segment, and what is wrong with it.
    Damage(u64, String),
}

/// Walks through the segments, mends the last and takes up the tree; `fresh` becomes the log's id if a new one must
/// begin.
pub(crate) fn recover(storage: &Arc<dyn Storage>, fresh: [u8; 16]) -> Result<(Recovered, Tree), Failure> {
    let io = |error| Failure::Io("the ledger's directory".to_owned(), error);
    let follows = quarantine::resume(&**storage).map_err(io)?;
    for name in storage.list().map_err(io)? {
        if name.strip_suffix(".tmp").is_some() {
            storage.remove(&name).map_err(io)?;
        }
    }
    let log = follows.as_ref().map_or(fresh, quarantine::Note::new_log);
    let empty = Recovered { log, follows, ..Recovered::empty() };
    let mut walk = Walk { storage: &**storage, found: empty, header: None };
    match walk.run().and_then(|()| regrow(storage, &walk.found)) {
        Ok(tree) => Ok((walk.found, tree)),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Damage(segment, reason)) => {
            let name = segment_name(segment);
            tracing::error!(segment = name, reason, "committed ledger entries are damaged; the log is set aside");
            let old = walk.header.map(|header| header.log);
            begin_anew(storage, (old, fresh), &name, &reason).map_err(io)
        }
    }
}

/// Sets the log aside, if there is one, and begins another.
pub(crate) fn begin_anew(
    storage: &Arc<dyn Storage>,
    (old, fresh): (Option<[u8; 16]>, [u8; 16]),
    segment: &str,
    reason: &str,
) -> io::Result<(Recovered, Tree)> {
    let note = quarantine::set_aside(&**storage, (old, fresh), segment, reason)?;
    let found = Recovered { log: fresh, unclean: true, follows: Some(note), ..Recovered::empty() };
    Ok((found, Tree::open(storage, &[])?))
}

/// The root over the first `size` entries, from the segments alone.
pub(crate) fn root_of_entries(storage: &dyn Storage, size: u64) -> io::Result<Hash> {
    let firsts = list(storage)?;
    let (mut range, mut batch) = (Range::new(0), LeafBatch::default());
    for (at, first) in firsts.iter().copied().enumerate() {
        let limit = firsts.get(at + 1).copied().unwrap_or(size).min(size);
        let mut scanner = Scanner::new(storage.open(&segment_name(first))?);
        let mut end = range.end();
        while end < limit
            && let Step::Frame { kind, index, payload, .. } = scanner.step()?
        {
            if kind == FrameKind::Entry && index == end {
                batch.push(scanner.payload(payload));
                end += 1;
            }
            if batch.is_full() {
                range.extend(&batch.take(), |_| {});
            }
        }
        range.extend(&batch.take(), |_| {});
    }
    range.root().filter(|_| range.end() == size).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Recovered {
    /// Nothing found.
    pub(crate) fn empty() -> Self {
        Self {
            log: [0; 16],
            next: 0,
            known: Vec::new(),
            open: BTreeMap::new(),
            unclean: false,
            unsynced: 0,
            follows: None,
            heads: Vec::new(),
            replaces: None,
            suspect: None,
        }
    }
}

struct Walk<'a> {
    storage: &'a dyn Storage,
    found: Recovered,
    /// The last segment's header.
    header: Option<Header>,
}

/// How far a segment could be read.
struct Extent {
    /// The index after its last entry.
    end: u64,
    /// Where its whole frames end.
    data_end: u64,
    /// The entries that its own marks swear were synced.
    synced: u64,
    /// Its seal, if that is what it ends with.
    seal: Option<FrameKind>,
    /// The last tree that it states.
    head: Option<Head>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        let firsts = list(self.storage).map_err(|error| failed("the ledger's directory", error))?;
        for (at, first) in firsts.iter().copied().enumerate() {
            let limit = firsts.get(at + 1).copied();
            let file = self.storage.open(&segment_name(first)).map_err(|error| failed(&segment_name(first), error))?;
            let header = self.header_of(&*file, first)?;
            if at > 0 && header.first != self.found.next {
                let (wanted, got) = (self.found.next, header.first);
                return Err(Stop::Damage(first, format!("entries {wanted} to {got} are missing")));
            }
            self.found.next = first;
            self.found.heads.extend(header.tree);
            self.segment(&file, &header, limit).map_err(|stop| match stop {
                Trouble::Io(error) => failed(&segment_name(first), error),
                Trouble::Damage(reason) => Stop::Damage(first, reason),
            })?;
            // Whoever takes the name of one that nothing was written to takes over the place that it took.
            self.found.replaces = header.replaces.filter(|_| self.found.next == first);
        }
        Ok(())
    }

    fn header_of(&mut self, file: &dyn File, first: u64) -> Result<Header, Stop> {
        let name = segment_name(first);
        let header = match Header::read(file).map_err(|error| failed(&name, error))? {
            Ok(header) => header,
            Err(BadHeader::Foreign) => return Err(Stop::Failure(Failure::Foreign(name))),
            Err(BadHeader::Newer(version)) => return Err(Stop::Failure(Failure::Newer(name, version))),
            Err(BadHeader::Damaged) => return Err(Stop::Damage(first, "its header is damaged".to_owned())),
        };
        let same_log = self.header.is_none_or(|before| before.log == header.log);
        if header.first != first || !same_log {
            return Err(Stop::Damage(first, "its header belongs to another segment or log".to_owned()));
        }
        self.header = Some(header);
        self.found.log = header.log;
        Ok(header)
    }

    fn segment(&mut self, file: &Arc<dyn File>, header: &Header, limit: Option<u64>) -> Result<(), Trouble> {
        if let Some((index, summary)) = self.indexed(&**file, header, limit)? {
            self.adopt(index.end, summary);
            if limit.is_none() {
                let seal = seal_at(&**file, index.data_end)?;
                self.found.unclean = seal.is_none_or(|(kind, _)| kind != FrameKind::Seal { stop: true });
                self.found.heads.extend(seal.and_then(|(_, mark)| head_of(&mark)));
            }
            return Ok(());
        }
        let mut builder = Builder::new(std::mem::take(&mut self.found.open));
        let extent = scan(file, header, limit, &mut builder)?;
        self.found.heads.extend(extent.head);
        match limit {
            Some(limit) if extent.end < limit => {
                return Err(Trouble::Damage(format!("entries {} to {limit} cannot be read", extent.end)));
            }
            Some(_) => {}
            None => self.last(&**file, header, &extent)?,
        }
        if extent.end == header.first {
            // Nothing was written to it; the segment that is made next takes its name.
            self.adopt(extent.end, builder.summary);
            return Ok(());
        }
        let sealed_now = limit.is_none() && extent.seal.is_none();
        let data_end = extent.data_end + if sealed_now { MARK_FRAME_BYTES as u64 } else { 0 };
        let summary = builder.write(self.storage, header, (extent.end, data_end))?;
        self.adopt(extent.end, summary);
        Ok(())
    }

    /// The index of a segment that needs no scan.
    fn indexed(
        &self,
        file: &dyn File,
        header: &Header,
        limit: Option<u64>,
    ) -> Result<Option<(Index, Summary)>, Trouble> {
        let Some(index) = Index::open(self.storage, header) else { return Ok(None) };
        let covers = match limit {
            Some(limit) => index.end == limit,
            None => index.data_end == file.len()?,
        };
        Ok(if covers { index.summary().map(|summary| (index, summary)) } else { None })
    }

    fn adopt(&mut self, end: u64, summary: Summary) {
        self.found.next = end;
        self.found.known.extend(summary.digests.iter().filter_map(|digest| unhex::<32>(digest)));
        self.found.open = summary.open;
    }

    /// The last segment: cuts a torn tail off and seals what is whole.
    fn last(&mut self, file: &dyn File, header: &Header, extent: &Extent) -> Result<(), Trouble> {
        self.found.unclean = extent.seal != Some(FrameKind::Seal { stop: true });
        if extent.seal.is_some() {
            return Ok(file.truncate(extent.data_end)?);
        }
        self.found.suspect = Some(header.first);
        // A segment gets its name only after all before it was synced.
        self.found.unsynced = extent.end.saturating_sub(extent.synced.max(header.first));
        let sworn = later_marks(file, extent.data_end)?.synced.max(extent.synced);
        if sworn > extent.end {
            return Err(Trouble::Damage(format!(
                "entries {} to {sworn} had been synced and cannot be read",
                extent.end
            )));
        }
        file.truncate(extent.data_end)?;
        file.sync()?;
        let mut seal = Vec::new();
        put_mark(&mut seal, FrameKind::Seal { stop: false }, Mark { size: extent.end, synced: extent.end, root: None });
        file.write_at(&seal, extent.data_end)?;
        Ok(file.sync()?)
    }
}

enum Trouble {
    Io(io::Error),
    Damage(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn failed(what: &str, error: io::Error) -> Stop {
    Stop::Failure(Failure::Io(what.to_owned(), error))
}

/// Reads whole frames in order, up to `limit`, the first that does not follow, or a seal.
fn scan(file: &Arc<dyn File>, header: &Header, limit: Option<u64>, builder: &mut Builder) -> io::Result<Extent> {
    let mut scanner = Scanner::new(Arc::clone(file));
    let mut extent = Extent { end: header.first, data_end: scanner.offset(), synced: 0, seal: None, head: None };
    while let Step::Frame { offset, kind, index, mark, payload } = scanner.step()? {
        if index != extent.end || limit.is_some_and(|limit| index >= limit && kind == FrameKind::Entry) {
            break;
        }
        if kind == FrameKind::Entry {
            builder.note(offset, index, scanner.payload(payload.clone()));
            extent.end += 1;
        }
        extent.data_end = scanner.offset();
        extent.synced = extent.synced.max(mark.map_or(0, |mark| mark.synced));
        let stated = match kind {
            FrameKind::Checkpoint => checkpoint_head(scanner.payload(payload)),
            _ => mark.and_then(|mark| head_of(&mark)),
        };
        extent.head = stated.or(extent.head);
        if matches!(kind, FrameKind::Seal { .. }) {
            extent.seal = Some(kind);
            break;
        }
    }
    Ok(extent)
}

/// The seal that a segment ends with.
fn seal_at(file: &dyn File, data_end: u64) -> io::Result<Option<(FrameKind, Mark)>> {
    let mut bytes = [0; MARK_FRAME_BYTES];
    let Some(at) = data_end.checked_sub(MARK_FRAME_BYTES as u64) else { return Ok(None) };
    read_exact_at(file, &mut bytes, at)?;
    let Parsed::Frame(frame) = parse(&bytes) else { return Ok(None) };
    let seal = matches!(frame.kind, FrameKind::Seal { .. });
    Ok(frame.mark().filter(|_| seal).map(|mark| (frame.kind, mark)))
}

fn head_of(mark: &Mark) -> Option<Head> {
    mark.root.map(|root| Head { size: mark.size, root })
}

fn checkpoint_head(note: &[u8]) -> Option<Head> {
    let Checkpoint { size, root, .. } = SignedCheckpoint::from_bytes(note).ok()?.checkpoint;
    Some(Head { size, root })
}

/// Takes up the tree where its files lead to a head that the log states, and grows it over what follows; over a segment
/// that a crash left, from its beginning. What the log states of the rest must be what comes out: a frame's CRC is
/// anyone's to compute.
fn regrow(storage: &Arc<dyn Storage>, found: &Recovered) -> Result<Tree, Stop> {
    let failed_at = |name: String| move |error| failed(&name, error);
    let believed = found.suspect.unwrap_or(u64::MAX);
    let believed: Vec<Head> = found.heads.iter().copied().filter(|head| head.size <= believed).collect();
    let mut tree = Tree::open(storage, &believed).map_err(failed_at("the tree's hashes".to_owned()))?;
    let from = tree.size();
    let firsts = list(&**storage).map_err(failed_at("the ledger's directory".to_owned()))?;
    let stated: HashSet<u64> = found.heads.iter().map(|head| head.size).collect();
    let mut batch = LeafBatch::default();
    for (at, first) in firsts.iter().copied().enumerate() {
        let limit = firsts.get(at + 1).copied().unwrap_or(found.next);
        if tree.size() >= limit {
            continue;
        }
        let name = segment_name(first);
        let file = storage.open(&name).map_err(failed_at(name.clone()))?;
        let mut scanner = Scanner::new(file);
        let mut size = tree.size();
        while size < limit
            && let Step::Frame { kind, index, payload, .. } = scanner.step().map_err(failed_at(name.clone()))?
        {
            if kind == FrameKind::Entry && index == size {
                batch.push(scanner.payload(payload));
                size += 1;
            }
            if size == limit || batch.is_full() || stated.contains(&size) {
                tree.extend(&batch.take()).map_err(failed_at("the tree's hashes".to_owned()))?;
                told_wrong(&found.heads, &tree, first)?;
            }
        }
        tree.extend(&batch.take()).map_err(failed_at("the tree's hashes".to_owned()))?;
        if tree.size() < limit {
            return Err(Stop::Damage(first, format!("entries {} to {limit} cannot be read", tree.size())));
        }
    }
    tree.flush().map_err(failed_at("the tree's hashes".to_owned()))?;
    if let Some(head) = found.heads.iter().find(|head| head.size > found.next) {
        let reason = format!("entries {} to {} were committed to and are missing", found.next, head.size);
        return Err(Stop::Damage(firsts.last().copied().unwrap_or_default(), reason));
    }
    if tree.size() > from {
        tracing::info!(from, size = tree.size(), "the ledger's tree was grown over what the last run left");
    }
    Ok(tree)
}

fn told_wrong(heads: &[Head], tree: &Tree, segment: u64) -> Result<(), Stop> {
    let size = tree.size();
    let stated = heads.iter().filter(|head| head.size == size);
    match stated.map(|head| head.root).find(|root| *root != tree.head().root) {
        None => Ok(()),
        Some(_) => Err(Stop::Damage(segment, format!("its first {size} entries are not those that were committed to"))),
    }
}

/// Entries by their indices, in one pass over each segment that holds any.
pub(crate) fn read_entries(storage: &dyn Storage, mut wanted: BTreeSet<u64>) -> io::Result<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    for first in list(storage)?.into_iter().rev() {
        // The newest segment that begins before an index holds it: older ones may hold it in a discarded tail.
        let mut here = wanted.split_off(&first);
        if here.is_empty() {
            continue;
        }
        let mut scanner = Scanner::new(storage.open(&segment_name(first))?);
        while let Step::Frame { kind, index, payload, .. } = scanner.step()? {
            if kind == FrameKind::Entry && here.remove(&index) {
                entries.push(scanner.payload(payload).to_vec());
            }
            if here.is_empty() {
                break;
            }
        }
    }
    Ok(entries)
}
