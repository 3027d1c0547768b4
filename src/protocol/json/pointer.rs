//! [`pointer()`]: one value of a held JSON document, as text.

use std::borrow::Cow;

use memchr::memchr2;

use super::super::found::Text;
use super::text::Unescape;
use super::{ends_scalar, is_space, skip_brackets};

/// The value that an RFC 6901 pointer names in a document, as text: strings unquoted and unescaped, numbers and
/// literals as written, objects and arrays without the white space between their tokens. `None` where there is none.
///
/// At most [`VALUE_BYTES_MAX`](crate::protocol::VALUE_BYTES_MAX) bytes: what is longer is cut at a character and
/// ends in `…`. Of a member that is there twice the last counts, as for JSON parsers. `NaN` and `Infinity` are
/// literals. The document may be nested to any depth; each token of the pointer costs one pass over what its
/// predecessors named.
pub fn pointer(body: &[u8], pointer: &str) -> Option<String> {
    let mut value = value_at(body, 0)?.0;
    if !pointer.is_empty() {
        for token in pointer.strip_prefix('/')?.split('/') {
            let token = unescape_token(token);
            value = match value.first()? {
                b'{' => member(value, &token)?,
                b'[' => element(value, &token)?,
                _ => return None,
            };
        }
    }
    Some(render(value))
}

fn unescape_token(token: &str) -> Cow<'_, str> {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() }
}

/// The value of an object's last member of this name.
fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    let mut at = skip_space(object, 1);
    while *object.get(at)? != b'}' {
        let (key, after) = value_at(object, at)?;
        at = skip_space(object, after);
        if key.first() != Some(&b'"') || *object.get(at)? != b':' {
            return None;
        }
        let (value, after) = value_at(object, at + 1)?;
        if key_is(key, name) {
            found = Some(value);
        }
        at = next_item(object, after, b'}')?;
    }
    found
}

/// The value of an array's element. RFC 6901: no sign, no leading zero; `-` names an element that is not there.
fn element<'a>(array: &'a [u8], index: &str) -> Option<&'a [u8]> {
    if index.len() > 1 && index.starts_with('0') || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let index: usize = index.parse().ok()?;
    let mut at = skip_space(array, 1);
    for place in 0.. {
        if *array.get(at)? == b']' {
            return None;
        }
        let (value, after) = value_at(array, at)?;
        if place == index {
            return Some(value);
        }
        at = next_item(array, after, b']')?;
    }
    None
}

/// The place of the next member or element, or of the closing bracket.
fn next_item(bytes: &[u8], at: usize, close: u8) -> Option<usize> {
    let at = skip_space(bytes, at);
    match bytes.get(at)? {
        b',' => Some(skip_space(bytes, at + 1)),
        byte if *byte == close => Some(at),
        _ => None,
    }
}

/// The value that begins at a place, after white space, and the place after it.
fn value_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let start = skip_space(bytes, at);
    let end = match bytes.get(start)? {
        b'"' => string_end(bytes, start + 1)?,
        b'{' | b'[' => nested_end(bytes, start + 1)?,
        _ => {
            let rest = &bytes[start..];
            let len = rest.iter().position(|byte| ends_scalar(*byte)).unwrap_or(rest.len());
            let is_scalar = rest[..len].iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
            (len > 0 && is_scalar).then_some(start + len)?
        }
    };
    Some((&bytes[start..end], end))
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| !is_space(*byte)).map_or(bytes.len(), |spaces| at + spaces)
}

/// The place after the closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The place after the bracket that closes what was opened before `at`.
fn nested_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 1;
    loop {
        at += skip_brackets(&bytes[at..], &mut depth)?;
        if depth == 0 {
            return Some(at);
        }
        at = string_end(bytes, at)?;
    }
}

/// Whether a key, with its quotes, is this name once its escapes are undone.
fn key_is(key: &[u8], name: &str) -> bool {
    let mut rest = Some(name.as_bytes());
    Unescape::default().feed(&key[1..], |run| rest = rest.and_then(|rest| rest.strip_prefix(run)));
    rest.is_some_and(<[u8]>::is_empty)
}

fn render(value: &[u8]) -> String {
    let mut text = Text::default();
    match value.first() {
        Some(b'"') => {
            Unescape::default().feed(&value[1..], |run| text.push(run));
        }
        Some(b'{' | b'[') => compact(value, &mut text),
        _ => text.push(value),
    }
    text.take()
}

/// Drops the white space between tokens; strings stay as written.
fn compact(value: &[u8], text: &mut Text) {
    let mut at = 0;
    while at < value.len() && !text.overflowed() {
        let end = match value[at] {
            b'"' => string_end(value, at + 1).unwrap_or(value.len()),
            _ => at + 1,
        };
        if !is_space(value[at]) {
            text.push(&value[at..end]);
        }
        at = end;
    }
}
