//! Whether a backend takes calls: what calls tell of it (passive), and what it answers when asked (active).
//!
//! A request reads two atomics and waits for nobody; locks are taken where a call failed, and by the control plane. What
//! is known belongs to a model server, not to a snapshot: a reload that keeps a backend keeps its health.

mod check;
mod config;
mod judge;
mod outlier;
mod probe;
mod report;
mod streak;
mod versions;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

pub use check::watch;
pub use config::{CheckProtocol, HealthCheckConfig, HealthConfig};
pub use report::{CheckReport, EjectionReport, HealthReport};
pub use versions::{Served, VersionsReport};

use outlier::{Ejection, Ejector, Policy, millis};

/// Models of one backend whose readiness is told apart; of further ones it is not asked. A bit each.
const MODELS_MAX: usize = 64;

const UNCHECKED: u8 = 0;
const HEALTHY: u8 = 1;
const UNHEALTHY: u8 = 2;

/// One backend's health, under the thresholds in force.
#[derive(Debug)]
pub struct Health {
    policy: Policy,
    max_ejection_percent: u64,
    statuses: Vec<u16>,
    state: Arc<State>,
}

/// What is known of one model server.
#[derive(Debug)]
struct State {
    epoch: Instant,
    /// What checks say.
    verdict: AtomicU8,
    /// A bit for each model, by its place, that checks find not ready.
    unready: AtomicU64,
    /// Milliseconds after `epoch` until which it is left out for what its calls tell; 0 for never.
    out_until: AtomicU64,
    /// Whether a success would be news to `passive`.
    troubled: AtomicBool,
    /// Answers and failures, all in all.
    calls: AtomicU64,
    passive: Mutex<Ejector>,
    checked: Mutex<Checked>,
}

/// What checks found: for people, not for requests.
#[derive(Clone, Debug, Default)]
struct Checked {
    /// How it is asked.
    way: Option<&'static str>,
    /// Since when the verdict is what it is.
    since: Option<SystemTime>,
    /// When it was last asked.
    last: Option<SystemTime>,
    /// Why the last check failed.
    failure: Option<String>,
    /// What it says that it serves.
    served: Option<Served>,
}

impl Health {
    /// A backend of which nothing is known. It takes calls.
    pub(super) fn new(config: &HealthConfig) -> Self {
        let state = State {
            epoch: Instant::now(),
            verdict: AtomicU8::new(UNCHECKED),
            unready: AtomicU64::new(0),
            out_until: AtomicU64::new(0),
            troubled: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            passive: Mutex::default(),
            checked: Mutex::default(),
        };
        Self {
            policy: Policy::new(config),
            max_ejection_percent: u64::from(config.max_ejection_percent),
            statuses: config.statuses.clone(),
            state: Arc::new(state),
        }
    }

    /// Goes on with what is known of the same model server. What only checks know is kept where it is still asked, and for
    /// the same models; else with a memory apart, so that checks under way cannot write to it any more.
    pub(super) fn adopt(&mut self, before: &Self, kept: Kept) {
        self.state = match kept {
            Kept::All => Arc::clone(&before.state),
            Kept::Verdict => Arc::new(before.state.fork(before.state.verdict.load(Ordering::Relaxed))),
            Kept::Calls => Arc::new(before.state.fork(UNCHECKED)),
        };
    }

    /// Whether both know the same, now and later.
    pub(super) fn is_one_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether it takes calls.
    pub fn is_in(&self, now: Instant) -> bool {
        let state = &self.state;
        let until = state.out_until.load(Ordering::Relaxed);
        (until == 0 || state.millis(now) >= until) && state.verdict.load(Ordering::Relaxed) != UNHEALTHY
    }

    /// Whether it takes calls for the model at this place among its own.
    pub fn is_ready_for(&self, place: usize) -> bool {
        place >= MODELS_MAX || self.state.unready.load(Ordering::Relaxed) & (1 << place) == 0
    }

    /// Whether it takes calls for each of its models.
    pub(super) fn is_ready_for_all(&self) -> bool {
        self.state.unready.load(Ordering::Relaxed) == 0
    }

    /// Whether it takes calls for one of its models at least, of so many.
    pub fn is_ready_for_any(&self, models: usize) -> bool {
        models == 0 || (0..models).any(|place| self.is_ready_for(place))
    }

    /// Counts a call that went well.
    fn count(&self) {
        if self.policy.counts_calls() {
            self.state.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer's head came, good or bad. `true` where that ends a time out.
    fn answered(&self, now: Instant) -> bool {
        let state = &self.state;
        if !state.troubled.load(Ordering::Relaxed) {
            return false;
        }
        let mut passive = state.passive();
        let back = passive.answered(state.millis(now));
        state.publish(&passive);
        back
    }

    /// A call failed. What has come of it, where that puts the backend out. `begun` where an answer's head had come and
    /// was counted; `may_eject` says whether one more may be out for its share of failed calls, and has the last word
    /// for as long as what it gives back lives.
    fn failed<T>(&self, now: Instant, failure: Failure, may_eject: impl FnOnce() -> Option<T>) -> Option<Ejection> {
        let state = &self.state;
        let calls = match failure {
            Failure::Late => state.calls.load(Ordering::Relaxed),
            Failure::Unanswered | Failure::Status => state.calls.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let at = state.millis(now);
        let mut passive = state.passive();
        let cause = passive.failed(&self.policy, at, calls, failure == Failure::Unanswered);
        let ejection = cause.and_then(|cause| {
            let _others_wait = match cause {
                outlier::Cause::InARow => None,
                outlier::Cause::Share => Some(may_eject()?),
            };
            let ejection = passive.eject(&self.policy, at, cause);
            state.publish(&passive);
            Some(ejection)
        });
        state.publish(&passive);
        ejection
    }

    /// What checks say: `None` before the first.
    fn verdict(&self) -> Option<bool> {
        match self.state.verdict.load(Ordering::Relaxed) {
            HEALTHY => Some(true),
            UNHEALTHY => Some(false),
            _ => None,
        }
    }

    /// Checks have come to another verdict.
    fn set_verdict(&self, healthy: bool) {
        let state = &self.state;
        let before = state.verdict.swap(if healthy { HEALTHY } else { UNHEALTHY }, Ordering::Relaxed);
        state.checked().since = Some(SystemTime::now());
        if healthy && before == UNHEALTHY {
            let mut passive = state.passive();
            passive.mended(state.millis(Instant::now()));
            state.publish(&passive);
        }
    }

    /// What a check found, and the verdict where it has turned.
    fn note_check(&self, way: Option<&'static str>, failure: Option<String>, turned: Option<bool>) {
        {
            let mut checked = self.state.checked();
            checked.way = way.or(checked.way);
            checked.failure = failure;
            checked.last = Some(SystemTime::now());
        }
        if let Some(healthy) = turned {
            self.set_verdict(healthy);
        }
    }

    fn served(&self) -> Option<VersionsReport> {
        self.state.checked().served.as_ref().map(|served| served.report.clone())
    }

    fn note_served(&self, served: Served) {
        self.state.checked().served = Some(served);
    }

    fn set_ready_for(&self, place: usize, ready: bool) {
        if place < MODELS_MAX {
            let bit = 1 << place;
            if ready {
                self.state.unready.fetch_and(!bit, Ordering::Relaxed);
            } else {
                self.state.unready.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }
}

/// What is kept over a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Everything.
    All,
    /// Not which models are ready: they are others.
    Verdict,
    /// What calls told alone: nobody asks any more.
    Calls,
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failure {
    /// No answer's head came.
    Unanswered,
    /// An answer came whose status says that the server fails.
    Status,
    /// The answer broke off, or said at its end that the server fails.
    Late,
}

impl State {
    fn fork(&self, verdict: u8) -> Self {
        let checked = if verdict == UNCHECKED { Checked::default() } else { self.checked().clone() };
        Self {
            epoch: self.epoch,
            verdict: AtomicU8::new(verdict),
            unready: AtomicU64::new(0),
            out_until: AtomicU64::new(self.out_until.load(Ordering::Relaxed)),
            troubled: AtomicBool::new(self.troubled.load(Ordering::Relaxed)),
            calls: AtomicU64::new(self.calls.load(Ordering::Relaxed)),
            passive: Mutex::new(self.passive().clone()),
            checked: Mutex::new(Checked { served: None, ..checked }),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }

    /// What requests read of it.
    fn publish(&self, passive: &Ejector) {
        // Over or not: whoever reads it compares it with its own clock.
        self.out_until.store(passive.ejection(0).map_or(0, |out| out.until), Ordering::Relaxed);
        self.troubled.store(passive.is_troubled(), Ordering::Relaxed);
    }

    fn passive(&self) -> MutexGuard<'_, Ejector> {
        self.passive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::units::Period;

    const YES: fn() -> Option<()> = || Some(());

    fn health(failures: u32) -> Health {
        Health::new(&HealthConfig { failures, eject: Period::secs(10), ..HealthConfig::default() })
    }

    #[test]
    fn failures_in_a_row_put_a_backend_out_for_a_while() {
        let (health, now) = (health(2), Instant::now());
        let failed = |now| health.failed(now, Failure::Unanswered, YES).is_some();
        assert!(!failed(now));
        assert!(!health.answered(now));
        assert!(!failed(now));
        assert!(health.is_in(now));
        assert!(failed(now), "the second in a row");
        assert!(!health.is_in(now));
        assert!(health.is_in(now + Duration::from_secs(11)));
        assert!(failed(now + Duration::from_secs(11)), "still failing: out again at once");
        assert!(!health.is_in(now + Duration::from_secs(30)), "and for longer");
        assert!(health.answered(now + Duration::from_secs(30)));
        assert!(health.is_in(now));
    }

    #[test]
    fn the_share_of_failures_asks_whether_it_may() {
        let (health, now) = (health(0), Instant::now());
        for _ in 0..100 {
            assert!(health.failed(now, Failure::Status, || None::<()>).is_none());
        }
        assert!(health.is_in(now));
        assert!(health.failed(now, Failure::Status, YES).is_some());
        assert!(!health.is_in(now));
    }

    #[test]
    fn checks_and_calls_both_have_a_say() {
        let (health, now) = (health(1), Instant::now());
        assert!(health.failed(now, Failure::Unanswered, YES).is_some());
        health.set_verdict(true);
        assert!(!health.is_in(now), "it passed all along: nothing was mended");
        health.set_verdict(false);
        health.set_verdict(true);
        assert!(health.is_in(now), "mended");
        health.set_verdict(false);
        assert!(!health.is_in(now));
        let mut next = self::health(1);
        for kept in [Kept::All, Kept::Verdict] {
            next.adopt(&health, kept);
            assert!(!next.is_in(now), "a reload keeps it");
        }
        next.adopt(&health, Kept::Calls);
        assert!(next.is_in(now), "nobody asks any more");
        health.set_verdict(true);
        assert!(health.failed(now, Failure::Unanswered, YES).is_some());
        next.adopt(&health, Kept::Calls);
        assert!(!next.is_in(now), "what calls told is kept");
    }

    #[test]
    fn a_model_that_is_not_ready_is_told_apart() {
        let health = health(1);
        health.set_ready_for(1, false);
        assert!(
            !health.is_ready_for_all()
                && health.is_ready_for(0)
                && !health.is_ready_for(1)
                && health.is_ready_for(MODELS_MAX)
        );
        assert!(health.is_ready_for_any(2) && health.is_ready_for_any(0));
        health.set_ready_for(0, false);
        assert!(!health.is_ready_for_any(2));
        health.set_ready_for(1, true);
        assert!(health.is_ready_for(1));
    }
}
