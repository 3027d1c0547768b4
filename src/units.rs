//! Durations and byte sizes as people write them in the configuration: `250ms`, `64KiB`.
//!
//! A leaf that every section's `Config` may use. It does not know any key or default.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time in the configuration, such as `1s`, `250ms` or `2m`. Zero is written `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A count of bytes in the configuration, such as `64KiB`, `1GiB` or `512` (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const PERIOD_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Period {
    /// A period of whole milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A period of whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The period, or `None` where it is zero: zero switches a limit off.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text);
        let scale = PERIOD_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        match (number.parse::<u64>(), scale) {
            (Ok(number), Some(scale)) => {
                number.checked_mul(scale).map(Self::millis).ok_or_else(|| format!("'{text}' is too long a time"))
            }
            _ => Err(format!("'{text}' is no duration: write a whole number and one of ms, s, m, h, d, such as 250ms")),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text);
        let unit = if unit.is_empty() { "B" } else { unit };
        let scale = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        match (number.parse::<u64>(), scale) {
            (Ok(number), Some(scale)) => {
                number.checked_mul(scale).map(Self).ok_or_else(|| format!("'{text}' is too large a size"))
            }
            _ => Err(format!("'{text}' is no size: write a whole number and one of B, KiB, MiB, GiB, such as 64KiB")),
        }
    }
}

fn split(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        let unit = PERIOD_UNITS.iter().rev().find(|(_, scale)| millis.is_multiple_of(*scale));
        let (name, scale) = unit.copied().unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / scale)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS.iter().find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale));
        let (name, scale) = unit.copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / scale)
    }
}

/// What a YAML scalar may be here: text with a unit, or a bare number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Number(bytes) => Ok(Self(bytes)),
            Scalar::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0s", "250ms", "1s", "90s", "2m", "1h", "7d"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for text in ["512B", "64KiB", "3MiB", "2GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Period>().unwrap(), "1m".parse().unwrap());
    }

    #[test]
    fn nonsense_names_the_mend() {
        assert!("5".parse::<Period>().unwrap_err().contains("such as 250ms"));
        assert!("-1s".parse::<Period>().is_err());
        assert!("5KB".parse::<Size>().unwrap_err().contains("KiB"));
        assert!("99999999999999999GiB".parse::<Size>().is_err());
    }
}
