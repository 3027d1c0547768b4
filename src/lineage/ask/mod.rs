//! What the catalog answers.
//!
//! Each file holds one question. Only what must be looked up goes to the [`Catalog`](super::catalog::Catalog); the rest
//! are pure functions of a [`Graph`](super::catalog::Graph) or of a document. Nothing here prints, and nothing knows
//! the ledger: predictions come in as [`Prediction`]s.

mod detail;
mod diff;
mod document;
mod facets;
mod gaps;
mod impact;
mod names;
mod reach;
pub mod render;
mod require;
mod since;
mod traced;
mod traffic;

#[cfg(test)]
mod tests;

pub use detail::{Detail, Holder, Link, detail};
pub use diff::{Change, Diff, diff};
pub use document::{ALIAS, content, content_of, maker, resolved};
pub use facets::Section;
pub use gaps::{Completeness, Gap, Share, completeness, gaps_of};
pub use impact::{Affected, Impact, Prediction, Row, Serving, Tally, impact};
pub use names::{KINDS, NameError, find, find_among};
pub use reach::{Arrow, Lineage, Question, only, reach};
pub use require::{Check, Reproduction, Required, fields, reproduction, required};
pub use since::{Since, since};
pub use traced::{Traced, traced};
pub use traffic::{Traffic, Untracked};
