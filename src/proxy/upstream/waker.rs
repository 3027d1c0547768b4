//! A waker that tells waking oneself from being woken.
//!
//! A request drives its own HTTP/1.1 connection to the model server inside its own task: no hop between tasks. hyper's
//! two halves of such a connection wake each other all the time; passed on to the runtime, each of those would poll the
//! whole task once more for nothing. While the loop that drives both halves runs, a wake only asks for another turn.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

const RESTING: u8 = 0;
const TURNING: u8 = 1;
const TURN_AGAIN: u8 = 2;

/// Wakes the task that last entered, unless that task is inside its loop.
#[derive(Debug)]
pub(super) struct LoopWaker {
    state: AtomicU8,
    /// Uncontended: the runtime of a worker is one thread.
    task: Mutex<Waker>,
}

impl LoopWaker {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(RESTING), task: Mutex::new(Waker::noop().clone()) })
    }

    /// The loop begins in the task behind `waker`.
    pub(super) fn enter(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.clone_from(waker);
        self.state.store(TURNING, Ordering::Release);
    }

    /// Whether a wake has asked for another turn since the last call.
    pub(super) fn again(&self) -> bool {
        self.state.swap(TURNING, Ordering::AcqRel) == TURN_AGAIN
    }

    /// The loop is over, and its task waits: wakes go to it from here on.
    pub(super) fn leave(&self) {
        if self.state.swap(RESTING, Ordering::AcqRel) == TURN_AGAIN {
            self.wake_task();
        }
    }

    /// The loop is over, and its task goes on: a turn that was asked for is the first thing that the next loop does.
    pub(super) fn pause(&self) {
        self.state.store(RESTING, Ordering::Release);
    }

    /// Nobody cares any more: the connection rests in the pool.
    pub(super) fn detach(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.clone_from(Waker::noop());
        self.state.store(RESTING, Ordering::Release);
    }

    fn wake_task(&self) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl Wake for LoopWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let asked = self.state.compare_exchange(TURNING, TURN_AGAIN, Ordering::AcqRel, Ordering::Acquire);
        if asked == Err(RESTING) {
            self.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_wake_inside_the_loop_asks_for_a_turn_and_one_outside_wakes_the_task() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let lw = LoopWaker::new();
        let inner = Waker::from(Arc::clone(&lw));

        lw.enter(&task);
        assert!(!lw.again());
        inner.wake_by_ref();
        inner.wake_by_ref();
        assert!(lw.again());
        assert!(!lw.again());
        lw.leave();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);

        inner.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);

        lw.enter(&task);
        inner.wake_by_ref();
        lw.leave();
        assert_eq!(count.0.load(Ordering::Relaxed), 2, "a turn asked for at the last moment is not lost");

        lw.enter(&task);
        inner.wake_by_ref();
        lw.pause();
        assert_eq!(count.0.load(Ordering::Relaxed), 2, "a task that goes on need not be woken");

        lw.detach();
        inner.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
