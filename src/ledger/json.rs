//! The few JSON pieces that entries are made of, appended to a reused buffer without allocating.
//!
//! Entries are written by hand, since their bytes are evidence and stand on every request's way: a serialiser's
//! choices (key order, float form, escapes) must not be able to change under us. Reading them back is serde's.
//! No files, no clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::sha256;

/// What stands at the end of a text that was cut.
const ELLIPSIS: &str = "…";
const SECONDS_A_DAY: u64 = 86_400;
/// 9999-12-31: the last day that four year digits can say.
const LAST_DAY: u64 = 2_932_896;

const DIGITS: [[u8; 2]; 100] = digit_table();
/// For each byte: 0 = stands for itself, `u` = as `\u00XX`, else the letter after the backslash.
const ESCAPES: [u8; 256] = escape_table();

const fn digit_table() -> [[u8; 2]; 100] {
    let digits = b"0123456789";
    let mut table = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        table[at] = [digits[at / 10], digits[at % 10]];
        at += 1;
    }
    table
}

const fn escape_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 0x20 {
        table[at] = b'u';
        at += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

/// Lower-case hexadecimal, without quotes.
pub(super) fn hex<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    out.extend_from_slice(sha256::hex_digits(bytes).as_flattened());
}

/// A UUID with its hyphens, without quotes.
pub(super) fn uuid(out: &mut Vec<u8>, id: uuid::Uuid) {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
}

/// A whole number.
pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    while value >= 100 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&two_digits(value % 100));
        value /= 100;
    }
    at -= 2;
    text[at..at + 2].copy_from_slice(&two_digits(value));
    if value < 10 {
        at += 1;
    }
    out.extend_from_slice(&text[at..]);
}

/// A string with its quotes.
pub(super) fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

/// A string with its quotes, at most `limit` bytes between them once escaped; true where it had to be cut.
pub(super) fn text_cut(out: &mut Vec<u8>, value: &str, limit: usize) -> bool {
    // Nearly every text is short and has nothing to escape.
    if value.len() <= limit && is_plain(value.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return false;
    }
    if escaped_len(value) <= limit {
        text(out, value);
        return false;
    }
    let mut left = limit - ELLIPSIS.len();
    let mut end = 0;
    for (at, char) in value.char_indices() {
        let next = at + char.len_utf8();
        let cost = escaped_len(&value[at..next]);
        if cost > left {
            break;
        }
        left -= cost;
        end = next;
    }
    out.push(b'"');
    escaped(out, &value[..end]);
    out.extend_from_slice(ELLIPSIS.as_bytes());
    out.push(b'"');
    true
}

/// How many bytes a string takes once escaped, without quotes.
pub(super) fn escaped_len(value: &str) -> usize {
    let extra = |byte: u8| match ESCAPES[usize::from(byte)] {
        0 => 0,
        b'u' => 5,
        _ => 1,
    };
    value.len() + value.bytes().map(extra).sum::<usize>()
}

/// Whether every byte stands for itself, looked at eight at a time.
fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|byte| ESCAPES[usize::from(*byte)] == 0);
    };
    // The last eight may overlap the ones before: looking twice is cheaper than looking singly.
    bytes.as_chunks::<8>().0.iter().chain([last]).all(|chunk| !has_escape(u64::from_le_bytes(*chunk)))
}

/// Whether one of eight bytes is a control character, a quote or a backslash.
const fn has_escape(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const fn zero_in(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero_in(word ^ (ONES * b'"' as u64));
    let backslash = zero_in(word ^ (ONES * b'\\' as u64));
    (control | quote | backslash) & HIGHS != 0
}

fn escaped(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            out.extend_from_slice(b"00");
            hex(out, &[*byte]);
        }
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Writes RFC 3339 times with six decimals, and remembers the day's date: it changes once in 86,400 seconds.
#[derive(Debug)]
pub(super) struct Clock {
    day: u64,
    date: [u8; 11],
}

impl Default for Clock {
    fn default() -> Self {
        Self { day: 0, date: *b"1970-01-01T" }
    }
}

impl Clock {
    /// A time with its quotes, as `"2026-11-20T17:29:01.123456Z"`. Times before 1970 are written as its start.
    pub(super) fn time(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (day, second) = (since.as_secs() / SECONDS_A_DAY, since.as_secs() % SECONDS_A_DAY);
        if day != self.day {
            self.day = day;
            self.date = date(day.min(LAST_DAY));
        }
        let mut text = *b"\"0000-00-00T00:00:00.000000Z\"";
        text[1..12].copy_from_slice(&self.date);
        let micros = u64::from(since.subsec_micros());
        let parts = [
            (12, second / 3600),
            (15, second / 60 % 60),
            (18, second % 60),
            (21, micros / 10_000),
            (23, micros / 100 % 100),
            (25, micros % 100),
        ];
        for (at, value) in parts {
            text[at..at + 2].copy_from_slice(&two_digits(value));
        }
        out.extend_from_slice(&text);
    }
}

/// Days since 1970-01-01 as a date of the proleptic Gregorian calendar, counted from 0000-03-01 so that the leap
/// day is a year's last.
fn date(day: u64) -> [u8; 11] {
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year_of_era, month + 3) } else { (year_of_era + 1, month - 9) };
    let year = year + era * 400;
    let mut text = *b"0000-00-00T";
    for (at, value) in [(0, year / 100), (2, year % 100), (5, month), (8, day_of_month)] {
        text[at..at + 2].copy_from_slice(&two_digits(value));
    }
    text
}

fn two_digits(value: u64) -> [u8; 2] {
    usize::try_from(value).ok().and_then(|value| DIGITS.get(value)).copied().unwrap_or(*b"99")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_have_six_decimals() {
        let mut clock = Clock::default();
        let time = UNIX_EPOCH + Duration::from_micros(1_795_195_741_123_456);
        assert_eq!(written(|out| clock.time(out, time)), "\"2026-11-20T17:29:01.123456Z\"");
        assert_eq!(written(|out| clock.time(out, UNIX_EPOCH)), "\"1970-01-01T00:00:00.000000Z\"");
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(written(|out| clock.time(out, before)), "\"1970-01-01T00:00:00.000000Z\"");
    }

    #[test]
    fn a_text_is_cut_on_a_char_boundary() {
        assert_eq!(written(|out| assert!(!text_cut(out, "abcdef", 6))), "\"abcdef\"");
        assert_eq!(written(|out| assert!(text_cut(out, "abcdefg", 6))), "\"abc…\"");
        assert_eq!(written(|out| assert!(text_cut(out, "aöööö", 7))), "\"aö…\"");
        assert_eq!(written(|out| assert!(text_cut(out, "\"\"\"\"", 7))), "\"\\\"\\\"…\"");
    }

    proptest! {
        #[test]
        fn texts_are_what_serde_writes(value in "\\PC*|[\\x00-\\x7f]*") {
            let ours = written(|out| text(out, &value));
            prop_assert_eq!(is_plain(value.as_bytes()), ours.len() == value.len() + 2);
            prop_assert_eq!(&ours, &serde_json::to_string(&value).unwrap());
            prop_assert_eq!(ours.len(), escaped_len(&value) + 2);
        }

        #[test]
        fn a_cut_text_keeps_its_limit_and_reads_back(value in "\\PC*|[\\x00-\\x7f]*", limit in 3..80_usize) {
            let mut cut = false;
            let ours = written(|out| cut = text_cut(out, &value, limit));
            prop_assert!(ours.len() <= limit + 2);
            let read: String = serde_json::from_str(&ours).unwrap();
            prop_assert_eq!(cut, read != value);
            if cut {
                prop_assert!(value.starts_with(read.strip_suffix('…').unwrap()));
            }
        }

        #[test]
        fn numbers_and_dates_agree_with_others(value: u64, seconds in 0..253_402_300_800_u64) {
            prop_assert_eq!(written(|out| number(out, value)), value.to_string());
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let ours = written(|out| Clock::default().time(out, time));
            let theirs = jiff::Timestamp::try_from(time).unwrap();
            prop_assert_eq!(ours, format!("\"{}.000000Z\"", theirs.strftime("%Y-%m-%dT%H:%M:%S")));
        }
    }
}
