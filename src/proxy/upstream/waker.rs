//! A waker that tells waking oneself from being woken.
//!
//! A request drives its own HTTP/1.1 connection to the model server inside its own task: no hop between tasks. hyper's
//! two halves of such a connection wake each other all the time; passed on to the runtime, each of those would poll the
//! whole task once more for nothing. While the loop that drives both halves runs, a wake only asks for another turn.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The loop runs.
const TURNING: u8 = 0;
/// It runs, and a wake has asked for another turn.
const TURN_AGAIN: u8 = 1;
/// Its task waits for a wake.
const WAITING: u8 = 2;
/// There is something to do, which whoever enters next sees to.
const WOKEN: u8 = 3;
/// The connection rests in the pool.
const POOLED: u8 = 4;

/// Wakes the task that last entered, unless that task is inside its loop.
#[derive(Debug)]
pub(super) struct LoopWaker {
    state: AtomicU8,
    /// Uncontended: the runtime of a worker is one thread.
    task: Mutex<Waker>,
}

impl LoopWaker {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WOKEN), task: Mutex::new(Waker::noop().clone()) })
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

    /// Whether there is anything to enter for: else the task behind `waker` is woken once there is.
    pub(super) fn was_woken(&self, waker: &Waker) -> bool {
        let known = || self.task.lock().unwrap_or_else(PoisonError::into_inner).will_wake(waker);
        self.state.load(Ordering::Acquire) != WAITING || !known()
    }

    /// The loop is over, and its task waits: a wake goes to it.
    pub(super) fn leave(&self) {
        if !self.end(WAITING) {
            self.wake_task();
        }
    }

    /// The loop is over, and its task goes on: a turn that is asked for is the first thing that the next loop does.
    pub(super) fn pause(&self) {
        self.state.store(WOKEN, Ordering::Release);
    }

    /// A turn begins that no task waits for.
    pub(super) fn enter_alone(&self) {
        self.state.store(TURNING, Ordering::Release);
    }

    /// The turn is over, and the connection rests in the pool: it keeps nothing of its last task.
    pub(super) fn pool(&self) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(Waker::noop());
        self.end(POOLED);
    }

    /// Ends the loop in such a state, unless a wake came at the last moment: then there is something to do.
    fn end(&self, state: u8) -> bool {
        let quiet = self.state.compare_exchange(TURNING, state, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !quiet {
            self.state.store(WOKEN, Ordering::Release);
        }
        quiet
    }

    /// Whether nothing has happened to the connection since it was put into the pool.
    pub(super) fn is_untouched(&self) -> bool {
        self.state.load(Ordering::Acquire) == POOLED
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
        let next = |state| match state {
            TURNING => Some(TURN_AGAIN),
            WAITING | POOLED => Some(WOKEN),
            _ => None,
        };
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) == Ok(WAITING) {
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
        let woken = || count.0.load(Ordering::Relaxed);
        let task = Waker::from(Arc::clone(&count));
        let lw = LoopWaker::new();
        let inner = Waker::from(Arc::clone(&lw));

        assert!(lw.was_woken(&task), "a new connection has everything to do");
        lw.enter(&task);
        assert!(!lw.again());
        inner.wake_by_ref();
        inner.wake_by_ref();
        assert!(lw.again());
        assert!(!lw.again());
        lw.leave();
        assert_eq!(woken(), 0);
        assert!(!lw.was_woken(&task));
        assert!(lw.was_woken(Waker::noop()), "another task has to enter to be known");

        inner.wake_by_ref();
        inner.wake_by_ref();
        assert_eq!(woken(), 1, "a task is woken once");
        assert!(lw.was_woken(&task));

        lw.enter(&task);
        inner.wake_by_ref();
        lw.leave();
        assert_eq!(woken(), 2, "a turn asked for at the last moment is not lost");

        lw.enter(&task);
        inner.wake_by_ref();
        lw.pause();
        inner.wake_by_ref();
        assert_eq!(woken(), 2, "a task that goes on need not be woken");
        assert!(lw.was_woken(&task));

        lw.enter_alone();
        lw.pool();
        assert!(lw.is_untouched());
        inner.wake_by_ref();
        assert!(!lw.is_untouched());

        lw.enter_alone();
        inner.wake();
        lw.pool();
        assert!(!lw.is_untouched(), "a turn asked for at the last moment is not lost");
        assert_eq!(woken(), 2, "in the pool nobody is woken");
    }
}
