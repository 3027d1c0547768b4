//! [`Reader`]: learns which model a body names while the body passes by.
//!
//! It is fed the body as it stands on the wire, in whatever pieces it comes, and keeps none of it: a few dozen bytes
//! of state, and an allocation only once a wanted value begins. What it learns does not depend on where the pieces
//! are split. It stops at the first document, event or message that says something.

use std::ops::Deref;
use std::sync::Arc;

use super::found::{Found, Slot};
use super::grpc::{Deframer, Piece};
use super::json::{Names, Scanner};
use super::protobuf::{self, Fields};
use super::sse::Events;

/// The most gRPC messages that are looked into for one that names a model; a long stream of errors ends the search.
const MESSAGES_MAX: u64 = 64;

/// Where a body names the model.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Nowhere.
    Nothing,
    /// In JSON: members of the whole document, or of each server-sent event.
    Json { document: Members, event: Members },
    /// In the fields of gRPC messages.
    Grpc(Fields),
}

/// The names of JSON members: a protocol's own or a user's.
#[derive(Clone, Debug)]
pub(super) enum Members {
    /// Known to this crate.
    Known(&'static Names),
    /// From the configuration.
    Configured(Arc<Names>),
}

impl Rule {
    /// The same members in a document and in events.
    pub(super) const fn json(names: &'static Names) -> Self {
        Self::json_or_events(names, names)
    }

    /// Other members in events than in a document.
    pub(super) const fn json_or_events(document: &'static Names, event: &'static Names) -> Self {
        Self::Json { document: Members::Known(document), event: Members::Known(event) }
    }
}

impl Deref for Members {
    type Target = Names;

    fn deref(&self) -> &Names {
        match self {
            Self::Known(names) => names,
            Self::Configured(names) => names,
        }
    }
}

/// Learns in passing which model, version and configuration a body names. Values are at most
/// [`VALUE_BYTES_MAX`](super::VALUE_BYTES_MAX) bytes; where a body gives one twice, the first counts.
#[derive(Debug, Default)]
pub struct Reader {
    scan: Scan,
    found: Found,
}

#[derive(Debug, Default)]
enum Scan {
    #[default]
    Off,
    Json {
        names: Members,
        scanner: Scanner,
        /// Bytes until the JSON ends and binary tensors begin.
        left: u64,
    },
    Events {
        names: Members,
        events: Events,
    },
    Grpc {
        fields: Fields,
        deframer: Deframer,
        /// `None` while a compressed message passes.
        scanner: Option<protobuf::Scanner>,
    },
}

impl Reader {
    /// A reader that has nothing to learn.
    pub fn off() -> Self {
        Self::default()
    }

    /// A reader by a rule. `json_bytes` bounds the JSON at the beginning of a body.
    pub(super) fn new(rule: &Rule, is_event_stream: bool, json_bytes: u64) -> Self {
        let scan = match rule {
            Rule::Nothing => Scan::Off,
            Rule::Json { event, .. } if is_event_stream => {
                Scan::Events { names: event.clone(), events: Events::new(event) }
            }
            Rule::Json { document, .. } => {
                Scan::Json { names: document.clone(), scanner: Scanner::new(document), left: json_bytes }
            }
            Rule::Grpc(fields) => Scan::Grpc { fields: *fields, deframer: Deframer::default(), scanner: None },
        };
        Self { scan, found: Found::default() }
    }

    /// Whether there is nothing more to learn, so that the caller may stop feeding.
    pub fn is_done(&self) -> bool {
        matches!(self.scan, Scan::Off)
    }

    /// Takes the body's next bytes, as they stand on the wire; for gRPC with the messages' prefixes.
    pub fn feed(&mut self, chunk: &[u8]) {
        let done = match &mut self.scan {
            Scan::Off => return,
            Scan::Json { names, scanner, left } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(chunk.len());
                scanner.feed(names, &chunk[..length], &mut self.found);
                *left -= length as u64;
                scanner.is_done() || *left == 0
            }
            Scan::Events { names, events } => {
                events.feed(names, chunk, &mut self.found);
                events.is_done()
            }
            Scan::Grpc { fields, deframer, scanner } => {
                feed_messages(*fields, deframer, scanner, chunk, &mut self.found)
            }
        };
        if done {
            self.scan = Scan::Off;
        }
    }

    /// The model's name.
    pub fn model(&self) -> Option<&str> {
        self.found.get(Slot::Model)
    }

    /// The model's version, in the server's numbering.
    pub fn version(&self) -> Option<&str> {
        self.found.get(Slot::Version)
    }

    /// OpenAI's `system_fingerprint`.
    pub fn fingerprint(&self) -> Option<&str> {
        self.found.get(Slot::Fingerprint)
    }
}

/// Looks into each message that is not compressed; says whether that is enough.
fn feed_messages(
    fields: Fields,
    deframer: &mut Deframer,
    scanner: &mut Option<protobuf::Scanner>,
    chunk: &[u8],
    found: &mut Found,
) -> bool {
    let mut done = false;
    deframer.pieces(chunk, |piece| match piece {
        _ if done => {}
        Piece::Start { compressed } => *scanner = (!compressed).then(|| protobuf::Scanner::new(fields)),
        Piece::Bytes(bytes) => {
            if let Some(scanner) = scanner {
                scanner.feed(bytes, found);
                done = scanner.is_done() && found.any();
            }
        }
        Piece::End => done = found.any(),
    });
    done || deframer.messages() >= MESSAGES_MAX
}
