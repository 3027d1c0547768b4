//! JSON as it passes by: [`pointer`] into a held document, and a scanner for a few members of a streamed one.
//!
//! Neither validates, builds a tree or recurses, whatever the depth. Both are tolerant where model servers are:
//! `NaN`, `Infinity` and raw control characters pass. What breaks the structure ends the search. Of a member that is
//! there twice, [`pointer`] takes the last, as JSON parsers do; the scanner takes the first, since it stops there.

mod pointer;
mod scanner;
mod text;

pub use pointer::pointer;
pub(super) use scanner::{Names, Scanner};

/// Bytes that are looked at together.
const BLOCK_BYTES: usize = 32;

/// The place of the next byte that opens or closes a string, an object or an array.
fn next_structural(bytes: &[u8]) -> Option<usize> {
    // Whole blocks without one are passed over first: this loop becomes vector instructions, and arrays of numbers
    // are mostly such blocks.
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let clear = blocks.iter().take_while(|block| !block.iter().fold(false, |any, byte| any | is_structural(*byte)));
    let start = clear.count() * BLOCK_BYTES;
    bytes[start..].iter().position(|byte| is_structural(*byte)).map(|at| start + at)
}

/// Whether the byte is one of `"`, `{`, `}`, `[`, `]`. Brackets differ from braces in one bit.
const fn is_structural(byte: u8) -> bool {
    byte == b'"' || byte | 0x20 == b'{' || byte | 0x20 == b'}'
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
