//! JSON as it passes by: [`pointer()`] into a held document, and a scanner for a few members of a streamed one.
//!
//! Neither validates, builds a tree or recurses, whatever the depth. Both are tolerant where model servers are:
//! `NaN`, `Infinity` and raw control characters pass. What breaks the structure ends the search. Of a member that is
//! there twice, [`pointer()`] takes the last, as JSON parsers do; the scanner takes the first, since it stops there.

mod pointer;
mod scanner;
mod text;

pub use pointer::pointer;
pub(super) use scanner::{Names, Scanner};

/// Bytes that are looked at together; fewer than 256, so that counts of them fit a byte.
const BLOCK_BYTES: usize = 32;

/// Passes over the inside of an object or array, `depth` brackets deep, at least one. Gives the place after the next
/// quote, with the depth there, or after the bracket that closes the outermost, with depth 0; `None` where the bytes
/// end before that.
fn skip_brackets(bytes: &[u8], depth: &mut u64) -> Option<usize> {
    let mut at = 0;
    for block in bytes.chunks(BLOCK_BYTES) {
        // Counting becomes vector instructions, and arrays of numbers are mostly blocks where counting is enough.
        let count = |is: fn(u8) -> bool| block.iter().fold(0_u8, |count, byte| count + u8::from(is(*byte)));
        let closing = u64::from(count(closes));
        if *depth > closing && count(|byte| byte == b'"') == 0 {
            *depth = *depth - closing + u64::from(count(opens));
            at += block.len();
            continue;
        }
        for byte in block {
            at += 1;
            *depth = *depth + u64::from(opens(*byte)) - u64::from(closes(*byte));
            if *byte == b'"' || *depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Whether the byte is `{` or `[`, which differ in one bit.
const fn opens(byte: u8) -> bool {
    byte | 0x20 == b'{'
}

/// Whether the byte is `}` or `]`, which differ in one bit.
const fn closes(byte: u8) -> bool {
    byte | 0x20 == b'}'
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether the byte ends a number or literal.
const fn ends_scalar(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']')
}

#[cfg(test)]
mod tests;
