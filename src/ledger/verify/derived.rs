//! The files that are made from the segments: indices and the tree's hashes. They prove nothing, and are compared.
//!
//! An index that is whole and says something else hides entries from `find`: that is a finding. One that is damaged is
//! passed over by readers, and hashes of the tree that are wrong lead to proofs that do not hold: both are remarks, and
//! can come of a power loss. Either way the files can be removed; the next start makes them again. What they know of
//! entries that are no more is a finding too: whoever cut the log off forgot them.

use std::collections::BTreeSet;

use super::part::Part;
use super::report::{Finding, Report};
use super::times::Times;
use crate::ledger::glance::Glance;
use crate::ledger::index::{Index, Seed, Summary, entry_sum};
use crate::ledger::segment::{Storage, index_name, read_exact_at};
use crate::ledger::tree::tree_name;
use crate::tlog::{Hash, Node, TILE_HEIGHT};

/// Bytes of a hash.
const HASH_BYTES: u64 = 32;
/// Hashes compared at once.
const CHUNK: usize = 4096;

/// What an index of the entries so far would say.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    seed: Seed,
    sum: u64,
    summary: Summary,
}

impl Shadow {
    pub(super) fn take(&mut self, offset: u64, glance: &Glance<'_>) {
        if let Ok(offset) = u32::try_from(offset) {
            self.sum = self.sum.wrapping_add(entry_sum(&self.seed, offset, glance));
        }
        if glance.news {
            self.summary.values(glance.common);
        }
    }

    /// Whether an index says the same.
    fn agrees(&self, index: &Index, part: &Part) -> Result<bool, ()> {
        let there = index.summary().ok_or(())?;
        let times = part.tally.times.as_ref().map(Times::range);
        let here = &self.summary;
        let listed = there.models == here.models
            && there.versions == here.versions
            && there.outcomes == here.outcomes
            && there.datasets == here.datasets
            && there.kinds == part.tally.kinds
            && there.times == times;
        Ok(listed && index.end == part.end && index.sum(&self.seed).map_err(drop)? == self.sum)
    }
}

/// Compares what is derived of a segment.
pub(super) fn compare(storage: &dyn Storage, index: Option<&Index>, part: &mut Part) {
    let name = index_name(part.job.first);
    let damaged = || format!("{name} is damaged, and passed over: remove it, the next start makes it again");
    let clean = part.whole && part.findings.kept.is_empty();
    match index {
        // There is nothing to compare it with.
        Some(_) if !clean => {}
        Some(index) => match part.tally.shadow.agrees(index, part) {
            Ok(true) => {}
            Ok(false) => {
                let problem = "it is not the index of its segment, and may hide entries: remove it, the next start makes it again";
                part.findings.add(Finding { file: Some(name), ..Finding::general(problem) });
            }
            Err(()) => part.remarks.push(damaged()),
        },
        None if storage.open(&name).is_ok() => part.remarks.push(damaged()),
        None => {}
    }
    let (first, leaves) = part.leaves.hashes();
    let chunks = leaves.chunks(CHUNK).zip((first..).step_by(CHUNK));
    if chunks.into_iter().any(|(chunk, at)| differs(storage, 0, at, chunk)) {
        part.remarks.push(misfit(&tree_name(0), &format!("the entries of {}", part.job.name)));
    }
}

/// Compares the tree's hashes above the leaves: those that join segments are known once these are in order.
#[derive(Debug, Default)]
pub(super) struct Upper {
    /// Levels of which it was said that they do not fit.
    told: BTreeSet<u32>,
}

impl Upper {
    /// What there is to say of these nodes.
    pub(super) fn compare(&mut self, storage: &dyn Storage, nodes: &[Node]) -> Vec<String> {
        let mut remarks = Vec::new();
        for Node { level, index, hash } in nodes {
            let level = level / TILE_HEIGHT;
            if !self.told.contains(&level) && differs(storage, level, *index, std::slice::from_ref(hash)) {
                self.told.insert(level);
                let below = format!("the entries from {} on", index << (level * TILE_HEIGHT));
                remarks.push(misfit(&tree_name(level), &below));
            }
        }
        remarks
    }
}

fn misfit(file: &str, what: &str) -> String {
    format!(
        "{file} does not fit {what}: proofs would fail; remove tree-*.hash while nothing runs, the next start makes them again"
    )
}

fn differs(storage: &dyn Storage, level: u32, at: u64, hashes: &[Hash]) -> bool {
    let Ok(file) = storage.open(&tree_name(level)) else { return false };
    let held = file.len().unwrap_or(0) / HASH_BYTES;
    let count = usize::try_from(held.saturating_sub(at)).unwrap_or(0).min(hashes.len());
    let mut bytes = vec![0; count * 32];
    read_exact_at(&*file, &mut bytes, at * HASH_BYTES).is_ok() && bytes.as_chunks::<32>().0 != &hashes[..count]
}

/// How many entries the tree's hashes were made of; nothing where they are not there.
pub(super) fn leaves_hashed(storage: &dyn Storage) -> u64 {
    storage.open(&tree_name(0)).and_then(|file| file.len()).map_or(0, |len| len / HASH_BYTES)
}

/// What is known of entries that are no more.
pub(super) fn hints(report: &mut Report, (hashed, orphans): (u64, &[String])) {
    for name in orphans {
        let problem = "the segment of this index is not here";
        report.findings.push(Finding { file: Some(name.clone()), ..Finding::general(problem) });
    }
    let entries = report.log.entries;
    if hashed > entries && report.unreadable.is_empty() {
        let problem = format!("the tree was made of {hashed} entries, and the log has {entries}");
        report.findings.push(Finding { file: Some(tree_name(0)), ..Finding::general(problem) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::judge::Judge;
    use super::super::keys::Keys;
    use super::super::part::Job;
    use super::*;
    use crate::ledger::segment::sim::Sim;
    use crate::ledger::tree::Tree;
    use crate::tlog::leaf_hash;

    /// What is said of the levels above the leaves, of segments that end in the middle of tiles.
    fn said(sim: &Sim, ends: &[u64]) -> Vec<String> {
        let keys = Keys::default();
        let (mut judge, mut upper, mut remarks) = (Judge::new(&keys), Upper::default(), Vec::new());
        let mut first = 0;
        for end in ends.iter().copied() {
            let job = Job { name: String::new(), first, limit: None, replaced: false, log: None, old: false };
            let mut part = Part::new(job);
            part.leaves.extend(&(first..end).map(|index| leaf_hash(&index.to_be_bytes())).collect::<Vec<_>>());
            part.end = end;
            judge.join(part);
            remarks.extend(upper.compare(sim, &judge.take_nodes()));
            first = end;
        }
        remarks
    }

    #[test]
    fn every_hash_of_every_level_is_compared_whatever_segment_it_ends_in() {
        let sim = Sim::new(3);
        let storage: Arc<dyn Storage> = Arc::new(sim.clone());
        let mut tree = Tree::open(&storage, &[]).unwrap();
        let ends = [100, 300, 556, 65_000, 65_100, 66_000];
        tree.extend(&(0..66_000_u64).map(|index| leaf_hash(&index.to_be_bytes())).collect::<Vec<_>>()).unwrap();
        tree.flush().unwrap();
        assert!(said(&sim, &ends).is_empty());
        // A tile of one segment, one that joins two, the last; and the one of 65,536 entries that joins all.
        for (level, place) in [(1, 5), (1, 0), (1, 1), (1, 256), (2, 0)] {
            sim.flip(&tree_name(level), place * 32 + 7);
            let told = said(&sim, &ends);
            sim.flip(&tree_name(level), place * 32 + 7);
            let from = format!("the entries from {} on", place << (level * TILE_HEIGHT));
            assert!(told.len() == 1 && told[0].starts_with(&tree_name(level)) && told[0].contains(&from), "{told:?}");
        }
        // What is not there yet is not wrong.
        sim.remove(&tree_name(2)).unwrap();
        assert!(said(&sim, &ends).is_empty());
    }
}
