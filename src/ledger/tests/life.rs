//! Orderly lives over real files: every mode, restarts, locks, many threads, bounds.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;
use uuid::Uuid;

use super::{Dir, call, config, entries, eventually, exchange, identity, ids, open, origin, recorded, settled};
use crate::exchange::{OnFailure, Recorder, Refusal, Reservation, Ticket, Unrecorded};
use crate::ledger::read::{Query, Reader};
use crate::ledger::{Config, Durability, Entry, Event, Kind, Ledger, OpenError, State};
use crate::telemetry::Metrics;

const MODES: [Durability; 3] = [Durability::Queue, Durability::Write, Durability::Sync];

fn kinds(dir: &Dir) -> Vec<String> {
    let found = entries(&Reader::open(&dir.0).unwrap());
    found.iter().map(|found| Entry::parse(&found.entry).unwrap().kind.to_string()).collect()
}

#[test]
fn every_mode_keeps_every_entry_over_a_restart() {
    for mode in MODES {
        let dir = Dir::new();
        let identity = identity("v1");
        let mut expected = Vec::new();
        for run in 0..3_u128 {
            let (ledger, metrics) = open(&dir.config(mode));
            for at in 0..60 {
                let id = Uuid::from_u128(run * 1000 + at);
                let call = call(id, Some(&identity));
                if at % 7 == 0 {
                    settled(ledger.begin(&call)).unwrap();
                }
                settled(ledger.finish(&exchange(call))).unwrap();
                expected.push(id);
            }
            ledger.close().unwrap();
            assert_eq!(recorded(&metrics), (60, 0), "{mode:?}");
            assert_eq!(ledger.status().state, State::Sealed);
            assert_eq!(ledger.status().size, ledger.status().synced);
            assert_eq!(ledger.finish(&exchange(call(Uuid::nil(), None))).settle(), Err(()));
        }
        let found = entries(&Reader::open(&dir.0).unwrap());
        assert_eq!(ids(&found, "prediction"), expected, "{mode:?}");
        assert_eq!(kinds(&dir).iter().filter(|kind| *kind == "lineage").count(), 1, "written once, also over restarts");
        let starts = found.iter().filter(|found| found.entry.windows(16).any(|part| part == b"\"unclean\":false,"));
        assert_eq!(starts.count(), 3);
        // Under `queue` a run may be a single group.
        assert!(dir.segments().len() > if mode == Durability::Queue { 2 } else { 6 }, "rotation was exercised");
    }
}

trait Settle {
    fn settle(self) -> Result<(), ()>;
}

impl Settle for Ticket {
    fn settle(self) -> Result<(), ()> {
        settled(self).map_err(drop)
    }
}

#[test]
fn a_lone_worker_never_waits_under_write() {
    let dir = Dir::new();
    let (ledger, _) = open(&Config { segment_size: Config::default().segment_size, ..dir.config(Durability::Write) });
    let mut settled_at_once = 0;
    for at in 0..500 {
        let ticket = ledger.finish(&exchange(call(Uuid::from_u128(at), None)));
        // Once in a while the keeper holds the tail for a moment.
        settled_at_once += u32::from(matches!(ticket, Ticket::Settled(Ok(()))));
        ticket.settle().unwrap();
    }
    assert!(settled_at_once > 450, "{settled_at_once}");
}

#[test]
fn a_load_that_never_pauses_puts_off_neither_sync_nor_checkpoint() {
    for mode in MODES {
        let dir = Dir::new();
        let (ledger, _) = open(&Config { queue_entries: 64, ..dir.config(mode) });
        let covered = || Reader::open(&dir.0).unwrap().newest_checkpoint().unwrap().map_or(0, |it| it.checkpoint.size);
        std::thread::scope(|scope| {
            let load = Arc::new(());
            for _ in 0..2 {
                let (ledger, load) = (ledger.clone(), Arc::downgrade(&load));
                scope.spawn(move || {
                    while load.strong_count() > 0 {
                        if ledger.reserve().is_ok() {
                            drop(ledger.finish(&exchange(call(Uuid::nil(), None))));
                            ledger.release();
                        }
                    }
                });
            }
            let (synced, size) = (ledger.status().synced, covered());
            eventually("a sync", || ledger.status().synced > synced);
            eventually("a checkpoint", || covered() > size);
        });
        ledger.close().unwrap();
    }
}

#[test]
fn four_threads_have_every_entry_exactly_once() {
    for mode in MODES {
        let dir = Dir::new();
        let (ledger, metrics) = open(&dir.config(mode));
        let identities = ["v1", "v2"].map(identity);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (ledger, identities) = (ledger.clone(), &identities);
                scope.spawn(move || {
                    let recorder: Arc<dyn Recorder> = Arc::new(ledger);
                    for at in 0..250 {
                        let id = Uuid::from_u128(thread << 32 | at);
                        let reservation = Reservation::new(&recorder).unwrap();
                        let identity = &identities[usize::from(at % 2 == 0)];
                        settled(reservation.finish(&exchange(call(id, Some(identity))))).unwrap();
                    }
                });
            }
        });
        ledger.close().unwrap();
        let mut found = ids(&entries(&Reader::open(&dir.0).unwrap()), "prediction");
        found.sort();
        let mut expected: Vec<Uuid> =
            (0..4).flat_map(|thread| (0..250).map(move |at| Uuid::from_u128(thread << 32 | at))).collect();
        expected.sort();
        assert_eq!(found, expected, "{mode:?}");
        assert_eq!(recorded(&metrics), (1000, 0));
        assert_eq!(kinds(&dir).iter().filter(|kind| *kind == "lineage").count(), 2);
        assert_eq!(metrics.ledger_tree_size.get(), 1000 + 2 + 2);
    }
}

#[test]
fn a_lineage_comes_before_its_first_use() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.config(Durability::Write));
    let identity = identity("v9");
    settled(ledger.begin(&call(Uuid::from_u128(1), Some(&identity)))).unwrap();
    settled(ledger.finish(&exchange(call(Uuid::from_u128(1), Some(&identity))))).unwrap();
    ledger.lifecycle(Event::Traffic, json!({"champion": 90}));
    ledger.close().unwrap();
    assert_eq!(kinds(&dir), ["lifecycle", "lineage", "begin", "prediction", "lifecycle", "lifecycle"]);
}

#[test]
fn a_second_writer_is_turned_away() {
    let dir = Dir::new();
    let (ledger, metrics) = open(&dir.config(Durability::Write));
    let error = Ledger::open(&dir.config(Durability::Write), &origin(), &metrics).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("stop it"), "{error}");
    ledger.close().unwrap();
    open(&dir.config(Durability::Write)).0.close().unwrap();
}

#[test]
fn what_cannot_be_opened_says_why() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.0.join("ledger")).unwrap();
    let path = dir.0.join("ledger/seg-00000000000000000000.log");
    let metrics = Arc::new(Metrics::new());
    std::fs::write(&path, [b'x'; 4096]).unwrap();
    let foreign = Ledger::open(&dir.config(Durability::Write), &origin(), &metrics).unwrap_err();
    assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");
    std::fs::remove_file(&path).unwrap();
    open(&dir.config(Durability::Write)).0.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let newer = Ledger::open(&dir.config(Durability::Write), &origin(), &metrics).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { version: 2, .. }), "{newer}");
    let file = dir.0.join("file");
    std::fs::write(&file, "").unwrap();
    let config = Config { dir: file, ..config(Durability::Write) };
    assert!(matches!(Ledger::open(&config, &origin(), &metrics).unwrap_err(), OpenError::Io { .. }));
}

#[test]
fn places_are_bounded_and_given_back() {
    let dir = Dir::new();
    let (ledger, _) = open(&Config { queue_entries: 6, ..dir.config(Durability::Write) });
    assert_eq!(ledger.on_failure(), OnFailure::Reject);
    for _ in 0..3 {
        ledger.reserve().unwrap();
    }
    assert_eq!(ledger.reserve(), Err(Refusal::Full));
    ledger.release();
    ledger.reserve().unwrap();
    assert_eq!(ledger.reserve(), Err(Refusal::Full));
    ledger.close().unwrap();
    assert_eq!(ledger.reserve(), Err(Refusal::Sealed));
}

#[test]
fn a_full_queue_is_bounded_by_bytes_too_and_its_gap_is_written() {
    let dir = Dir::new();
    let (ledger, metrics) = open(&Config { queue_bytes: crate::units::Size(0), ..dir.config(Durability::Queue) });
    assert_eq!(ledger.reserve(), Err(Refusal::Full));
    ledger.unrecorded(Unrecorded::Refused, SystemTime::now());
    ledger.unrecorded(Unrecorded::Refused, SystemTime::now());
    eventually("the gap is written", || metrics.ledger_entries.with_label_values(&["gap"]).get() == 1);
    ledger.close().unwrap();
    assert_eq!(recorded(&metrics), (0, 2));
    let query = Query { kind: Some(Kind::Gap), ..Query::default() };
    let gaps: Vec<_> = Reader::open(&dir.0).unwrap().find(&query).map(Result::unwrap).collect();
    let gap = Entry::parse(&gaps[0].entry).unwrap();
    assert_eq!((gap.count, gap.reason.as_deref()), (Some(2), Some("refused")));
}

#[test]
fn a_dropped_ticket_does_not_take_its_entry_back() {
    for mode in MODES {
        let dir = Dir::new();
        let (ledger, _) = open(&dir.config(mode));
        for at in 0..50 {
            drop(ledger.finish(&exchange(call(Uuid::from_u128(at), None))));
        }
        ledger.close().unwrap();
        assert_eq!(ids(&entries(&Reader::open(&dir.0).unwrap()), "prediction").len(), 50, "{mode:?}");
    }
}

#[test]
fn every_mode_syncs_within_the_interval() {
    for mode in MODES {
        let dir = Dir::new();
        let (ledger, _) = open(&dir.config(mode));
        settled(ledger.finish(&exchange(call(Uuid::nil(), None)))).unwrap();
        eventually("it is synced", || ledger.status().synced == 2);
        assert_eq!(ledger.status().state, State::Writing);
    }
}

#[test]
fn a_reloaded_configuration_is_in_force_at_once() {
    let dir = Dir::new();
    let before = Config { queue_entries: 2, ..dir.config(Durability::Queue) };
    let (ledger, _) = open(&before);
    drop(ledger.finish(&exchange(call(Uuid::from_u128(1), None))));
    assert_eq!(ledger.on_failure(), OnFailure::Reject);
    let after = Config { on_failure: OnFailure::Pass, queue_entries: 100, ..dir.config(Durability::Write) };
    ledger.reconfigure(&after);
    assert_eq!(ledger.on_failure(), OnFailure::Pass);
    eventually("what was queued is written", || ledger.status().size == 2);
    for _ in 0..40 {
        ledger.reserve().unwrap();
    }
    settled(ledger.finish(&exchange(call(Uuid::from_u128(2), None)))).unwrap();
    assert_eq!(ledger.status().size, 3);
    ledger.close().unwrap();
}

#[test]
fn a_killed_process_leaves_real_files_that_recover() {
    for mode in [Durability::Write, Durability::Sync] {
        let dir = Dir::new();
        let (ledger, _) = open(&dir.config(mode));
        let identity = identity("v1");
        let mut expected = Vec::new();
        for at in 0..40 {
            let id = Uuid::from_u128(at);
            settled(ledger.begin(&call(id, Some(&identity)))).unwrap();
            if at != 7 {
                settled(ledger.finish(&exchange(call(id, Some(&identity))))).unwrap();
                expected.push(id);
            }
        }
        // What the kernel has now is what it would have after a kill.
        let copy = Dir::new();
        std::fs::create_dir(copy.0.join("ledger")).unwrap();
        std::fs::copy(dir.0.join("signing-key.pem"), copy.0.join("signing-key.pem")).unwrap();
        for entry in std::fs::read_dir(dir.0.join("ledger")).unwrap() {
            let entry = entry.unwrap();
            // Indices and spare files may come and go meanwhile.
            drop(std::fs::copy(entry.path(), copy.0.join("ledger").join(entry.file_name())));
        }
        ledger.close().unwrap();
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::open(&copy.config(mode), &origin(), &metrics).unwrap();
        expected.push(Uuid::from_u128(7));
        let found = entries(&Reader::open(&copy.0).unwrap());
        assert_eq!(ids(&found, "prediction"), expected, "{mode:?}");
        let query = Query { outcome: Some("interrupted".to_owned()), ..Query::default() };
        let interrupted: Vec<_> = Reader::open(&copy.0).unwrap().find(&query).map(Result::unwrap).collect();
        assert_eq!(ids(&interrupted, "prediction"), [Uuid::from_u128(7)]);
        assert!(String::from_utf8_lossy(&found[found.len() - 2].entry).contains("\"unclean\":true"));
        assert_eq!(recorded(&metrics).0, 1, "the interrupted prediction is on the books");
        ledger.close().unwrap();
    }
}
