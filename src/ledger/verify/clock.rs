//! Cosignatures against entries: a witness cannot have seen an entry before it was written.
//!
//! Its clock is another machine's, and entries say when a prediction began; so only what differs by more than an hour is
//! told. What the entries say is known at steps, exactly in the last two segments and at the ends of those before: a
//! bound from below, which a cosignature has no reason to undercut. Pure.

use crate::tlog::VerifierKey;

/// A cosignature may be older than what it covers by so many microseconds.
const BEFORE_US_MAX: i64 = 3_600_000_000;

/// What the entries' clocks said, and which cosignatures do not go with it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest time of entries up to a size: for the last two segments, and at the ends of those before.
    fine: [Vec<(u64, i64)>; 2],
    ends: Vec<(u64, i64)>,
    /// Per given key: how many, and of the first its size, its time in seconds and the entries' in microseconds.
    early: Vec<(usize, u64, (u64, u64, i64))>,
}

impl Clock {
    /// Takes the next segment, which ends at a size with a latest time.
    pub(super) fn join(&mut self, steps: Vec<(u64, i64)>, end: u64, latest: Option<i64>) {
        let before = self.ends.last().map_or(i64::MIN, |(_, latest)| *latest);
        self.fine.swap(0, 1);
        self.fine[1] = steps.into_iter().map(|(size, latest)| (size, latest.max(before))).collect();
        let latest = latest.unwrap_or(before).max(before);
        if latest > before {
            self.ends.push((end, latest));
        }
    }

    /// A given key cosigned so many entries at a time in seconds since 1970.
    pub(super) fn cosigned(&mut self, place: usize, size: u64, seconds: u64) {
        let Some(latest) = self.latest(size) else { return };
        let time = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        if latest.saturating_sub(time) <= BEFORE_US_MAX {
            return;
        }
        match self.early.iter_mut().find(|(key, ..)| *key == place) {
            Some((_, count, _)) => *count += 1,
            None => self.early.push((place, 1, (size, seconds, latest))),
        }
    }

    /// What should be known of it.
    pub(super) fn remarks(&self, keys: &[VerifierKey]) -> Vec<String> {
        let remark = |(place, count, (size, seconds, latest)): &(usize, u64, (u64, u64, i64))| {
            let name = keys.get(*place)?.name();
            let cosigned = i64::try_from(*seconds).ok().and_then(|time| jiff::Timestamp::from_second(time).ok());
            let cosigned = cosigned.map_or_else(|| format!("{seconds} s"), |time| time.to_string());
            let latest = jiff::Timestamp::from_microsecond(*latest).ok()?;
            Some(format!(
                "{count} cosignatures of {name} are older by more than an hour than entries that they cover, that of \
                 {size} entries first: it says {cosigned}, an entry {latest}; a clock was set, or they were made up"
            ))
        };
        self.early.iter().filter_map(remark).collect()
    }

    /// The latest time that the first `size` entries are known to have.
    fn latest(&self, size: u64) -> Option<i64> {
        let known = |steps: &[(u64, i64)]| {
            let after = steps.partition_point(|(end, _)| *end <= size);
            Some(steps.get(after.checked_sub(1)?)?.1)
        };
        known(&self.fine[0]).max(known(&self.fine[1])).max(known(&self.ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::Signer;

    #[test]
    fn a_cosignature_before_its_entries_is_told_once_a_key() {
        const HOUR: i64 = 3_600_000_000;
        let der = Signer::generate_ed25519().unwrap();
        let keys = [Signer::from_pkcs8("w.example/1", &der, true).unwrap().verifier().clone()];
        let mut clock = Clock::default();
        clock.join(vec![(16, 10 * HOUR), (32, 11 * HOUR)], 40, Some(12 * HOUR));
        clock.join(vec![(48, 9 * HOUR), (64, 14 * HOUR)], 70, Some(14 * HOUR));
        clock.join(vec![(80, 15 * HOUR)], 90, Some(15 * HOUR));
        let hours = |hours: u64| hours * 3600;
        // The first segment's end is known, what lies within it not any more; the clock never goes back.
        for (size, last) in [(39, None), (40, Some(12)), (50, Some(12)), (64, Some(14)), (69, Some(14)), (90, Some(15))]
        {
            assert_eq!(clock.latest(size), last.map(|hours| hours * HOUR), "{size}");
        }
        clock.cosigned(0, 50, hours(11));
        clock.cosigned(0, 20, hours(0));
        assert!(clock.remarks(&keys).is_empty());
        clock.cosigned(0, 50, hours(11) - 1);
        clock.cosigned(0, 90, hours(3));
        let remarks = clock.remarks(&keys);
        assert!(remarks.len() == 1 && remarks[0].starts_with("2 cosignatures of w.example/1"), "{remarks:?}");
        assert!(remarks[0].contains("50 entries first: it says 1970-01-01T10:59:59Z, an entry 1970-01-01T12:00:00Z"));
    }
}
