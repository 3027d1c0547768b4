//! Traffic moved by hand: weights that hold until the configuration says otherwise, each move on record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::register::Registration;
use crate::admin::Traffic;
use crate::ledger::{self, Ledger};
use crate::proxy::Snapshot;

/// The backends' weights, behind the admin listener.
#[derive(Debug)]
pub(super) struct Weights {
    snapshot: Arc<ArcSwap<Snapshot>>,
    ledger: Arc<Ledger>,
    registration: Registration,
    moving: Mutex<()>,
}

impl Weights {
    pub(super) fn new(snapshot: &Arc<ArcSwap<Snapshot>>, ledger: &Arc<Ledger>, registration: &Registration) -> Self {
        let (snapshot, ledger, registration) = (Arc::clone(snapshot), Arc::clone(ledger), registration.clone());
        Self { snapshot, ledger, registration, moving: Mutex::default() }
    }

    /// One move at a time, by hand or by a reload, so that the ledger tells them in the order in which they came into
    /// force.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic for Weights {
    fn weights(&self) -> BTreeMap<String, u32> {
        weights(&self.snapshot.load())
    }

    fn shift(&self, asked: &BTreeMap<String, u32>) -> Result<(), String> {
        let _one = self.lock();
        let snapshot = self.snapshot.load();
        let before = weights(&snapshot);
        if let Some(unknown) = asked.keys().find(|name| !before.contains_key(*name)) {
            let known: Vec<&str> = before.keys().map(String::as_str).collect();
            return Err(format!("no backend is called '{unknown}': there are {}", known.join(", ")));
        }
        let mut after = before.clone();
        after.extend(asked.iter().map(|(name, weight)| (name.clone(), *weight)));
        if after.values().all(|weight| *weight == 0) {
            return Err("every weight would be 0: no call would be served".to_owned());
        }
        if after == before {
            return Ok(());
        }
        for backend in &snapshot.backends {
            if let Some(weight) = after.get(&backend.name) {
                backend.set_weight(*weight);
            }
        }
        record(&self.ledger, &before, &after);
        self.registration.changed();
        Ok(())
    }
}

/// Puts a move on record.
pub(super) fn record(ledger: &Ledger, before: &BTreeMap<String, u32>, after: &BTreeMap<String, u32>) {
    tracing::info!(weights = ?after, "traffic is moved");
    ledger.lifecycle(ledger::Event::Traffic, serde_json::json!({"weights": after, "before": before}));
}

/// Every backend's weight in force.
pub(super) fn weights(snapshot: &Snapshot) -> BTreeMap<String, u32> {
    snapshot.backends.iter().map(|backend| (backend.name.clone(), backend.weight())).collect()
}
