//! The MLflow scoring server: `POST /invocations`, which names no model, neither way.
//!
//! SageMaker containers serve the same path; [`super::sagemaker`] is asked first and told apart by its headers.

use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

pub(super) const INVOCATIONS: &str = "/invocations";

/// The prediction that a path names.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    (path.text == INVOCATIONS)
        .then(|| Call::new(Protocol::Mlflow, Shape::Http, INVOCATIONS, Rule::Nothing, Rule::Nothing))
}
