//! W3C Trace Context, level 1: which trace a request belongs to, and how the model server learns of it.
//!
//! `tracestate` is not parsed: it is passed on verbatim under a valid `traceparent` and dropped otherwise
//! (section 3.4 of the recommendation). Whether to sample is decided in [`super::sampling`].

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

use crate::sha256::hex_digits;

/// The header that names trace and parent span.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with vendors' own data; meaningless without the other.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Bytes of a version 00 `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
const TRACEPARENT_BYTES: usize = 55;
/// The bit of the flags that says "sampled".
const SAMPLED: u8 = 0x01;

/// One request's place in its trace, with the ids of the two spans that it gets here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace: the caller's, or a random one begun here.
    pub trace_id: [u8; 16],
    /// The caller's span; `None` where the trace begins here.
    pub parent_span: Option<[u8; 8]>,
    /// The SERVER span: the request as the caller sees it.
    pub server_span: [u8; 8],
    /// The CLIENT span: the leg to the model server.
    pub client_span: [u8; 8],
    /// The flag handed on; the spans are exported where it is set and an exporter is configured.
    pub sampled: bool,
}

impl TraceContext {
    /// The `traceparent` for the model server: version 00, the CLIENT span as parent, no flag but "sampled".
    #[expect(clippy::expect_used, reason = "lower-case hexadecimal and dashes are a header value")]
    pub fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(hex_digits(&self.trace_id).as_flattened());
        text[36..52].copy_from_slice(hex_digits(&self.client_span).as_flattened());
        text[54] = if self.sampled { b'1' } else { b'0' };
        HeaderValue::from_bytes(&text).expect("lower-case hexadecimal and dashes are a header value")
    }

    /// Writes the context into the model server's request headers: sets `traceparent`, and drops `tracestate` where
    /// the caller's `traceparent` was missing or bad.
    pub fn propagate(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent());
        if self.parent_span.is_none() {
            headers.remove(TRACESTATE);
        }
    }
}

/// What a valid `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) sampled: bool,
}

impl Parent {
    /// Reads the caller's `traceparent`; `None` where there is none, a bad one, or more than one.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
        let [version] = hex(&known[..2])?;
        // A later version may be longer, but only by further fields; 255 is forbidden.
        let fits = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !fits || known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        let (trace_id, span_id) = (hex(&known[3..35])?, hex(&known[36..52])?);
        let [flags] = hex(&known[53..55])?;
        let zero = trace_id == [0; 16] || span_id == [0; 8];
        (!zero).then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

/// A random id, never all zeros. The generator is this thread's own, so that nothing is locked.
pub(super) fn random_id<const N: usize>() -> [u8; N] {
    let mut generator = rand::rng();
    let mut id = [0; N];
    while id == [0; N] {
        generator.fill_bytes(&mut id);
    }
    id
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Upper case is not allowed (section 3.2.2).
fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parse(text: &str) -> Option<(bool, u8, u8)> {
        Parent::parse(text.as_bytes()).map(|parent| (parent.sampled, parent.trace_id[0], parent.span_id[7]))
    }

    #[test]
    fn the_recommendations_rules() {
        let good = Some((true, 0x4b, 0xb7));
        let unsampled = Some((false, 0x4b, 0xb7));
        let table = [
            (format!("00-{TRACE}-{SPAN}-01"), good),
            (format!("00-{TRACE}-{SPAN}-00"), unsampled),
            // Unknown flags are ignored.
            (format!("00-{TRACE}-{SPAN}-03"), good),
            (format!("00-{TRACE}-{SPAN}-fe"), unsampled),
            // A later version, as long or longer.
            (format!("01-{TRACE}-{SPAN}-01"), good),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), good),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("cc-{TRACE}-{SPAN}-011"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            // Version 00 is exactly that long.
            (format!("00-{TRACE}-{SPAN}-01-extra"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (String::new(), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            // All zeros.
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            // No hexadecimal, or not in lower case.
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
            (format!("0g-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-0x"), None),
            (format!("00-{TRACE}-{SPAN}-0A"), None),
            (format!("00-{}-{SPAN}-01", TRACE.replace('4', ".")), None),
            // Other delimiters.
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}_01"), None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(&text), expected, "{text}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let value: HeaderValue = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::read(&headers), None);
        headers.append(TRACEPARENT, value.clone());
        assert!(Parent::read(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::read(&headers), None);
    }

    fn context(parent_span: Option<[u8; 8]>) -> TraceContext {
        TraceContext {
            trace_id: random_id(),
            parent_span,
            server_span: random_id(),
            client_span: [0xab; 8],
            sampled: true,
        }
    }

    #[test]
    fn tracestate_follows_a_good_traceparent_alone() {
        for (parent, kept) in [(Some([1; 8]), true), (None, false)] {
            let mut headers = HeaderMap::new();
            headers.append(TRACESTATE, HeaderValue::from_static("a=1, b=2"));
            headers.append(TRACESTATE, HeaderValue::from_static("c=3"));
            headers.append(TRACEPARENT, HeaderValue::from_static("forged"));
            headers.append(TRACEPARENT, HeaderValue::from_static("twice"));
            let context = context(parent);
            context.propagate(&mut headers);
            assert_eq!(headers.get_all(TRACESTATE).iter().count(), if kept { 2 } else { 0 });
            assert_eq!(headers.get_all(TRACEPARENT).iter().collect::<Vec<_>>(), [&context.traceparent()]);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_parses(trace_id: [u8; 16], client_span: [u8; 8], sampled: bool) {
            prop_assume!(trace_id != [0; 16] && client_span != [0; 8]);
            let context = TraceContext { trace_id, parent_span: None, server_span: [1; 8], client_span, sampled };
            let parent = Parent::parse(context.traceparent().as_bytes());
            prop_assert_eq!(parent, Some(Parent { trace_id, span_id: client_span, sampled }));
        }

        #[test]
        fn nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Parent::parse(&text);
        }
    }
}
