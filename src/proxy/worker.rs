//! What one worker thread holds: its view of the configuration, its connections, and the ways out of the data path.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::Uuid;

use super::admit::Admission;
use super::lanes::Lanes;
use super::snapshot::Snapshot;
use super::upstream::Pools;
use crate::exchange::Recorder;
use crate::sha256;
use crate::telemetry::{Metrics, Predictions, Tracer};

/// What every worker shares.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The configuration in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where finished predictions go.
    pub recorder: Arc<dyn Recorder>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Every span.
    pub tracer: Tracer,
    /// Which predictions get a line in the log.
    pub log: Predictions,
    /// Who may come in.
    pub admission: Arc<Admission>,
}

/// One worker's own.
#[derive(Debug)]
pub(super) struct Worker {
    /// What it shares with the others.
    pub shared: Shared,
    /// Its connections to model servers.
    pub pools: Pools,
    /// Bodies that are hashed side by side.
    pub lanes: Rc<Lanes>,
    /// Seeded by the operating system; never leaves the thread.
    rng: RefCell<StdRng>,
}

impl Worker {
    /// A worker without connections.
    pub(super) fn new(shared: Shared) -> Self {
        // Not in front of an answer.
        sha256::warm_up();
        let rng = RefCell::new(StdRng::from_rng(&mut rand::rng()));
        let lanes = Rc::new(Lanes::new(!sha256::has_extensions()));
        Self { shared, pools: Pools::default(), lanes, rng }
    }

    /// A new prediction id: UUIDv7 (RFC 9562, section 5.7), random beyond the millisecond.
    pub(super) fn prediction_id(&self, unix_millis: u64) -> Uuid {
        let mut random = [0; 10];
        self.rng.borrow_mut().fill_bytes(&mut random);
        uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid()
    }

    /// Evenly spread over all 32 bits.
    pub(super) fn dice(&self) -> u32 {
        self.rng.borrow_mut().random()
    }

    /// Closes connections that have rested for too long, or to where no call goes any more.
    pub(super) fn sweep(&self, now: Instant) {
        let snapshot = self.shared.snapshot.load();
        self.pools.sweep(now, snapshot.deadlines.upstream_idle, |address| snapshot.leads_to(address));
    }
}
