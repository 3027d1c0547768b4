//! What the catalog answers.
//!
//! Each file holds one question. Only what must be looked up goes to the [`Catalog`](super::catalog::Catalog); the rest
//! are pure functions of a [`Graph`](super::catalog::Graph) or of a document. Nothing here prints, and nothing knows
//! the ledger.

mod document;

#[cfg(test)]
mod tests;

pub use document::{content, content_of, maker};
