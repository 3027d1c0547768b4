//! Disks that return errors or fill up: tickets, counters, gaps and the log tell the same story.

use uuid::Uuid;

use super::crash::lineage_first;
use super::{
    call, config, entries, eventually, exchange, identity, ids, open_sim, recorded, settled, sim_reader,
    until_committed,
};
use crate::exchange::{OnFailure, Recorder, Refusal};
use crate::ledger::frame::FrameKind;
use crate::ledger::read::{Query, Reader};
use crate::ledger::segment::sim::{Fault, Sim};
use crate::ledger::segment::{Scanner, Step, Storage as _};
use crate::ledger::{Config, Durability, Entry, Kind, Ledger, State};
use crate::telemetry::Metrics;
use crate::units::Period;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Submits predictions and tells which were kept.
fn submit(ledger: &Ledger, ids: std::ops::Range<u128>) -> (Vec<Uuid>, u64) {
    let (mut kept, mut failed) = (Vec::new(), 0);
    let identities = ["v1", "v2"].map(identity);
    for at in ids {
        let id = Uuid::from_u128(at);
        let call = call(id, Some(&identities[usize::from(at % 20 > 10)]));
        if at % 5 == 0 {
            drop(ledger.begin(&call));
        }
        match settled(ledger.finish(&exchange(call))) {
            Ok(()) => kept.push(id),
            Err(_) => failed += 1,
        }
    }
    (kept, failed)
}

fn gaps(reader: &Reader, reason: &str) -> u64 {
    let query = Query { kind: Some(Kind::Gap), ..Query::default() };
    let found: Vec<_> = reader.find(&query).map(Result::unwrap).collect();
    let gaps = found.iter().map(|found| Entry::parse(&found.entry).unwrap());
    gaps.filter(|gap| gap.reason.as_deref() == Some(reason)).filter_map(|gap| gap.count).sum()
}

fn balanced(sim: &Sim, metrics: &Metrics, kept: &[Uuid], failed: u64) {
    let found = entries(&sim_reader(sim));
    lineage_first(&found);
    assert_eq!(ids(&found, "prediction"), kept, "the log holds exactly what was acknowledged");
    assert_eq!(recorded(metrics), (kept.len() as u64, failed));
    assert_eq!(gaps(&sim_reader(sim), "failed"), failed);
}

#[test]
fn a_single_error_at_any_call_costs_nothing() {
    for mode in [Durability::Write, Durability::Sync] {
        for code in [EIO, ENOSPC] {
            for at in 0..75 {
                let sim = Sim::new(at);
                let (ledger, metrics) = open_sim(&sim, &config(mode)).unwrap();
                sim.fault(Some(Fault::Once(sim.calls() + at, code)));
                let (kept, failed) = submit(&ledger, 0..30);
                sim.fault(None);
                eventually("it writes", || ledger.status().state == State::Writing);
                let (more, none) = submit(&ledger, 30..35);
                assert_eq!(none, 0);
                ledger.close().unwrap_or_else(|error| panic!("{mode:?} {code} at {at}: {error}"));
                balanced(&sim, &metrics, &[kept, more].concat(), failed);
                assert_eq!(failed, 0, "{mode:?} {code} at {at}");
                recovers_the_same(&sim);
            }
        }
    }
}

/// The seal among them: what takes a failed segment's place has no entries then, and the next start takes its name.
#[test]
fn a_single_error_at_any_call_of_a_stop_leaves_a_log_that_goes_on() {
    for mode in [Durability::Write, Durability::Sync] {
        for at in 0.. {
            let sim = Sim::new(at);
            let (ledger, metrics) = open_sim(&sim, &config(mode)).unwrap();
            let (kept, _) = submit(&ledger, 0..8);
            let before = sim.calls();
            sim.fault(Some(Fault::Once(before + at, EIO)));
            ledger.close().unwrap_or_else(|error| panic!("{mode:?} at {at}: {error}"));
            let calls = sim.calls() - before;
            sim.fault(None);
            balanced(&sim, &metrics, &kept, 0);
            recovers_the_same(&sim);
            if calls <= at {
                assert!(at > 6, "a stop makes more calls than {at}");
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_fails_for_a_while_is_told_about() {
    for mode in [Durability::Write, Durability::Sync] {
        for at in (0..90).step_by(3) {
            let sim = Sim::new(at);
            let (ledger, metrics) = open_sim(&sim, &config(mode)).unwrap();
            sim.fault(Some(Fault::From(sim.calls() + at, EIO)));
            let (kept, failed) = submit(&ledger, 0..120);
            if failed > 0 {
                assert_eq!(ledger.reserve(), Err(Refusal::Failing), "{mode:?} at {at}");
                assert!(matches!(ledger.status().state, State::Failing { .. }));
            }
            if failed > 0 {
                // Again, on the way back or just when the gap is written.
                let next = sim.calls() + at / 3 % 6;
                sim.fault(Some(Fault::From(next, ENOSPC)));
                eventually("the second failure", || sim.calls() > next + 3);
            }
            sim.fault(None);
            eventually("it writes again", || ledger.status().state == State::Writing);
            ledger.reserve().unwrap();
            ledger.release();
            let (more, none) = submit(&ledger, 120..125);
            assert_eq!(none, 0);
            eventually("the gap is written", || gaps(&sim_reader(&sim), "failed") == failed);
            ledger.close().unwrap();
            balanced(&sim, &metrics, &[kept, more].concat(), failed);
            recovers_the_same(&sim);
        }
    }
}

#[test]
fn queued_entries_that_fail_are_counted_once() {
    for at in (0..40).step_by(2) {
        let sim = Sim::new(at);
        let (ledger, metrics) = open_sim(&sim, &config(Durability::Queue)).unwrap();
        sim.fault(Some(Fault::From(sim.calls() + at, EIO)));
        for at in 0..200 {
            drop(ledger.finish(&exchange(call(Uuid::from_u128(at), None))));
        }
        let sum = || recorded(&metrics).0 + recorded(&metrics).1;
        eventually("traffic rests", || sum() == 200);
        sim.fault(None);
        eventually("it writes again", || ledger.status().state == State::Writing);
        ledger.close().unwrap();
        let (kept, failed) = recorded(&metrics);
        assert_eq!(kept + failed, 200);
        assert_eq!(ids(&entries(&sim_reader(&sim)), "prediction").len() as u64, kept);
        assert_eq!(gaps(&sim_reader(&sim), "failed"), failed);
    }
}

#[test]
fn under_pass_failures_count_as_passed() {
    let sim = Sim::new(0);
    let config = Config { on_failure: OnFailure::Pass, ..config(Durability::Write) };
    let (ledger, metrics) = open_sim(&sim, &config).unwrap();
    sim.fault(Some(Fault::From(sim.calls(), ENOSPC)));
    let (_, failed) = submit(&ledger, 0..10);
    assert_eq!(failed, 10);
    assert_eq!(metrics.ledger_unrecorded.with_label_values(&["passed"]).get(), 10);
    sim.fault(None);
    eventually("the gap is written", || gaps(&sim_reader(&sim), "passed") == 10);
    ledger.close().unwrap();
}

#[test]
fn a_ledger_that_cannot_be_closed_says_so_and_recovers() {
    let sim = Sim::new(0);
    let (ledger, _) = open_sim(&sim, &config(Durability::Write)).unwrap();
    let (kept, _) = submit(&ledger, 0..10);
    sim.fault(Some(Fault::From(sim.calls(), EIO)));
    assert!(ledger.close().unwrap_err().to_string().contains("recovered at the next start"));
    sim.fault(None);
    let sim = sim.after_kill();
    open_sim(&sim, &config(Durability::Write)).unwrap().0.close().unwrap();
    assert_eq!(ids(&entries(&sim_reader(&sim)), "prediction"), kept);
}

/// Where a segment's last entry ends. What follows are marks, each of which swears to no more than the ones after it.
fn entries_end(sim: &Sim, segment: &str) -> usize {
    let mut scanner = Scanner::new(sim.open(segment).unwrap());
    let mut end = 0;
    while let Step::Frame { kind, .. } = scanner.step().unwrap() {
        if kind == FrameKind::Entry {
            end = scanner.offset();
        }
    }
    usize::try_from(end).unwrap()
}

#[test]
fn damage_in_what_was_committed_sets_the_log_aside() {
    const SEGMENT: &str = "seg-00000000000000000000.log";
    let sim = Sim::new(0);
    let (ledger, _) = open_sim(&sim, &config(Durability::Write)).unwrap();
    let (kept, _) = submit(&ledger, 0..8);
    eventually("it is synced, and says so", || {
        let size = ledger.status().size;
        ledger.status().synced == size && sim.after_kill().sworn(SEGMENT) == size
    });
    let crashed = sim.after_kill();
    sim.stop();
    let end = entries_end(&crashed, SEGMENT);
    for at in (0..end).step_by(97).chain([4, 40, 100, end - 1]) {
        let sim = crashed.after_kill();
        sim.flip(SEGMENT, at);
        if at < 4 {
            // Too little is left of the magic to tell it from something else: that is for a person to decide.
            assert!(open_sim(&sim, &config(Durability::Write)).is_err());
            continue;
        }
        let (ledger, metrics) = open_sim(&sim, &config(Durability::Write)).unwrap();
        assert_eq!(metrics.ledger_integrity_failures.get(), 1, "byte {at}");
        ledger.close().unwrap();
        let reader = sim_reader(&sim);
        let found: Vec<_> = reader.find(&Query::default()).collect();
        assert!(found.iter().any(Result::is_err), "byte {at}: damage is never silent");
        let found: Vec<_> = found.into_iter().filter_map(Result::ok).collect();
        assert!(ids(&found, "prediction").len() >= kept.len() - 1, "byte {at}: all but the damaged entry are found");
        let start = &found[found.len() - 2];
        assert_eq!(start.index, 0, "a new log begins");
        assert!(String::from_utf8_lossy(&start.entry).contains("\"follows\":{"), "byte {at}");
        // And it goes on from there.
        let (ledger, metrics) = open_sim(&sim, &config(Durability::Write)).unwrap();
        assert_eq!(metrics.ledger_integrity_failures.get(), 0);
        assert_eq!(ledger.status().size, 3);
        ledger.close().unwrap();
    }
}

#[test]
fn a_crash_while_a_log_is_set_aside_is_survived() {
    const SEGMENT: &str = "seg-00000000000000000000.log";
    let sim = Sim::new(0);
    let (ledger, _) = open_sim(&sim, &config(Durability::Sync)).unwrap();
    submit(&ledger, 0..40);
    ledger.close().unwrap();
    sim.flip(SEGMENT, 3000);
    sim.remove_all(".idx");
    for at in 0..60 {
        for power in [false, true] {
            let sim = sim.after_kill();
            sim.fault(Some(Fault::Crash(at)));
            let crashed = open_sim(&sim, &config(Durability::Sync)).is_err();
            sim.stop();
            let sim = if power { sim.after_power_loss() } else { sim.after_kill() };
            let (ledger, _) = open_sim(&sim, &config(Durability::Sync)).unwrap();
            ledger.close().unwrap();
            let found: Vec<_> = sim_reader(&sim).find(&Query::default()).filter_map(Result::ok).collect();
            assert!(ids(&found, "prediction").len() >= 39, "at {at}");
            let logs: std::collections::HashSet<_> = found.iter().map(|found| found.log).collect();
            assert_eq!(logs.len(), 2, "at {at}, crashed {crashed}");
            let told =
                found.iter().filter(|found| String::from_utf8_lossy(&found.entry).contains("\"follows\"")).count();
            assert!(told >= 1, "at {at}");
        }
    }
}

#[test]
fn what_a_failed_segment_forgot_is_told_and_the_rest_kept() {
    let sim = Sim::new(0);
    let slow = Config { sync_interval: Period::secs(3600), ..config(Durability::Write) };
    let (ledger, metrics) = open_sim(&sim, &slow).unwrap();
    until_committed(&sim);
    let (mut kept, _) = submit(&ledger, 1..5);
    let middle = sim.data_end("seg-00000000000000000000.log");
    let (more, _) = submit(&ledger, 6..9);
    // An entry in the middle is not on the disk as it was written, and the next write fails.
    sim.flip("seg-00000000000000000000.log", middle + 300);
    sim.fault(Some(Fault::Once(sim.calls(), EIO)));
    let (last, failed) = submit(&ledger, 9..10);
    assert_eq!(failed, 0);
    kept.extend(&more[1..]);
    kept.extend(last);
    // Told by the counter: until the segment is replaced, a reader rightly says that it is damaged.
    eventually("the gap is written", || metrics.ledger_entries.with_label_values(&["gap"]).get() == 1);
    ledger.close().unwrap();
    assert_eq!(gaps(&sim_reader(&sim), "failed"), 1);
    assert_eq!(metrics.ledger_integrity_failures.get(), 1);
    assert_eq!(ids(&entries(&sim_reader(&sim)), "prediction"), kept);
    recovers_the_same(&sim);
}

#[test]
fn an_error_while_starting_is_told_and_costs_nothing() {
    let sim = Sim::new(0);
    let (ledger, _) = open_sim(&sim, &config(Durability::Sync)).unwrap();
    let (kept, _) = submit(&ledger, 0..30);
    let crashed = sim.after_power_loss();
    sim.stop();
    let mut refused = 0;
    for at in 0..40 {
        let sim = crashed.after_kill();
        sim.fault(Some(Fault::Once(at, ENOSPC)));
        match open_sim(&sim, &config(Durability::Sync)) {
            Ok((ledger, _)) => ledger.close().unwrap(),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("sim"), "{error}");
                assert!(error.to_string().contains("free some space"), "{error}");
                open_sim(&sim, &config(Durability::Sync)).unwrap().0.close().unwrap();
            }
        }
        let found = ids(&entries(&sim_reader(&sim)), "prediction");
        assert_eq!(found, kept, "at {at}");
    }
    assert!(refused > 5, "{refused}");
}

/// A restart finds the same bytes.
fn recovers_the_same(sim: &Sim) {
    let before = entries(&sim_reader(sim));
    let sim = sim.after_power_loss();
    let (ledger, metrics) = open_sim(&sim, &config(Durability::Write)).unwrap();
    ledger.close().unwrap();
    assert_eq!(metrics.ledger_integrity_failures.get(), 0);
    let after = entries(&sim_reader(&sim));
    assert_eq!(after[..before.len()], before[..]);
}
