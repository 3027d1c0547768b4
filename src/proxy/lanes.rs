//! Bodies that are whole at about the same time, hashed side by side.
//!
//! A processor without SHA extensions hashes sixteen messages in its vectors' lanes in the time of three. Under load a worker
//! has that many at hand: in one turn of its event loop answers come for many calls. So a body that is whole waits in a
//! [`Lane`]; the call that needs its hash goes once to the end of the queue, behind whoever has something in the same turn,
//! and whoever comes first hashes for all. Nobody waits for anybody: a lane that is asked before its turn hashes by itself.
//!
//! Where few calls are under way, or the processor has SHA extensions, there is nothing to gain, and bodies are hashed at once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use crate::sha256::{self, Sha256};

/// Calls under way from which on bodies wait.
const CALLS_LEAST: usize = 8;
/// Bytes of a body that may wait. A larger one is hashed as it passes.
pub(super) const BODY_BYTES_MAX: usize = 32 << 10;
/// Bodies, and bytes of them, that wait at most: then they are hashed, whoever's turn it is.
const BODIES_MAX: usize = 64;
const BYTES_MAX: usize = 512 << 10;

/// A worker's lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    side_by_side: bool,
    waiting: RefCell<Vec<Rc<Lane>>>,
    bytes: Cell<usize>,
    calls: Cell<usize>,
}

/// A body's place.
#[derive(Debug)]
pub(super) struct Lane(RefCell<State>);

#[derive(Debug)]
enum State {
    Waiting(Vec<Bytes>),
    Hashed([u8; 32]),
}

/// A call under way; over when dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Lanes>);

impl Lanes {
    /// Empty ones, for bodies to be hashed side by side or each at once.
    pub(super) fn new(side_by_side: bool) -> Self {
        Self { side_by_side, waiting: RefCell::default(), bytes: Cell::default(), calls: Cell::default() }
    }

    /// A call begins whose bodies are hashed.
    pub(super) fn enter(self: &Rc<Self>) -> UnderWay {
        self.calls.set(self.calls.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// Whether so many calls are under way that bodies wait for each other.
    pub(super) fn are_many(&self) -> bool {
        self.side_by_side && self.calls.get() >= CALLS_LEAST
    }

    /// A place for a whole body; `None` where it is to be hashed at once.
    pub(super) fn place(&self, chunks: &[Bytes]) -> Option<Rc<Lane>> {
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        if !self.are_many() || bytes == 0 || bytes > BODY_BYTES_MAX {
            return None;
        }
        let lane = Rc::new(Lane(RefCell::new(State::Waiting(chunks.to_vec()))));
        self.waiting.borrow_mut().push(Rc::clone(&lane));
        self.bytes.set(self.bytes.get() + bytes);
        if self.bytes.get() >= BYTES_MAX || self.waiting.borrow().len() >= BODIES_MAX {
            self.hash();
        }
        Some(lane)
    }

    /// Comes back when everybody of this turn has had theirs, and everything that waited is hashed.
    pub(super) async fn turn(&self) {
        let mut was_here = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut was_here, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.hash();
    }

    /// Hashes everything that waits.
    fn hash(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        self.bytes.set(0);
        let mut gathered = Vec::with_capacity(waiting.len());
        for lane in &waiting {
            // Nobody wants it any more, or its owner did not wait.
            if Rc::strong_count(lane) > 1
                && let State::Waiting(chunks) = &mut *lane.0.borrow_mut()
            {
                gathered.push((lane, joined(std::mem::take(chunks))));
            }
        }
        let messages: Vec<&[u8]> = gathered.iter().map(|(_, bytes)| &bytes[..]).collect();
        let mut hashes = vec![[0; 32]; messages.len()];
        sha256::many(&[], &messages, &mut hashes);
        for ((lane, _), hash) in gathered.iter().zip(hashes) {
            *lane.0.borrow_mut() = State::Hashed(hash);
        }
    }
}

impl Lane {
    /// Whether it is still to be hashed.
    pub(super) fn waits(&self) -> bool {
        matches!(&*self.0.borrow(), State::Waiting(_))
    }

    /// The body's hash, made now where nobody made it yet.
    pub(super) fn hashed(&self) -> [u8; 32] {
        let mut state = self.0.borrow_mut();
        let hash = match &mut *state {
            State::Hashed(hash) => *hash,
            State::Waiting(chunks) => {
                let mut hash = Sha256::new();
                chunks.drain(..).for_each(|chunk| hash.update(chunk));
                hash.finish()
            }
        };
        *state = State::Hashed(hash);
        hash
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
    }
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    match chunks.len() {
        1 => chunks.pop().unwrap_or_default(),
        _ => chunks.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(calls: usize) -> (Rc<Lanes>, Vec<UnderWay>) {
        let lanes = Rc::new(Lanes::new(true));
        let under_way = (0..calls).map(|_| lanes.enter()).collect();
        (lanes, under_way)
    }

    fn chunks(call: usize) -> Vec<Bytes> {
        let bytes = Bytes::from(vec![u8::try_from(call).unwrap(); 100 * call + 1]);
        let at = bytes.len() / 3;
        if call.is_multiple_of(2) { vec![bytes] } else { vec![bytes.slice(..at), bytes.slice(at..)] }
    }

    #[tokio::test]
    async fn each_has_its_own_hash_whether_it_waits_or_not() {
        let (lanes, _calls) = lanes(20);
        let places: Vec<_> = (0..20).map(|call| lanes.place(&chunks(call)).unwrap()).collect();
        let early = places[7].hashed();
        drop(lanes.place(&chunks(3)));
        lanes.turn().await;
        assert!(places.iter().all(|lane| !lane.waits()) && lanes.waiting.borrow().is_empty());
        for (call, lane) in places.iter().enumerate() {
            assert_eq!(lane.hashed(), Sha256::digest(chunks(call).concat()));
        }
        assert_eq!(places[7].hashed(), early);
    }

    #[tokio::test]
    async fn whoever_comes_first_hashes_for_all_of_a_turn() {
        let (lanes, _calls) = lanes(9);
        let one = |call: usize| {
            let lanes = Rc::clone(&lanes);
            async move {
                let lane = lanes.place(&chunks(call)).unwrap();
                lanes.turn().await;
                lane.hashed()
            }
        };
        let local = tokio::task::LocalSet::new();
        let tasks: Vec<_> = (1..9).map(|call| local.spawn_local(one(call))).collect();
        local.await;
        for (call, task) in (1..9).zip(tasks) {
            assert_eq!(task.await.unwrap(), Sha256::digest(chunks(call).concat()));
        }
    }

    #[test]
    fn few_calls_and_large_bodies_do_not_wait() {
        let (few, _calls) = lanes(CALLS_LEAST - 1);
        assert!(few.place(&chunks(1)).is_none());
        let _one_more = few.enter();
        assert!(few.place(&chunks(1)).is_some());
        assert!(few.place(&[Bytes::from(vec![0; BODY_BYTES_MAX + 1])]).is_none());
    }

    #[test]
    fn where_hashing_at_once_is_as_fast_nothing_waits() {
        let lanes = Rc::new(Lanes::new(false));
        let _calls: Vec<_> = (0..2 * CALLS_LEAST).map(|_| lanes.enter()).collect();
        assert!(lanes.place(&chunks(1)).is_none());
    }

    #[test]
    fn what_waits_is_bounded() {
        let (lanes, _calls) = lanes(CALLS_LEAST);
        for size in [1, BODY_BYTES_MAX] {
            let body = [Bytes::from(vec![1; size])];
            let places: Vec<_> = (0..1000).map(|_| lanes.place(&body).unwrap()).collect();
            assert!(lanes.waiting.borrow().len() < BODIES_MAX && lanes.bytes.get() < BYTES_MAX);
            assert!(places.iter().all(|lane| lane.hashed() == Sha256::digest(&body[0])));
            assert_eq!(places.iter().filter(|lane| lane.waits()).count(), 0);
        }
    }
}
