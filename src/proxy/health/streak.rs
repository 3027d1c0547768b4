//! Checks in a row: when their results change a verdict.

/// How many results in a row against a verdict turn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// Successes, for good.
    pub healthy: u32,
    /// Failures, for bad.
    pub unhealthy: u32,
}

/// A verdict, and the results in a row against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    verdict: Option<bool>,
    against: u32,
}

impl Streak {
    /// Goes on from a verdict.
    pub(super) const fn from(verdict: Option<bool>) -> Self {
        Self { verdict, against: 0 }
    }

    /// Notes a result. The verdict, where it is another now. Without a verdict the first result is it: a server that is
    /// being started is left out at once, and one that runs takes calls at once.
    pub(super) fn note(&mut self, good: bool, thresholds: Thresholds) -> Option<bool> {
        let wanted = if good { thresholds.healthy } else { thresholds.unhealthy };
        match self.verdict {
            Some(verdict) if verdict == good => {
                self.against = 0;
                return None;
            }
            Some(_) => self.against += 1,
            None => self.against = wanted,
        }
        if self.against < wanted {
            return None;
        }
        *self = Self::from(Some(good));
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_turns_after_results_in_a_row() {
        let thresholds = Thresholds { healthy: 2, unhealthy: 3 };
        let mut streak = Streak::default();
        let results = [
            (false, Some(false)),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
        ];
        for (at, (good, turned)) in results.into_iter().enumerate() {
            assert_eq!(streak.note(good, thresholds), turned, "result {at}");
        }
        assert_eq!(Streak::from(Some(true)).note(false, thresholds), None, "it goes on from what was known");
    }
}
