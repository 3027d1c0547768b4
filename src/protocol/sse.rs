//! Server-sent events, read in passing for the JSON in their data.
//!
//! Source: the WHATWG HTML standard, section 9.2. Lines end in `\n`, `\r\n` or `\r`; lines of `data` join to an
//! event's data; an empty line ends the event. Comments and other fields are skipped, nothing is held. The last
//! event may lack its empty line: values count as soon as they are read. A byte order mark would hide the first line
//! only.

use memchr::memchr2;

use super::found::Found;
use super::json::{Names, Scanner};

const FIELD: &[u8] = b"data";
/// The data by which OpenAI-style streams say that they end.
const END: &[u8] = b"[DONE]";
/// The most events that are looked into for one that names a model.
const EVENTS_MAX: u32 = 64;

/// Reads a stream of events until one says something.
#[derive(Debug)]
pub(super) struct Events {
    line: Line,
    /// The last byte was `\r`: a `\n` right after it belongs to the same line's end.
    after_return: bool,
    /// The event has had a line of data.
    has_data: bool,
    /// How many bytes of [`END`] the line's data is so far; `None` where it is something else.
    end_len: Option<usize>,
    seen: u32,
    scanner: Scanner,
    done: bool,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    /// In the field's name, which is [`FIELD`] so far.
    Field(usize),
    /// Right after the colon, where one space may stand.
    Space,
    Data,
    Other,
}

impl Events {
    /// A reader for a stream whose events have these members.
    pub(super) fn new(names: &Names) -> Self {
        Self {
            line: Line::Field(0),
            after_return: false,
            has_data: false,
            end_len: None,
            seen: 0,
            scanner: Scanner::new(names),
            done: false,
        }
    }

    /// Whether there is nothing more to learn from the stream.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the stream's next bytes.
    pub(super) fn feed(&mut self, names: &Names, mut bytes: &[u8], found: &mut Found) {
        while let (Some(&first), false) = (bytes.first(), self.done) {
            let is_same_end = std::mem::take(&mut self.after_return) && first == b'\n';
            if is_same_end {
                bytes = &bytes[1..];
                continue;
            }
            let used = match self.line {
                _ if matches!(first, b'\n' | b'\r') => {
                    self.after_return = first == b'\r';
                    self.end_line(names, found);
                    1
                }
                Line::Field(len) => {
                    self.line = self.field_byte(names, len, first, found);
                    1
                }
                Line::Space => {
                    self.line = Line::Data;
                    usize::from(first == b' ')
                }
                Line::Data => {
                    let run = &bytes[..line_len(bytes)];
                    self.data(names, run, found);
                    run.len()
                }
                Line::Other => line_len(bytes),
            };
            bytes = &bytes[used..];
        }
    }

    fn field_byte(&mut self, names: &Names, len: usize, byte: u8, found: &mut Found) -> Line {
        match FIELD.get(len) {
            Some(expected) if *expected == byte => Line::Field(len + 1),
            None if byte == b':' => {
                if self.has_data {
                    self.scanner.feed(names, b"\n", found);
                }
                self.has_data = true;
                self.end_len = Some(0);
                Line::Space
            }
            _ => Line::Other,
        }
    }

    fn data(&mut self, names: &Names, run: &[u8], found: &mut Found) {
        self.end_len = self.end_len.filter(|len| END[*len..].starts_with(run)).map(|len| len + run.len());
        self.scanner.feed(names, run, found);
        self.done = self.scanner.is_done() && found.any();
    }

    fn end_line(&mut self, names: &Names, found: &Found) {
        let is_event_end = matches!(self.line, Line::Field(0));
        self.line = Line::Field(0);
        self.done |= self.end_len.take() == Some(END.len());
        if is_event_end && std::mem::take(&mut self.has_data) {
            self.seen += 1;
            self.done |= found.any() || self.seen >= EVENTS_MAX;
            self.scanner = Scanner::new(names);
        }
    }
}

/// The bytes before the line's end, all where it is not in sight.
fn line_len(bytes: &[u8]) -> usize {
    memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len())
}
