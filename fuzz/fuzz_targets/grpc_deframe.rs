//! Any gRPC body: payload, count and boundary are the same in whatever pieces it comes, and so is what readers learn.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::protocol::Call;
use touchmark::protocol::grpc::Deframer;
use touchmark_fuzz::{call, headers, in_pieces, patterns, read_both_ways};

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let methods = [
        "/inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelStreamInfer",
        "/tensorflow.serving.PredictionService/Predict",
        "/tensorflow.serving.PredictionService/MultiInference",
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
    ];
    methods.map(|path| call(path, &patterns()).expect("a prediction")).into()
});

fuzz_target!(|input: &[u8]| {
    let (sizes, body) = input.split_at(input.len().min(4));
    let (mut whole, mut pieces) = (Deframer::default(), Deframer::default());
    let (mut payload, mut in_parts) = (Vec::new(), Vec::new());
    whole.feed(body, |bytes| payload.extend_from_slice(bytes));
    in_pieces(sizes, body, |chunk| pieces.feed(chunk, |bytes| in_parts.extend_from_slice(bytes)));
    assert_eq!(payload, in_parts);
    assert_eq!((whole.messages(), whole.at_boundary()), (pieces.messages(), pieces.at_boundary()));

    let headers = headers("application/grpc");
    for call in CALLS.iter() {
        read_both_ways(|| call.request_reader(&headers), input);
        read_both_ways(|| call.answer_reader(&headers), input);
    }
});
