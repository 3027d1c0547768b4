//! One body in passing: counted, hashed, read for what it states of the model. Never kept beyond the turn in which it is
//! hashed.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;

use super::lanes::{Lane, Lanes};
use crate::protocol::grpc::Deframer;
use crate::protocol::{Reader, Shape};
use crate::sha256::Sha256;

/// The running account of one body, after transfer coding and before content decoding.
///
/// For gRPC the hash runs over the concatenated messages as sent, without their 5-byte prefixes.
#[derive(Debug)]
pub(super) struct BodyDigest {
    hash: Hash,
    bytes: u64,
    shape: Shape,
    deframer: Option<Deframer>,
    reader: Reader,
    /// Bytes that were read before they are hashed.
    ahead: usize,
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
    pub(super) fn new(shape: Shape, reader: Reader, lanes: &Rc<Lanes>) -> Self {
        Self {
            hash: Hash::Nothing,
            bytes: 0,
            shape,
            deframer: (shape != Shape::Http).then(Deframer::default),
            reader,
            ahead: 0,
            lanes: Rc::clone(lanes),
        }
    }

    /// Takes chunks into account. `last`: it is known that none follows.
    pub(super) fn feed_all(&mut self, chunks: &[Bytes], last: bool) {
        if last && self.may_wait() {
            return self.feed_whole(chunks);
        }
        for (at, chunk) in (1..).zip(chunks) {
            self.feed(chunk, last && at == chunks.len());
        }
    }

    /// Takes a whole body into account, to be hashed side by side with others if it is not too large.
    fn feed_whole(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            self.read(chunk);
        }
        let mut hashed = Cow::Borrowed(chunks);
        if let Some(deframer) = &mut self.deframer {
            let mut payloads = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                deframer.feed(chunk, |payload| payloads.push(chunk.slice_ref(payload)));
            }
            // More messages than a unary call has are not worth a place each.
            let many = payloads.len() > chunks.len();
            hashed = Cow::Owned(if many { vec![payloads.concat().into()] } else { payloads });
        }
        self.bytes += hashed.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if let Some(lane) = self.lanes.place(&hashed) {
            self.hash = Hash::Lane(lane);
            return;
        }
        for (at, chunk) in (1..).zip(&*hashed) {
            self.hash.update(chunk, at == hashed.len());
        }
    }

    /// Whether it would wait for others, were it whole.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self.hash, Hash::Nothing) && self.shape != Shape::GrpcStream && self.lanes.are_many()
    }

    /// Whether it is the body of a unary gRPC call: small as a rule, whether its length is told or not.
    pub(super) fn is_unary(&self) -> bool {
        self.shape == Shape::GrpcUnary
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

    /// Reads the next chunk before it is its turn to be taken into account.
    pub(super) fn read_ahead(&mut self, chunk: &Bytes) {
        self.ahead += chunk.len();
        self.look(chunk);
    }

    /// Reads a chunk, unless that has been done.
    fn read(&mut self, chunk: &Bytes) {
        if self.ahead > 0 {
            self.ahead = self.ahead.saturating_sub(chunk.len());
        } else {
            self.look(chunk);
        }
    }

    fn look(&mut self, chunk: &Bytes) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let frame =
            |message: &Vec<u8>| [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
        messages.iter().flat_map(frame).collect()
    }

    #[test]
    fn what_is_one_message_waits_for_others_where_many_are_under_way() {
        let lanes = Rc::new(Lanes::new(true));
        let _under_way: Vec<_> = (0..20).map(|_| lanes.enter()).collect();
        for (shape, waits) in [(Shape::Http, true), (Shape::GrpcUnary, true), (Shape::GrpcStream, false)] {
            let body = Bytes::from(framed(&[vec![7; 3000]]));
            let mut digest = BodyDigest::new(shape, Reader::off(), &lanes);
            digest.feed_all(&[body.slice(..9), body.slice(9..)], true);
            assert_eq!(digest.waits(), waits, "{shape:?}");
        }
    }

    proptest! {
        #[test]
        fn comes_to_the_same_however_a_body_comes(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            shape in prop::sample::select(vec![Shape::Http, Shape::GrpcUnary, Shape::GrpcStream]),
            (calls, ahead, fed) in (prop::sample::select(vec![1, 20]), 0_usize..4, 0_usize..4),
        ) {
            let body = Bytes::from(if shape == Shape::Http { messages.concat() } else { framed(&messages) });
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let chunks: Vec<Bytes> = cuts.windows(2).map(|pair| body.slice(pair[0]..pair[1])).collect();
            let lanes = Rc::new(Lanes::new(true));
            let _under_way: Vec<_> = (0..calls).map(|_| lanes.enter()).collect();
            let mut digest = BodyDigest::new(shape, Reader::off(), &lanes);
            chunks.iter().take(ahead).for_each(|chunk| digest.read_ahead(chunk));
            // Some that are known not to be the last, and the rest at once.
            let (first, rest) = chunks.split_at(fed.min(chunks.len() - 1));
            digest.feed_all(first, false);
            digest.feed_all(rest, true);
            let came = digest.finish().unwrap();
            let hashed = messages.concat();
            prop_assert_eq!((came.sha256, came.bytes), (Sha256::digest(&hashed), hashed.len() as u64));
            prop_assert_eq!(came.messages, (shape != Shape::Http).then_some(messages.len() as u64));
            prop_assert!(digest.finish().is_none());
        }
    }
}
