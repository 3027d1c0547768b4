//! Moments as people write them on the command line.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::units::Period;

/// `2026-11-20T17:00:00Z`, a day in UTC, or how long ago.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    if let Ok(day) = text.parse::<Date>()
        && let Ok(midnight) = day.to_zoned(TimeZone::UTC)
    {
        return Ok(midnight.timestamp().into());
    }
    let ago = text.parse::<Period>().ok().and_then(|Period(ago)| SystemTime::now().checked_sub(ago));
    ago.ok_or_else(|| "write 2026-11-20T17:00:00Z, 2026-11-20, or how long ago, such as 2h".to_owned())
}
