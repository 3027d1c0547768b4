//! Calls that fail, once or for ever: nobody sees an answer that is not recorded, everything is counted, and the process
//! goes on.

use std::sync::Arc;

use super::judge::{all_recorded, comes_back, gaps};
use super::load::{Seen, model_server};
use super::scene::{Scene, Serving};
use super::strace::{ALLOCATE, FDATASYNC, FSYNC, Fault, Injection, READ, RENAME, TRUNCATE, WRITE, is_here};
use super::{INDEX, LEDGER, Point, TREE, WORKER, campaign};

/// Lets a call of a running process fail. Whether it came to that.
async fn fail_in_run(scene: Scene, thread: &str, injection: Injection) -> bool {
    let serving = scene.start(&[]).await.unwrap();
    let strace = injection.attach(serving.pid(), thread, scene.folder()).await;
    let mut seen = serving.full_load().await;
    let mut unrecorded = serving.books_balance().await;
    let once = matches!(injection.fault, Fault::Once(_));
    // Whether the disk works again before the end. Tree and index are written beside the load, or at the end: their calls
    // may come only then.
    let whole = once || (injection.nth % 2 == 1 && thread != INDEX && thread != TREE);
    let strace = if whole && !once {
        strace.detach();
        None
    } else {
        Some(strace)
    };
    if whole {
        seen.add(recovers(&serving).await);
        unrecorded = serving.books_balance().await;
    }
    let status = serving.stop().await;
    // With a disk that fails it says so, and does not crash.
    let well = if whole { status.success() } else { status.code().is_some() };
    assert!(well, "{thread}, {injection:?}: {status}\n{}", scene.log());
    if let Some(strace) = strace {
        strace.detach();
    }
    assert!(!scene.log().contains("panicked"), "{injection:?}\n{}", scene.log());
    let entries = comes_back(&scene, &[], false).await;
    assert!(!whole || gaps(&entries) == unrecorded, "{injection:?}: gaps cover {} of {unrecorded}", gaps(&entries));
    if scene.on_failure == "reject" {
        all_recorded(&entries, &seen);
    } else {
        assert_eq!((seen.refused, seen.cut), (0, 0), "{injection:?}: everything is served");
        let recorded = entries.iter().filter(|entry| entry.kind() == "prediction").count() as u64;
        let served = (seen.held.len() + seen.ended.len()) as u64;
        assert!(served <= recorded + unrecorded, "{injection:?}: {served} > {recorded} + {unrecorded}");
    }
    Injection::failed_in(&scene.trace())
}

/// Waits until it takes entries again, by itself.
pub(super) async fn recovers(serving: &Serving) -> Seen {
    let mut all = Seen::default();
    for _ in 0..200 {
        let seen = serving.load(2).await;
        let whole = seen.refused + seen.cut == 0;
        all.add(seen);
        if whole {
            return all;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it does not take entries again: {all:?}");
}

async fn failing(points: &[Point], (durability, on_failure): (&'static str, &'static str), fault: Fault) {
    if !is_here() {
        return;
    }
    let model = Arc::new(model_server().await);
    campaign(points, fault, move |thread, injection| {
        let scene = Scene { on_failure, ..Scene::new(&model, durability) };
        async move { fail_in_run(scene, thread, injection).await }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_once_is_borne() {
    let points = [
        (WORKER, WRITE),
        (LEDGER, WRITE),
        (LEDGER, FDATASYNC),
        (LEDGER, FSYNC),
        (LEDGER, TRUNCATE),
        (LEDGER, RENAME),
        (TREE, READ),
        (TREE, WRITE),
        (TREE, FSYNC),
        (INDEX, FDATASYNC),
    ];
    let write = failing(&points, ("write", "reject"), Fault::Once("EIO"));
    let points = [(LEDGER, WRITE), (LEDGER, FDATASYNC)];
    tokio::join!(write, failing(&points, ("sync", "reject"), Fault::Once("EIO")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_from_a_call_on_refuses() {
    // Not the worker's: only what is traced fails, and the keeper would begin a segment for each of its entries.
    let points = [(LEDGER, WRITE), (LEDGER, ALLOCATE), (LEDGER, RENAME), (TREE, WRITE), (INDEX, WRITE)];
    failing(&points, ("write", "reject"), Fault::Always("ENOSPC")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_from_a_call_on_passes_by_policy() {
    let points = [(LEDGER, WRITE), (LEDGER, FDATASYNC), (LEDGER, ALLOCATE)];
    let write = failing(&points, ("write", "pass"), Fault::Always("EIO"));
    tokio::join!(write, failing(&[(LEDGER, FDATASYNC)], ("sync", "pass"), Fault::Always("EIO")));
}
