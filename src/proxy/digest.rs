//! One body in passing: counted, hashed, read for what it states of the model. Never kept beyond the turn in which it is
//! hashed.

use std::rc::Rc;

use bytes::Bytes;

use super::lanes::{Lane, Lanes};

use crate::protocol::Reader;
use crate::protocol::grpc::Deframer;
use crate::sha256::Sha256;

/// The running account of one body, after transfer coding and before content decoding.
///
/// For gRPC the hash runs over the concatenated messages as sent, without their 5-byte prefixes.
#[derive(Debug)]
pub(super) struct BodyDigest {
    hash: Hash,
    bytes: u64,
    deframer: Option<Deframer>,
    reader: Reader,
    lanes: Rc<Lanes>,
}

/// A hash on its way. Most bodies are one chunk, which costs less to hash at once.
#[derive(Debug)]
enum Hash {
    Nothing,
    Part(Sha256),
    Whole([u8; 32]),
    /// Of a whole body, side by side with others.
    Lane(Rc<Lane>),
    Taken,
}

impl Hash {
    fn update(&mut self, bytes: &[u8], last: bool) {
        match self {
            Self::Nothing if last => *self = Self::Whole(Sha256::digest(bytes)),
            Self::Nothing => {
                let mut begun = Sha256::new();
                begun.update(bytes);
                *self = Self::Part(begun);
            }
            Self::Part(begun) => begun.update(bytes),
            Self::Whole(_) | Self::Lane(_) | Self::Taken => {
                debug_assert!(bytes.is_empty(), "nothing follows the last chunk");
            }
        }
    }

    fn take(&mut self) -> Option<[u8; 32]> {
        match std::mem::replace(self, Self::Taken) {
            Self::Nothing => Some(Sha256::digest([])),
            Self::Part(begun) => Some(begun.finish()),
            Self::Whole(hash) => Some(hash),
            Self::Lane(lane) => Some(lane.hashed()),
            Self::Taken => None,
        }
    }
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
    pub(super) fn new(grpc: bool, reader: Reader, lanes: &Rc<Lanes>) -> Self {
        let lanes = Rc::clone(lanes);
        Self { hash: Hash::Nothing, bytes: 0, deframer: grpc.then(Deframer::default), reader, lanes }
    }

    /// Takes chunks into account. `last`: it is known that none follows.
    pub(super) fn feed_all(&mut self, chunks: &[Bytes], last: bool) {
        if last
            && let (Hash::Nothing, None) = (&self.hash, &self.deframer)
            && let Some(lane) = self.lanes.place(chunks)
        {
            self.hash = Hash::Lane(lane);
            for chunk in chunks {
                self.bytes += chunk.len() as u64;
                self.read(chunk);
            }
            return;
        }
        for (at, chunk) in (1..).zip(chunks) {
            self.feed(chunk, last && at == chunks.len());
        }
    }

    /// Whether it would wait for others, were it whole.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self.hash, Hash::Nothing) && self.deframer.is_none() && self.lanes.are_many()
    }

    /// Whether its hash is still to be made, side by side with others'.
    pub(super) fn waits(&self) -> bool {
        matches!(&self.hash, Hash::Lane(lane) if lane.waits())
    }

    /// Takes the next chunk into account. `last`: it is known that none follows.
    pub(super) fn feed(&mut self, chunk: &Bytes, last: bool) {
        let Self { hash, bytes, deframer, .. } = self;
        if matches!(hash, Hash::Taken) {
            return;
        }
        match deframer {
            None => {
                hash.update(chunk, last);
                *bytes += chunk.len() as u64;
            }
            Some(deframer) => deframer.feed(chunk, |payload| {
                // A chunk may hold many messages, and end within one.
                hash.update(payload, false);
                *bytes += payload.len() as u64;
            }),
        }
        self.read(chunk);
    }

    fn read(&mut self, chunk: &Bytes) {
        if !self.reader.is_done() {
            self.reader.feed(chunk);
        }
    }

    /// Takes bytes into account that state nothing: a tunnel's.
    pub(super) fn feed_rest(&mut self, bytes: &[u8]) {
        if !matches!(self.hash, Hash::Taken) {
            self.hash.update(bytes, false);
            self.bytes += bytes.len() as u64;
        }
    }

    /// What the body stated of the model so far.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Closes the account. `None` where it is closed already.
    pub(super) fn finish(&mut self) -> Option<Digested> {
        let messages = self.deframer.as_ref().map(Deframer::messages);
        self.hash.take().map(|sha256| Digested { bytes: self.bytes, sha256, messages })
    }
}
