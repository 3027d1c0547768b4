//! Places for connections: bounded, and given to whoever comes when somebody holds one and says nothing.
//!
//! A kubelet's check must be answered though idle or slow callers hold every place. So when all are taken, who has kept
//! us waiting the longest is shown out; who is waiting for us never is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The mark of a connection that waits for us.
const WORKING: u64 = u64::MAX;

/// All places.
#[derive(Debug)]
pub(super) struct Seats {
    places: Arc<Semaphore>,
    taken: Mutex<Vec<Arc<Inner>>>,
    start: Instant,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    inner: Arc<Inner>,
    all: Arc<Seats>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Inner {
    /// Since when we wait for the caller, in nanoseconds after the start.
    since: AtomicU64,
    leave: Notify,
}

impl Seats {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), taken: Mutex::default(), start: Instant::now() })
    }

    /// A place: a free one, else that of whoever has kept us waiting the longest.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Seat> {
        let free = Arc::clone(&self.places).try_acquire_owned().ok();
        let place = if let Some(place) = free {
            place
        } else {
            self.show_out();
            Arc::clone(&self.places).acquire_owned().await.ok()?
        };
        let inner = Arc::new(Inner { since: AtomicU64::new(self.now()), leave: Notify::new() });
        self.lock().push(Arc::clone(&inner));
        Some(Seat { inner, all: Arc::clone(self), _place: place })
    }

    /// Waits until every place is free.
    pub(super) async fn empty(&self, places: usize) {
        let _all = self.places.acquire_many(u32::try_from(places).unwrap_or(u32::MAX)).await;
    }

    fn show_out(&self) {
        let taken = self.lock();
        let waits = taken.iter().map(|seat| (seat.since.load(Ordering::Relaxed), seat));
        let longest = waits.filter(|(since, _)| *since != WORKING).min_by_key(|(since, _)| *since);
        if let Some((_, seat)) = longest {
            // Not again: the next one that comes needs another's.
            seat.since.store(WORKING, Ordering::Relaxed);
            seat.leave.notify_one();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(WORKING - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Inner>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// From here on we wait for the caller.
    pub(super) fn waits(&self) {
        self.inner.since.store(self.all.now(), Ordering::Relaxed);
    }

    /// From here on the caller waits for us.
    pub(super) fn works(&self) {
        self.inner.since.store(WORKING, Ordering::Relaxed);
    }

    /// Waits until the place is wanted by another.
    pub(super) async fn wanted(&self) {
        self.inner.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.lock().retain(|seat| !Arc::ptr_eq(seat, &self.inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_kept_us_waiting_the_longest_goes() {
        let seats = Seats::new(3);
        let [first, second, third] =
            [seats.take().await.unwrap(), seats.take().await.unwrap(), seats.take().await.unwrap()];
        first.works();
        second.waits();
        let coming = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.take().await.unwrap() }
        });
        third.wanted().await;
        assert!(!coming.is_finished(), "the place is taken until it is left");
        drop(third);
        let fourth = coming.await.unwrap();
        fourth.works();
        seats.show_out();
        second.wanted().await;
        drop((first, second, fourth));
        seats.empty(3).await;
        assert!(seats.lock().is_empty());
    }
}
