//! What fuzz targets share: calls to read bodies of, the property that chunking changes nothing, segments, and a key.
//!
//! Run one with `cargo +nightly fuzz run TARGET`.

use std::path::PathBuf;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request};
use touchmark::protocol::{Call, PatternConfig, Patterns, Reader, VALUE_BYTES_MAX, recognise};
use touchmark::tlog::Signer;

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

/// A folder of this process alone, empty.
pub fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("touchmark-fuzz-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// A log's key, the same in every run.
pub fn signer() -> Signer {
    // PKCS #8 of an Ed25519 key (RFC 8410, section 7).
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    Signer::from_pkcs8("fuzz.example/log", &[&head[..], &[7; 32]].concat(), false).expect("a key")
}

/// A segment's bytes, as `touchmark::ledger` describes them, written by whatever the input says.
#[derive(Debug)]
pub struct Segment {
    /// The file.
    pub bytes: Vec<u8>,
    /// Whether its indices go on as a writer's do. What jumps is forged: a crash does not do that.
    pub dense: bool,
    index: u64,
}

impl Segment {
    /// Reads the input as a script: a byte that says what to do, then what it needs.
    pub fn scripted(mut script: &[u8]) -> Self {
        let mut segment = Self { bytes: header(), dense: true, index: 0 };
        while let Some((op, rest)) = script.split_first() {
            let (argument, rest) = rest.split_at(rest.len().min(usize::from(op >> 3)));
            script = rest;
            let size = segment.index.wrapping_add_signed(argument.first().map_or(0, |at| i64::from(*at as i8) / 64));
            match op & 7 {
                0 | 1 => segment.entry(argument),
                2 | 3 => segment.mark(2, 0, size),
                4 => segment.mark(3, argument.len() as u8 & 2, size),
                5 => segment.bytes.extend_from_slice(argument),
                6 => segment.jump(size),
                _ => segment.damage(argument),
            }
        }
        // What was allocated ahead.
        segment.bytes.resize(segment.bytes.len() + 4096, 0);
        segment
    }

    fn jump(&mut self, to: u64) {
        self.dense &= to == self.index;
        self.index = to;
    }

    fn entry(&mut self, text: &[u8]) {
        let time = "2026-11-20T17:29:01.123456Z";
        let id = uuid_like(self.index);
        let text = String::from_utf8_lossy(text);
        let kind = ["prediction", "begin", "lifecycle"][text.len() % 3];
        let entry = serde_json::json!({"v": 1, "kind": kind, "nonce": "00", "id": id, "time": time, "decision": text});
        self.frame(1, 0, entry.to_string().as_bytes());
        self.index = self.index.wrapping_add(1);
    }

    /// A commit frame (2) or a seal (3): how many entries stand before it, and how many are synced.
    fn mark(&mut self, kind: u8, flags: u8, size: u64) {
        let mut payload = [0; 48];
        payload[..8].copy_from_slice(&self.index.to_le_bytes());
        payload[8..16].copy_from_slice(&size.to_le_bytes());
        self.frame(kind, flags, &payload);
    }

    fn frame(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let mut head = Vec::from((payload.len() as u32).to_le_bytes());
        head.extend_from_slice(&[kind, flags, 0, 0]);
        head.extend_from_slice(&self.index.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(payload), &head);
        head.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    fn damage(&mut self, places: &[u8]) {
        for place in places.chunks_exact(2) {
            let back = usize::from(u16::from_le_bytes([place[0], place[1]])) % self.bytes.len();
            let at = self.bytes.len() - 1 - back;
            self.bytes[at] ^= 1 << (place[0] & 7);
        }
    }
}

/// The header of a log's first segment.
fn header() -> Vec<u8> {
    let mut head = vec![0; 128];
    head[..8].copy_from_slice(b"TOUCHMRK");
    head[8..12].copy_from_slice(&1_u32.to_le_bytes());
    head[12..16].copy_from_slice(&128_u32.to_le_bytes());
    head[16..32].copy_from_slice(&[7; 16]);
    head[80..88].copy_from_slice(&u64::MAX.to_le_bytes());
    let crc = crc32c::crc32c(&head[..124]);
    head[124..].copy_from_slice(&crc.to_le_bytes());
    head
}

fn uuid_like(number: u64) -> String {
    format!("0192f0c1-7c4e-7a3b-8c11-{number:012x}")
}
