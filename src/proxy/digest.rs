//! One body in passing: counted, hashed, read for what it states of the model. Never kept.

use bytes::Bytes;

use crate::protocol::Reader;
use crate::protocol::grpc::Deframer;
use crate::sha256::Sha256;

/// The running account of one body, after transfer coding and before content decoding.
///
/// For gRPC the hash runs over the concatenated messages as sent, without their 5-byte prefixes.
#[derive(Debug)]
pub(super) struct BodyDigest {
    /// `None` once it has been finished.
    sha256: Option<Sha256>,
    bytes: u64,
    deframer: Option<Deframer>,
    reader: Reader,
}

/// What a body came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digested {
    /// Bytes hashed.
    pub bytes: u64,
    /// SHA-256 over them.
    pub sha256: [u8; 32],
    /// Whole gRPC messages.
    pub messages: Option<u64>,
}

impl BodyDigest {
    /// An account of nothing yet.
    pub(super) fn new(grpc: bool, reader: Reader) -> Self {
        Self { sha256: Some(Sha256::new()), bytes: 0, deframer: grpc.then(Deframer::default), reader }
    }

    /// Takes the next chunk into account.
    pub(super) fn feed(&mut self, chunk: &Bytes) {
        let Self { sha256: Some(sha256), bytes, deframer, reader } = self else { return };
        match deframer {
            None => {
                sha256.update(chunk);
                *bytes += chunk.len() as u64;
            }
            Some(deframer) => deframer.feed(chunk, |payload| {
                sha256.update(payload);
                *bytes += payload.len() as u64;
            }),
        }
        if !reader.is_done() {
            reader.feed(chunk);
        }
    }

    /// What the body stated of the model so far.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Closes the account. `None` where it is closed already.
    pub(super) fn finish(&mut self) -> Option<Digested> {
        let messages = self.deframer.as_ref().map(Deframer::messages);
        self.sha256.take().map(|sha256| Digested { bytes: self.bytes, sha256: sha256.finish(), messages })
    }
}
