//! Trees, proofs, tiles, checkpoints and notes beside implementations that we did not write: `ct-merkle`, `tlog_tiles`
//! and `signed_note`. What one makes the others check; what one refuses the others refuse.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::{Error, Hash as TheirHash, HashReader, TileHashReader, TileReader};
use touchmark::tlog::{
    Checkpoint, Hash, Hashes, Range, TILE_WIDTH, Tile, TilePath, consistency_proof, empty_root, inclusion_proof,
    leaf_hash, node_hash, root_at, verify_consistency, verify_inclusion,
};

/// Sizes of trees of which every proof is compared.
const SIZES: u64 = 260;
/// `tlog_tiles` numbers all hashes of a tree in one sequence of 64 bits.
const SIZE_MAX: u64 = 1 << 60;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// A tree of any size: all leaves are the same but for a few.
struct Sparse {
    odd: BTreeSet<u64>,
}

impl Sparse {
    const SAME: &[u8] = b"the same";

    fn entry(&self, index: u64) -> Vec<u8> {
        if self.odd.contains(&index) { entry(index) } else { Self::SAME.to_vec() }
    }
}

impl Hashes for Sparse {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        if self.odd.range(index << level..=(index << level) + ((1 << level) - 1)).next().is_none() {
            return Ok((0..level).fold(leaf_hash(Self::SAME), |hash, _| node_hash(&hash, &hash)));
        }
        if level == 0 {
            return Ok(leaf_hash(&self.entry(index)));
        }
        Ok(node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
    }
}

/// A tree whose nodes are all kept.
struct Kept(HashMap<(u32, u64), Hash>);

impl Hashes for Kept {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        Ok(self.0[&(level, index)])
    }
}

/// A tree of ours, as `tlog_tiles` reads one.
struct Theirs<'a, H>(&'a H);

impl<H: Hashes<Error = Infallible>> HashReader for Theirs<'_, H> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<TheirHash>, Error> {
        let hashes = indexes.iter().map(|index| {
            let (level, index) = tlog_tiles::split_stored_hash_index(*index);
            let Ok(hash) = self.0.node(level.into(), index);
            TheirHash(hash)
        });
        Ok(hashes.collect())
    }
}

/// A tree of ours as tiles, which `tlog_tiles` reads by its own paths and does not believe.
struct Tiles<'a, H> {
    tree: &'a H,
    size: u64,
}

impl<H: Hashes<Error = Infallible>> Tiles<'_, H> {
    fn bytes(&self, tile: Tile) -> Vec<u8> {
        assert!(tile.is_in(self.size), "{tile:?} of {}", self.size);
        let level = u32::from(tile.level) * 8;
        let hashes = (0..tile.width).flat_map(|at| {
            let Ok(hash) = self.tree.node(level, tile.index * TILE_WIDTH + at);
            hash
        });
        hashes.collect()
    }
}

impl<H: Hashes<Error = Infallible>> TileReader for Tiles<'_, H> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = tiles.iter().map(|tile| match TilePath::parse(&ours(&tile.path())) {
            Some(TilePath::Hashes(tile)) => self.bytes(tile),
            other => panic!("{other:?} for {}", tile.path()),
        });
        Ok(read.collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Their path as C2SP writes it: without the height, which is always 8.
fn ours(path: &str) -> String {
    path.replacen("tile/8/", "tile/", 1).replacen("/data/", "/entries/", 1)
}

fn theirs(hashes: &[Hash]) -> Vec<TheirHash> {
    hashes.iter().map(|hash| TheirHash(*hash)).collect()
}

fn root_of(hash: &Hash, size: u64) -> RootHash<Sha256> {
    RootHash::new((*hash).into(), size)
}

#[test]
fn every_root_and_proof_of_small_trees_is_the_same() {
    let mut theirs_in_memory = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let (mut kept, mut range, mut roots) = (Kept(HashMap::new()), Range::new(0), vec![empty_root()]);
    for size in 1..=SIZES {
        theirs_in_memory.push(entry(size - 1));
        range.push(leaf_hash(&entry(size - 1)), |node| {
            kept.0.insert((node.level, node.index), node.hash);
        });
        let root = range.root().unwrap();
        assert_eq!(root[..], theirs_in_memory.root().as_bytes()[..], "{size}");
        assert_eq!(root, tlog_tiles::tree_hash(size, &Theirs(&kept)).unwrap().0);
        roots.push(root);
        for index in 0..size {
            let Ok(proof) = inclusion_proof(&kept, index, size);
            let place = usize::try_from(index).unwrap();
            assert_eq!(proof.concat(), theirs_in_memory.prove_inclusion(place).as_bytes(), "{index} of {size}");
            assert_eq!(theirs(&proof), tlog_tiles::prove_record(size, index, &Theirs(&kept)).unwrap());
            assert_eq!(verify_inclusion(&leaf_hash(&entry(index)), index, size, &root, &proof), Ok(()));
        }
        for old in 1..=size {
            let Ok(proof) = consistency_proof(&kept, old, size);
            let added = usize::try_from(size - old).unwrap();
            // There, a tree is no extension of itself.
            if added > 0 {
                assert_eq!(proof.concat(), theirs_in_memory.prove_consistency(added).as_bytes(), "{old} {size}");
            }
            assert_eq!(theirs(&proof), tlog_tiles::prove_tree(size, old, &Theirs(&kept)).unwrap());
            let old_root = &roots[usize::try_from(old).unwrap()];
            assert_eq!(verify_consistency((old, old_root), (size, &root), &proof), Ok(()));
        }
    }
}

/// A proof as it is, and changed: a bit, one hash less, one more.
fn variants(proof: &[Hash], bit: usize) -> Vec<(Vec<Hash>, bool)> {
    let mut all = vec![(proof.to_vec(), true)];
    let mut longer = proof.to_vec();
    longer.push([bit.to_le_bytes()[0]; 32]);
    all.push((longer, false));
    if !proof.is_empty() {
        let (mut flipped, mut shorter) = (proof.to_vec(), proof.to_vec());
        let at = bit % proof.len();
        flipped[at][bit % 32] ^= 1;
        shorter.remove(at);
        all.extend([(flipped, false), (shorter, false)]);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn roots_and_proofs_of_large_trees_are_the_same(
        shift in 0_u32..60,
        size: u64,
        index: u64,
        old: u64,
        odd in proptest::collection::btree_set(any::<u64>(), 0..6),
        bit: usize,
    ) {
        let size = ((size % SIZE_MAX) >> shift).max(2);
        let (index, old) = (index % size, 1 + old % size);
        let near = [index, old - 1, old % size, size - 1];
        let tree = Sparse { odd: odd.into_iter().map(|at| at % size).chain(near).collect() };
        let (Ok(root), Ok(old_root)) = (root_at(&tree, size), root_at(&tree, old));
        prop_assert_eq!(root, tlog_tiles::tree_hash(size, &Theirs(&tree)).unwrap().0);
        let loaded = Range::load(size, |level, index| tree.node(level, index)).unwrap();
        prop_assert_eq!(loaded.root(), Some(root));

        let Ok(proof) = inclusion_proof(&tree, index, size);
        prop_assert_eq!(theirs(&proof), tlog_tiles::prove_record(size, index, &Theirs(&tree)).unwrap());
        let (entry, leaf) = (tree.entry(index), leaf_hash(&tree.entry(index)));
        for (proof, holds) in variants(&proof, bit) {
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &root, &proof).is_ok(), holds);
            let check = tlog_tiles::check_record(&theirs(&proof), size, TheirHash(root), index, TheirHash(leaf));
            prop_assert_eq!(check.is_ok(), holds);
            let bytes = InclusionProof::try_from_bytes(proof.concat()).unwrap();
            prop_assert_eq!(root_of(&root, size).verify_inclusion(&entry, index, &bytes).is_ok(), holds);
        }

        let Ok(proof) = consistency_proof(&tree, old, size);
        prop_assert_eq!(theirs(&proof), tlog_tiles::prove_tree(size, old, &Theirs(&tree)).unwrap());
        for (proof, holds) in variants(&proof, bit) {
            prop_assert_eq!(verify_consistency((old, &old_root), (size, &root), &proof).is_ok(), holds);
            let check = tlog_tiles::check_tree(&theirs(&proof), size, TheirHash(root), old, TheirHash(old_root));
            prop_assert_eq!(check.is_ok(), holds);
            if old < size {
                let bytes = ConsistencyProof::try_from_bytes(proof.concat()).unwrap();
                let check = root_of(&root, size).verify_consistency(&root_of(&old_root, old), &bytes);
                prop_assert_eq!(check.is_ok(), holds);
            }
        }
    }

    #[test]
    fn their_reader_believes_our_tiles(shift in 0_u32..56, size: u64, index: u64, old: u64) {
        let size = (size >> shift).clamp(1, SIZE_MAX);
        let (index, old) = (index % size, 1 + old % size);
        let tree = Sparse { odd: [index, size - 1, old - 1].into() };
        let Ok(root) = root_at(&tree, size);
        let tiles = Tiles { tree: &tree, size };
        // It checks each tile against the root.
        let reader = TileHashReader::new(size, TheirHash(root), &tiles);
        let Ok(inclusion) = inclusion_proof(&tree, index, size);
        prop_assert_eq!(theirs(&inclusion), tlog_tiles::prove_record(size, index, &reader).unwrap());
        let Ok(consistency) = consistency_proof(&tree, old, size);
        prop_assert_eq!(theirs(&consistency), tlog_tiles::prove_tree(size, old, &reader).unwrap());
        let forged = TileHashReader::new(size, TheirHash([7; 32]), &tiles);
        prop_assert!(tlog_tiles::prove_record(size, index, &forged).is_err() || size == 1);
    }

    #[test]
    fn paths_are_the_same(level in 0_u8..64, index: u64, shift in 0_u32..64, width in 1_u32..=256, entries: bool) {
        let (level, index) = (if entries { 0 } else { level }, index >> shift);
        let path = ours(&tlog_tiles::Tile::new(8, level, index, width, entries).path());
        let tile = Tile { level, index, width: width.into() };
        let tile = if entries { TilePath::Entries(tile) } else { TilePath::Hashes(tile) };
        prop_assert_eq!(tile.path(), path.clone());
        prop_assert_eq!(TilePath::parse(&path), Some(tile));
    }

    #[test]
    fn what_is_no_path_there_is_none_here(text in "tile/(0|1|9|63|entries)/(x00[0-2]/)?(x?[0-9]{2,4}/)?[0-9]{2,4}(\\.p/[0-9]{1,3})?") {
        // There, these are bugs of the caller.
        prop_assume!(!text.ends_with(".p/0") && !text.contains(".p/00"));
        let path = text.replacen("tile/", "tile/8/", 1).replacen("/entries/", "/data/", 1);
        prop_assert_eq!(TilePath::parse(&text).is_some(), tlog_tiles::Tile::from_path(&path).is_ok(), "{}", text);
    }

    #[test]
    fn checkpoints_are_the_same(
        origin in "[a-z][a-z./]{0,20}",
        size: u64,
        root: [u8; 32],
        extension in "([a-z ]{1,8}\n){0,2}",
        at: usize,
        with in "[\n 0a=+]",
    ) {
        let checkpoint = Checkpoint { origin, size, root };
        let text = format!("{checkpoint}{extension}");
        let read = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
        prop_assert_eq!((read.origin(), read.size(), read.hash().0), (&*checkpoint.origin, size, root));
        prop_assert_eq!(read.to_bytes(), text.as_bytes());
        prop_assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));
        let mut changed = text.clone();
        let at = at % text.len();
        changed.replace_range(at..=at, &with);
        let (here, there) = (Checkpoint::parse(&changed), tlog_tiles::Checkpoint::from_bytes(changed.as_bytes()));
        prop_assert_eq!(here.is_ok(), there.is_ok(), "{:?}", changed);
    }
}

#[test]
fn tiles_of_a_size_are_the_same_and_hold_the_same() {
    let tree = Sparse { odd: [0, 255, 256, 65_535, 65_536, 69_999].into() };
    for size in (1..=600).chain([65_535, 65_536, 65_537, 70_000]) {
        let tiles = Tiles { tree: &tree, size };
        let mut listed = BTreeSet::new();
        for tile in tlog_tiles::Tile::new_tiles(8, 0, size) {
            let Some(TilePath::Hashes(ours)) = TilePath::parse(&ours(&tile.path())) else { panic!("{}", tile.path()) };
            listed.insert((ours.level, ours.index));
            // All of the wide ones would take long.
            if ours.index < 2 || ours.width < TILE_WIDTH {
                assert_eq!(tiles.bytes(ours), tile.read_data(&Theirs(&tree)).unwrap());
            }
            assert!(!Tile { width: ours.width + 1, ..ours }.is_in(size) || ours.width == TILE_WIDTH);
        }
        // As in the specification: no tile is empty, and the last of a level is as wide as what is left.
        let widths = |level: u8| size >> (8 * u32::from(level));
        let counted: u64 = (0..4).map(|level| widths(level).div_ceil(TILE_WIDTH)).sum();
        assert_eq!(counted, listed.len() as u64, "{size}");
    }
}
