//! Reads the times of entries: those of one hour are mostly alike.
//!
//! It does not say whether a time is plausible.

/// Bytes of `2026-11-20T17` in a time.
const HOUR_BYTES: usize = 13;
/// The form in which entries are written.
const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

/// Reads times, one after another.
#[derive(Debug, Default)]
pub(crate) struct TimeReader {
    /// The hour of the last one, as it is written, and where it begins, in microseconds.
    hour: [u8; HOUR_BYTES],
    begins: i64,
}

impl TimeReader {
    /// Microseconds since 1970; an error that quotes what is no time.
    pub(crate) fn micros(&mut self, time: &str) -> Result<i64, String> {
        let Some((hour, within)) = plain(time.as_bytes()) else { return micros(time) };
        if self.hour != *hour {
            self.begins = micros(time)? - within;
            self.hour = *hour;
        }
        Ok(self.begins + within)
    }
}

/// Microseconds since 1970.
pub(crate) fn micros(time: &str) -> Result<i64, String> {
    let parsed = time.parse::<jiff::Timestamp>().map_err(|_| format!("{time:?} is no time"))?;
    Ok(parsed.as_microsecond())
}

/// The hour, and the microseconds within it, of a time in the form in which entries are written.
fn plain(time: &[u8]) -> Option<(&[u8; HOUR_BYTES], i64)> {
    let time: &[u8; FORM.len()] = time.try_into().ok()?;
    // Judged once at the end, which is quicker than byte by byte.
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    let all = time.iter().zip(FORM).fold(true, |all, pair| all & fits(pair));
    // A leap second is for the library.
    if !all || time[14] >= b'6' || time[17] >= b'6' {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let seconds = number(&time[14..16]) * 60 + number(&time[17..19]);
    Some((time.first_chunk()?, seconds * 1_000_000 + number(&time[20..26])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_time_is_told() {
        for odd in
            ["", "t", "2026-13-20T17:29:01.123456Z", "2026-11-20T25:29:01.123456Z", "2026-11-20T17:61:01.123456Z"]
        {
            let mut reader = TimeReader::default();
            for _ in 0..2 {
                assert!(reader.micros(odd).is_err(), "{odd}");
            }
        }
    }

    proptest! {
        #[test]
        fn reads_what_the_library_reads(times in prop::collection::vec((0_i64..9, 0_i64..90_000_000_000), 1..20)) {
            let mut reader = TimeReader::default();
            for (days, within) in times {
                let time = jiff::Timestamp::from_microsecond(1_790_000_000_000_000 + days * 86_400_000_000 + within).unwrap();
                for text in [format!("{time:.6}"), time.to_string(), time.to_string().replace('Z', "+00:00")] {
                    prop_assert_eq!(reader.micros(&text), micros(&text), "{}", text);
                }
            }
        }
    }
}
