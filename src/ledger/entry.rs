//! Entries as bytes: compact JSON in a fixed key order, absent members left out, no floats.
//!
//! These bytes are kept verbatim for ever: they are a frame's payload and, later, a Merkle leaf. What a client or
//! a model server sent is cut at a limit, so that nobody can make an entry large; a cut says so with `…` in the
//! text and `"truncated":true` at the entry's end. Pure: no files, no clock, no randomness of its own.

use std::time::SystemTime;

use crate::exchange::{Exchange, Outcome, Payload, Prediction};
use crate::ledger::json::{self, Clock};
use crate::ledger::parse;
use crate::lineage::{Document, Identity};

/// The most bytes that any entry may have.
pub(crate) const ENTRY_BYTES_MAX: usize = 65_535;
/// The most bytes that a `prediction` (and a `begin`) may have.
pub(crate) const PREDICTION_BYTES_MAX: usize = 4096;

/// Bytes of JSON text, escapes counted, for each member that others choose. Together with some 1,100 bytes of
/// fixed text, hashes and numbers they stay below [`PREDICTION_BYTES_MAX`]; a test fills them all.
const NAME_MAX: usize = 256;
const ROUTE_MAX: usize = 256;
const VERSION_MAX: usize = 128;
const MEDIA_TYPE_MAX: usize = 128;
const ENCODING_MAX: usize = 32;
const DECISION_MAX: usize = 256;
const REQUEST_ID_MAX: usize = 128;
const PROTOCOL_MAX: usize = 32;
/// All datasets together, with quotes and commas. What does not fit stands in the lineage document.
const DATASETS_MAX: usize = 512;

/// Which entry a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A finished prediction.
    Prediction,
    /// A streamed prediction whose answer's head is about to leave.
    Begin,
    /// The whole document behind a stamp, before its first use.
    Lineage,
    /// A start, stop or change of the process.
    Lifecycle,
    /// Predictions that have no entry.
    Gap,
}

impl Kind {
    /// Every kind, in the order of [`Kind::index`].
    pub const ALL: [Self; 5] = [Self::Prediction, Self::Begin, Self::Lineage, Self::Lifecycle, Self::Gap];

    /// The name in entries, metrics and queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::Begin => "begin",
            Self::Lineage => "lineage",
            Self::Lifecycle => "lifecycle",
            Self::Gap => "gap",
        }
    }

    /// The place in [`Kind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Predictions without an entry, as one `gap` entry covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first one's time.
    pub(crate) from: SystemTime,
    /// The last one's time.
    pub(crate) to: SystemTime,
    /// How many.
    pub(crate) count: u64,
    /// Why: `refused`, `passed` or `failed`.
    pub(crate) reason: &'static str,
}

impl Gap {
    /// Covers `other` too.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.count += other.count;
    }
}

/// The members `deployment` and `instance`, written once for every entry of a process.
#[derive(Clone, Debug)]
pub(crate) struct OriginJson(Vec<u8>);

impl OriginJson {
    /// Writes the two members. They come from the configuration, and are cut like everything else.
    pub(crate) fn new(deployment: &str, instance: &str) -> Self {
        let mut out = Vec::new();
        origin_members(&mut out, deployment, instance);
        Self(out)
    }
}

/// An entry on its way into a buffer; [`Pen::end`] closes it.
struct Pen<'a> {
    out: &'a mut Vec<u8>,
    truncated: bool,
}

/// A `prediction` entry.
pub(crate) fn prediction(
    out: &mut Vec<u8>,
    clock: &mut Clock,
    nonce: [u8; 16],
    origin: &OriginJson,
    exchange: &Exchange<'_>,
) {
    let call = &exchange.prediction;
    let mut pen = Pen::new(out, Kind::Prediction, nonce);
    pen.raw(b",\"id\":\"");
    json::uuid(pen.out, call.id);
    pen.raw(b"\",\"time\":");
    clock.time(pen.out, call.time);
    pen.raw(b",\"duration_us\":");
    json::number(pen.out, u64::try_from(exchange.duration.as_micros()).unwrap_or(u64::MAX));
    pen.call(origin, call);
    pen.model(call);
    // Where the answer contradicted the declaration, the entry keeps both: `version` and `observed_version`.
    if let Some(identity) = call.identity {
        pen.cut(b",\"version\":", Some(&identity.version), NAME_MAX);
        if let Some(source) = call.version_source {
            pen.word(b",\"version_source\":\"", source.as_str());
        }
    }
    pen.cut(b",\"requested_version\":", exchange.requested_version, VERSION_MAX);
    pen.cut(b",\"observed_version\":", exchange.observed_version, VERSION_MAX);
    pen.lineage(call.identity);
    pen.input(&exchange.input);
    pen.output(exchange);
    pen.cut(b",\"decision\":", exchange.decision, DECISION_MAX);
    pen.word(b",\"outcome\":\"", exchange.outcome.as_str());
    pen.raw(b",\"trace\":\"");
    json::hex(pen.out, &exchange.trace_id);
    pen.raw(b"\",\"span\":\"");
    json::hex(pen.out, &exchange.span_id);
    pen.raw(b"\"");
    if let Some(parent) = exchange.parent {
        pen.raw(b",\"parent\":\"");
        json::uuid(pen.out, parent);
        pen.raw(b"\"");
    }
    pen.cut(b",\"client_request_id\":", exchange.client_request_id, REQUEST_ID_MAX);
    pen.end();
    debug_assert!(out.len() <= PREDICTION_BYTES_MAX, "the members' limits leave room for no more");
}

/// A `begin` entry.
pub(crate) fn begin(out: &mut Vec<u8>, clock: &mut Clock, nonce: [u8; 16], origin: &OriginJson, call: &Prediction<'_>) {
    let mut pen = Pen::new(out, Kind::Begin, nonce);
    pen.raw(b",\"id\":\"");
    json::uuid(pen.out, call.id);
    pen.raw(b"\",\"time\":");
    clock.time(pen.out, call.time);
    pen.call(origin, call);
    pen.model(call);
    pen.cut(b",\"version\":", call.identity.map(|identity| identity.version.as_str()), NAME_MAX);
    pen.lineage(call.identity);
    pen.end();
}

/// The `prediction` entry of a `begin` that a crash left without its end: what the `begin` knew, and no more.
pub(crate) fn interrupted(out: &mut Vec<u8>, nonce: [u8; 16], begin: &parse::Entry<'_>) {
    let mut pen = Pen::new(out, Kind::Prediction, nonce);
    pen.cut(b",\"id\":", begin.id.as_deref(), NAME_MAX);
    pen.cut(b",\"time\":", Some(&begin.time), NAME_MAX);
    for (member, value) in [
        (&b",\"deployment\":"[..], &begin.deployment),
        (b",\"instance\":", &begin.instance),
        (b",\"backend\":", &begin.backend),
        (b",\"protocol\":", &begin.protocol),
        (b",\"route\":", &begin.route),
        (b",\"model\":", &begin.model),
        (b",\"version\":", &begin.version),
    ] {
        pen.cut(member, value.as_deref(), NAME_MAX);
    }
    pen.datasets(begin.datasets.iter().flatten().map(|name| &**name));
    pen.cut(b",\"lineage\":", begin.lineage.as_deref(), NAME_MAX);
    pen.word(b",\"outcome\":\"", Outcome::Interrupted.as_str());
    pen.truncated |= begin.truncated;
    pen.end();
}

/// A `lineage` entry. A document that no entry can hold is left out, which `truncated` says.
pub(crate) fn lineage(out: &mut Vec<u8>, clock: &mut Clock, nonce: [u8; 16], time: SystemTime, document: &Document) {
    let mut pen = Pen::new(out, Kind::Lineage, nonce);
    pen.raw(b",\"time\":");
    clock.time(pen.out, time);
    pen.raw(b",\"digest\":\"");
    json::hex(pen.out, &document.digest);
    pen.raw(b"\"");
    pen.json(b",\"document\":", document.json.as_bytes());
    pen.end();
}

/// A `lifecycle` entry. `detail` is compact JSON, or empty where there is none.
pub(crate) fn lifecycle(
    out: &mut Vec<u8>,
    clock: &mut Clock,
    nonce: [u8; 16],
    origin: &OriginJson,
    time: SystemTime,
    (event, detail): (&str, &[u8]),
) {
    let mut pen = Pen::new(out, Kind::Lifecycle, nonce);
    pen.raw(b",\"time\":");
    clock.time(pen.out, time);
    pen.raw(&origin.0);
    pen.word(b",\"event\":\"", event);
    if !detail.is_empty() {
        pen.json(b",\"detail\":", detail);
    }
    pen.end();
}

/// A `gap` entry.
pub(crate) fn gap(out: &mut Vec<u8>, clock: &mut Clock, nonce: [u8; 16], time: SystemTime, gap: &Gap) {
    let mut pen = Pen::new(out, Kind::Gap, nonce);
    for (member, time) in [(&b",\"time\":"[..], time), (b",\"from\":", gap.from), (b",\"to\":", gap.to)] {
        pen.raw(member);
        clock.time(pen.out, time);
    }
    pen.raw(b",\"count\":");
    json::number(pen.out, gap.count);
    pen.word(b",\"reason\":\"", gap.reason);
    pen.end();
}

impl<'a> Pen<'a> {
    fn new(out: &'a mut Vec<u8>, kind: Kind, nonce: [u8; 16]) -> Self {
        out.clear();
        let mut pen = Self { out, truncated: false };
        pen.word(b"{\"v\":1,\"kind\":\"", kind.as_str());
        pen.raw(b",\"nonce\":\"");
        json::hex(pen.out, &nonce);
        pen.raw(b"\"");
        pen
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A text that needs no escape, of our own making; `member` ends with the opening quote.
    fn word(&mut self, member: &[u8], word: &str) {
        self.raw(member);
        self.raw(word.as_bytes());
        self.raw(b"\"");
    }

    fn cut(&mut self, member: &[u8], value: Option<&str>, limit: usize) {
        if let Some(value) = value {
            self.raw(member);
            self.truncated |= json::text_cut(self.out, value, limit);
        }
    }

    /// A member that is JSON already, left out where the entry cannot hold it.
    fn json(&mut self, member: &[u8], value: &[u8]) {
        const END: usize = r#","truncated":true}"#.len();
        if self.out.len() + member.len() + value.len() + END > ENTRY_BYTES_MAX {
            self.truncated = true;
            return;
        }
        self.raw(member);
        self.raw(value);
    }

    fn call(&mut self, origin: &OriginJson, call: &Prediction<'_>) {
        self.raw(&origin.0);
        self.cut(b",\"backend\":", call.backend, NAME_MAX);
        self.cut(b",\"protocol\":", Some(call.protocol), PROTOCOL_MAX);
        self.cut(b",\"route\":", Some(call.route), ROUTE_MAX);
    }

    fn model(&mut self, call: &Prediction<'_>) {
        let model = call.identity.map(|identity| identity.model.as_str()).or(call.stated_model);
        self.cut(b",\"model\":", model, NAME_MAX);
    }

    fn lineage(&mut self, identity: Option<&std::sync::Arc<Identity>>) {
        let Some(identity) = identity else { return };
        self.datasets(identity.datasets.iter().map(String::as_str));
        self.raw(b",\"lineage\":\"");
        json::hex(self.out, &identity.document.digest);
        self.raw(b"\"");
    }

    fn datasets<'d>(&mut self, mut datasets: impl Iterator<Item = &'d str>) {
        let Some(first) = datasets.next() else { return };
        self.raw(b",\"datasets\":[");
        let start = self.out.len();
        self.truncated |= json::text_cut(self.out, first, DATASETS_MAX / 2);
        for dataset in datasets {
            if self.out.len() - start + json::escaped_len(dataset) + 3 > DATASETS_MAX {
                self.truncated = true;
                break;
            }
            self.raw(b",");
            json::text(self.out, dataset);
        }
        self.raw(b"]");
    }

    fn input(&mut self, input: &Payload<'_>) {
        self.raw(b",\"input\":{\"bytes\":");
        self.body(input);
        self.cut(b",\"type\":", input.media_type, MEDIA_TYPE_MAX);
        self.cut(b",\"encoding\":", input.encoding, ENCODING_MAX);
        self.cut(b",\"grpc_encoding\":", input.grpc_encoding, ENCODING_MAX);
        self.count(b",\"messages\":", input.messages);
        self.raw(b"}");
    }

    fn output(&mut self, exchange: &Exchange<'_>) {
        self.raw(b",\"output\":{");
        if let Some(status) = exchange.status {
            self.raw(b"\"status\":");
            json::number(self.out, u64::from(status));
            self.raw(b",");
        }
        self.raw(b"\"bytes\":");
        self.body(&exchange.output);
        self.count(b",\"grpc_status\":", exchange.grpc_status.map(u64::from));
        self.count(b",\"messages\":", exchange.output.messages);
        self.raw(b"}");
    }

    fn body(&mut self, payload: &Payload<'_>) {
        json::number(self.out, payload.bytes);
        if let Some(hash) = &payload.sha256 {
            self.raw(b",\"alg\":\"sha256\",\"hash\":\"");
            json::hex(self.out, hash);
            self.raw(b"\"");
        }
    }

    fn count(&mut self, member: &[u8], count: Option<u64>) {
        if let Some(count) = count {
            self.raw(member);
            json::number(self.out, count);
        }
    }

    fn end(self) {
        self.out.extend_from_slice(if self.truncated { b",\"truncated\":true}" } else { b"}" });
    }
}

fn origin_members(out: &mut Vec<u8>, deployment: &str, instance: &str) {
    out.extend_from_slice(b",\"deployment\":");
    json::text_cut(out, deployment, NAME_MAX);
    out.extend_from_slice(b",\"instance\":");
    json::text_cut(out, instance, NAME_MAX);
}
