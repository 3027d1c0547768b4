//! The types that every catalog has: ML Metadata's own nine, and those of this domain over them.
//!
//! A type's number is its place here, and for ever: add at the end. Types of users begin after it.

use super::graph::{NodeKind, ValueKind};

use NodeKind::{Artifact, Context, Execution};
use ValueKind::{Boolean, Int, String};

/// A type that every catalog has.
#[derive(Debug)]
pub(super) struct BuiltIn {
    pub(super) id: i64,
    pub(super) kind: NodeKind,
    pub(super) name: &'static str,
    /// The number of the type that it is a kind of.
    pub(super) base: Option<i64>,
    pub(super) properties: &'static [(&'static str, ValueKind)],
    /// What its nodes' names begin with, where they have a name that people use.
    pub(super) prefix: Option<&'static str>,
}

/// Things and doings, as design and documents call them.
pub mod names {
    /// A dataset version: raw, prepared or features.
    pub const DATASET: &str = "Dataset";
    /// A commit of a repository.
    pub const CODE: &str = "Code";
    /// Pinned packages, hardware.
    pub const ENVIRONMENT: &str = "Environment";
    /// A container image by its digest.
    pub const IMAGE: &str = "Image";
    /// A model version.
    pub const MODEL: &str = "Model";
    /// Figures that a run or an evaluation gave.
    pub const METRICS: &str = "Metrics";
    /// The outcome of an evaluation, or of an approval.
    pub const EVALUATION_REPORT: &str = "EvaluationReport";
    /// A run of which nobody has said what it did.
    pub const RUN: &str = "Run";
    /// Data came in.
    pub const INGESTION: &str = "Ingestion";
    /// Data was made of data.
    pub const TRANSFORMATION: &str = "Transformation";
    /// A model was made.
    pub const TRAINING: &str = "Training";
    /// A model was measured.
    pub const EVALUATION: &str = "Evaluation";
    /// A model was put into an image.
    pub const PACKAGING: &str = "Packaging";
    /// Somebody said that a model may go out.
    pub const APPROVAL: &str = "Approval";
    /// A model serves.
    pub const DEPLOYMENT: &str = "Deployment";
    /// Runs that belong together.
    pub const EXPERIMENT: &str = "Experiment";
    /// A job that runs again and again.
    pub const PIPELINE: &str = "Pipeline";
    /// What goes out together.
    pub const RELEASE: &str = "Release";
    /// All versions of a model, with its aliases.
    pub const REGISTERED_MODEL: &str = "RegisteredModel";

    /// A type as it is written here, however its letters are; others are left as they are.
    pub fn known(word: &str) -> &str {
        super::BUILT_IN
            .iter()
            .map(|built_in| built_in.name)
            .find(|name| name.eq_ignore_ascii_case(word))
            .unwrap_or(word)
    }
}

/// Types of executions that `run:ID` may be.
pub(super) const RUNS: [&str; 7] = [
    names::RUN,
    names::INGESTION,
    names::TRANSFORMATION,
    names::TRAINING,
    names::EVALUATION,
    names::PACKAGING,
    names::APPROVAL,
];

const fn simple(id: i64, kind: NodeKind, name: &'static str) -> BuiltIn {
    BuiltIn { id, kind, name, base: None, properties: &[], prefix: None }
}

/// A run's times are RFC 3339.
const RUN_PROPERTIES: &[(&str, ValueKind)] =
    &[("start", String), ("end", String), ("command", String), ("code_dirty", Boolean)];

const fn run(id: i64, name: &'static str, base: i64) -> BuiltIn {
    BuiltIn { id, kind: Execution, name, base: Some(base), properties: RUN_PROPERTIES, prefix: Some("run") }
}

/// All of them, by number.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    simple(1, Artifact, "mlmd.Dataset"),
    simple(2, Artifact, "mlmd.Model"),
    simple(3, Artifact, "mlmd.Metrics"),
    simple(4, Artifact, "mlmd.Statistics"),
    simple(5, Execution, "mlmd.Train"),
    simple(6, Execution, "mlmd.Transform"),
    simple(7, Execution, "mlmd.Process"),
    simple(8, Execution, "mlmd.Evaluate"),
    simple(9, Execution, "mlmd.Deploy"),
    BuiltIn {
        id: 10,
        kind: Artifact,
        name: names::DATASET,
        base: Some(1),
        properties: &[
            ("namespace", String),
            ("version", String),
            ("digest", String),
            ("records", Int),
            ("stage", String),
            ("weak_digest", String),
        ],
        prefix: Some("dataset"),
    },
    BuiltIn {
        id: 11,
        kind: Artifact,
        name: names::CODE,
        base: None,
        properties: &[("repo", String), ("commit", String)],
        prefix: Some("code"),
    },
    BuiltIn {
        id: 12,
        kind: Artifact,
        name: names::ENVIRONMENT,
        base: None,
        properties: &[("lock_digest", String), ("python", String), ("hardware", String)],
        prefix: None,
    },
    BuiltIn {
        id: 13,
        kind: Artifact,
        name: names::IMAGE,
        base: None,
        properties: &[("digest", String)],
        prefix: Some("image"),
    },
    BuiltIn {
        id: 14,
        kind: Artifact,
        name: names::MODEL,
        base: Some(2),
        properties: &[("version", String), ("digest", String), ("derivation", String)],
        prefix: Some("model"),
    },
    BuiltIn { id: 15, kind: Artifact, name: names::METRICS, base: Some(3), properties: &[], prefix: None },
    BuiltIn {
        id: 16,
        kind: Artifact,
        name: names::EVALUATION_REPORT,
        base: Some(3),
        properties: &[("verdict", String)],
        prefix: None,
    },
    run(17, names::RUN, 7),
    run(18, names::INGESTION, 7),
    run(19, names::TRANSFORMATION, 6),
    run(20, names::TRAINING, 5),
    run(21, names::EVALUATION, 8),
    run(22, names::PACKAGING, 7),
    run(23, names::APPROVAL, 7),
    BuiltIn {
        id: 24,
        kind: Execution,
        name: names::DEPLOYMENT,
        base: Some(9),
        properties: &[("start", String), ("end", String), ("log", String), ("config_digest", String)],
        prefix: Some("deployment"),
    },
    simple(25, Context, names::EXPERIMENT),
    simple(26, Context, names::PIPELINE),
    simple(27, Context, names::RELEASE),
    simple(28, Context, names::REGISTERED_MODEL),
];

/// The built-in type of that name.
pub(super) fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|built_in| built_in.name == name)
}

/// What a run turns out to be as more of it becomes known: data came of it, it was made of other data, a model came of it.
const FOUND_OUT: [&str; 3] = [names::INGESTION, names::TRANSFORMATION, names::TRAINING];

/// Whether a run's type may become another one once more is known of it.
pub(crate) fn refines(from: &str, to: &str) -> bool {
    let place = |name| FOUND_OUT.iter().position(|found| *found == name);
    let goes_on = place(from).zip(place(to)).is_some_and(|(from, to)| from < to);
    goes_on || (from == names::RUN && RUNS.contains(&to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_and_bases_are_of_one_kind() {
        for (place, built_in) in (1..).zip(BUILT_IN) {
            assert_eq!(built_in.id, place, "{}", built_in.name);
            let base = built_in.base.map(|base| BUILT_IN.iter().find(|other| other.id == base).unwrap());
            assert!(base.is_none_or(|base| base.kind == built_in.kind && base.base.is_none()), "{}", built_in.name);
        }
    }

    #[test]
    fn a_run_becomes_what_it_is_once() {
        assert!(refines("Run", "Training") && !refines("Training", "Run") && !refines("Run", "Deployment"));
    }
}
