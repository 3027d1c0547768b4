//! How long a group waits for more entries before the keeper writes it.
//!
//! Pure: it knows neither the group nor the disk. Under `write` nobody waits, since whoever has an entry writes it.

use std::time::Duration;

use crate::ledger::config::Durability;

/// Under `queue`: what a crash may cost, and what saves wake-ups.
const QUEUE_MAX: Duration = Duration::from_millis(5);
/// Under `sync`, at most: nothing beside the sync of a slow disk, and on a fast one the sync's own time is less.
const SYNC_MAX: Duration = Duration::from_micros(200);
/// Under `sync`, the calls under way from which on others are likely to end meanwhile.
const SYNC_CALLS_LEAST: u64 = 4;

/// How long a group waits, with so many calls under way whose end is still to come, where the last sync took so long.
///
/// A sync costs tens of microseconds of processor time, and no more for a group of thirty than for one entry. So a group
/// waits as long as a sync takes, and the calls that end meanwhile need none of their own (`docs/adr/0018`).
pub(crate) fn linger(durability: Durability, calls: u64, last_sync: Duration) -> Duration {
    match durability {
        Durability::Queue => QUEUE_MAX,
        Durability::Sync if calls >= SYNC_CALLS_LEAST => last_sync.min(SYNC_MAX),
        Durability::Sync | Durability::Write => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_for_others_no_longer_than_a_sync_and_never_without_them() {
        let sync = |calls, last| linger(Durability::Sync, calls, last);
        let (fast, slow) = (Duration::from_micros(20), Duration::from_millis(8));
        assert_eq!(sync(0, slow), Duration::ZERO);
        assert_eq!(sync(SYNC_CALLS_LEAST - 1, slow), Duration::ZERO);
        assert_eq!(sync(SYNC_CALLS_LEAST, fast), fast);
        assert_eq!(sync(1000, slow), SYNC_MAX);
        assert_eq!(sync(1000, Duration::ZERO), Duration::ZERO, "before the first sync nobody knows what one takes");
        assert_eq!(linger(Durability::Write, 1000, slow), Duration::ZERO);
    }
}
