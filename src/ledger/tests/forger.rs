//! Someone who may write to the ledger's folder: takes segments apart and puts them together again, with dense indices,
//! fitting marks and fresh CRCs, so that nothing but hashes and signatures can tell.

use std::io::ErrorKind;

use crate::ledger::frame::{FrameKind, Mark, Parsed, parse, put_checkpoint, put_entry, put_mark};
use crate::ledger::segment::sim::Sim;
use crate::ledger::segment::{DATA_START, Head, Header, Storage as _, segment_name};
use crate::ledger::signing::Notary;
use crate::tlog::{Hash, Range, SignedCheckpoint, leaf_hash};

/// A frame's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Entry(Vec<u8>),
    Checkpoint(Vec<u8>),
    Mark(FrameKind, Mark),
}

/// A log, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Forger {
    pub(super) segments: Vec<(Header, Vec<Item>)>,
}

pub(super) fn read(sim: &Sim, name: &str) -> Vec<u8> {
    let file = sim.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(super) fn write(sim: &Sim, name: &str, bytes: &[u8]) {
    match sim.remove(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => sim.create(name, 0).unwrap().write_at(bytes, 0).unwrap(),
    }
}

/// The current log's segments.
pub(super) fn names(sim: &Sim) -> Vec<String> {
    sim.names_with(".log").into_iter().filter(|name| name.starts_with("seg-")).collect()
}

impl Forger {
    pub(super) fn take(sim: &Sim) -> Self {
        let apart = |name: String| {
            let bytes = read(sim, &name);
            let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
            let (mut items, mut at) = (Vec::new(), usize::try_from(DATA_START).unwrap());
            while let Parsed::Frame(frame) = parse(&bytes[at..]) {
                items.push(match (frame.kind, frame.mark()) {
                    (FrameKind::Entry, _) => Item::Entry(frame.payload.to_vec()),
                    (FrameKind::Checkpoint, _) => Item::Checkpoint(frame.payload.to_vec()),
                    (kind, mark) => Item::Mark(kind, mark.unwrap()),
                });
                at += frame.len();
            }
            (header, items)
        };
        Self { segments: names(sim).into_iter().map(apart).collect() }
    }

    /// Every entry.
    pub(super) fn entries(&mut self) -> Vec<&mut Vec<u8>> {
        let items = self.segments.iter_mut().flat_map(|(_, items)| items);
        items.filter_map(|item| if let Item::Entry(entry) = item { Some(entry) } else { None }).collect()
    }

    /// Where an item stands: the n-th that fits, counted from the end if negative.
    pub(super) fn find(&self, nth: isize, fits: impl Fn(&Item) -> bool) -> (usize, usize) {
        let mut found = Vec::new();
        for (segment, (_, items)) in self.segments.iter().enumerate() {
            found.extend((0..items.len()).filter(|item| fits(&items[*item])).map(|item| (segment, item)));
        }
        let at = if nth < 0 { found.len().checked_add_signed(nth).unwrap() } else { nth.unsigned_abs() };
        found[at]
    }

    /// Puts it together again. Roots outside of checkpoints are left out, or are the new ones. With a notary every
    /// checkpoint is signed anew, over what is there now.
    pub(super) fn put(self, sim: &Sim, notary: Option<&Notary>) {
        self.put_by(sim, &|_| notary);
    }

    /// The same, with the notary that signs for so many entries.
    pub(super) fn put_by<'a>(mut self, sim: &Sim, notary: &dyn Fn(u64) -> Option<&'a Notary>) {
        let anew = notary(0).is_some();
        for name in names(sim) {
            sim.remove(&name).unwrap();
        }
        let heads = heads(self.entries().into_iter().map(|entry| &*entry));
        let mut index = 0;
        for (header, items) in &self.segments {
            let tree = header.tree.filter(|_| anew).map(|head| at(&heads, head.size.min(index)));
            let header = Header { first: index, tree, replaces: header.replaces.map(|_| index), ..*header };
            let mut bytes = header.encode().to_vec();
            for item in items {
                match item {
                    Item::Entry(entry) => {
                        put_entry(&mut bytes, index, entry, crc32c::crc32c(entry));
                        index += 1;
                    }
                    Item::Checkpoint(note) => {
                        let note = signed(notary, note, &heads, index);
                        put_checkpoint(&mut bytes, index, &note);
                    }
                    Item::Mark(kind, mark) => {
                        let root = mark.root.filter(|_| anew).map(|_| at(&heads, index).root);
                        put_mark(&mut bytes, *kind, Mark { size: index, synced: mark.synced.min(index), root });
                    }
                }
            }
            write(sim, &segment_name(header.first), &bytes);
        }
        // What is derived is made again by whoever has this much time.
        sim.remove_all(".idx");
        sim.remove_all(".hash");
    }
}

/// A checkpoint signed anew, over as many entries.
fn signed<'a>(notary: &dyn Fn(u64) -> Option<&'a Notary>, note: &[u8], heads: &[Hash], index: u64) -> Vec<u8> {
    let Ok(SignedCheckpoint { checkpoint, .. }) = SignedCheckpoint::from_bytes(note) else { return note.to_vec() };
    let size = checkpoint.size.min(index);
    let anew = notary(size).map(|notary| notary.checkpoint(at(heads, size), 0).unwrap());
    anew.map_or_else(|| note.to_vec(), |note| note.to_string().into_bytes())
}

fn at(heads: &[Hash], size: u64) -> Head {
    Head { size, root: heads[usize::try_from(size).unwrap()] }
}

/// The root at each size.
fn heads<'a>(entries: impl Iterator<Item = &'a Vec<u8>>) -> Vec<Hash> {
    let mut range = Range::new(0);
    let mut heads = vec![range.root().unwrap()];
    for entry in entries {
        range.push(leaf_hash(entry), |_| {});
        heads.push(range.root().unwrap());
    }
    heads
}
