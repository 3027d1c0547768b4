//! JSON strings in pieces: finds a string's end and undoes its escapes.
//!
//! What is escaped wrongly, such as half a surrogate pair, becomes U+FFFD; the string's end is found all the same.

use memchr::memchr2;

/// The state of one string between two pieces of it; starts after the opening quote.
#[derive(Debug, Default)]
pub(super) struct Unescape {
    escape: Escape,
    /// The first half of a surrogate pair, whose second half must come next.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    /// After the backslash.
    Backslash,
    /// After `\u`.
    Hex { digits: u8, unit: u16 },
}

impl Unescape {
    /// Takes the string's next bytes and hands its content on. Gives the bytes up to and with the closing quote, or
    /// `None` where the string goes on; is then ready for another string.
    pub(super) fn feed(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.escape {
                Escape::None => {
                    let rest = &bytes[at..];
                    let len = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    if len > 0 {
                        self.end_pair(&mut out);
                        out(&rest[..len]);
                    }
                    at += len + 1;
                    match rest.get(len) {
                        Some(b'"') => {
                            self.end_pair(&mut out);
                            return Some(at);
                        }
                        Some(_) => self.escape = Escape::Backslash,
                        None => return None,
                    }
                }
                Escape::Backslash => {
                    self.escaped(bytes[at], &mut out);
                    at += 1;
                }
                Escape::Hex { digits, unit } => {
                    if let Some(digit) = hex_digit(bytes[at]) {
                        self.hex(digits + 1, unit << 4 | digit, &mut out);
                        at += 1;
                    } else {
                        self.escape = Escape::None;
                        self.end_pair(&mut out);
                        put(char::REPLACEMENT_CHARACTER, &mut out);
                    }
                }
            }
        }
        None
    }

    fn escaped(&mut self, byte: u8, out: &mut impl FnMut(&[u8])) {
        if byte == b'u' {
            self.escape = Escape::Hex { digits: 0, unit: 0 };
            return;
        }
        self.escape = Escape::None;
        self.end_pair(out);
        out(&[match byte {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            other => other,
        }]);
    }

    fn hex(&mut self, digits: u8, unit: u16, out: &mut impl FnMut(&[u8])) {
        if digits < 4 {
            self.escape = Escape::Hex { digits, unit };
            return;
        }
        self.escape = Escape::None;
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let code = 0x1_0000 + (u32::from(high - 0xd800) << 10) + u32::from(unit - 0xdc00);
                put(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), out);
            }
            (broken, unit) => {
                if broken.is_some() {
                    put(char::REPLACEMENT_CHARACTER, out);
                }
                if matches!(unit, 0xd800..=0xdbff) {
                    self.high = Some(unit);
                } else {
                    put(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER), out);
                }
            }
        }
    }

    /// Something other than the second half of a pair comes.
    fn end_pair(&mut self, out: &mut impl FnMut(&[u8])) {
        if self.high.take().is_some() {
            put(char::REPLACEMENT_CHARACTER, out);
        }
    }
}

fn hex_digit(byte: u8) -> Option<u16> {
    let digit = char::from(byte).to_digit(16)?;
    u16::try_from(digit).ok()
}

fn put(character: char, out: &mut impl FnMut(&[u8])) {
    out(character.encode_utf8(&mut [0; 4]).as_bytes());
}
