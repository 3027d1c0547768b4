//! Any stream of events: the reader learns the same in whatever pieces it comes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use touchmark::protocol::Call;
use touchmark_fuzz::{call, headers, patterns, read_both_ways};

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let paths = ["/v2/models/m/generate_stream", "/v1/chat/completions", "/v1/responses"];
    paths.iter().filter_map(|path| call(path, &patterns())).collect()
});

fuzz_target!(|input: &[u8]| {
    let headers = headers("text/event-stream");
    for call in CALLS.iter() {
        read_both_ways(|| call.answer_reader(&headers), input);
    }
});
