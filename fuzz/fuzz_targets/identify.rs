//! Any path and header: recognised or not, never a panic, and names that are not empty and bounded.
#![no_main]

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, Method, Request};
use libfuzzer_sys::fuzz_target;
use touchmark::protocol::{Patterns, VALUE_BYTES_MAX, recognise};

static PATTERNS: LazyLock<Patterns> = LazyLock::new(touchmark_fuzz::patterns);

// The input's lines are the path, a header's name and its value.
fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let Ok(request) = Request::post(lines.next().unwrap_or_default()).body(()) else { return };
    let mut parts = request.into_parts().0;
    let header = (lines.next().map(HeaderName::from_bytes), lines.next().map(HeaderValue::from_bytes));
    if let (Some(Ok(name)), Some(Ok(value))) = header {
        parts.headers.insert(name, value);
    }
    // What is a prediction as a PUT is one as a POST too.
    let mut put = parts.clone();
    put.method = Method::PUT;
    let (posted, put) = (recognise(&parts, &PATTERNS), recognise(&put, &PATTERNS));
    assert!(posted.is_some() || put.is_none());
    let Some(call) = posted else { return };
    for name in [&call.model, &call.version].into_iter().flatten() {
        assert!(!name.is_empty() && name.len() <= VALUE_BYTES_MAX);
    }
    assert_eq!(call.states_model_in_body(), !call.request_reader(&http::HeaderMap::new()).is_done());
});
