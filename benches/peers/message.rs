//! The messages of the Open Inference Protocol over gRPC that the load consists of, made by hand.

use std::sync::LazyLock;

use bytes::Bytes;

/// The method that every stream calls.
pub(crate) const METHOD: &str = "/inference.GRPCInferenceService/ModelInfer";
/// Bytes that may be under way to the client or the backend, of one stream and of one connection.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(crate) const WINDOW_BYTES: u32 = 16 << 20;

/// Bytes of the answer's tensor.
const ANSWER_TENSOR_BYTES: usize = 352;

/// A whole `ModelInferResponse` with its prefix, about as long as the answer over HTTP/1.1.
pub(crate) static ANSWER: LazyLock<Bytes> = LazyLock::new(|| {
    let mut message = Vec::new();
    text(&mut message, 1, b"m");
    text(&mut message, 2, b"1");
    // `outputs`: a tensor of FP32, by name; its values are `raw_output_contents`.
    text(&mut message, 5, &tensor(b"probability", ANSWER_TENSOR_BYTES));
    text(&mut message, 6, &[0x3f; ANSWER_TENSOR_BYTES]);
    framed(&message).into()
});

/// A `ModelInferRequest` of about this many bytes, with its prefix.
pub(crate) fn request(bytes: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(bytes + 64);
    text(&mut message, 1, b"m");
    // What names, shapes and lengths take.
    let values = bytes.saturating_sub(40) / 4 * 4;
    text(&mut message, 5, &tensor(b"x", values));
    let mut number = 1_u32;
    let filled: Vec<u8> = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number.to_le_bytes()
    })
    .take(values / 4)
    .flatten()
    .collect();
    text(&mut message, 7, &filled);
    framed(&message)
}

/// Name, datatype and shape of a tensor of FP32 that is so many bytes long.
fn tensor(name: &[u8], bytes: usize) -> Vec<u8> {
    let mut shape = vec![1];
    varint(&mut shape, bytes / 4);
    let mut tensor = Vec::new();
    text(&mut tensor, 1, name);
    text(&mut tensor, 2, b"FP32");
    text(&mut tensor, 3, &shape);
    tensor
}

/// A field of bytes.
fn text(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, value.len());
    message.extend_from_slice(value);
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn varint(message: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// With gRPC's prefix: not compressed, so many bytes.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}
