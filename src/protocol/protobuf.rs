//! Finds a few string fields of a protobuf message while it passes by, without a schema.
//!
//! Fields that are not wanted are skipped by their wire type, so that a tensor of any size costs a subtraction.
//! Source: the protobuf encoding guide. Nothing is validated beyond what skipping needs; a message that cannot be
//! skipped through ends the search.

use super::found::{Found, Slot, Text};

/// A varint's bytes at most.
const VARINT_BYTES_MAX: u8 = 10;

/// The numbers of the wanted string fields; 0 is no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The message-typed field that holds the wanted ones; 0 where they stand at the top.
    pub(super) parent: u32,
    /// The model's name.
    pub(super) model: u32,
    /// The model's version.
    pub(super) version: u32,
}

/// Scans one message.
#[derive(Debug)]
pub(super) struct Scanner {
    fields: Fields,
    state: State,
    varint: u64,
    varint_len: u8,
    /// Bytes left of the parent field, once in it.
    left: Option<u64>,
    /// Open groups, a deprecated form of nesting; nothing in them is wanted.
    groups: u32,
    pending: u8,
    text: Text,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Tag,
    /// The length of a field's value.
    Length {
        field: u32,
    },
    /// A varint value that nobody wants.
    Varint,
    Skip(u64),
    Take(Slot, u64),
    Done,
}

impl Scanner {
    /// A scanner for one message.
    pub(super) fn new(fields: Fields) -> Self {
        let mut pending = 0;
        if fields.model != 0 {
            pending |= Slot::Model.bit();
        }
        if fields.version != 0 {
            pending |= Slot::Version.bit();
        }
        Self {
            fields,
            state: State::Tag,
            varint: 0,
            varint_len: 0,
            left: None,
            groups: 0,
            pending,
            text: Text::default(),
        }
    }

    /// Whether there is nothing more to find in this message.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the message's next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8], found: &mut Found) {
        while !bytes.is_empty() && !self.is_done() {
            // Inside the parent its end bounds what may be read.
            let window = match self.left {
                Some(left) => &bytes[..usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())],
                None => bytes,
            };
            let entered = self.left.is_some();
            let used = self.step(window, found);
            bytes = &bytes[used..];
            if entered && let Some(left) = &mut self.left {
                *left -= used as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
            }
        }
    }

    /// Takes at least one byte of what is not empty; gives the bytes taken.
    fn step(&mut self, bytes: &[u8], found: &mut Found) -> usize {
        match self.state {
            State::Tag | State::Length { .. } | State::Varint => {
                self.varint_byte(bytes[0]);
                1
            }
            State::Skip(length) => {
                let taken = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                self.state = State::Skip(length - taken as u64);
                self.settle_skip();
                taken
            }
            State::Take(slot, length) => {
                let taken = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                self.text.push(&bytes[..taken]);
                self.take(slot, length - taken as u64, found);
                taken
            }
            State::Done => bytes.len(),
        }
    }

    fn varint_byte(&mut self, byte: u8) {
        self.varint |= u64::from(byte & 0x7f).checked_shl(u32::from(self.varint_len) * 7).unwrap_or(0);
        self.varint_len += 1;
        if byte & 0x80 != 0 {
            if self.varint_len >= VARINT_BYTES_MAX {
                self.state = State::Done;
            }
            return;
        }
        let value = std::mem::take(&mut self.varint);
        self.varint_len = 0;
        match self.state {
            State::Tag => self.tag(value),
            State::Length { field } => self.length(field, value),
            _ => self.state = State::Tag,
        }
    }

    fn tag(&mut self, tag: u64) {
        let field = u32::try_from(tag >> 3).unwrap_or(0);
        self.state = match tag & 7 {
            _ if field == 0 => State::Done,
            0 => State::Varint,
            1 => State::Skip(8),
            2 => State::Length { field },
            3 => {
                self.groups = self.groups.saturating_add(1);
                State::Tag
            }
            4 if self.groups > 0 => {
                self.groups -= 1;
                State::Tag
            }
            5 => State::Skip(4),
            _ => State::Done,
        };
    }

    fn length(&mut self, field: u32, length: u64) {
        let nested = self.left.is_some();
        let wanted_here = self.groups == 0 && (nested || self.fields.parent == 0);
        let slot = match field {
            _ if !wanted_here => None,
            field if field == self.fields.model => Some(Slot::Model),
            field if field == self.fields.version => Some(Slot::Version),
            _ => None,
        };
        // One byte of the parent, this length's last, is yet to be counted.
        self.state = match slot {
            _ if self.left.is_some_and(|left| length > left - 1) => State::Done,
            Some(slot) if length > 0 && self.pending & slot.bit() != 0 => State::Take(slot, length),
            None if !nested && self.groups == 0 && field == self.fields.parent => {
                self.left = Some(length);
                if length == 0 { State::Done } else { State::Tag }
            }
            _ => State::Skip(length),
        };
        self.settle_skip();
    }

    fn take(&mut self, slot: Slot, left: u64, found: &mut Found) {
        self.state = State::Take(slot, left);
        if left == 0 {
            found.set(slot, &mut self.text);
            self.pending &= !slot.bit();
            self.state = if self.pending == 0 { State::Done } else { State::Tag };
        }
    }

    fn settle_skip(&mut self) {
        if let State::Skip(0) = self.state {
            self.state = State::Tag;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: Fields = Fields { parent: 0, model: 1, version: 2 };

    fn scan(fields: Fields, message: &[u8]) -> (Option<String>, Option<String>) {
        let mut outcomes = Vec::new();
        for size in [1, 2, 3, message.len().max(1)] {
            let (mut scanner, mut found) = (Scanner::new(fields), Found::default());
            message.chunks(size).for_each(|chunk| scanner.feed(chunk, &mut found));
            outcomes.push((found.get(Slot::Model).map(str::to_owned), found.get(Slot::Version).map(str::to_owned)));
        }
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
        outcomes.swap_remove(0)
    }

    fn some(model: &str, version: &str) -> (Option<String>, Option<String>) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (text(model), text(version))
    }

    #[test]
    fn fields_are_found_in_any_order_between_others_of_every_wire_type() {
        assert_eq!(scan(MODEL, b"\x0a\x05fraud\x12\x017"), some("fraud", "7"));
        // 9: varint, 10: fixed 64, 11: fixed 32, 5: nested bytes that look like a name, 2, a group with a name, 1.
        let message = b"\x48\xff\xff\x01\x51ABCDEFGH\x5dABCD\x2a\x03\x0a\x01x\x12\x017\x63\x0a\x01y\x64\x0a\x01z";
        assert_eq!(scan(MODEL, message), some("z", "7"));
        assert_eq!(scan(MODEL, b"\x0a\x00\x12\x00"), some("", ""));
        assert_eq!(scan(MODEL, b""), some("", ""));
    }

    #[test]
    fn a_parent_bounds_its_fields() {
        let nested = Fields { parent: 2, ..MODEL };
        assert_eq!(scan(nested, b"\x0a\x03err\x12\x08\x0a\x03abc\x12\x017"), some("abc", "7"));
        assert_eq!(scan(nested, b"\x12\x05\x0a\x03abc\x12\x017"), some("abc", ""));
        assert_eq!(scan(nested, b"\x0a\x03err"), some("", ""));
        // A field that claims more than its parent holds.
        assert_eq!(scan(nested, b"\x12\x04\x0a\x7fabcdefgh"), some("", ""));
        assert_eq!(scan(nested, b"\x12\x00\x0a\x01a"), some("", ""));
    }

    #[test]
    fn nonsense_ends_the_search() {
        for message in [&b"\x00\x0a\x01a"[..], b"\x0f\x0a\x01a", b"\x0c\x0a\x01a", &[0xff; 40]] {
            assert_eq!(scan(MODEL, message), some("", ""));
        }
        // A length past all memory is skipped, not kept.
        assert_eq!(scan(MODEL, b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a\x01a"), some("", ""));
        assert_eq!(scan(MODEL, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01abc"), some("", ""));
    }
}
