//! Outlier ejection as arithmetic: what the calls to one backend tell, and for how long it is left out for it.
//!
//! Two things put a backend out, as in Envoy's `outlier_detection`: failures in a row without any answer, and the share of
//! calls that fail within a window. Each ejection lasts longer than the last, up to a limit; time spent in service makes up
//! for it. Time is handed in, in milliseconds; nothing here is shared, waits or logs.
//!
//! A window begins with the first failure after the last one was over, since only a failure can raise the share: a call
//! that succeeds costs a count and nothing else.

use std::time::Duration;

use super::HealthConfig;

/// The thresholds, in milliseconds and plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    failures: u32,
    eject: u64,
    eject_max: u64,
    percentage: u64,
    minimum: u64,
    window: u64,
}

/// Why a backend is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Failures in a row to connect or to answer.
    InARow,
    /// The share of failed calls within the window.
    Share,
}

impl Cause {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::InARow => "calls in a row had no answer",
            Self::Share => "too large a share of its calls failed",
        }
    }
}

/// One time out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ejection {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: u64,
    /// From when on it is in again.
    pub until: u64,
    /// Which one it is in a row: how many times `eject` it lasts.
    pub repeat: u32,
}

/// What is known of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ejector {
    in_a_row: u32,
    window: Option<Window>,
    /// The last ejection, over or not, until a call has shown that it is back.
    out: Option<Ejection>,
    repeat: u32,
    /// When it came back the last time.
    back: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    began: u64,
    /// Calls before it.
    calls: u64,
    failed: u64,
}

impl Policy {
    pub(super) fn new(config: &HealthConfig) -> Self {
        let eject = millis(config.eject.0);
        Self {
            failures: config.failures,
            eject,
            eject_max: millis(config.eject_max.0).max(eject),
            percentage: u64::from(config.failure_percentage),
            minimum: u64::from(config.minimum_calls),
            window: millis(config.window.0),
        }
    }

    /// Whether the share of failed calls counts at all.
    pub(super) fn counts_calls(&self) -> bool {
        self.percentage > 0
    }
}

impl Ejector {
    /// The ejection that is in force.
    pub(super) fn ejection(&self, now: u64) -> Option<Ejection> {
        self.out.filter(|out| now < out.until)
    }

    /// Whether a success would be news.
    pub(super) fn is_troubled(&self) -> bool {
        self.in_a_row > 0 || self.out.is_some()
    }

    /// An answer came. `true` where it shows that an ejection is over: that for no answer ends with it, that for the
    /// share has to run its time.
    pub(super) fn answered(&mut self, now: u64) -> bool {
        self.in_a_row = 0;
        let Some(out) = self.out else { return false };
        if out.cause == Cause::Share && now < out.until {
            return false;
        }
        self.back = out.until.min(now);
        self.out = None;
        true
    }

    /// A call failed, the one that is number `calls` of all; `unanswered` where no answer's head came. What it calls for,
    /// if anything.
    pub(super) fn failed(&mut self, policy: &Policy, now: u64, calls: u64, unanswered: bool) -> Option<Cause> {
        if unanswered {
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        let share = policy.counts_calls() && self.share_is_too_large(policy, now, calls);
        if self.ejection(now).is_some() {
            // It is out already, and those who try it nevertheless do not make that longer.
            return None;
        }
        if unanswered && policy.failures > 0 && self.in_a_row >= policy.failures {
            return Some(Cause::InARow);
        }
        share.then_some(Cause::Share)
    }

    fn share_is_too_large(&mut self, policy: &Policy, now: u64, calls: u64) -> bool {
        let over = |window: &Window| now.saturating_sub(window.began) >= policy.window;
        let mut window = self.window.filter(|window| !over(window)).unwrap_or(Window {
            began: now,
            calls: calls.saturating_sub(1),
            failed: 0,
        });
        window.failed += 1;
        self.window = Some(window);
        // A failure after its answer's head belongs to a call that an earlier window may have counted.
        let calls = calls.saturating_sub(window.calls).max(window.failed);
        calls >= policy.minimum && window.failed * 100 >= policy.percentage * calls
    }

    /// Leaves it out.
    pub(super) fn eject(&mut self, policy: &Policy, now: u64, cause: Cause) -> Ejection {
        let back = self.out.map_or(self.back, |out| out.until.min(now));
        let made_up = now.saturating_sub(back).checked_div(policy.eject).unwrap_or(0);
        self.repeat = self.repeat.saturating_sub(u32::try_from(made_up).unwrap_or(u32::MAX)).saturating_add(1);
        let time = policy.eject.saturating_mul(u64::from(self.repeat)).min(policy.eject_max).max(1);
        let ejection = Ejection { cause, since: now, until: now.saturating_add(time), repeat: self.repeat };
        self.out = Some(ejection);
        self.window = None;
        ejection
    }

    /// A health check has seen it mended: what it did before does not count any more, but for its share of failed calls,
    /// which a check cannot judge.
    pub(super) fn mended(&mut self, now: u64) {
        self.in_a_row = 0;
        if self.ejection(now).is_none_or(|out| out.cause == Cause::InARow) {
            *self = Self::default();
        }
    }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Period;

    fn policy() -> Policy {
        Policy::new(&HealthConfig {
            failures: 3,
            eject: Period::millis(100),
            eject_max: Period::millis(250),
            failure_percentage: 50,
            minimum_calls: 4,
            window: Period::millis(1000),
            ..HealthConfig::default()
        })
    }

    /// Fails until it is out.
    fn eject(ejector: &mut Ejector, now: u64) -> Ejection {
        let cause = (0..3).find_map(|_| ejector.failed(&policy(), now, 0, true)).unwrap();
        ejector.eject(&policy(), now, cause)
    }

    #[test]
    fn each_time_out_is_longer_and_service_makes_up_for_it() {
        let mut ejector = Ejector::default();
        let first = eject(&mut ejector, 0);
        assert_eq!((first.cause, first.until, first.repeat), (Cause::InARow, 100, 1));
        assert_eq!(ejector.failed(&policy(), 50, 0, true), None, "it is out already");
        assert_eq!(ejector.failed(&policy(), 100, 0, true), Some(Cause::InARow), "still failing: out again at once");
        assert_eq!(ejector.eject(&policy(), 100, Cause::InARow).until, 300);
        let third = eject(&mut ejector, 300);
        assert_eq!((third.until, third.repeat), (550, 3), "eject_max");
        assert!(ejector.answered(560), "it is back, since 550");
        assert!(!ejector.is_troubled());
        assert_eq!(eject(&mut ejector, 760).repeat, 2, "two times `eject` in service");
        assert!(ejector.answered(770), "an answer ends it before its time");
        assert_eq!(eject(&mut ejector, 10_000).repeat, 1);
    }

    #[test]
    fn an_ejection_for_the_share_runs_its_time() {
        let mut ejector = Ejector::default();
        let causes: Vec<_> = (1..=4).map(|call| ejector.failed(&policy(), 0, call, false)).collect();
        assert_eq!(causes, [None, None, None, Some(Cause::Share)], "minimum_calls");
        assert_eq!(ejector.eject(&policy(), 0, Cause::Share).until, 100);
        assert!(!ejector.answered(99));
        assert!(ejector.ejection(99).is_some());
        ejector.mended(99);
        assert!(ejector.ejection(99).is_some(), "a check cannot judge it");
        assert!(ejector.answered(100));
        assert_eq!(ejector.failed(&policy(), 101, 5, false), None, "a window of its own");
    }

    #[test]
    fn a_check_that_passes_again_wipes_the_slate() {
        let mut ejector = Ejector::default();
        eject(&mut ejector, 0);
        ejector.mended(10);
        assert_eq!(ejector, Ejector::default());
    }

    /// The same, kept as a list of everything that happened.
    #[derive(Default)]
    struct Naive {
        /// Since the window began: whether each call failed.
        window: Option<(u64, Vec<bool>)>,
        silent: u32,
        out: Option<(u64, Cause)>,
        repeat: u64,
        back: u64,
    }

    impl Naive {
        fn step(&mut self, now: u64, call: Call) -> Option<u64> {
            let (window_length, percentage, minimum, row) = (1000, 50, 4, 3);
            let out = self.out.filter(|(until, _)| now < *until);
            let failed = call != Call::Answered;
            if !failed {
                self.silent = 0;
                if let Some((until, cause)) = self.out
                    && (now >= until || cause == Cause::InARow)
                {
                    (self.back, self.out) = (until.min(now), None);
                }
                if let Some((_, calls)) = &mut self.window {
                    calls.push(false);
                }
                return None;
            }
            self.silent += u32::from(call == Call::Unanswered);
            if self.window.as_ref().is_none_or(|(began, _)| now - began >= window_length) {
                self.window = Some((now, Vec::new()));
            }
            let calls = &mut self.window.as_mut().unwrap().1;
            calls.push(true);
            let bad = calls.iter().filter(|failed| **failed).count();
            let share = calls.len() >= minimum && bad * 100 >= percentage * calls.len();
            let cause = match call {
                _ if out.is_some() => return None,
                Call::Unanswered if self.silent >= row => Cause::InARow,
                _ if share => Cause::Share,
                _ => return None,
            };
            let back = self.out.map_or(self.back, |(until, _)| until);
            self.repeat = self.repeat.saturating_sub((now - back) / 100) + 1;
            let until = now + (self.repeat * 100).min(250);
            (self.out, self.window) = (Some((until, cause)), None);
            Some(until)
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Call {
        Answered,
        Failed,
        Unanswered,
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_everything_that_happened(
            calls in prop::collection::vec(
                (0_u64..120, prop_oneof![Just(Call::Answered), Just(Call::Failed), Just(Call::Unanswered)]),
                0..200,
            ),
        ) {
            let (mut naive, mut ejector, policy) = (Naive::default(), Ejector::default(), policy());
            let mut now = 0;
            for (number, (pause, call)) in (1..).zip(calls) {
                now += pause;
                let wanted = naive.step(now, call);
                let got = match call {
                    Call::Answered => {
                        ejector.answered(now);
                        None
                    }
                    call => ejector.failed(&policy, now, number, call == Call::Unanswered)
                        .map(|cause| ejector.eject(&policy, now, cause).until),
                };
                prop_assert_eq!(got, wanted);
                prop_assert_eq!(ejector.ejection(now).map(|out| out.until), naive.out.map(|out| out.0).filter(|until| now < *until));
            }
        }
    }
}
