//! The crash campaign on real files: the binary killed before its n-th write, sync, rename and so on, for every thread that
//! touches the ledger, at starts and in full run; the same calls failing once, and for ever; disks that fill up; power
//! that fails (`disks`).
//!
//! G1, G2, G3 and G5 (`docs/guarantees.md`). Where a thread makes many calls of a kind, the first are taken one by one and
//! later ones in growing steps; `TOUCHMARK_CAMPAIGN=full` takes all.

mod disks;
mod errors;
mod judge;
mod load;
mod scene;
mod strace;

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use judge::{all_recorded, comes_back, entries, segments};
use load::{Seen, model_server};
use scene::Scene;
use strace::{ALLOCATE, APPEND, FDATASYNC, FSYNC, Fault, Injection, OPEN, RENAME, TRUNCATE, UNLINK, WRITE, is_here};

use crate::support::ledger::Entry;
use crate::support::model_server::ModelServer;

/// Calls of a kind that are taken one by one.
const EACH: usize = 3;
/// Processes at once: they mostly wait.
const AT_ONCE: usize = 8;

/// A thread of the running process, and a kind of call that it makes while one load runs.
type Point = (&'static str, &'static str);

/// The keeper.
const LEDGER: &str = "ledger";
const TREE: &str = "ledger-tree";
const INDEX: &str = "ledger-index";
const WORKER: &str = "proxy-0";

fn next(Injection { nth, fault, .. }: Injection) -> usize {
    let full = std::env::var("TOUCHMARK_CAMPAIGN").is_ok_and(|how| how == "full");
    if full || nth < EACH {
        return nth + 1;
    }
    nth * if fault == Fault::Kill { 3 } else { 6 }
}

/// Runs one scene after the other with the n-th call hit, until none is; scenes of different calls at once.
async fn campaign<F, R>(points: &[Point], fault: Fault, run: F)
where
    F: Fn(&'static str, Injection) -> R + Clone + Send + 'static,
    R: Future<Output = bool> + Send,
{
    let (places, mut runs) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for (thread, calls) in points.iter().copied() {
        let (places, run) = (Arc::clone(&places), run.clone());
        runs.spawn(async move {
            let mut nth = 1;
            loop {
                let _place = places.acquire().await;
                let injection = Injection { calls, fault, nth };
                if !run(thread, injection).await {
                    assert!(nth > 1, "{thread} made no call of {calls}");
                    return;
                }
                nth = next(injection);
            }
        });
    }
    while let Some(ended) = runs.join_next().await {
        if let Err(failed) = ended {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

/// Kills a running process at a call under load or while it stops. Whether it came to that.
async fn kill_in_run(scene: Scene, thread: &str, injection: Injection) -> bool {
    let serving = scene.start(&[]).await.unwrap();
    let _strace = injection.attach(serving.pid(), thread, scene.folder()).await;
    let seen = serving.full_load().await;
    let status = serving.stop().await;
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{thread}, {injection:?}: {status}\n{}", scene.log());
    assert!(killed || segments(&scene) > 1, "the load fills a segment");
    let entries = comes_back(&scene, &entries(&scene), killed).await;
    all_recorded(&entries, &seen);
    killed
}

async fn killed_in_run(durability: &'static str, points: &[Point]) {
    if !is_here() {
        return;
    }
    let model = Arc::new(model_server().await);
    campaign(points, Fault::Kill, move |thread, injection| {
        let scene = Scene::new(&model, durability);
        async move { kill_in_run(scene, thread, injection).await }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_call_of_each_thread_under_write() {
    let points = [
        (WORKER, WRITE),
        (LEDGER, WRITE),
        (LEDGER, FDATASYNC),
        (LEDGER, FSYNC),
        (LEDGER, TRUNCATE),
        (LEDGER, ALLOCATE),
        (LEDGER, RENAME),
        (TREE, WRITE),
        (TREE, FSYNC),
        (INDEX, WRITE),
        (INDEX, FDATASYNC),
        (INDEX, FSYNC),
        (INDEX, RENAME),
    ];
    killed_in_run("write", &points).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_call_of_each_thread_under_sync() {
    let points = [(LEDGER, WRITE), (LEDGER, FDATASYNC), (LEDGER, RENAME), (TREE, WRITE)];
    killed_in_run("sync", &points).await;
}

/// Calls of the main thread, which opens the ledger.
const OF_A_START: [Point; 9] = [
    ("main", WRITE),
    ("main", APPEND),
    ("main", FDATASYNC),
    ("main", FSYNC),
    ("main", TRUNCATE),
    ("main", ALLOCATE),
    ("main", RENAME),
    ("main", UNLINK),
    ("main", OPEN),
];

/// What a process left that was killed under load, in its second segment and while it made a third, and what its clients
/// saw; and an empty folder.
async fn left_behind(model: &ModelServer) -> [(Arc<Scene>, Arc<Seen>); 2] {
    let scene = Scene::new(model, "write");
    let serving = scene.start(&[]).await.unwrap();
    let seen = serving.full_load().await;
    serving.kill().await;
    std::fs::write(scene.data.join("ledger/next.tmp"), [0; 4096]).unwrap();
    [(Arc::new(scene), Arc::new(seen)), (Arc::new(Scene::new(model, "write")), Arc::default())]
}

/// Starts with a call hit. Whether it was.
async fn hit_at_start(scene: Scene, injection: Injection, (before, seen): (&[Entry], &Seen)) -> bool {
    let status = match scene.start(&injection.words(&scene.trace())).await {
        Ok(serving) => serving.stop().await,
        Err(status) => status,
    };
    let killed = status.signal() == Some(9);
    let whole = status.success();
    match injection.fault {
        Fault::Kill => assert!(killed || whole, "{injection:?}: {status}\n{}", scene.log()),
        _ => assert!(status.code().is_some(), "{injection:?}: {status}\n{}", scene.log()),
    }
    all_recorded(&comes_back(&scene, before, killed).await, seen);
    killed || Injection::failed_in(&scene.trace())
}

async fn hit_at_starts(fault: Fault) {
    if !is_here() {
        return;
    }
    let model = model_server().await;
    for (left, seen) in left_behind(&model).await {
        let before = Arc::new(entries(&left));
        campaign(&OF_A_START, fault, move |_, injection| {
            let (scene, seen, before) = (left.copy(), Arc::clone(&seen), Arc::clone(&before));
            async move { hit_at_start(scene, injection, (&before, &seen)).await }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_call_of_a_start() {
    hit_at_starts(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_start_that_fails_costs_nothing() {
    hit_at_starts(Fault::Once("EIO")).await;
}
