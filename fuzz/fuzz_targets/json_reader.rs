//! Any document: the scanner learns the same in whatever pieces it comes, and `json::pointer` stays bounded.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::protocol::{Call, VALUE_BYTES_MAX, json};
use touchmark_fuzz::{call, headers, patterns, read_both_ways};

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let paths = ["/v2/models/m/infer", "/v1/chat/completions", "/open/x"];
    paths.iter().filter_map(|path| call(path, &patterns())).collect()
});

fuzz_target!(|input: &[u8]| {
    let headers = headers("application/json");
    for call in CALLS.iter() {
        read_both_ways(|| call.request_reader(&headers), input);
        read_both_ways(|| call.answer_reader(&headers), input);
    }
    for pointer in ["", "/model", "/a/0", "/0/a", "/outputs/0/data/0"] {
        assert!(json::pointer(input, pointer).is_none_or(|value| value.len() <= VALUE_BYTES_MAX));
    }
});
