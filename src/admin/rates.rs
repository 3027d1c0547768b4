//! How often one caller may ask: a bucket of places for each, refilled steadily.
//!
//! It keeps one caller from starving the others of the listener's one thread; it is no protection from many.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that are told apart; further ones share a bucket.
const CALLERS_MAX: usize = 1024;
/// The bucket that they share.
const OTHERS: &str = "";

/// Everybody's buckets.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    places: f64,
    at: Instant,
}

impl Rates {
    /// So many a second for each, and twice as many at once.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Takes a place, or says how long it takes until there is one.
    pub(super) fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let burst = self.per_second * 2.0;
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.places + since * self.per_second).min(burst)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(caller) {
            // Who has a full bucket is as good as unknown.
            buckets.retain(|_, bucket| filled(bucket) < burst);
        }
        let name = if buckets.len() >= CALLERS_MAX && !buckets.contains_key(caller) { OTHERS } else { caller };
        let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { places: burst, at: now });
        bucket.places = filled(bucket);
        bucket.at = now;
        if bucket.places < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.places) / self.per_second));
        }
        bucket.places -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_own_bucket() {
        let (rates, start) = (Rates::new(2), Instant::now());
        for _ in 0..4 {
            rates.take("a", start).unwrap();
        }
        assert_eq!(rates.take("a", start), Err(Duration::from_millis(500)));
        rates.take("b", start).unwrap();
        let later = start + Duration::from_millis(600);
        rates.take("a", later).unwrap();
        assert!(rates.take("a", later).is_err());
        for _ in 0..4 {
            rates.take("a", start + Duration::from_mins(1)).unwrap();
        }
        assert!(rates.take("a", start + Duration::from_mins(1)).is_err(), "a bucket does not grow");
    }

    #[test]
    fn callers_are_bounded() {
        let (rates, start) = (Rates::new(1), Instant::now());
        for caller in 0..CALLERS_MAX + 10 {
            rates.take(&caller.to_string(), start).unwrap_or_default();
        }
        assert!(rates.buckets.lock().unwrap().len() <= CALLERS_MAX + 1);
        rates.take("new", start + Duration::from_secs(9)).unwrap();
        assert!(rates.buckets.lock().unwrap().len() < 10, "those that rest are forgotten");
    }
}
