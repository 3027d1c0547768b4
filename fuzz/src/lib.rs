//! What fuzz targets share: calls to read bodies of, and the property that chunking changes nothing.
//!
//! Run one with `cargo +nightly fuzz run TARGET`.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request};
use touchmark::protocol::{Call, PatternConfig, Patterns, Reader, VALUE_BYTES_MAX, recognise};

/// The call that a `POST` to a path is.
pub fn call(path: &str, patterns: &Patterns) -> Option<Call> {
    let parts = Request::post(path).body(()).ok()?.into_parts().0;
    recognise(&parts, patterns)
}

/// Patterns with every kind of placeholder and place.
pub fn patterns() -> Patterns {
    let pattern = |path: &str| PatternConfig {
        name: None,
        path: path.to_owned(),
        request_model: None,
        request_version: None,
        answer_model: Some("/a/model".to_owned()),
        answer_version: Some("/a/v".to_owned()),
        grpc: false,
        streaming: false,
    };
    let paths = ["/score/{model}/{version}", "/x/{*}/pre{model}:predict", "/open/{**}"];
    Patterns::compile(&paths.map(pattern)).expect("the patterns are valid")
}

/// Headers with a content type.
pub fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}

/// Reads a body whole and in pieces, whose sizes the first bytes of the input give; both must learn the same.
pub fn read_both_ways(reader: impl Fn() -> Reader, input: &[u8]) {
    let (sizes, body) = input.split_at(input.len().min(4));
    let (mut whole, mut pieces) = (reader(), reader());
    whole.feed(body);
    in_pieces(sizes, body, |chunk| pieces.feed(chunk));
    assert_eq!(values(&whole), values(&pieces));
    assert_eq!(whole.is_done(), pieces.is_done());
    assert!(values(&whole).iter().flatten().all(|value| value.len() <= VALUE_BYTES_MAX));
}

/// Hands a body on in pieces of the sizes, over and over.
pub fn in_pieces(sizes: &[u8], mut body: &[u8], mut on: impl FnMut(&[u8])) {
    for size in sizes.iter().cycle() {
        let (chunk, rest) = body.split_at((usize::from(*size) + 1).min(body.len()));
        on(chunk);
        body = rest;
        if body.is_empty() {
            return;
        }
    }
}

fn values(reader: &Reader) -> [Option<&str>; 3] {
    [reader.model(), reader.version(), reader.fingerprint()]
}
