//! Who made this model: the identity behind a stamp and the document that explains it.
//!
//! The proxy sees only what is resolved here ([`Identity`]), never how it was found.

mod document;

pub use document::{Document, Identity};
