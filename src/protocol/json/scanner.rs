//! Finds a few members of a JSON object while it passes by, in whatever pieces it comes.
//!
//! The members stand at the top level, or in one object that is itself a member there. Keys are compared as they
//! come and never held, values are kept up to [`VALUE_BYTES_MAX`](super::super::VALUE_BYTES_MAX), everything else is
//! skipped by counting brackets. Only strings and numbers count as values.

use std::borrow::Cow;

use memchr::memchr2;

use super::super::found::{Found, Slot, Text};
use super::text::Unescape;
use super::{ends_scalar, is_space, skip_brackets};

/// The wanted members' names.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Names {
    /// The top-level member that holds the wanted ones; `None` where they stand at the top level.
    pub(in super::super) parent: Option<Cow<'static, str>>,
    /// The name of each slot's member.
    pub(in super::super) slots: [Option<Cow<'static, str>>; Slot::ALL.len()],
}

impl Names {
    /// Members at the top level.
    pub(in super::super) const fn top_level(
        model: Option<&'static str>,
        version: Option<&'static str>,
        fingerprint: Option<&'static str>,
    ) -> Self {
        Self { parent: None, slots: [borrowed(model), borrowed(version), borrowed(fingerprint)] }
    }

    /// The model's name as a member of a top-level object.
    pub(in super::super) const fn under(parent: &'static str, model: &'static str) -> Self {
        Self { parent: borrowed(Some(parent)), slots: [borrowed(Some(model)), None, None] }
    }

    fn wanted(&self) -> u8 {
        let named = Slot::ALL.into_iter().filter(|slot| self.slots[*slot as usize].is_some());
        named.fold(0, |bits, slot| bits | slot.bit())
    }

    /// The name that a bit of a [`Key`] stands for.
    fn of_bit(&self, index: usize) -> Option<&str> {
        self.slots.get(index).unwrap_or(&self.parent).as_deref()
    }
}

const fn borrowed(name: Option<&'static str>) -> Option<Cow<'static, str>> {
    match name {
        Some(name) => Some(Cow::Borrowed(name)),
        None => None,
    }
}

/// Scans one document.
#[derive(Debug)]
pub(in super::super) struct Scanner {
    state: State,
    /// In the parent's object.
    in_parent: bool,
    /// Open brackets in a value that is skipped.
    depth: u64,
    key: Key,
    member: Member,
    /// Slots whose member has not come yet.
    pending: u8,
    string: Unescape,
    text: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// Before a key, or the object's end.
    Member,
    Key,
    Colon,
    Value,
    TakeString,
    TakeNumber,
    SkipNested,
    SkipString,
    SkipEscape,
    SkipScalar,
    Done,
}

/// What the member at hand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Slot(Slot),
    Parent,
    Other,
}

const PARENT_INDEX: usize = Slot::ALL.len();
const PARENT_BIT: u8 = 1 << PARENT_INDEX;

/// A key as far as it has come: the names that it may still be, and its length. Nothing of it is held.
#[derive(Clone, Copy, Debug, Default)]
struct Key {
    candidates: u8,
    len: usize,
}

impl Key {
    fn push(&mut self, names: &Names, run: &[u8]) {
        let end = self.len.saturating_add(run.len());
        for index in 0..=PARENT_INDEX {
            let name = names.of_bit(index).unwrap_or("").as_bytes();
            if name.get(self.len..end) != Some(run) {
                self.candidates &= !(1 << index);
            }
        }
        self.len = end;
    }

    fn member(self, names: &Names) -> Member {
        let is = |index: usize| {
            self.candidates & (1 << index) != 0 && names.of_bit(index).is_some_and(|name| name.len() == self.len)
        };
        if is(PARENT_INDEX) {
            return Member::Parent;
        }
        Slot::ALL.into_iter().find(|slot| is(*slot as usize)).map_or(Member::Other, Member::Slot)
    }
}

impl Scanner {
    /// A scanner for a document in which these members are wanted.
    pub(in super::super) fn new(names: &Names) -> Self {
        Self {
            state: State::Start,
            in_parent: false,
            depth: 0,
            key: Key::default(),
            member: Member::Other,
            pending: names.wanted(),
            string: Unescape::default(),
            text: Text::default(),
        }
    }

    /// Whether there is nothing more to find in this document.
    pub(in super::super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the document's next bytes.
    pub(in super::super) fn feed(&mut self, names: &Names, mut bytes: &[u8], found: &mut Found) {
        while !bytes.is_empty() && !self.is_done() {
            let used = self.step(names, bytes, found);
            bytes = &bytes[used..];
        }
    }

    /// Takes some of what is not empty; takes none only where the state changes. Gives the bytes taken.
    fn step(&mut self, names: &Names, bytes: &[u8], found: &mut Found) -> usize {
        match self.state {
            State::Start | State::Member | State::Colon | State::Value => {
                let spaces = bytes.iter().take_while(|byte| is_space(**byte)).count();
                let Some(&byte) = bytes.get(spaces) else { return spaces };
                spaces + self.token(names, byte)
            }
            State::Key => {
                let end = self.string.feed(bytes, |run| self.key.push(names, run));
                if end.is_some() {
                    self.member = self.key.member(names);
                    self.state = State::Colon;
                }
                end.unwrap_or(bytes.len())
            }
            State::TakeString => {
                let end = self.string.feed(bytes, |run| self.text.push(run));
                if end.is_some() {
                    self.settle(found);
                }
                end.unwrap_or(bytes.len())
            }
            State::TakeNumber => {
                let len = scalar_len(bytes);
                self.text.push(&bytes[..len]);
                if len < bytes.len() {
                    self.settle(found);
                }
                len
            }
            State::SkipScalar => {
                let len = scalar_len(bytes);
                if len < bytes.len() {
                    self.state = State::Member;
                }
                len
            }
            State::SkipNested => self.skip_nested(bytes),
            State::SkipString => self.skip_string(bytes),
            State::SkipEscape => {
                self.state = State::SkipString;
                1
            }
            State::Done => bytes.len(),
        }
    }

    /// Takes the byte that says what comes, where it is part of no value.
    fn token(&mut self, names: &Names, byte: u8) -> usize {
        self.state = match (self.state, byte) {
            (State::Start, b'{') | (State::Member, b',') => State::Member,
            (State::Member, b'"') => {
                let is_level = self.in_parent || names.parent.is_none();
                self.key = Key { candidates: if is_level { !PARENT_BIT } else { PARENT_BIT }, len: 0 };
                State::Key
            }
            (State::Colon, b':') => State::Value,
            (State::Value, byte) => return self.value(byte),
            // The object's end, or no JSON object.
            _ => State::Done,
        };
        1
    }

    fn value(&mut self, byte: u8) -> usize {
        let slot = match self.member {
            Member::Slot(slot) if self.pending & slot.bit() != 0 => Some(slot),
            _ => None,
        };
        let (state, used) = match (byte, slot) {
            (b'"', Some(_)) => (State::TakeString, 1),
            (b'0'..=b'9' | b'-', Some(_)) => (State::TakeNumber, 0),
            (b'"', None) => (State::SkipString, 1),
            (b'{', _) if self.member == Member::Parent => {
                self.in_parent = true;
                (State::Member, 1)
            }
            (b'{' | b'[', _) => {
                self.depth = 1;
                (State::SkipNested, 1)
            }
            (b'}' | b']' | b',' | b':', _) => (State::Done, 1),
            _ => (State::SkipScalar, 0),
        };
        self.state = state;
        // A member that is neither string nor number has come all the same, and says nothing.
        if let Some(slot) = slot
            && !matches!(state, State::TakeString | State::TakeNumber)
        {
            self.pending &= !slot.bit();
            if self.pending == 0 {
                self.state = State::Done;
            }
        }
        used
    }

    /// The wanted value has ended.
    fn settle(&mut self, found: &mut Found) {
        if let Member::Slot(slot) = self.member {
            found.set(slot, &mut self.text);
            self.pending &= !slot.bit();
        }
        self.state = if self.pending == 0 { State::Done } else { State::Member };
    }

    fn skip_nested(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = skip_brackets(bytes, &mut self.depth) else { return bytes.len() };
        self.state = if self.depth == 0 { State::Member } else { State::SkipString };
        end
    }

    fn skip_string(&mut self, bytes: &[u8]) -> usize {
        let Some(at) = memchr2(b'"', b'\\', bytes) else { return bytes.len() };
        self.state = match bytes[at] {
            b'\\' => State::SkipEscape,
            _ if self.depth > 0 => State::SkipNested,
            _ => State::Member,
        };
        at + 1
    }
}

fn scalar_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| ends_scalar(*byte)).unwrap_or(bytes.len())
}
