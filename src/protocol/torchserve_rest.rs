//! `TorchServe` over REST: `/predictions` and `/explanations`.
//!
//! The path names the model and perhaps the version; the answers name neither. Beside `POST` this is also `PUT`,
//! since `curl -T`, as its documentation has it, sends that. `TorchServe` decodes a path before it takes it apart, and
//! does not mind segments past the version, but then gives the default version (`InferenceRequestHandler.java`).

use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

/// The path's beginning; the route's template bare, with a version, with more than that.
const OPERATIONS: [(&str, [&str; 3]); 2] = [
    ("/predictions/", ["/predictions/{model}", "/predictions/{model}/{version}", "/predictions/{model}/{**}"]),
    ("/explanations/", ["/explanations/{model}", "/explanations/{model}/{version}", "/explanations/{model}/{**}"]),
];

/// The prediction that a path names: `/predictions/{model}[/{version}]`, or the same under `/explanations`.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    let mut operations = OPERATIONS.iter();
    let (rest, [bare, versioned, longer]) =
        operations.find_map(|(prefix, routes)| Some((path.text.strip_prefix(prefix)?, routes)))?;
    let mut segments = rest.split('/');
    let model = segment(path, segments.next()?)?;
    let (version, route) = match (segments.next(), segments.next()) {
        (None, _) => (None, bare),
        (Some(version), None) => (Some(segment(path, version)?), versioned),
        (Some(_), Some(_)) => (None, longer),
    };
    let call = Call::new(Protocol::TorchServeRest, Shape::Http, *route, Rule::Nothing, Rule::Nothing);
    Some(Call { model: Some(model), version, ..call })
}

/// A segment's name. One with a slash in it is two for the server: such a path is recognised once it is decoded.
fn segment(path: Path<'_>, part: &str) -> Option<String> {
    path.name(part).filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{post, request, some};
    use super::super::{Patterns, recognise};
    use super::*;

    const PREDICTIONS: &str = "/predictions/{model}";
    const VERSIONED: &str = "/predictions/{model}/{version}";

    #[test]
    fn predictions_are_recognised_with_what_their_path_names() {
        for (path, route, model, version) in [
            ("/predictions/fraud", PREDICTIONS, "fraud", ""),
            ("/predictions/fraud?x=/1", PREDICTIONS, "fraud", ""),
            ("/predictions/fraud/2.0", VERSIONED, "fraud", "2.0"),
            ("/explanations/fraud", "/explanations/{model}", "fraud", ""),
            ("/explanations/fraud/2.0", "/explanations/{model}/{version}", "fraud", "2.0"),
            ("/predictions/predictions", PREDICTIONS, "predictions", ""),
            ("/predictions/a%20b/%32", VERSIONED, "a b", "2"),
            // As the server reads it.
            ("/predictions/fraud/2.0/more", "/predictions/{model}/{**}", "fraud", ""),
            ("/explanations/fraud/2.0/more/still", "/explanations/{model}/{**}", "fraud", ""),
            ("/predictions/fraud%2F2.0", VERSIONED, "fraud", "2.0"),
            ("/predictions%2ffraud", PREDICTIONS, "fraud", ""),
            ("/predictions/fraud/", PREDICTIONS, "fraud", ""),
            ("//pr%65dictions/./fraud//2.0/", VERSIONED, "fraud", "2.0"),
        ] {
            for method in ["POST", "PUT"] {
                let call = recognise(&request(method, path, &[]), &Patterns::default());
                let call = call.unwrap_or_else(|| panic!("{method} {path} is not recognised"));
                assert_eq!((call.protocol, call.shape), (Protocol::TorchServeRest, Shape::Http), "{path}");
                assert_eq!(call.route, route, "{path}");
                let none = HeaderMap::new();
                assert!(call.request_reader(&none).is_done() && call.answer_reader(&none).is_done());
                assert!(!call.states_model_in_body());
                assert_eq!([call.model, call.version, None], some(model, version, ""), "{path}");
            }
        }
    }

    #[test]
    fn other_calls_are_no_predictions() {
        for path in
            ["/predictions", "/predictions/", "/prediction/fraud", "/predictionsx/fraud", "/x/predictions/fraud"]
        {
            assert!(post(path).is_none(), "{path}");
        }
        for path in ["/explanations", "/explain/fraud", "/models/fraud", "/models", "/ping", "/api-description"] {
            assert!(post(path).is_none(), "{path}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
            let call = recognise(&request(method, "/predictions/fraud", &[]), &Patterns::default());
            assert!(call.is_none(), "{method}");
        }
    }
}
