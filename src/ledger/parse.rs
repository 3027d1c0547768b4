//! Entries as readers see them: a typed view over the bytes, of any schema version.
//!
//! Members that this version does not know are passed over, and members that another version left out are absent,
//! so that old ledgers stay readable for ever and newer ones as far as they go. The bytes remain the evidence.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;

/// An entry of any kind. Members that its kind does not have are `None`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Entry<'a> {
    /// Schema version.
    pub v: u32,
    /// `prediction`, `begin`, `lineage`, `lifecycle`, `gap`, or what a later version adds.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// RFC 3339, UTC, six decimals.
    #[serde(borrow)]
    pub time: Text<'a>,
    /// The prediction's id, a UUID.
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    /// Microseconds.
    pub duration_us: Option<u64>,
    /// Which deployment wrote it.
    #[serde(borrow, default)]
    pub deployment: Option<Text<'a>>,
    /// Which running copy of it.
    #[serde(borrow, default)]
    pub instance: Option<Text<'a>>,
    /// The backend's name.
    #[serde(borrow, default)]
    pub backend: Option<Text<'a>>,
    /// The serving protocol's label.
    #[serde(borrow, default)]
    pub protocol: Option<Text<'a>>,
    /// The route's template.
    #[serde(borrow, default)]
    pub route: Option<Text<'a>>,
    /// The model's name in the lineage, or as the call stated it.
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    /// The model's version in the lineage.
    #[serde(borrow, default)]
    pub version: Option<Text<'a>>,
    /// Where the version came from.
    #[serde(borrow, default)]
    pub version_source: Option<Text<'a>>,
    /// The version that the call asked for.
    #[serde(borrow, default)]
    pub requested_version: Option<Text<'a>>,
    /// The version that the answer named.
    #[serde(borrow, default)]
    pub observed_version: Option<Text<'a>>,
    /// Training datasets, `[NAMESPACE/]NAME@VERSION`.
    #[serde(borrow, default)]
    pub datasets: Option<Vec<Text<'a>>>,
    /// The lineage document's digest in hexadecimal.
    #[serde(borrow, default)]
    pub lineage: Option<Text<'a>>,
    /// The request's body.
    #[serde(borrow, default)]
    pub input: Option<Body<'a>>,
    /// The answer's body.
    #[serde(borrow, default)]
    pub output: Option<Body<'a>>,
    /// The configured pointer's value.
    #[serde(borrow, default)]
    pub decision: Option<Text<'a>>,
    /// How it ended.
    #[serde(borrow, default)]
    pub outcome: Option<Text<'a>>,
    /// W3C trace id in hexadecimal.
    #[serde(borrow, default)]
    pub trace: Option<Text<'a>>,
    /// Span id in hexadecimal.
    #[serde(borrow, default)]
    pub span: Option<Text<'a>>,
    /// What the caller sent as `X-Lineage-Trace-Id`.
    #[serde(borrow, default)]
    pub parent: Option<Text<'a>>,
    /// What the caller sent as `X-Request-Id`.
    #[serde(borrow, default)]
    pub client_request_id: Option<Text<'a>>,
    /// A `lineage` entry's digest in hexadecimal.
    #[serde(borrow, default)]
    pub digest: Option<Text<'a>>,
    /// A `lineage` entry's document, verbatim.
    #[serde(borrow, default)]
    pub document: Option<&'a serde_json::value::RawValue>,
    /// A `lifecycle` entry's event.
    #[serde(borrow, default)]
    pub event: Option<Text<'a>>,
    /// A `lifecycle` entry's detail, verbatim.
    #[serde(borrow, default)]
    pub detail: Option<&'a serde_json::value::RawValue>,
    /// A `gap` entry's first time.
    #[serde(borrow, default)]
    pub from: Option<Text<'a>>,
    /// A `gap` entry's last time.
    #[serde(borrow, default)]
    pub to: Option<Text<'a>>,
    /// How many predictions a `gap` covers.
    pub count: Option<u64>,
    /// Why a `gap`'s predictions have no entry.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
    /// Whether something was cut.
    #[serde(default)]
    pub truncated: bool,
}

/// A string that is borrowed from the entry unless it holds an escape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// A body in an entry.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Body<'a> {
    /// HTTP status, of an output.
    pub status: Option<u16>,
    /// Bytes that passed.
    pub bytes: u64,
    /// The hash's algorithm.
    #[serde(borrow, default)]
    pub alg: Option<Text<'a>>,
    /// The hash in hexadecimal.
    #[serde(borrow, default)]
    pub hash: Option<Text<'a>>,
    /// `Content-Type`, of an input.
    #[serde(borrow, default, rename = "type")]
    pub media_type: Option<Text<'a>>,
    /// `grpc-status`, of an output.
    pub grpc_status: Option<u16>,
    /// gRPC messages.
    pub messages: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Reads an entry's bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The entry's time in microseconds since 1970; `None` where it is no time.
    pub fn time_us(&self) -> Option<i64> {
        self.time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
    }
}

/// Reads `N` bytes of hexadecimal; `None` where it is anything else.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    // Judged once at the end: a bad digit has a bit above the lower four.
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        all |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (all <= 0x0f).then_some(bytes)
}

/// The value of each hexadecimal digit, of either case; `0xff` for every other byte.
const DIGITS: [u8; 256] = digit_table();

const fn digit_table() -> [u8; 256] {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value as usize] as usize] = value;
        table[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    table
}
