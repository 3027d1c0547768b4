//! Takes checkpoints out of the house: to witnesses, for their cosignatures, and to anchors.
//!
//! A thread of its own with a runtime of its own. Each receiver gets the newest checkpoint there is, at its own pace;
//! none keeps another waiting, none is queued for, and nothing on a request's way knows of any.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::Gauge;
use tokio::sync::watch;

use crate::ledger::anchor::Anchor;
use crate::ledger::integrator::Published;
use crate::ledger::submission::{NoCosignature, Witness};
use crate::ledger::tree::TreeReader;
use crate::ledger::writer::Shared;
use crate::tlog::{Hash, consistency_proof};

/// How often ages are told.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
/// The longest wait after failures in a row.
const BACK_OFF_MAX: Duration = Duration::from_mins(1);
/// How long the end of the process waits for the last checkpoint to get out.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// The thread's handle.
#[derive(Debug)]
pub(crate) struct Publisher {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Who gets checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Receivers {
    /// Each with the gauge of its age.
    pub(crate) witnesses: Vec<(Witness, Gauge)>,
    /// Each with the gauge of its age.
    pub(crate) anchors: Vec<(Arc<dyn Anchor>, Gauge)>,
    /// The least between two checkpoints for the same witness.
    pub(crate) interval: Duration,
}

impl Publisher {
    /// Starts the thread.
    pub(crate) fn start(shared: &Arc<Shared>, receivers: Receivers) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(shared);
        let run = move || {
            let all = async {
                let mut tasks = tokio::task::JoinSet::new();
                let Receivers { witnesses, anchors, interval } = receivers;
                for (witness, age) in witnesses {
                    let carrier = Carrier::new(&shared, &stopped, age, interval);
                    tasks.spawn_local(carrier.run(Ask { witness, shared: Arc::clone(&shared), known: 0 }));
                }
                for (anchor, age) in anchors {
                    let carrier = Carrier::new(&shared, &stopped, age, Duration::ZERO);
                    tasks.spawn_local(carrier.run(Keep(anchor)));
                }
                while tasks.join_next().await.is_some() {}
            };
            tokio::task::LocalSet::new().block_on(&runtime, all);
            // A volume that hangs must not keep the process.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("ledger-publish".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Gives the last checkpoint a short while to get out, and ends.
    pub(crate) fn finish(&mut self) {
        self.stop.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that publishes checkpoints panicked");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.finish();
    }
}

/// One receiver's way of taking a checkpoint.
trait Take {
    async fn take(&mut self, published: &Arc<Published>) -> Result<(), String>;
    fn name(&self) -> String;
}

/// Carries checkpoints to one receiver.
struct Carrier {
    checkpoints: watch::Receiver<Option<Arc<Published>>>,
    stopped: watch::Receiver<bool>,
    age: Gauge,
    interval: Duration,
    /// The last that was taken, and when it was signed.
    taken: Option<(u64, Instant)>,
    began: Instant,
    failures: u32,
    due: Instant,
}

impl Carrier {
    fn new(shared: &Shared, stopped: &watch::Receiver<bool>, age: Gauge, interval: Duration) -> Self {
        let (checkpoints, stopped, now) = (shared.checkpoints(), stopped.clone(), Instant::now());
        Self { checkpoints, stopped, age, interval, taken: None, began: now, failures: 0, due: now }
    }

    async fn run(mut self, mut receiver: impl Take) {
        while !*self.stopped.borrow_and_update() {
            if Instant::now() >= self.due {
                self.carry(&mut receiver).await;
            }
            self.tell_age();
            tokio::select! {
                _ = self.stopped.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        drop(tokio::time::timeout(LAST_PATIENCE, self.carry(&mut receiver)).await);
        self.tell_age();
    }

    async fn carry(&mut self, receiver: &mut impl Take) {
        let newest = self.checkpoints.borrow_and_update().clone();
        let newest = newest.filter(|newest| self.taken.is_none_or(|(size, _)| size < newest.head.size));
        let Some(newest) = newest else { return };
        match receiver.take(&newest).await {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!(receiver = receiver.name(), "checkpoints get out again");
                }
                self.failures = 0;
                self.taken = Some((newest.head.size, newest.at));
                self.due = Instant::now() + self.interval;
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(receiver = receiver.name(), error, "a checkpoint does not get out; trying again");
                }
                self.failures = self.failures.saturating_add(1);
                self.due = Instant::now() + (LOOK * 2_u32.pow(self.failures.min(6))).min(BACK_OFF_MAX);
            }
        }
    }

    fn tell_age(&self) {
        let newest = self.checkpoints.borrow().as_ref().map(|newest| newest.head.size);
        let covered = newest.is_none() || newest == self.taken.map(|(size, _)| size);
        let since = self.taken.map_or(self.began, |(_, at)| at);
        self.age.set(if covered { 0.0 } else { since.elapsed().as_secs_f64() });
    }
}

/// Asks a witness.
struct Ask {
    witness: Witness,
    shared: Arc<Shared>,
    /// The size at which the witness knows the log.
    known: u64,
}

impl Ask {
    fn proof(&self, size: u64) -> Result<Vec<Hash>, String> {
        let tree = TreeReader::new(Arc::clone(&self.shared.storage));
        consistency_proof(&tree, self.known, size).map_err(|error| error.to_string())
    }
}

impl Take for Ask {
    fn name(&self) -> String {
        self.witness.name().to_owned()
    }

    async fn take(&mut self, published: &Arc<Published>) -> Result<(), String> {
        let size = published.head.size;
        // Twice, since a witness may know the log from an earlier run.
        for attempt in 0..2 {
            let proof = self.proof(size)?;
            match self.witness.cosign(self.known, &proof, &published.note).await {
                Ok(signature) => {
                    self.known = size;
                    self.shared.cosigned(published, signature);
                    return Ok(());
                }
                Err(NoCosignature::Knows(known)) if known <= size && attempt == 0 => self.known = known,
                Err(NoCosignature::Knows(known)) if known > size => {
                    self.shared.meters.integrity_failures.inc();
                    return Err(format!(
                        "it has seen {known} entries of this log, and there are {size}: an earlier state was restored"
                    ));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("it does not say at which size it knows the log".to_owned())
    }
}

/// Keeps it in an anchor.
struct Keep(Arc<dyn Anchor>);

impl Take for Keep {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn take(&mut self, published: &Arc<Published>) -> Result<(), String> {
        let (anchor, note) = (Arc::clone(&self.0), published.note.clone());
        let kept = tokio::task::spawn_blocking(move || anchor.keep(&note)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
