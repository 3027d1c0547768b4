//! Tiles: the tree's hashes in files of 256 (C2SP tlog-tiles v0.1.0), as coordinates and paths.
//!
//! Reading and serving them is the caller's matter.

use super::{Hash, node_hash};

/// Levels of the tree that one tile spans.
pub const TILE_HEIGHT: u32 = 8;
/// Hashes of a whole tile.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;
/// Bytes of a whole tile.
pub const TILE_BYTES: usize = 8192;
/// The highest level of tiles.
const LEVEL_MAX: u8 = 63;

/// Hashes `index * 256` and on, of every 256^`level` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// 0 holds leaves.
    pub level: u8,
    /// Its place in that level.
    pub index: u64,
    /// How many hashes: 1 to 256.
    pub width: u64,
}

/// What a path under a log's prefix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TilePath {
    /// `tile/<L>/<N>[.p/<W>]`
    Hashes(Tile),
    /// `tile/entries/<N>[.p/<W>]`: the entries of a tile of level 0.
    Entries(Tile),
}

impl Tile {
    /// Whether a log of `size` entries has it.
    pub fn is_in(self, size: u64) -> bool {
        let hashes = size.checked_shr(u32::from(self.level) * TILE_HEIGHT).unwrap_or(0);
        self.index
            .checked_mul(TILE_WIDTH)
            .and_then(|first| first.checked_add(self.width))
            .is_some_and(|end| end <= hashes)
    }

    /// The hash of its `count` hashes from `first` on, which are a complete subtree.
    pub fn subtree(hashes: &[Hash]) -> Option<Hash> {
        let mut row = hashes.to_vec();
        if !row.len().is_power_of_two() {
            return None;
        }
        while row.len() > 1 {
            row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        row.pop()
    }
}

impl TilePath {
    /// Reads what follows a log's prefix; `None` for everything that the specification does not name.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((number, width)) => (number, plain(width).filter(|width| (1..TILE_WIDTH).contains(width))?),
        };
        let index = parse_index(number)?;
        if level == "entries" {
            return Some(Self::Entries(Tile { level: 0, index, width }));
        }
        let level = plain(level).and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= LEVEL_MAX)?;
        Some(Self::Hashes(Tile { level, index, width }))
    }

    /// The path under a log's prefix.
    pub fn path(self) -> String {
        let (level, tile) = match self {
            Self::Hashes(tile) => (tile.level.to_string(), tile),
            Self::Entries(tile) => ("entries".to_owned(), tile),
        };
        let mut elements = vec![format!("{:03}", tile.index % 1000)];
        let mut rest = tile.index / 1000;
        while rest > 0 {
            elements.insert(0, format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        let partial = if tile.width == TILE_WIDTH { String::new() } else { format!(".p/{}", tile.width) };
        format!("tile/{level}/{}{partial}", elements.join("/"))
    }
}

/// Three digits an element, all but the last after an `x`, and no more elements than it takes.
fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    let mut elements = text.split('/').peekable();
    let mut first = true;
    while let Some(element) = elements.next() {
        let digits = if elements.peek().is_some() { element.strip_prefix('x')? } else { element };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if first && elements.peek().is_some() && digits == "000" {
            return None;
        }
        first = false;
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

fn plain(text: &str) -> Option<u64> {
    super::decimal(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_paths_of_the_specification() {
        let tile = Tile { level: 2, index: 1_234_067, width: 256 };
        assert_eq!(TilePath::Hashes(tile).path(), "tile/2/x001/x234/067");
        let partial = Tile { level: 0, index: 273, width: 112 };
        assert_eq!(TilePath::Entries(partial).path(), "tile/entries/273.p/112");
        assert!(partial.is_in(70_000) && !Tile { width: 113, ..partial }.is_in(70_000));
        assert!(Tile { level: 2, index: 0, width: 1 }.is_in(70_000));
        assert!(!Tile { level: 9, index: u64::MAX, width: 256 }.is_in(u64::MAX));
    }

    #[test]
    fn what_is_no_tile_is_refused() {
        for path in [
            "tile/0/1",
            "tile/0/0001",
            "tile/00/001",
            "tile/64/001",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/07",
            "tile/-1/001",
            "tile/0/",
            "tile/entries",
            "tile/0/01é",
        ] {
            assert_eq!(TilePath::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn paths_read_back(level in 0_u8..64, index: u64, width in 1_u64..=256, entries: bool) {
            let tile = Tile { level: if entries { 0 } else { level }, index, width };
            let path = if entries { TilePath::Entries(tile) } else { TilePath::Hashes(tile) };
            prop_assert_eq!(TilePath::parse(&path.path()), Some(path));
        }
    }
}
