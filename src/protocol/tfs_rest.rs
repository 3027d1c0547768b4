//! `TensorFlow` Serving over REST, and V1 of `KServe`'s data plane, which took its paths over and added `explain`.
//!
//! The path names the model and perhaps a version; the answers name neither. A label (`/labels/stable`) is no version:
//! it moves, and which version it stood for is not said; `served_as.labels` may. `TensorFlow` Serving reads these paths without regard to
//! case (`http_rest_api_util.cc`), so they are recognised so.

use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

/// Operations: the path's end, the route's template bare, with a version, with a label.
const OPERATIONS: [(&str, [&str; 3]); 4] = [
    (
        "predict",
        [
            "/v1/models/{model}:predict",
            "/v1/models/{model}/versions/{version}:predict",
            "/v1/models/{model}/labels/{label}:predict",
        ],
    ),
    (
        "classify",
        [
            "/v1/models/{model}:classify",
            "/v1/models/{model}/versions/{version}:classify",
            "/v1/models/{model}/labels/{label}:classify",
        ],
    ),
    (
        "regress",
        [
            "/v1/models/{model}:regress",
            "/v1/models/{model}/versions/{version}:regress",
            "/v1/models/{model}/labels/{label}:regress",
        ],
    ),
    (
        "explain",
        [
            "/v1/models/{model}:explain",
            "/v1/models/{model}/versions/{version}:explain",
            "/v1/models/{model}/labels/{label}:explain",
        ],
    ),
];

/// The prediction that a path names: `/v1/models/{model}[/versions/{version}|/labels/{label}]:{operation}`.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    const PREFIX: &str = "/v1/models/";
    let (start, rest) = path.text.split_at_checked(PREFIX.len())?;
    if !start.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    let (subject, operation) = rest.rsplit_once(':')?;
    let (_, [bare, versioned, labelled]) = OPERATIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(operation))?;
    let (model, version, label, route) = match qualified(subject) {
        Some((model, Qualifier::Version, version)) => (path.name(model)?, Some(path.name(version)?), None, versioned),
        Some((model, Qualifier::Label, label)) => (path.name(model)?, None, Some(path.name(label)?), labelled),
        // An empty version or label, which cleaning up has taken away.
        None if subject.rsplit_once('/').is_some_and(|(_, last)| Qualifier::named(last).is_some()) => return None,
        None => (path.name(subject)?, None, None, bare),
    };
    let call = Call::new(Protocol::TfsRest, Shape::Http, *route, Rule::Nothing, Rule::Nothing);
    Some(Call { model: Some(model), version, label, ..call })
}

/// What follows a model's name.
enum Qualifier {
    Version,
    Label,
}

impl Qualifier {
    fn named(segment: &str) -> Option<Self> {
        if segment.eq_ignore_ascii_case("versions") {
            Some(Self::Version)
        } else if segment.eq_ignore_ascii_case("labels") {
            Some(Self::Label)
        } else {
            None
        }
    }
}

/// Model, qualifier and its value.
fn qualified(subject: &str) -> Option<(&str, Qualifier, &str)> {
    let (rest, value) = subject.rsplit_once('/')?;
    let (model, qualifier) = rest.rsplit_once('/')?;
    Some((model, Qualifier::named(qualifier)?, value))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{post, request, some};
    use super::super::{Patterns, recognise};
    use super::*;

    const PREDICT: &str = "/v1/models/{model}:predict";
    const VERSIONED: &str = "/v1/models/{model}/versions/{version}:predict";
    const LABELLED: &str = "/v1/models/{model}/labels/{label}:predict";

    #[test]
    fn predictions_are_recognised_with_what_their_path_names() {
        for (path, route, model, version) in [
            ("/v1/models/fraud:predict", PREDICT, "fraud", ""),
            ("/v1/models/fraud:predict?x=a:b", PREDICT, "fraud", ""),
            ("/v1/models/fraud:classify", "/v1/models/{model}:classify", "fraud", ""),
            ("/v1/models/fraud:regress", "/v1/models/{model}:regress", "fraud", ""),
            ("/v1/models/fraud:explain", "/v1/models/{model}:explain", "fraud", ""),
            ("/v1/models/fraud/versions/7:predict", VERSIONED, "fraud", "7"),
            ("/v1/models/f/versions/7:classify", "/v1/models/{model}/versions/{version}:classify", "f", "7"),
            ("/v1/models/f/versions/7:regress", "/v1/models/{model}/versions/{version}:regress", "f", "7"),
            ("/v1/models/fraud/labels/stable:predict", LABELLED, "fraud", ""),
            ("/v1/models/f/labels/7:classify", "/v1/models/{model}/labels/{label}:classify", "f", ""),
            ("/v1/models/f/labels/7:regress", "/v1/models/{model}/labels/{label}:regress", "f", ""),
            ("/v1/models/versions/versions/1:predict", VERSIONED, "versions", "1"),
            ("/v1/models/labels/versions/1:predict", VERSIONED, "labels", "1"),
            ("/v1/models/labels:predict", PREDICT, "labels", ""),
            ("/v1/models/predict:predict", PREDICT, "predict", ""),
            ("/v1/models/ns:fraud:predict", PREDICT, "ns:fraud", ""),
            ("/v1/models/a%2Fb%20c/versions/%31:predict", VERSIONED, "a/b c", "1"),
            // As some servers read it.
            ("/V1/Models/Fraud/Versions/7:PREDICT", VERSIONED, "Fraud", "7"),
            ("/v1/models/fraud/LABELS/stable:predict", LABELLED, "fraud", ""),
            ("/v1/models/fraud%3Apredict", PREDICT, "fraud", ""),
            ("/v1/models/fraud:%70redict", PREDICT, "fraud", ""),
            ("//v1//models/./fraud/versions/7:predict/", VERSIONED, "fraud", "7"),
            ("/v1%2Fmodels%2Ffraud%2Flabels%2Fstable:predict", LABELLED, "fraud", ""),
        ] {
            let call = post(path).unwrap_or_else(|| panic!("{path} is not recognised"));
            assert_eq!((call.protocol, call.shape, &*call.route), (Protocol::TfsRest, Shape::Http, route), "{path}");
            assert!(
                call.request_reader(&HeaderMap::new()).is_done() && call.answer_reader(&HeaderMap::new()).is_done()
            );
            assert!(!call.states_model_in_body());
            assert_eq!([call.model, call.version, None], some(model, version, ""), "{path}");
        }
    }

    #[test]
    fn other_calls_are_no_predictions() {
        for path in [
            "/v1",
            "/v1/models",
            "/v1/models/",
            "/v1/models/fraud",
            "/v1/models/fraud/metadata",
            "/v1/models/fraud/versions/7",
            "/v1/models/fraud/versions/7/metadata",
            "/v1/models/:predict",
            "/v1/models/fraud:",
            "/v1/models/fraud:metadata",
            "/v1/models/fraud:predict/x",
            "/v1/models/fraud:predictx",
            "/v1/models/fraud/predict",
            "/v1/models/fraud/versions:predict",
            "/v1/models/fraud/versions/:predict",
            "/v1/models/fraud/labels:predict",
            "/v1/models/fraud/labels/:predict",
            "/v1/models/versions/7:predict",
            "/v1/models/a/b:predict",
            "/v1/models/a/b/c:predict",
            "/v1/model/fraud:predict",
            "/v1/models\u{e9}",
            "/prefix/v1/models/fraud:predict",
        ] {
            assert!(post(path).is_none(), "{path}");
        }
        for method in ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"] {
            assert!(
                recognise(&request(method, "/v1/models/f:predict", &[]), &Patterns::default()).is_none(),
                "{method}"
            );
        }
    }
}
