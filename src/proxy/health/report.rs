//! A backend's health as on-call reads it.

use std::time::{Duration, Instant, SystemTime};

use super::{Health, VersionsReport};

/// Everything that is known of one backend's health.
#[derive(Clone, Debug)]
pub struct HealthReport {
    /// Why it is left out; `None` where it takes calls.
    pub out: Option<String>,
    /// The ejection in force, for what its calls tell.
    pub ejection: Option<EjectionReport>,
    /// What checks found, where it is asked.
    pub check: CheckReport,
    /// What it says that it serves, and when it said so.
    pub served: Option<(SystemTime, VersionsReport)>,
}

/// A time out.
#[derive(Clone, Debug)]
pub struct EjectionReport {
    /// Why.
    pub cause: &'static str,
    /// Since when.
    pub since: SystemTime,
    /// How much of it is left.
    pub left: Duration,
    /// Which one in a row it is.
    pub repeat: u32,
}

/// What checks found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// How it is asked, once that is known.
    pub way: Option<&'static str>,
    /// The verdict; `None` before the first check.
    pub healthy: Option<bool>,
    /// Since when the verdict is that.
    pub since: Option<SystemTime>,
    /// When it was last asked.
    pub last: Option<SystemTime>,
    /// Why the last check failed.
    pub failure: Option<String>,
}

impl Health {
    /// What is known now.
    pub fn report(&self, now: Instant) -> HealthReport {
        let (state, at) = (&self.state, self.state.millis(now));
        let checked = state.checked().clone();
        let healthy = self.verdict();
        let ejection = state.passive().ejection(at).map(|out| EjectionReport {
            cause: out.cause.as_str(),
            since: before(Duration::from_millis(at.saturating_sub(out.since))),
            left: Duration::from_millis(out.until.saturating_sub(at)),
            repeat: out.repeat,
        });
        let failed = (healthy == Some(false))
            .then(|| format!("its health check fails: {}", checked.failure.as_deref().unwrap_or("it recovers")));
        HealthReport {
            out: failed.or_else(|| ejection.as_ref().map(|ejection| ejection.cause.to_owned())),
            ejection,
            check: CheckReport {
                way: checked.way,
                healthy,
                since: checked.since,
                last: checked.last,
                failure: checked.failure,
            },
            served: checked.served.map(|served| (served.time, served.report)),
        }
    }
}

/// So long ago, by the wall clock.
fn before(time: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(time).unwrap_or(now)
}
