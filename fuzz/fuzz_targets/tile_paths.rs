//! Any path under a log's prefix: a tile or nothing, written as read, and in a log only where its last hash is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use touchmark::tlog::{TILE_WIDTH, TilePath};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(path) = TilePath::parse(text) else { return };
    assert_eq!(path.path(), text);
    let (TilePath::Hashes(tile) | TilePath::Entries(tile)) = path;
    assert!((1..=TILE_WIDTH).contains(&tile.width) && tile.level < 64);
    assert!(!tile.is_in(0));
    let end = u128::from(tile.index) * u128::from(TILE_WIDTH) + u128::from(tile.width);
    let leaves =
        end.checked_shl(8 * u32::from(tile.level)).filter(|leaves| leaves >> (8 * u32::from(tile.level)) == end);
    let Some(leaves) = leaves.and_then(|leaves| u64::try_from(leaves).ok()) else {
        assert!(!tile.is_in(u64::MAX));
        return;
    };
    assert!(tile.is_in(leaves) && !tile.is_in(leaves - 1));
});
