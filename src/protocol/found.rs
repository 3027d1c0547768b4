//! What readers found: bounded copies of the few values that they look for.
//!
//! The first value of a name wins, since readers stop as soon as they know enough. A value is cut, never dropped:
//! with `…` at its end it is visibly cut and equals no configured name.

/// The most bytes kept of a value that a client or server sent. A longer one is cut at a character and ends in `…`.
pub const VALUE_BYTES_MAX: usize = 256;

const ELLIPSIS: char = '…';
const CUT_BYTES_MAX: usize = VALUE_BYTES_MAX - ELLIPSIS.len_utf8();

/// A value that readers look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The model's name.
    Model,
    /// The model's version.
    Version,
    /// OpenAI's `system_fingerprint`.
    Fingerprint,
}

impl Slot {
    /// Every slot, in the order of their index.
    pub(super) const ALL: [Self; 3] = [Self::Model, Self::Version, Self::Fingerprint];

    /// The slot's bit in a set of slots.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The values found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    values: [Option<String>; Slot::ALL.len()],
}

impl Found {
    /// The value of a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&str> {
        self.values[slot as usize].as_deref()
    }

    /// Keeps a value, unless one is there already or this one is empty: an empty name says nothing.
    pub(super) fn set(&mut self, slot: Slot, text: &mut Text) {
        let value = text.take();
        let place = &mut self.values[slot as usize];
        if place.is_none() && !value.is_empty() {
            *place = Some(value);
        }
    }

    /// Whether anything was found.
    pub(super) fn any(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}

/// A value that arrives in pieces. Allocates with the first byte, never more than [`VALUE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl Text {
    /// Appends bytes as far as there is room.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = VALUE_BYTES_MAX - self.bytes.len();
        self.overflowed |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The value, with what is no UTF-8 replaced; leaves the text empty.
    pub(super) fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.bytes);
        let text =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if std::mem::take(&mut self.overflowed) { shorten(text) } else { cut(text) }
    }

    /// Whether more was pushed than is kept.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }
}

/// The text, cut to [`VALUE_BYTES_MAX`] where it is longer.
pub(super) fn cut(text: String) -> String {
    if text.len() > VALUE_BYTES_MAX { shorten(text) } else { text }
}

fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(CUT_BYTES_MAX));
    text.push(ELLIPSIS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[&[u8]]) -> String {
        let mut text = Text::default();
        for piece in pieces {
            text.push(piece);
        }
        text.take()
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let full = "a".repeat(VALUE_BYTES_MAX);
        assert_eq!(text(&[full.as_bytes()]), full);
        assert_eq!(cut(full.clone()), full);
        let long = "é".repeat(VALUE_BYTES_MAX);
        for cut in [text(&[long.as_bytes()]), cut(long.clone()), text(&[&long.as_bytes()[..255], b"\xa9x"])] {
            assert_eq!(cut, format!("{}…", "é".repeat(126)));
        }
        // Each broken byte becomes three.
        assert!(text(&[&[0xff; 200]]).len() <= VALUE_BYTES_MAX);
    }

    #[test]
    fn the_first_value_wins_and_an_empty_one_is_none() {
        let mut found = Found::default();
        for value in ["", "a", "b"] {
            let mut text = Text::default();
            text.push(value.as_bytes());
            found.set(Slot::Model, &mut text);
        }
        assert_eq!(found.get(Slot::Model), Some("a"));
        assert_eq!(found.get(Slot::Version), None);
    }
}
