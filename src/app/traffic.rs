//! Traffic moved by hand: weights that hold until the configuration says otherwise, each move on record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::admin::Traffic;
use crate::ledger::{self, Ledger};
use crate::proxy::Snapshot;

/// The backends' weights, behind the admin listener.
#[derive(Debug)]
pub(super) struct Weights {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub ledger: Arc<Ledger>,
    /// One move at a time, so that the ledger tells them in the order in which they came into force.
    pub moving: Mutex<()>,
}

impl Traffic for Weights {
    fn weights(&self) -> BTreeMap<String, u32> {
        weights(&self.snapshot.load())
    }

    fn shift(&self, asked: &BTreeMap<String, u32>) -> Result<(), String> {
        let _one = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
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
        tracing::info!(weights = ?after, "traffic is moved");
        self.ledger.lifecycle(ledger::Event::Traffic, serde_json::json!({"weights": after, "before": before}));
        Ok(())
    }
}

/// Every backend's weight in force.
pub(super) fn weights(snapshot: &Snapshot) -> BTreeMap<String, u32> {
    snapshot.backends.iter().map(|backend| (backend.name.clone(), backend.weight())).collect()
}
