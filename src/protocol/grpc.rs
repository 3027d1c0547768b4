//! gRPC over HTTP/2 as a proxy sees it: message framing, deadlines, statuses.
//!
//! Source: `PROTOCOL-HTTP2.md` of the gRPC project. Messages are not decompressed and never held; HTTP/2 itself is
//! hyper's.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// A message's prefix: one byte that says whether it is compressed, four of its length, big-endian.
const PREFIX_BYTES: usize = 5;

/// The most bytes of a `grpc-message` before encoding; what is longer is cut.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// The most digits of a `grpc-timeout`.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// What `grpc-message` cannot hold as it is: all but %x20-24 and %x26-7E.
const MESSAGE_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Takes a gRPC body apart into its messages, in whatever pieces it comes. A few bytes of state; lengths are
/// believed, not allocated.
#[derive(Debug, Default)]
pub struct Deframer {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix seen; all of them while the message's bytes pass.
    prefix_len: usize,
    /// Bytes of the message still to come.
    left: u32,
    messages: u64,
}

/// A part of a body.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// A message's prefix ended.
    Start {
        /// Whether the message is compressed.
        compressed: bool,
    },
    /// Bytes of the message; not empty.
    Bytes(&'a [u8]),
    /// The message ended.
    End,
}

impl Deframer {
    /// Takes the body's next bytes and hands on those of messages, without the prefixes, in order.
    pub fn feed(&mut self, chunk: &[u8], mut payload: impl FnMut(&[u8])) {
        self.pieces(chunk, |piece| {
            if let Piece::Bytes(bytes) = piece {
                payload(bytes);
            }
        });
    }

    /// Messages that ended.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the body may end here: no message is open.
    pub fn at_boundary(&self) -> bool {
        self.prefix_len == 0
    }

    /// Takes the body's next bytes and hands on what they mean.
    pub(super) fn pieces(&mut self, mut chunk: &[u8], mut on: impl FnMut(Piece<'_>)) {
        while !chunk.is_empty() {
            if self.prefix_len < PREFIX_BYTES {
                let taken = chunk.len().min(PREFIX_BYTES - self.prefix_len);
                self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&chunk[..taken]);
                self.prefix_len += taken;
                chunk = &chunk[taken..];
                if self.prefix_len < PREFIX_BYTES {
                    return;
                }
                let [flag, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length);
                on(Piece::Start { compressed: flag != 0 });
            } else {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
                on(Piece::Bytes(&chunk[..taken]));
                self.left = self.left.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                chunk = &chunk[taken..];
            }
            if self.left == 0 {
                self.prefix_len = 0;
                self.messages += 1;
                on(Piece::End);
            }
        }
    }
}

/// Whether a message's `content-type` is `application/grpc`, with or without a suffix such as `+proto`. gRPC-Web is
/// another protocol.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let media_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match media_type.split_at_checked(GRPC.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        }
        None => false,
    }
}

/// The caller's deadline, from the value of `grpc-timeout`; `None` where it is malformed.
pub fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_hours(amount)),
        b'M' => Some(Duration::from_mins(amount)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// The value of `grpc-message` for a text, percent-encoded, cut at [`MESSAGE_BYTES_MAX`].
pub fn percent_encode_message(text: &str) -> HeaderValue {
    let text = &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)];
    let mut encoded = String::with_capacity(text.len());
    // Writing into a string cannot fail, and what is encoded is visible ASCII.
    let _ = write!(encoded, "{}", utf8_percent_encode(text, MESSAGE_ENCODED));
    HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
}

/// The `grpc-status` of trailers, or of the head where there are only trailers; `None` where there is none or it is
/// no number.
pub fn parse_status(trailers: &HeaderMap) -> Option<u16> {
    trailers.get("grpc-status")?.to_str().ok()?.trim().parse().ok()
}

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// The caller went.
    Cancelled = 1,
    /// Nobody knows.
    Unknown = 2,
    /// The request is wrong.
    InvalidArgument = 3,
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// No such thing.
    NotFound = 5,
    /// It exists already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Over a limit.
    ResourceExhausted = 8,
    /// Not in the state for it.
    FailedPrecondition = 9,
    /// Aborted, perhaps by concurrency.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// No such method.
    Unimplemented = 12,
    /// A fault inside.
    Internal = 13,
    /// Not now; may be tried again.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// Nobody says who the caller is.
    Unauthenticated = 16,
}

impl Status {
    /// The number in `grpc-status`.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The value of `grpc-status`.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut framed = vec![flag];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        framed
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            sizes in prop::collection::vec(1_usize..20, 1..10),
            cut in 0_usize..6,
        ) {
            let body: Vec<u8> = messages.iter().flat_map(|message| frame(0, message)).collect();
            let body = &body[..body.len().saturating_sub(cut)];
            let (mut deframer, mut payload, mut rest) = (Deframer::default(), Vec::new(), body);
            for size in sizes.iter().cycle() {
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                deframer.feed(chunk, |bytes| payload.extend_from_slice(bytes));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let (naive_payload, naive_messages, whole) = naive(body);
            prop_assert_eq!(payload, naive_payload);
            prop_assert_eq!(deframer.messages(), naive_messages);
            prop_assert_eq!(deframer.at_boundary(), whole);
        }
    }

    /// The payload, the complete messages, and whether nothing is left over.
    fn naive(mut body: &[u8]) -> (Vec<u8>, u64, bool) {
        let (mut payload, mut messages) = (Vec::new(), 0);
        while body.len() >= PREFIX_BYTES {
            let length = u32::from_be_bytes(body[1..PREFIX_BYTES].try_into().unwrap()) as usize;
            let end = (PREFIX_BYTES + length).min(body.len());
            payload.extend_from_slice(&body[PREFIX_BYTES..end]);
            if end < PREFIX_BYTES + length {
                return (payload, messages, false);
            }
            messages += 1;
            body = &body[end..];
        }
        (payload, messages, body.is_empty())
    }

    #[test]
    fn a_huge_claimed_length_is_only_counted() {
        let mut deframer = Deframer::default();
        deframer.feed(b"\x00\xff\xff\xff\xffabc", |bytes| assert_eq!(bytes, b"abc"));
        assert_eq!((deframer.messages(), deframer.at_boundary()), (0, false));
    }

    #[test]
    fn content_types() {
        for (value, expected) in [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts() {
        let parse = |text: &str| parse_timeout(&HeaderValue::from_str(text).unwrap());
        assert_eq!(parse("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(parse("2M"), Some(Duration::from_mins(2)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("7u"), Some(Duration::from_micros(7)));
        assert_eq!(parse("9n"), Some(Duration::from_nanos(9)));
        for wrong in ["", "S", "5", "123456789S", "-1S", "1.5S", "1s", " 1S"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn messages_are_encoded() {
        assert_eq!(percent_encode_message("model 'a' is 100% busy\n"), "model 'a' is 100%25 busy%0A");
        assert_eq!(percent_encode_message("ü~"), "%C3%BC~");
        assert!(percent_encode_message(&"ü".repeat(4096)).len() <= 3 * MESSAGE_BYTES_MAX);
    }

    #[test]
    fn statuses() {
        assert_eq!(Status::Unavailable.header(), "14");
        assert_eq!(Status::Unauthenticated.code(), 16);
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), Status::Internal.header())]);
        assert_eq!(parse_status(&trailers), Some(13));
        assert_eq!(parse_status(&HeaderMap::new()), None);
    }
}
