//! The leaves of one segment, and from them the tree's root at any size that lies in it.
//!
//! Segments are hashed side by side, long before it is known what stands before them; a checkpoint names a size in the
//! middle of one, perhaps of the one before it. So a segment's leaf hashes are kept until its successor has been judged,
//! with the range over them at each step: a root costs less than two steps of node hashes. Pure.

use crate::tlog::{Hash, Node, Range, TILE_HEIGHT};

/// Leaves between two ranges that are kept.
const STEP: usize = 256;

/// Leaves from `first` on, without a gap.
#[derive(Debug)]
pub(super) struct Leaves {
    first: u64,
    hashes: Vec<Hash>,
    range: Range,
    /// The range after each step of leaves, the empty one first.
    steps: Vec<Range>,
    /// Nodes at the levels of tiles, the leaves' own apart, that lie within.
    nodes: Vec<Node>,
}

impl Leaves {
    pub(super) fn new(first: u64) -> Self {
        Self { first, hashes: Vec::new(), range: Range::new(first), steps: Vec::new(), nodes: Vec::new() }
    }

    pub(super) fn extend(&mut self, mut leaves: &[Hash]) {
        while !leaves.is_empty() {
            let over = self.hashes.len() % STEP;
            if over == 0 {
                self.steps.push(self.range.clone());
            }
            let (step, rest) = leaves.split_at(leaves.len().min(STEP - over));
            let Self { range, nodes, .. } = self;
            range.extend(step, |node| nodes.extend(Some(*node).filter(is_kept)));
            self.hashes.extend_from_slice(step);
            leaves = rest;
        }
    }

    /// The first leaf's index, and the leaves.
    pub(super) fn hashes(&self) -> (u64, &[Hash]) {
        (self.first, &self.hashes)
    }

    /// Takes the nodes that the tree's files keep beside the leaves: those within.
    pub(super) fn take_nodes(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.nodes)
    }

    /// The index after the last leaf.
    pub(super) fn end(&self) -> u64 {
        self.range.end()
    }

    /// All of them.
    pub(super) fn range(&self) -> &Range {
        &self.range
    }

    /// Roots at sizes within, over a log that begins with `base`.
    pub(super) fn roots<'a>(&'a self, base: &'a Range) -> Roots<'a> {
        Roots { leaves: self, base, at: base.clone() }
    }
}

/// Whether the tree's files keep a node, beside the leaves.
pub(super) fn is_kept(node: &Node) -> bool {
    node.level > 0 && node.level.is_multiple_of(TILE_HEIGHT)
}

/// Gives roots; quickest where sizes ascend.
#[derive(Debug)]
pub(super) struct Roots<'a> {
    leaves: &'a Leaves,
    base: &'a Range,
    at: Range,
}

impl Roots<'_> {
    /// The root over the first `size` entries; `None` where the size is not within, or the base does not lead there.
    pub(super) fn root(&mut self, size: u64) -> Option<Hash> {
        let leaves = self.leaves;
        if self.base.end() != leaves.first || !(leaves.first..=leaves.end()).contains(&size) {
            return None;
        }
        let wanted = usize::try_from(size - leaves.first).ok()?;
        let here = usize::try_from(self.at.end() - leaves.first).ok()?;
        // The last step may not have been begun.
        let step = (wanted / STEP).min(leaves.steps.len().saturating_sub(1));
        if here > wanted || here < step * STEP {
            self.at = self.base.clone();
            self.at.join(leaves.steps.get(step)?, |_| {});
        }
        let here = usize::try_from(self.at.end() - leaves.first).ok()?;
        for leaf in leaves.hashes.get(here..wanted)? {
            self.at.push(*leaf, |_| {});
        }
        self.at.root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::leaf_hash;

    #[test]
    fn a_root_at_any_size_in_any_order_is_that_of_the_whole_tree() {
        let leaf = |index: u64| leaf_hash(&index.to_be_bytes());
        let (mut whole, mut roots) = (Range::new(0), Vec::new());
        for index in 0..1200 {
            roots.push(whole.root());
            whole.push(leaf(index), |_| {});
        }
        roots.push(whole.root());
        for (first, end) in [(0_u64, 1200_u64), (0, 0), (300, 300), (300, 1100), (511, 1023), (700, 956)] {
            let mut base = Range::new(0);
            (0..first).for_each(|index| base.push(leaf(index), |_| {}));
            let mut leaves = Leaves::new(first);
            leaves.extend(&(first..end).map(leaf).collect::<Vec<_>>());
            let mut rising = leaves.roots(&base);
            let mut jumping = leaves.roots(&base);
            for size in first..=end {
                assert_eq!(rising.root(size), roots[usize::try_from(size).unwrap()], "{size} of {first}..{end}");
                let other = first + (size * 7919) % (end - first + 1);
                assert_eq!(jumping.root(other), roots[usize::try_from(other).unwrap()], "{other} of {first}..{end}");
            }
            assert_eq!(rising.root(end + 1), None);
            assert_eq!(leaves.roots(&Range::new(0)).root(first).is_some(), first == 0, "the base must lead there");
        }
    }
}
