//! What the catalog answers: names, both directions, documents, differences, impact, gaps.
//!
//! Each file holds one question. Only what must be looked up goes to the [`Catalog`](super::catalog::Catalog); the rest
//! are pure functions of a [`Graph`](super::catalog::Graph) or of a document. Nothing here prints, and nothing knows
//! the ledger: predictions come in as [`Prediction`]s.

mod document;

#[cfg(test)]
mod tests;

pub use document::{content, content_of, maker};
