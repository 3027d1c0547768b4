//! `TensorFlow` Serving over gRPC: service `tensorflow.serving.PredictionService`.
//!
//! Requests and answers name the model in a `ModelSpec`, an answer the version that was used in fact. A
//! `version_label` is no version: it moves, and the answer says which version it stood for. Field numbers are those
//! of `model.proto`, `predict.proto`, `classification.proto`, `regression.proto` and `inference.proto`.

use super::path::Path;
use super::protobuf::{Fields, Kind};
use super::reader::Rule;
use super::{Call, Protocol, Shape};

const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";
const PREDICT_STREAMED: &str = "/tensorflow.serving.PredictionService/PredictStreamed";
const CLASSIFY: &str = "/tensorflow.serving.PredictionService/Classify";
const REGRESS: &str = "/tensorflow.serving.PredictionService/Regress";
const MULTI_INFERENCE: &str = "/tensorflow.serving.PredictionService/MultiInference";

/// `ModelSpec`: `name = 1`, `version = 2`.
const MODEL_SPEC: Fields = Fields { version_kind: Kind::Int64, ..Fields::text(1, 2) };
/// `PredictRequest`, `ClassificationRequest` and `RegressionRequest` alike: `model_spec = 1`.
const REQUEST: Fields = Fields { parents: &[1], ..MODEL_SPEC };
/// `PredictResponse`, `ClassificationResponse` and `RegressionResponse` alike: `model_spec = 2`, after the outputs.
const ANSWER: Fields = Fields { parents: &[2], ..MODEL_SPEC };
/// `MultiInferenceRequest`: `tasks = 1`, each with its `model_spec = 1`, all of the same model; the answer's `results`
/// are numbered alike. The first counts.
const TASKS: Fields = Fields { parents: &[1, 1], ..MODEL_SPEC };

/// The prediction that a method's path names.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    let (shape, route, request, answer) = match path.text {
        PREDICT => (Shape::GrpcUnary, PREDICT, REQUEST, ANSWER),
        PREDICT_STREAMED => (Shape::GrpcStream, PREDICT_STREAMED, REQUEST, ANSWER),
        CLASSIFY => (Shape::GrpcUnary, CLASSIFY, REQUEST, ANSWER),
        REGRESS => (Shape::GrpcUnary, REGRESS, REQUEST, ANSWER),
        MULTI_INFERENCE => (Shape::GrpcUnary, MULTI_INFERENCE, TASKS, TASKS),
        _ => return None,
    };
    Some(Call::new(Protocol::TfsGrpc, shape, route, Rule::Grpc(request), Rule::Grpc(answer)))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{framed, post, read, some};
    use super::*;

    /// `name: "fraud", version { value: 300 }, signature_name: "serving"`.
    const SPEC: &[u8] = b"\x0a\x05fraud\x12\x03\x08\xac\x02\x1a\x07serving";
    /// `name: "fraud", version_label: "stable"`.
    const LABELLED: &[u8] = b"\x0a\x05fraud\x22\x06stable";
    /// A field 1 of `PredictResponse`, `ClassificationResponse` and `RegressionResponse`, and no `ModelSpec`.
    const OUTPUT: &[u8] = b"\x0a\x0d\x0a\x03out\x12\x06\x08\x01\x2a\x02\x08\x07";

    fn nested(field: u8, message: &[u8]) -> Vec<u8> {
        [&[field << 3 | 2, u8::try_from(message.len()).unwrap()], message].concat()
    }

    #[test]
    fn predictions_are_recognised() {
        for (path, shape) in [
            (PREDICT, Shape::GrpcUnary),
            (PREDICT_STREAMED, Shape::GrpcStream),
            (CLASSIFY, Shape::GrpcUnary),
            (REGRESS, Shape::GrpcUnary),
            (MULTI_INFERENCE, Shape::GrpcUnary),
        ] {
            let call = post(path).unwrap();
            assert_eq!((call.protocol, call.shape, &*call.route), (Protocol::TfsGrpc, shape, path));
            assert!(call.states_model_in_body());
        }
        for other in ["PredictionService/GetModelMetadata", "ModelService/GetModelStatus", "PredictionService/predict"]
        {
            assert!(post(&format!("/tensorflow.serving.{other}")).is_none(), "{other}");
        }
    }

    #[test]
    fn requests_and_answers_name_the_model() {
        for path in [PREDICT, PREDICT_STREAMED, CLASSIFY, REGRESS] {
            let call = post(path).unwrap();
            let request = |spec: &[u8]| {
                let message = [nested(1, spec), nested(2, b"\x0a\x03inp")].concat();
                read(|| call.request_reader(&HeaderMap::new()), &framed(0, &message))
            };
            assert_eq!(request(SPEC), some("fraud", "300", ""), "{path}");
            assert_eq!(request(LABELLED), some("fraud", "", ""), "{path}: a label is no version");
            assert_eq!(request(b""), some("", "", ""), "{path}");
            let answer = [OUTPUT, OUTPUT, &nested(2, SPEC)].concat();
            let answer = read(|| call.answer_reader(&HeaderMap::new()), &framed(0, &answer));
            assert_eq!(answer, some("fraud", "300", ""), "{path}");
            assert_eq!(read(|| call.answer_reader(&HeaderMap::new()), &framed(0, OUTPUT)), some("", "", ""), "{path}");
        }
    }

    #[test]
    fn of_several_tasks_the_first_counts() {
        let call = post(MULTI_INFERENCE).unwrap();
        let first = nested(1, &[&nested(1, SPEC)[..], b"\x12\x03cls"].concat());
        let second = nested(1, &nested(1, b"\x0a\x05other\x12\x02\x08\x01"));
        let body = framed(0, &[first, second].concat());
        assert_eq!(read(|| call.request_reader(&HeaderMap::new()), &body), some("fraud", "300", ""));
        assert_eq!(read(|| call.answer_reader(&HeaderMap::new()), &body), some("fraud", "300", ""));
    }
}
