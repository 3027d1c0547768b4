//! Whether traffic should come here: what each part last said of itself, and what it answers when asked.
//!
//! Ready means that nothing objects. It says nothing of whether the process is alive: a process that is not ready must
//! not be restarted for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The components' states. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, Component>>>);

enum Component {
    Said(Result<(), String>),
    Asked(Probe),
}

/// Why traffic should not come here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The part that objects.
    pub component: String,
    /// Why, in a sentence without full stop.
    pub reason: String,
}

impl Readiness {
    /// What a component says of itself, until it says otherwise.
    pub fn set(&self, component: &str, state: Result<(), String>) {
        self.lock().insert(component.to_owned(), Component::Said(state));
    }

    /// A question to ask at every check. It must answer at once: it runs on the admin listener's only thread.
    pub fn register(&self, component: &str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.lock().insert(component.to_owned(), Component::Asked(Arc::new(probe)));
    }

    /// Every objection, by component; ready where there is none.
    pub fn objections(&self) -> Vec<Reason> {
        let mut asked = Vec::new();
        let mut reasons: Vec<Reason> = Vec::new();
        for (name, component) in &*self.lock() {
            match component {
                Component::Said(Ok(())) => {}
                Component::Said(Err(reason)) => {
                    reasons.push(Reason { component: name.clone(), reason: reason.clone() });
                }
                Component::Asked(probe) => asked.push((name.clone(), Arc::clone(probe))),
            }
        }
        // Outside the lock, so that a probe may itself call `set`.
        reasons.extend(asked.into_iter().filter_map(|(component, probe)| {
            let reason = probe().err()?;
            Some(Reason { component, reason })
        }));
        reasons.sort_by(|a, b| a.component.cmp(&b.component));
        reasons
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Component>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn ready_means_that_nothing_objects() {
        let readiness = Readiness::default();
        assert_eq!(readiness.objections(), []);
        let (full, other) = (Arc::new(AtomicBool::new(false)), readiness.clone());
        let probe = Arc::clone(&full);
        readiness.set("proxy", Err("starting".into()));
        readiness.set("lineage", Ok(()));
        readiness.register("ledger", move || {
            other.set("lineage", Ok(()));
            if probe.load(Ordering::Relaxed) { Err("the disk is full".into()) } else { Ok(()) }
        });
        let names = || readiness.objections().into_iter().map(|reason| reason.component).collect::<Vec<_>>();
        assert_eq!(names(), ["proxy"]);
        full.store(true, Ordering::Relaxed);
        assert_eq!(names(), ["ledger", "proxy"]);
        readiness.set("proxy", Ok(()));
        assert_eq!(readiness.objections(), [Reason { component: "ledger".into(), reason: "the disk is full".into() }]);
    }
}
