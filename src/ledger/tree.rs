//! The Merkle tree over the entries, as hashes on disk: `tree-<level>.hash`, one file a level of tiles.
//!
//! File `L` holds, at 32 bytes each, the roots of every 256^L consecutive entries: cut in pieces of 8 KiB it is C2SP's
//! tiles. All of it is derived from the segments. A start believes as much of it as leads to a root that the log itself
//! states, and makes the rest again, so that it needs no sync of its own and proves nothing by itself.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use crate::ledger::segment::{File, Head, Storage, read_exact_at};
use crate::tlog::{Hash, Hashes, Node, Range, TILE_HEIGHT, TILE_WIDTH, Tile, root_at};

/// Bytes of a hash.
const HASH_BYTES: u64 = 32;
/// Bytes of one level that wait to be written, at most.
const WAITING_BYTES_MAX: usize = 128 << 10;

/// The name of a level's file.
pub(crate) fn tree_name(level: u32) -> String {
    format!("tree-{level}.hash")
}

/// The tree, growing. One owner.
#[derive(Debug)]
pub(crate) struct Tree {
    storage: Arc<dyn Storage>,
    range: Range,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// Made when there is something to write.
    file: Option<Arc<dyn File>>,
    /// Hashes in the file.
    written: u64,
    /// Those after them.
    waiting: Vec<u8>,
}

impl Tree {
    /// Takes up the tree at the largest of `heads` that the files lead to, else begins anew. What the files hold beyond
    /// is written over.
    pub(crate) fn open(storage: &Arc<dyn Storage>, heads: &[Head]) -> io::Result<Self> {
        let reader = TreeReader::new(Arc::clone(storage));
        let mut heads = heads.to_vec();
        heads.sort_unstable_by_key(|head| std::cmp::Reverse(head.size));
        let known = heads.iter().find_map(|head| {
            let range = Range::load(head.size, |level, index| reader.node(level, index)).ok()?;
            (range.root() == Some(head.root)).then_some(range)
        });
        let mut tree = Self { storage: Arc::clone(storage), range: known.unwrap_or_default(), levels: Vec::new() };
        let mut count = tree.range.end();
        while count > 0 {
            let file = tree.storage.open(&tree_name(u32::try_from(tree.levels.len()).unwrap_or(u32::MAX)))?;
            tree.levels.push(Level { file: Some(file), written: count, waiting: Vec::new() });
            count >>= TILE_HEIGHT;
        }
        Ok(tree)
    }

    /// Entries in it.
    pub(crate) fn size(&self) -> u64 {
        self.range.end()
    }

    /// Its size and root.
    pub(crate) fn head(&self) -> Head {
        Head { size: self.range.end(), root: self.range.root().unwrap_or_default() }
    }

    /// Adds entries by their leaf hashes. After an error they are added and wait: [`Tree::flush`] must succeed first.
    pub(crate) fn extend(&mut self, leaves: &[Hash]) -> io::Result<()> {
        let Self { range, levels, .. } = self;
        range.extend(leaves, |Node { level, hash, .. }| {
            let (number, rest) = ((level / TILE_HEIGHT) as usize, level % TILE_HEIGHT);
            if rest == 0 && number == levels.len() {
                levels.push(Level { file: None, written: 0, waiting: Vec::new() });
            }
            if rest == 0
                && let Some(level) = levels.get_mut(number)
            {
                level.waiting.extend_from_slice(hash);
            }
        });
        let full = levels.iter().any(|level| level.waiting.len() >= WAITING_BYTES_MAX);
        if full { self.flush() } else { Ok(()) }
    }

    /// Hands what waits to the kernel, so that readers find it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        for (number, level) in self.levels.iter_mut().enumerate().filter(|(_, level)| !level.waiting.is_empty()) {
            let file = match &mut level.file {
                Some(file) => file,
                empty => empty.insert(begin(&*self.storage, number)?),
            };
            file.write_at(&level.waiting, level.written * HASH_BYTES)?;
            level.written += level.waiting.len() as u64 / HASH_BYTES;
            level.waiting.clear();
        }
        Ok(())
    }

    /// Makes the files durable, so that a start need not make them again.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.levels.iter().filter_map(|level| level.file.as_ref()).try_for_each(|file| file.sync())
    }
}

fn begin(storage: &dyn Storage, level: usize) -> io::Result<Arc<dyn File>> {
    let name = tree_name(u32::try_from(level).unwrap_or(u32::MAX));
    // Left by a run whose tree could not be taken up.
    let file = match storage.create(&name, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(&name)?,
        result => result?,
    };
    file.truncate(0)?;
    Ok(file)
}

/// The tree's hashes for whoever makes proofs or serves tiles; reads as it is asked.
#[derive(Debug)]
pub(crate) struct TreeReader {
    storage: Arc<dyn Storage>,
    files: RefCell<Vec<Option<Arc<dyn File>>>>,
}

impl TreeReader {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, files: RefCell::default() }
    }

    /// A tile's hashes, one after the other. Fails where it is not whole.
    pub(crate) fn tile(&self, tile: Tile) -> io::Result<Vec<u8>> {
        self.read(u32::from(tile.level), tile.index * TILE_WIDTH, tile.width)
    }

    /// Leaf hashes from entry `first` on, as far as there are any; fewer than a tile.
    pub(crate) fn rest(&self, first: u64) -> io::Result<Vec<u8>> {
        let len = self.storage.open(&tree_name(0))?.len()? / HASH_BYTES;
        self.read(0, first, len.saturating_sub(first).min(TILE_WIDTH))
    }

    /// The root over the first `size` entries.
    pub(crate) fn root(&self, size: u64) -> io::Result<Hash> {
        root_at(self, size)
    }

    fn read(&self, level: u32, first: u64, count: u64) -> io::Result<Vec<u8>> {
        let mut files = self.files.borrow_mut();
        let slot = level as usize;
        if files.len() <= slot {
            files.resize(slot + 1, None);
        }
        let file = match &mut files[slot] {
            Some(file) => file,
            empty => empty.insert(self.storage.open(&tree_name(level))?),
        };
        let mut bytes = vec![0; usize::try_from(count * HASH_BYTES).map_err(io::Error::other)?];
        read_exact_at(&**file, &mut bytes, first * HASH_BYTES)?;
        Ok(bytes)
    }
}

impl Hashes for TreeReader {
    type Error = io::Error;

    fn node(&self, level: u32, index: u64) -> io::Result<Hash> {
        let height = level % TILE_HEIGHT;
        let bytes = self.read(level / TILE_HEIGHT, index << height, 1 << height)?;
        let (hashes, _) = bytes.as_chunks::<32>();
        Tile::subtree(hashes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::segment::sim::Sim;
    use crate::tlog::{consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion};

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    fn grow(tree: &mut Tree, size: u64) {
        let leaves: Vec<Hash> = (tree.size()..size).map(leaf).collect();
        leaves.chunks(100).for_each(|leaves| tree.extend(leaves).unwrap());
        tree.flush().unwrap();
    }

    #[test]
    fn what_was_written_proves_and_goes_on() {
        let sim = Sim::new(1);
        let storage: Arc<dyn Storage> = Arc::new(sim.clone());
        let mut tree = Tree::open(&storage, &[]).unwrap();
        let mut heads = vec![tree.head()];
        for size in [1, 2, 255, 256, 257, 1000, 65_536, 65_537, 70_000] {
            grow(&mut tree, size);
            heads.push(tree.head());
        }
        let reader = TreeReader::new(Arc::clone(&storage));
        let last = *heads.last().unwrap();
        for head in &heads {
            assert_eq!(reader.root(head.size).unwrap(), head.root, "{}", head.size);
            let proof = consistency_proof(&reader, head.size, last.size).unwrap();
            assert_eq!(verify_consistency((head.size, &head.root), (last.size, &last.root), &proof), Ok(()));
        }
        for index in [0, 255, 256, 65_535, 69_999] {
            let proof = inclusion_proof(&reader, index, last.size).unwrap();
            assert_eq!(verify_inclusion(&leaf(index), index, last.size, &last.root, &proof), Ok(()));
        }
        // Goes on from a head in the middle, and comes to the same.
        let mut again = Tree::open(&storage, &heads[..6]).unwrap();
        assert_eq!(again.head(), heads[5]);
        grow(&mut again, last.size);
        assert_eq!(again.head(), last);
        assert_eq!(reader.tile(Tile { level: 1, index: 1, width: 17 }).unwrap().len(), 17 * 32);
        assert!(reader.tile(Tile { level: 1, index: 1, width: 18 }).is_err());
    }

    #[test]
    fn files_that_do_not_lead_to_a_head_are_made_again() {
        let sim = Sim::new(2);
        let storage: Arc<dyn Storage> = Arc::new(sim.clone());
        let mut tree = Tree::open(&storage, &[]).unwrap();
        grow(&mut tree, 600);
        let (early, late) = (tree.head(), {
            grow(&mut tree, 900);
            tree.head()
        });
        // The range of 900 entries begins with the first 512.
        sim.flip(&tree_name(0), 899 * 32);
        assert_eq!(Tree::open(&storage, &[early, late]).unwrap().head(), early);
        sim.flip(&tree_name(0), 599 * 32);
        let mut anew = Tree::open(&storage, &[early, late]).unwrap();
        assert_eq!(anew.size(), 0);
        grow(&mut anew, 900);
        assert_eq!(anew.head(), late);
        assert_eq!(TreeReader::new(storage).root(600).unwrap(), early.root);
    }
}
