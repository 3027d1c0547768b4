//! OpenLineage in: what the events of pipelines say, as records of the graph.
//!
//! The mapping, in one place for its users in `docs/openlineage.md`:
//!
//! - a run is `run:RUNID`; its job is a `Pipeline` called `NAMESPACE/NAME`, which holds it, and is held by its parent's;
//! - a dataset is `dataset:NAMESPACE/NAME@VERSION` by its version facet, and where it has none
//!   `@`[`UNVERSIONED`], which stands for whatever lay there; one of type `MODEL` is `model:NAME@VERSION`; [`Rules`] say
//!   where a team calls things otherwise;
//! - every facet is kept as the property `facet.NAME` of what it is about, those of a run's input or output as
//!   `input_facet.IDENTITY` and `output_facet.IDENTITY` of the run; what the graph has words for is said in those too.
//!
//! Events come twice and in any order: what is older never replaces what is newer, a state that ended stays ended, and
//! a version that is known of a run's input stays. It follows `OpenLineage.json` 2-0-2 and asks for nothing that it does
//! not need. No sockets here.

mod artifact;
mod event;
mod facets;
mod mapping;
mod names;
mod place;
mod rules;

#[cfg(test)]
mod tests;

pub use event::{Event, EventError, events};
pub use mapping::Said;
pub use place::{Placed, place};
pub use rules::{Config, Rules, RulesError, Symlinks};

/// The version of a dataset whose events do not say one.
pub const UNVERSIONED: &str = "unversioned";

/// By which way a change came.
const SOURCE: &str = "openlineage";
