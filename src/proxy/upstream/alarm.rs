//! A deadline that is moved far more often than it passes.
//!
//! Registering a timer for each request would cost more than the request's own bookkeeping. An [`Alarm`] keeps the one
//! timer that it has, lets it fire at an old deadline now and then, and moves it on.
//!
//! A task that has used up its turn is told by tokio that no socket and no timer is ready. A peer that never pauses uses up
//! every turn, and must not outrun its deadline by that: the timer is asked regardless.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// A movable deadline.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `deadline` has passed; never without one. Registers the task to be woken not later than that.
    pub(crate) fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while pin!(unconstrained(poll_fn(|cx| timer.as_mut().poll(cx)))).poll(cx).is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::coop::{has_budget_remaining, poll_proceed};

    use super::*;

    #[tokio::test]
    async fn a_turn_that_is_used_up_hides_no_deadline() {
        let mut alarm = Alarm::default();
        let deadline = Instant::now() + Duration::from_millis(1);
        let exhausted = poll_fn(|cx| {
            while let Poll::Ready(unit) = poll_proceed(cx) {
                unit.made_progress();
            }
            assert!(!has_budget_remaining());
            alarm.poll(Some(deadline), cx)
        });
        tokio::time::timeout(Duration::from_secs(10), exhausted).await.unwrap();
        assert!(Instant::now() >= deadline);
    }
}
