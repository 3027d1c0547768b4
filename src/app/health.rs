//! The control plane's part of health: a thread that asks the backends, and what on-call is told of them.
//!
//! Each backend of the snapshot in force is asked by a task of its own. A reload ends the tasks of backends that are gone
//! or asked otherwise, and lets the others go on; what is known of a backend stays with it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task;

use crate::admin::{BackendState, Backends, CheckState, EjectionState, ModelState, ServedState};
use crate::proxy::{Backend, Snapshot, health};

/// Backends that `/readyz` names, at most.
const NAMED_MAX: usize = 8;

/// The running checks. Dropping it stops them without waiting.
#[derive(Debug)]
pub(super) struct Checks {
    follow: watch::Sender<Arc<Snapshot>>,
    thread: JoinHandle<()>,
}

impl Checks {
    /// Begins to ask.
    pub(super) fn start(snapshot: Arc<Snapshot>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (follow, following) = watch::channel(snapshot);
        let work = move || {
            runtime.block_on(run(following));
            // A name that is being looked up must not keep the process.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(work)?;
        Ok(Self { follow, thread })
    }

    /// Asks the backends of another snapshot from here on.
    pub(super) fn follow(&self, snapshot: Arc<Snapshot>) {
        self.follow.send_replace(snapshot);
    }

    /// Ends every check under way.
    pub(super) fn stop(self) {
        drop(self.follow);
        if self.thread.join().is_err() {
            tracing::error!("the health checks' thread panicked");
        }
    }
}

/// A backend being asked.
struct Asked {
    backend: Arc<Backend>,
    task: task::JoinHandle<()>,
}

async fn run(mut following: watch::Receiver<Arc<Snapshot>>) {
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    loop {
        let snapshot = Arc::clone(&following.borrow_and_update());
        let mut before = std::mem::take(&mut asked);
        for backend in snapshot.backends.iter().filter(|backend| backend.check.is_some()) {
            let one = match before.remove(&backend.name) {
                Some(one) if one.backend.is_asked_like(backend) => one,
                other => {
                    // The old check ends before the new one begins: never two of one backend.
                    end(other).await;
                    let task = tokio::spawn(health::watch(Arc::clone(backend)));
                    Asked { backend: Arc::clone(backend), task }
                }
            };
            asked.insert(backend.name.clone(), one);
        }
        for gone in before.into_values() {
            end(Some(gone)).await;
        }
        drop(snapshot);
        if following.changed().await.is_err() {
            return;
        }
    }
}

fn end(asked: Option<Asked>) -> impl Future<Output = ()> {
    let task = asked.map(|asked| asked.task);
    async {
        if let Some(task) = task {
            task.abort();
            // Aborted, or ended by itself: either way it is over.
            let _ = task.await;
        }
    }
}

/// Why no backend takes calls, where that is so.
pub(super) fn objection(snapshot: &Snapshot, now: Instant) -> Result<(), String> {
    let takes = |backend: &Arc<Backend>| backend.weight() > 0 && backend.is_in(now);
    if snapshot.backends.is_empty() || snapshot.backends.iter().any(takes) {
        return Ok(());
    }
    let loaded = snapshot.backends.iter().filter(|backend| backend.weight() > 0);
    let unnamed = loaded.clone().count().saturating_sub(NAMED_MAX);
    let more = if unnamed > 0 { format!("; and {unnamed} more") } else { String::new() };
    let reasons: Vec<String> = loaded
        .take(NAMED_MAX)
        .map(|backend| format!("{}: {}", backend.name, reason(backend, now).unwrap_or_default()))
        .collect();
    Err(format!("every backend fails; {}{more}", reasons.join("; ")))
}

/// Why a backend is left out.
fn reason(backend: &Backend, now: Instant) -> Option<String> {
    if let Some(out) = backend.health.report(now).out {
        return Some(out);
    }
    (!backend.is_in(now)).then(|| "it is ready for none of its models".to_owned())
}

/// What `/api/v1/backends` tells.
#[derive(Debug)]
pub(super) struct Known(pub Arc<ArcSwap<Snapshot>>);

impl Backends for Known {
    fn backends(&self) -> Vec<BackendState> {
        let now = Instant::now();
        self.0.load().backends.iter().map(|backend| state(backend, now)).collect()
    }
}

fn state(backend: &Backend, now: Instant) -> BackendState {
    let report = backend.health.report(now);
    let reason = reason(backend, now).or_else(|| (backend.weight() == 0).then(|| "its weight is 0".to_owned()));
    let models = backend.models.iter().map(|model| ModelState {
        model: model.identity.model.clone(),
        version: model.identity.version.clone(),
        served_name: model.served_name.clone(),
        served_version: model.served_version.clone(),
        ready: report.check.healthy.map(|_| backend.health.is_ready_for(model.place)),
    });
    BackendState {
        name: backend.name.clone(),
        url: backend.http.url(),
        grpc_url: backend.grpc.url(),
        weight: backend.weight(),
        takes_calls: reason.is_none(),
        reason,
        models: models.collect(),
        check: backend.check.as_ref().map(|_| CheckState {
            protocol: report.check.way,
            healthy: report.check.healthy,
            since: report.check.since.and_then(written),
            last: report.check.last.and_then(written),
            failure: report.check.failure,
        }),
        ejection: report.ejection.map(|ejection| EjectionState {
            cause: ejection.cause,
            since: written(ejection.since),
            seconds_left: ejection.left.as_secs_f64(),
            repeat: ejection.repeat,
        }),
        served: report.served.map(|(time, served)| ServedState {
            time: written(time),
            models: served.models,
            not_served: served.not_served,
            not_declared: served.not_declared,
        }),
    }
}

fn written(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| format!("{time:.3}"))
}
