//! Open Inference Protocol V2 over gRPC: service `inference.GRPCInferenceService`.
//!
//! Field numbers are those of `open_inference_grpc.proto` and Triton's `grpc_service.proto`. In a stream each
//! message may be for another model; the first that names one counts.

use super::path::Path;
use super::protobuf::Fields;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// `ModelInferRequest` and `ModelInferResponse` alike: `model_name = 1`, `model_version = 2`.
const MODEL: Fields = Fields::text(1, 2);
/// `ModelStreamInferResponse`: `error_message = 1`, `infer_response = 2`.
const STREAMED_MODEL: Fields = Fields { parents: &[2], ..MODEL };

/// The prediction that a method's path names.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    let (shape, route, answer) = match path.text {
        MODEL_INFER => (Shape::GrpcUnary, MODEL_INFER, MODEL),
        MODEL_STREAM_INFER => (Shape::GrpcStream, MODEL_STREAM_INFER, STREAMED_MODEL),
        _ => return None,
    };
    Some(Call::new(Protocol::OipGrpc, shape, route, Rule::Grpc(MODEL), Rule::Grpc(answer)))
}
