//! Small protobuf messages that are at hand whole: written field by field, and read field by field.
//!
//! For questions of our own, such as health checks. What comes back is a stranger's: reading ends, without an error, where
//! it cannot go on, and copies nothing.

/// Wire types that occur in what is asked.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Value<'a> {
    /// An integer, a bool, an enum's number.
    Varint(u64),
    /// A string, bytes, or a message.
    Bytes(&'a [u8]),
    /// Of a fixed width; nothing that is asked has one.
    Fixed,
}

/// A string field; absent where empty, as proto3 has it. `number` below 16.
pub(in crate::protocol) fn text(number: u8, text: &str, message: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    message.push(number << 3 | 2);
    let mut length = text.len();
    while length > 0x7f {
        message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    message.push(u8::try_from(length).unwrap_or(0));
    message.extend_from_slice(text.as_bytes());
}

/// The fields of a message, in order, up to where it can be read.
pub(in crate::protocol) fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            VARINT => Value::Varint(varint(&mut rest)?),
            BYTES => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            FIXED64 => take(&mut rest, 8).map(|_| Value::Fixed)?,
            FIXED32 => take(&mut rest, 4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let long = "v".repeat(300);
        let mut message = Vec::new();
        text(1, "fraud", &mut message);
        text(2, "", &mut message);
        text(3, &long, &mut message);
        let read: Vec<_> = fields(&message).collect();
        assert_eq!(read, [(1, Value::Bytes(b"fraud")), (3, Value::Bytes(long.as_bytes()))]);
        assert_eq!(
            fields(&[0x08, 0x01, 0x10, 0x96, 0x01]).collect::<Vec<_>>(),
            [(1, Value::Varint(1)), (2, Value::Varint(150))]
        );
        assert_eq!(fields(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0, 0, 0, 0]).count(), 2);
        for broken in [&[0x0a, 0xff][..], &[0x0a, 5, b'a'], &[0x0b], &[0xff; 12], &[0x09, 1]] {
            assert_eq!(fields(broken).count(), 0, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn a_strangers_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
