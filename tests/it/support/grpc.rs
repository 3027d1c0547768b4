//! gRPC messages by hand: the five-byte prefix, and the two fields of `ModelInfer` that name a model.

/// The unary method.
pub(crate) const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// The streaming method.
pub(crate) const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// An uncompressed message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// `ModelInferRequest` and `ModelInferResponse` alike: the model's name, its version, and an id.
pub(crate) fn infer(model: &str, version: &str, id: &str) -> Vec<u8> {
    [field(1, model.as_bytes()), field(2, version.as_bytes()), field(3, id.as_bytes())].concat()
}

/// A `raw_input_contents` of so many bytes, to follow the fields of [`infer`].
pub(crate) fn tensor(bytes: usize) -> Vec<u8> {
    let low = |shift: u32| u8::try_from(bytes >> shift & 0x7f).unwrap();
    [&[7 << 3 | 2, low(0) | 0x80, low(7) | 0x80, low(14)][..], &vec![0x5a; bytes]].concat()
}

/// `ModelStreamInferResponse` with an `infer_response`.
pub(crate) fn streamed(response: &[u8]) -> Vec<u8> {
    field(2, response)
}

/// A length-delimited field; absent where empty, as proto3 has it.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    if value.is_empty() {
        return Vec::new();
    }
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 128, "one byte of length is all that is written here");
    [&[number << 3 | 2, length], value].concat()
}
