//! `TorchServe` over gRPC: service `org.pytorch.serve.grpc.inference.InferenceAPIsService`.
//!
//! Field numbers are those of `inference.proto`. The answers name no model. In a stream of requests each may be for
//! another model; the first that names one counts.

use super::path::Path;
use super::protobuf::Fields;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

const PREDICTIONS: &str = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions";
/// One request, a stream of answers.
const STREAM_PREDICTIONS: &str = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions";
/// Streams both ways.
const STREAM_PREDICTIONS_2: &str = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions2";

/// `PredictionsRequest`: `model_name = 1`, `model_version = 2`.
const MODEL: Fields = Fields::text(1, 2);

/// The prediction that a method's path names.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    let (shape, route) = match path.text {
        PREDICTIONS => (Shape::GrpcUnary, PREDICTIONS),
        STREAM_PREDICTIONS => (Shape::GrpcStream, STREAM_PREDICTIONS),
        STREAM_PREDICTIONS_2 => (Shape::GrpcStream, STREAM_PREDICTIONS_2),
        _ => return None,
    };
    Some(Call::new(Protocol::TorchServeGrpc, shape, route, Rule::Grpc(MODEL), Rule::Nothing))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{framed, post, read, some};
    use super::*;

    #[test]
    fn predictions_are_recognised_and_read() {
        for (path, shape) in [
            (PREDICTIONS, Shape::GrpcUnary),
            (STREAM_PREDICTIONS, Shape::GrpcStream),
            (STREAM_PREDICTIONS_2, Shape::GrpcStream),
        ] {
            let call = post(path).unwrap();
            assert_eq!((call.protocol, call.shape, &*call.route), (Protocol::TorchServeGrpc, shape, path));
            assert!(call.states_model_in_body());
            assert!(call.answer_reader(&HeaderMap::new()).is_done(), "answers name no model");
            let input = b"\x1a\x0a\x0a\x04data\x12\x02\x0a\x01";
            let reader = || call.request_reader(&HeaderMap::new());
            for (message, expected) in [
                ([&b"\x0a\x05fraud\x12\x032.0"[..], input].concat(), some("fraud", "2.0", "")),
                ([&input[..], b"\x12\x032.0\x0a\x05fraud"].concat(), some("fraud", "2.0", "")),
                ([&b"\x0a\x05fraud"[..], input].concat(), some("fraud", "", "")),
                (input.to_vec(), some("", "", "")),
            ] {
                assert_eq!(read(reader, &framed(0, &message)), expected, "{path}");
            }
        }
        assert!(post("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping").is_none());
        assert!(post("/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels").is_none());
    }
}
