//! The exact bytes of each kind of entry.

use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use super::{call, exchange, identity};
use crate::exchange::{Exchange, Payload, Prediction};
use crate::ledger::entry::{self, ENTRY_BYTES_MAX, Gap, OriginJson, PREDICTION_BYTES_MAX};
use crate::ledger::glance::{Glance, Glances};
use crate::ledger::json::Clock;
use crate::ledger::parse::{Body, Entry};
use crate::ledger::recover::Recovered;
use crate::lineage::Document;

const NONCE: [u8; 16] = [0x0f; 16];
const ID: Uuid = uuid::uuid!("0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10");

fn origin() -> OriginJson {
    OriginJson::new("fraud-prod", "fraud-prod-7c9d")
}

fn written(write: impl FnOnce(&mut Vec<u8>, &mut Clock)) -> String {
    let mut out = b"left from before".to_vec();
    write(&mut out, &mut Clock::default());
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let entry = Entry::parse(text.as_bytes()).unwrap();
    let mut glances = Glances::default();
    for _ in 0..2 {
        let seen = glances.read(text.as_bytes()).unwrap();
        assert_eq!(indexed(&seen), expected(&entry), "{text}");
    }
    text
}

/// What an index takes of an entry.
fn indexed<'a>(Glance { common, own, .. }: &'a Glance<'_>) -> [Option<&'a str>; 11] {
    [
        Some(&common.kind),
        Some(&own.time),
        own.id.as_deref(),
        common.model.as_deref(),
        common.version.as_deref(),
        common.lineage.as_deref(),
        common.outcome.as_deref(),
        own.trace.as_deref(),
        common.datasets.last().map(String::as_str),
        own.input.as_deref(),
        own.output.as_deref(),
    ]
}

/// The same, read by the library.
fn expected<'a>(entry: &'a Entry<'_>) -> [Option<&'a str>; 11] {
    let dataset = entry.datasets.iter().flatten().last();
    let hash = |body: &'a Option<Body<'_>>| body.as_ref()?.hash.as_deref();
    [
        Some(&entry.kind),
        Some(&entry.time),
        entry.id.as_deref(),
        entry.model.as_deref(),
        entry.version.as_deref(),
        entry.lineage.as_deref(),
        entry.outcome.as_deref(),
        entry.trace.as_deref(),
        dataset.map(|dataset| &**dataset),
        hash(&entry.input),
        hash(&entry.output),
    ]
}

fn prediction(exchange: &Exchange<'_>) -> String {
    written(|out, clock| entry::prediction(out, clock, NONCE, &origin(), exchange))
}

#[test]
fn a_prediction() {
    let identity = identity("v1.2.3");
    let mut exchange = exchange(call(ID, Some(&identity)));
    exchange.input.sha256 = Some([0xaa; 32]);
    exchange.trace_id = [0xcc; 16];
    exchange.parent = Some(Uuid::from_u128(7));
    exchange.client_request_id = Some("req-17");
    let (a, b, c, d) = ("aa".repeat(32), "bb".repeat(32), "cc".repeat(16), "dd".repeat(8));
    let (nonce, lineage) = ("0f".repeat(16), super::hex(&identity.document.digest));
    let (first, next) = (prediction(&exchange), prediction(&Exchange { trace_id: [0xce; 16], ..exchange }));
    let mut glances = Glances::default();
    assert!(glances.read(first.as_bytes()).unwrap().news);
    assert!(!glances.read(next.as_bytes()).unwrap().news, "the usual form");
    assert_eq!(
        prediction(&exchange),
        format!(
            "{{\"v\":1,\"kind\":\"prediction\",\"nonce\":\"{nonce}\",\"id\":\"0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10\",\
             \"time\":\"2026-11-20T17:29:01.123456Z\",\"duration_us\":2140,\"deployment\":\"fraud-prod\",\
             \"instance\":\"fraud-prod-7c9d\",\"backend\":\"champion\",\"protocol\":\"oip-rest\",\
             \"route\":\"/v2/models/{{model}}/infer\",\"model\":\"fraud\",\"version\":\"v1.2.3\",\
             \"version_source\":\"declared\",\"requested_version\":\"1\",\"observed_version\":\"1\",\
             \"datasets\":[\"transactions@v2.0\"],\"lineage\":\"{lineage}\",\
             \"input\":{{\"bytes\":812,\"alg\":\"sha256\",\"hash\":\"{a}\",\"type\":\"application/json\"}},\
             \"output\":{{\"status\":200,\"bytes\":141,\"alg\":\"sha256\",\"hash\":\"{b}\"}},\"decision\":\"0.25\",\
             \"outcome\":\"complete\",\"trace\":\"{c}\",\"span\":\"{d}\",\
             \"parent\":\"00000000-0000-0000-0000-000000000007\",\"client_request_id\":\"req-17\"}}"
        )
    );
}

#[test]
fn a_grpc_prediction_of_an_unresolved_model() {
    let call = Prediction { protocol: "oip-grpc", stated_model: Some("what?"), ..call(ID, None) };
    let exchange = Exchange {
        requested_version: None,
        observed_version: None,
        input: Payload { bytes: 9, grpc_encoding: Some("gzip"), messages: Some(2), ..Payload::default() },
        status: None,
        grpc_status: Some(14),
        output: Payload { messages: Some(0), ..Payload::default() },
        decision: None,
        ..exchange(call)
    };
    let text = prediction(&exchange);
    let middle = r#""route":"/v2/models/{model}/infer","model":"what?","input":{"bytes":9,"grpc_encoding":"gzip","messages":2},"output":{"bytes":0,"grpc_status":14,"messages":0},"outcome":"complete""#;
    assert!(text.contains(middle), "{text}");
    assert!(!text.contains("truncated"));
}

#[test]
fn a_contradicted_version_stands_beside_the_observed_one() {
    let identity = identity("v1");
    let call = Prediction { version_known: false, ..call(ID, Some(&identity)) };
    let text = prediction(&Exchange { observed_version: Some("7"), ..exchange(call) });
    let middle =
        r#""model":"fraud","version":"v1","version_source":"declared","requested_version":"1","observed_version":"7""#;
    assert!(text.contains(middle), "{text}");
    assert!(text.contains(r#""lineage":"#), "{text}");
}

#[test]
fn a_begin_and_its_interruption() {
    let identity = identity("v1.2.3");
    let begin = written(|out, clock| entry::begin(out, clock, NONCE, &origin(), &call(ID, Some(&identity))));
    let (nonce, lineage) = ("0f".repeat(16), super::hex(&identity.document.digest));
    let known = format!(
        "\"deployment\":\"fraud-prod\",\"instance\":\"fraud-prod-7c9d\",\"backend\":\"champion\",\
         \"protocol\":\"oip-rest\",\"route\":\"/v2/models/{{model}}/infer\",\"model\":\"fraud\",\"version\":\"v1.2.3\",\
         \"datasets\":[\"transactions@v2.0\"],\"lineage\":\"{lineage}\""
    );
    let head = |kind| {
        format!(
            "{{\"v\":1,\"kind\":\"{kind}\",\"nonce\":\"{nonce}\",\"id\":\"0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10\",\
             \"time\":\"2026-11-20T17:29:01.123456Z\","
        )
    };
    assert_eq!(begin, format!("{}{known}}}", head("begin")));
    let parsed = Entry::parse(begin.as_bytes()).unwrap();
    let end = written(|out, _| entry::interrupted(out, NONCE, &parsed));
    assert_eq!(end, format!("{}{known},\"outcome\":\"interrupted\"}}", head("prediction")));
}

#[test]
fn a_lineage_a_lifecycle_and_a_gap() {
    let time = UNIX_EPOCH + Duration::from_micros(1_795_195_741_123_456);
    let nonce = "0f".repeat(16);
    let document = Document { digest: [0xab; 32], json: r#"{"model":{"name":"fraud"}}"#.to_owned() };
    let head =
        |kind| format!("{{\"v\":1,\"kind\":\"{kind}\",\"nonce\":\"{nonce}\",\"time\":\"2026-11-20T17:29:01.123456Z\",");
    assert_eq!(
        written(|out, clock| entry::lineage(out, clock, NONCE, time, &document)),
        format!(
            "{}\"digest\":\"{}\",\"document\":{{\"model\":{{\"name\":\"fraud\"}}}}}}",
            head("lineage"),
            "ab".repeat(32)
        )
    );
    let found = Recovered { unclean: true, unsynced: 1234, ..Recovered::empty() };
    let detail = crate::ledger::opening::start_detail(&found, &[]);
    assert_eq!(
        written(|out, clock| entry::lifecycle(out, clock, NONCE, &origin(), time, ("start", &detail))),
        format!(
            "{}\"deployment\":\"fraud-prod\",\"instance\":\"fraud-prod-7c9d\",\"event\":\"start\",\
             \"detail\":{{\"unclean\":true,\"recovered\":1234}}}}",
            head("lifecycle")
        )
    );
    let gap = Gap { from: time, to: time + Duration::from_secs(1), count: 17, reason: "passed" };
    assert_eq!(
        written(|out, clock| entry::gap(out, clock, NONCE, time, &gap)),
        format!(
            "{}\"from\":\"2026-11-20T17:29:01.123456Z\",\"to\":\"2026-11-20T17:29:02.123456Z\",\"count\":17,\
             \"reason\":\"passed\"}}",
            head("gap")
        )
    );
}

#[test]
fn what_others_send_cannot_make_an_entry_large() {
    let long = "\u{1}ö\"".repeat(3000);
    let mut identity = (*identity("v1")).clone_with(&long);
    identity.datasets = vec![long.clone(), "short@1".to_owned(), long.clone()];
    let identity = std::sync::Arc::new(identity);
    let text = Some(long.as_str());
    let call = Prediction { backend: text, protocol: &long, route: &long, ..call(ID, Some(&identity)) };
    let body = Payload {
        bytes: u64::MAX,
        sha256: Some([0xff; 32]),
        media_type: text,
        encoding: text,
        grpc_encoding: text,
        messages: Some(u64::MAX),
    };
    let exchange = Exchange {
        duration: Duration::MAX,
        requested_version: text,
        observed_version: text,
        input: body,
        status: Some(u16::MAX),
        grpc_status: Some(u16::MAX),
        output: body,
        decision: text,
        parent: Some(ID),
        client_request_id: text,
        ..exchange(call)
    };
    let origin = OriginJson::new(&long, &long);
    let entry = written(|out, clock| entry::prediction(out, clock, NONCE, &origin, &exchange));
    assert!(entry.len() <= PREDICTION_BYTES_MAX, "{} bytes", entry.len());
    assert!(entry.ends_with(r#"…","truncated":true}"#), "{entry}");
    assert!(entry.contains(r#","short@1"],"lineage""#), "what fits is kept: {entry}");
    let begin = written(|out, clock| entry::begin(out, clock, NONCE, &origin, &call));
    assert!(begin.len() <= PREDICTION_BYTES_MAX && begin.ends_with(r#""truncated":true}"#));
}

#[test]
fn a_document_that_fits_no_entry_is_left_out() {
    let document = |len: usize| Document { digest: [1; 32], json: format!("\"{}\"", "x".repeat(len)) };
    for len in [10, ENTRY_BYTES_MAX - 300, ENTRY_BYTES_MAX, 3 * ENTRY_BYTES_MAX] {
        let entry = written(|out, clock| entry::lineage(out, clock, NONCE, UNIX_EPOCH, &document(len)));
        assert!(entry.len() <= ENTRY_BYTES_MAX);
        assert_eq!(entry.contains("document"), len + 300 <= ENTRY_BYTES_MAX);
        assert_eq!(entry.contains("truncated"), len + 300 > ENTRY_BYTES_MAX);
    }
}

impl crate::lineage::Identity {
    fn clone_with(&self, name: &str) -> Self {
        Self {
            model: name.to_owned(),
            version: name.to_owned(),
            datasets: Vec::new(),
            dataset_version: None,
            reproducible: false,
            document: std::sync::Arc::clone(&self.document),
        }
    }
}
