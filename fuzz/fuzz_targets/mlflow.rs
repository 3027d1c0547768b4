//! Any bytes as an answer of MLflow and as a webhook: read or refused, placed so that it can be recorded, and believed
//! for the secret that signed it alone.
#![no_main]

use std::time::SystemTime;

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use touchmark::lineage::mlflow::{parse_any, webhook};

const SIGNED: [&str; 3] = ["x-mlflow-signature", "x-mlflow-timestamp", "x-mlflow-delivery-id"];

fuzz_target!(|input: &[u8]| {
    parse_any(input);
    // Three lines of headers, and the body.
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for (name, value) in SIGNED.into_iter().zip(&mut parts) {
        if let Ok(value) = value.try_into() {
            headers.insert(name, value);
        }
    }
    let body = parts.next().unwrap_or_default();
    let verdict = webhook::verify(b"a secret that nobody has", &headers, body, SystemTime::UNIX_EPOCH);
    assert!(verdict.is_err(), "nobody signed this: {verdict:?}");
});
