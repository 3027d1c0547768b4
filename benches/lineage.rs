//! How long a question about lineage takes, as the catalog grows: upstream and downstream, by identity, on SQLite.
//!
//! `cargo bench --bench lineage -- [--artifacts N] [--data DIR]`; it measures at N artifacts (100,000 unless told
//! otherwise), a tenth and a hundredth of it. The graph is written with plain inserts into the catalog's own schema, since
//! loading is not what is measured: half as many runs as artifacts, each with two inputs and two outputs, in projects of
//! 1,000 runs that begin with one raw dataset; the longest way has some ten runs.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sqlx::AnyPool;
use touchmark::lineage::catalog::{Catalog, Causality, Direction, Location, Moment};

/// Artifacts, unless told otherwise.
const ARTIFACTS: u64 = 100_000;
/// Questions of each kind.
const QUESTIONS: usize = 300;
/// Runs of a project.
const PROJECT: u64 = 1000;
/// As the command line asks: far enough for any real lineage.
const DEPTH: u32 = 64;
const NODES: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let (mut artifacts, mut data) = (ARTIFACTS, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--artifacts" => artifacts = words.next().context("--artifacts needs a number")?.parse()?,
            "--data" => data = Some(PathBuf::from(words.next().context("--data needs a folder")?)),
            "--bench" => {}
            other => bail!("'{other}' is no option: --artifacts N, --data DIR"),
        }
    }
    let folder = data.unwrap_or_else(|| std::env::temp_dir().join(format!("touchmark-lineage-{}", std::process::id())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for share in [100, 10, 1] {
        let artifacts = (artifacts / share).max(2 * PROJECT);
        let file = folder.join(format!("{artifacts}.db"));
        let measured = runtime.block_on(async {
            let catalog = Catalog::open(&Location::File(file.clone()), Causality::Flag).await?;
            let began = Instant::now();
            fill(&file, artifacts).await?;
            println!(
                "{artifacts} artifacts, {} edges, written in {:.1} s",
                artifacts * 2,
                began.elapsed().as_secs_f64()
            );
            let measured = ask(&catalog, artifacts).await;
            catalog.close().await;
            measured
        });
        std::fs::remove_dir_all(&folder)?;
        measured?;
    }
    Ok(())
}

/// Artifacts have the numbers 1 to N, runs follow. Run `k` made artifacts `2k+1` and `2k+2`, of those that the runs `k/2`
/// and `k/3` of its project made.
async fn fill(file: &Path, artifacts: u64) -> anyhow::Result<()> {
    let pool = AnyPool::connect(&format!("sqlite://{}?mode=rwc", file.display())).await?;
    let runs = artifacts / 2;
    let numbers =
        |to: u64| format!("WITH RECURSIVE n (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < {to})");
    let input = |way: u64| {
        // The first run of a project has nothing before it.
        format!(
            "SELECT {artifacts} * {way} + k + 1, (k - k % {PROJECT} + (k % {PROJECT}) / {way}) * 2 + 1 + k % 2, \
             k + 1 + {artifacts}, 3, 'training', NULL, NULL, 1, NULL FROM n WHERE k % {PROJECT} > 0"
        )
    };
    let inserts = [
        "INSERT INTO change VALUES (1, 0, 'bench', 'bench')".to_owned(),
        format!(
            "{} INSERT INTO node SELECT k + 1, 1, CASE k % 2 WHEN 0 THEN 10 ELSE 14 END, 'a' || k || '@v1', \
             CASE k % 2 WHEN 0 THEN 'dataset:' ELSE 'model:' END || 'a' || k || '@v1', NULL, 1 FROM n",
            numbers(artifacts)
        ),
        format!(
            "{} INSERT INTO node SELECT k + 1 + {artifacts}, 2, 20, 'r' || k, 'run:r' || k, NULL, 1 FROM n",
            numbers(runs)
        ),
        "INSERT INTO revision SELECT id, 1, NULL, 2, 's3://lake/' || name FROM node".to_owned(),
        "INSERT INTO property SELECT id, 0, 'version', 1, NULL, 3, 'v1', NULL FROM node".to_owned(),
        "INSERT INTO property SELECT id, 1, 'owner', 1, NULL, 3, 'team-' || id % 100, NULL FROM node".to_owned(),
        "INSERT INTO property SELECT id, 1, 'digest', 1, NULL, 3, 'sha256:' || hex(id * 7919), NULL FROM node"
            .to_owned(),
        format!(
            "{} INSERT INTO edge SELECT k + 1, k / 2 + 1 + {artifacts}, k + 1, 4, '', NULL, NULL, 1, NULL FROM n",
            numbers(artifacts)
        ),
        format!("{} INSERT INTO edge {}", numbers(runs), input(2)),
        format!("{} INSERT OR IGNORE INTO edge {}", numbers(runs), input(3)),
    ];
    for insert in inserts {
        sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&pool).await?;
    }
    pool.close().await;
    Ok(())
}

async fn ask(catalog: &Catalog, artifacts: u64) -> anyhow::Result<()> {
    for (what, direction) in [("upstream of", Direction::Upstream), ("downstream of", Direction::Downstream)] {
        let (mut times, mut reached) = (Vec::new(), Vec::new());
        for question in 0..QUESTIONS {
            // Spread over all of them, by a step that shares no factor with their number.
            let wanted = (question as u64).wrapping_mul(1_000_003) % artifacts;
            let identity = format!("{}:a{wanted}@v1", if wanted.is_multiple_of(2) { "dataset" } else { "model" });
            let began = Instant::now();
            let node = catalog.node(&identity, Moment::NOW).await?.context("an artifact that was written")?;
            let graph = catalog.walk(&[node.id], direction, DEPTH, NODES, Moment::NOW).await?;
            times.push(began.elapsed());
            reached.push(graph.nodes.len());
            ensure!(!graph.truncated, "more than {NODES} nodes");
        }
        times.sort_unstable();
        reached.sort_unstable();
        let at = |share: usize| (QUESTIONS - 1) * share / 100;
        println!(
            "  {what} an artifact: median {} ({} nodes), p99 {}; the largest answer has {} nodes",
            millis(times[at(50)]),
            reached[at(50)],
            millis(times[at(99)]),
            reached[at(100)]
        );
    }
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
