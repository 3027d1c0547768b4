//! Crashes at any call, over a simulated file system: what was promised is there, and nothing else is.

use std::collections::HashMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::{call, config, entries, exchange, identity, ids, open_sim, settled, sim_reader};
use crate::exchange::Recorder;
use crate::ledger::read::Found;
use crate::ledger::segment::sim::{Fault, Sim};
use crate::ledger::{Durability, Entry};

/// What a run of submissions left, up to the moment when everything stopped.
struct Run {
    /// Predictions whose ticket said yes.
    acknowledged: Vec<Uuid>,
    /// Begins whose ticket said yes.
    begun: Vec<Uuid>,
    /// Predictions handed over at all.
    submitted: Vec<Uuid>,
}

/// Submits until the system stops or there is no more to submit.
fn run(sim: &Sim, mode: Durability, count: u128, generation: u128) -> Run {
    let mut run = Run { acknowledged: Vec::new(), begun: Vec::new(), submitted: Vec::new() };
    let Ok((ledger, _)) = open_sim(sim, &config(mode)) else { return run };
    let identities = ["v1", "v2", "v3"].map(identity);
    for at in 0..count {
        let id = Uuid::from_u128(generation << 64 | at);
        let identity = &identities[usize::try_from(at / 11 % 3).unwrap()];
        let call = call(id, Some(identity));
        if at % 5 == 0 && settled(ledger.begin(&call)).is_ok() {
            run.begun.push(id);
        }
        run.submitted.push(id);
        if settled(ledger.finish(&exchange(call))).is_ok() {
            run.acknowledged.push(id);
        }
    }
    sim.stop();
    drop(ledger.close());
    run
}

/// What every recovered log must be.
fn check(sim: &Sim, runs: &[Run], promised: bool) -> Vec<Found> {
    let found = entries(&sim_reader(sim));
    let mut seen = HashMap::new();
    for id in ids(&found, "prediction") {
        *seen.entry(id).or_insert(0) += 1;
    }
    for (id, times) in &seen {
        assert_eq!(*times, 1, "{id} is there {times} times");
        assert!(runs.iter().any(|run| run.submitted.contains(id)), "{id} is unknown");
    }
    if promised {
        for id in runs.iter().flat_map(|run| &run.acknowledged) {
            assert!(seen.contains_key(id), "{id} was acknowledged and is gone");
        }
        let begun = ids(&found, "begin");
        for id in runs.iter().flat_map(|run| &run.begun) {
            assert!(begun.contains(id), "the begin of {id} was acknowledged and is gone");
        }
    }
    for id in ids(&found, "begin") {
        assert!(seen.contains_key(&id), "{id} began and has no end after recovery");
    }
    lineage_first(&found);
    found
}

/// Each digest's document comes before its first use, once.
pub(super) fn lineage_first(found: &[Found]) {
    let mut known = Vec::new();
    for found in found {
        let entry = Entry::parse(&found.entry).unwrap();
        if let Some(digest) = entry.digest {
            assert!(!known.contains(&digest.to_string()), "a document is written twice");
            known.push(digest.to_string());
        }
        if let Some(lineage) = entry.lineage {
            assert!(known.contains(&lineage.to_string()), "a document is missing");
        }
    }
}

/// Restarts, checks, restarts again: the second start is clean and adds only its own entries.
fn recovers(sim: &Sim, runs: &[Run], promised: bool) {
    let (ledger, metrics) = open_sim(sim, &config(Durability::Write)).expect("a start after a crash");
    assert_eq!(metrics.ledger_integrity_failures.get(), 0, "a crash is no damage");
    let first = check(sim, runs, promised);
    let events = |found: &[Found], part: &str| {
        found.iter().filter(|found| String::from_utf8_lossy(&found.entry).contains(part)).count()
    };
    assert!(events(&first, "\"event\":\"start\"") >= 1);
    ledger.close().unwrap();
    let before = entries(&sim_reader(sim));
    let (ledger, _) = open_sim(sim, &config(Durability::Write)).unwrap();
    ledger.close().unwrap();
    let after = check(sim, runs, promised);
    assert_eq!(after[..before.len()], before[..], "recovered bytes never change");
    assert_eq!(after.len(), before.len() + 2);
    let start = String::from_utf8_lossy(&after[before.len()].entry).into_owned();
    assert!(start.contains("\"detail\":{\"unclean\":false,\"recovered\":0,"), "{start}");
}

fn mode() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Queue), Just(Durability::Write), Just(Durability::Sync)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// A killed process keeps what `write` and `sync` acknowledged; a power loss keeps what `sync` did.
    #[test]
    fn what_was_promised_survives(mode in mode(), seed: u64, at in 0..260_u64, again in 0..120_u64, power: bool) {
        let sim = Sim::new(seed);
        sim.fault(Some(Fault::Crash(at)));
        let crashed = |sim: &Sim| if power { sim.after_power_loss() } else { sim.after_kill() };
        let promised = match mode {
            Durability::Queue => false,
            Durability::Write => !power,
            Durability::Sync => true,
        };
        let first = run(&sim, mode, 120, 1);
        let sim = crashed(&sim);
        // Crash again, as likely as not while recovering.
        sim.fault(Some(Fault::Crash(again)));
        let second = run(&sim, mode, 40, 2);
        let sim = crashed(&sim);
        recovers(&sim, &[first, second], promised);
    }
}

#[test]
fn a_kill_at_each_call_of_a_short_life_is_survived() {
    for mode in [Durability::Write, Durability::Sync] {
        for at in 0..70 {
            for power in [false, true] {
                let sim = Sim::new(at);
                sim.fault(Some(Fault::Crash(at)));
                let first = run(&sim, mode, 30, 1);
                let crashed = if power { sim.after_power_loss() } else { sim.after_kill() };
                recovers(&crashed, &[first], !power || mode == Durability::Sync);
            }
        }
    }
}

#[test]
fn a_torn_tail_is_cut_at_any_byte() {
    let sim = Sim::new(1);
    let run = run(&sim, Durability::Write, 6, 1);
    let whole = sim.after_kill();
    let end = whole.data_end("seg-00000000000000000000.log");
    for cut in (end - 1500..end).step_by(13) {
        let sim = sim.after_kill();
        sim.zero_from("seg-00000000000000000000.log", cut);
        let metrics = open_sim(&sim, &config(Durability::Write)).unwrap().1;
        assert_eq!(metrics.ledger_integrity_failures.get(), 0, "cut at {cut}");
        let found = ids(&entries(&sim_reader(&sim)), "prediction");
        assert_eq!(found, run.submitted[..found.len()]);
    }
}
