//! Finds the few fields of a protobuf message that name a model while it passes by, without a schema.
//!
//! Fields that are not wanted are skipped by their wire type, so that a tensor of any size costs a subtraction.
//! Source: the protobuf encoding guide. Nothing is validated beyond what skipping needs; a message that cannot be
//! skipped through ends the search.

pub(super) mod whole;

use super::found::{Found, Slot, Text};

/// A varint's bytes at most.
const VARINT_BYTES_MAX: u8 = 10;
/// `google.protobuf.Int64Value.value`.
const INT64_VALUE: u32 = 1;

/// The numbers of the wanted fields; 0 is no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The message-typed fields, from the outermost on, that hold the wanted ones; none where they stand at the top.
    /// Of a field that stands twice the first is entered.
    pub(super) parents: &'static [u32],
    /// The model's name.
    pub(super) model: u32,
    /// The model's version.
    pub(super) version: u32,
    /// How the version is written.
    pub(super) version_kind: Kind,
}

/// A field's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `string`.
    Text,
    /// `google.protobuf.Int64Value`: a message around a varint. Found as decimal text.
    Int64,
}

impl Fields {
    /// Strings at the top of a message.
    pub(super) const fn text(model: u32, version: u32) -> Self {
        Self { parents: &[], model, version, version_kind: Kind::Text }
    }
}

/// Scans one message.
#[derive(Debug)]
pub(super) struct Scanner {
    fields: Fields,
    state: State,
    varint: u64,
    varint_len: u8,
    /// Of `fields.parents`, how many were entered.
    depth: usize,
    /// Bytes left of the innermost message that was entered. At the top they are not known, and never all taken.
    left: u64,
    /// An integer's message, while in it.
    integer: Option<Integer>,
    /// Open groups, a deprecated form of nesting; nothing in them is wanted.
    groups: u32,
    pending: u8,
    text: Text,
}

/// An `Int64Value`.
#[derive(Clone, Copy, Debug)]
struct Integer {
    /// Bytes left of the message around it.
    outer: u64,
    value: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Tag,
    /// The length of a field's value.
    Length {
        field: u32,
    },
    Varint {
        field: u32,
    },
    /// Bytes that nobody wants; not 0.
    Skip(u64),
    /// Bytes of a string; not 0.
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
            depth: 0,
            left: u64::MAX,
            integer: None,
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
            let (now, later) = bytes.split_at(self.appetite().min(bytes.len()));
            self.left -= now.len() as u64;
            self.step(now, found);
            // An integer may end together with what holds it.
            while self.left == 0 && !self.is_done() {
                self.leave(found);
            }
            bytes = later;
        }
    }

    /// The bytes that are taken at once: one or more, none past the end of the message that was entered.
    fn appetite(&self) -> usize {
        match self.state {
            State::Skip(length) | State::Take(_, length) => {
                usize::try_from(length.min(self.left)).unwrap_or(usize::MAX)
            }
            _ => 1,
        }
    }

    fn step(&mut self, bytes: &[u8], found: &mut Found) {
        match self.state {
            State::Tag | State::Length { .. } | State::Varint { .. } => self.varint_byte(bytes[0]),
            State::Skip(length) => self.skip(length - bytes.len() as u64),
            State::Take(slot, length) => {
                self.text.push(bytes);
                let left = length - bytes.len() as u64;
                self.state = State::Take(slot, left);
                if left == 0 {
                    self.keep(slot, found);
                }
            }
            State::Done => {}
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
            State::Varint { field } => self.value(field, value),
            _ => {}
        }
    }

    fn tag(&mut self, tag: u64) {
        let field = u32::try_from(tag >> 3).unwrap_or(0);
        self.state = match tag & 7 {
            _ if field == 0 => State::Done,
            0 => State::Varint { field },
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

    fn value(&mut self, field: u32, value: u64) {
        if let Some(integer) = &mut self.integer
            && field == INT64_VALUE
            && self.groups == 0
        {
            integer.value.get_or_insert(value);
        }
        self.state = State::Tag;
    }

    fn length(&mut self, field: u32, length: u64) {
        if length > self.left {
            self.state = State::Done;
            return;
        }
        let within = self.groups > 0 || self.integer.is_some();
        let parent = self.fields.parents.get(self.depth);
        match self.slot(field) {
            _ if within => self.skip(length),
            None if parent == Some(&field) => {
                self.depth += 1;
                self.enter(length);
            }
            Some(Slot::Version) if self.fields.version_kind == Kind::Int64 => {
                self.integer = Some(Integer { outer: self.left - length, value: None });
                self.enter(length);
            }
            Some(slot) if length > 0 => self.state = State::Take(slot, length),
            _ => self.skip(length),
        }
    }

    /// The slot of a string or message, where its field is wanted at this depth and was not found yet.
    fn slot(&self, field: u32) -> Option<Slot> {
        let slot = match field {
            _ if self.depth < self.fields.parents.len() => return None,
            field if field == self.fields.model => Slot::Model,
            field if field == self.fields.version => Slot::Version,
            _ => return None,
        };
        (self.pending & slot.bit() != 0).then_some(slot)
    }

    fn skip(&mut self, length: u64) {
        self.state = if length == 0 { State::Tag } else { State::Skip(length) };
    }

    fn enter(&mut self, length: u64) {
        self.left = length;
        self.state = State::Tag;
    }

    /// The innermost message has ended. What holds an integer goes on; past the wanted fields' parent nothing is wanted.
    fn leave(&mut self, found: &mut Found) {
        let whole = matches!(self.state, State::Tag) && self.varint_len == 0 && self.groups == 0;
        self.state = State::Done;
        if let Some(integer) = self.integer.take()
            && whole
        {
            self.left = integer.outer;
            // An encoder leaves out a value that is 0.
            self.text.push(integer.value.unwrap_or(0).cast_signed().to_string().as_bytes());
            self.keep(Slot::Version, found);
        }
    }

    fn keep(&mut self, slot: Slot, found: &mut Found) {
        found.set(slot, &mut self.text);
        self.pending &= !slot.bit();
        self.state = if self.pending == 0 { State::Done } else { State::Tag };
    }
}

#[cfg(test)]
mod tests;
