//! The catalog on a real SQLite file, and on PostgreSQL where `TOUCHMARK_TEST_POSTGRES` names a server: the same tests,
//! the same answers.

mod naive;
mod plans;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::runtime::{Builder, Runtime};

use super::*;

/// The URL of a PostgreSQL server on which databases may be made.
const POSTGRES: &str = "TOUCHMARK_TEST_POSTGRES";

/// Catalogs that begin empty, one of each kind, and what removes them.
pub(crate) struct Stores {
    pub(crate) runtime: Runtime,
    folder: PathBuf,
    pub(crate) catalogs: Vec<Catalog>,
}

impl Stores {
    pub(crate) fn new(causality: Causality) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let name = format!("touchmark_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        let file = Location::File(folder.join("deep/catalog ?.db"));
        let mut catalogs = vec![runtime.block_on(Catalog::open(&file, causality)).unwrap()];
        if let Ok(server) = std::env::var(POSTGRES) {
            let make = async {
                let pool = sqlx::AnyPool::connect(&server).await.unwrap();
                sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
                pool.close().await;
                let (base, _) = server.rsplit_once('/').unwrap();
                Catalog::open(&Location::Url(format!("{base}/{name}")), causality).await.unwrap()
            };
            catalogs.push(runtime.block_on(make));
        }
        Self { runtime, folder, catalogs }
    }

    /// Runs the same against each, one after another; the answers must be the same.
    #[expect(clippy::needless_pass_by_value, reason = "a closure reads better without a sign before it")]
    pub(crate) fn each<T: PartialEq + std::fmt::Debug>(&self, test: impl AsyncFn(&Catalog) -> T) -> T {
        let mut answers = self.catalogs.iter().map(|catalog| self.runtime.block_on(test(catalog)));
        let first = answers.next().unwrap();
        for other in answers {
            assert_eq!(first, other, "the stores differ");
        }
        first
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            for catalog in &self.catalogs {
                catalog.close().await;
            }
        });
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn id(text: &str) -> NodeRef {
    NodeRef::Identity(text.to_owned())
}

fn batch() -> Batch {
    Batch { author: "ann".to_owned(), source: "test".to_owned(), ..Batch::default() }
}

fn edge(artifact: &str, execution: &str, kind: EventKind, role: &str) -> EdgeRecord {
    EdgeRecord {
        artifact: id(artifact),
        execution: id(execution),
        kind,
        role: role.to_owned(),
        time: None,
        remove: false,
    }
}

/// raw → prepare → d@v1 → r1 → m@v1 → deployment
fn fraud() -> Batch {
    let node = |name: &str, identity: &str| NodeRecord::new(name, id(identity));
    Batch {
        nodes: vec![
            node(names::DATASET, "dataset:raw@v1").with("records", 10),
            node(names::RUN, "run:prepare"),
            node(names::DATASET, "dataset:s3://lake/d@v1"),
            node(names::TRAINING, "run:r1").with("start", "2026-01-01T00:00:00Z").with("end", "2026-01-01T01:00:00Z"),
            node(names::MODEL, "model:m@v1").with("accuracy", 0.5).with("note", "first"),
            node(names::DEPLOYMENT, "deployment:prod"),
        ],
        edges: vec![
            edge("dataset:raw@v1", "run:prepare", EventKind::Input, ""),
            edge("dataset:s3://lake/d@v1", "run:prepare", EventKind::Output, ""),
            edge("dataset:s3://lake/d@v1", "run:r1", EventKind::Input, "training"),
            edge("model:m@v1", "run:r1", EventKind::Output, ""),
            edge("model:m@v1", "deployment:prod", EventKind::Input, ""),
        ],
        ..batch()
    }
}

async fn reach(catalog: &Catalog, from: &str, direction: Direction, depth: u32, moment: Moment) -> Vec<(String, u32)> {
    let node = catalog.node(from, moment).await.unwrap().unwrap();
    let graph = catalog.walk(&[node.id], direction, depth, 1000, moment).await.unwrap();
    graph.nodes.into_iter().map(|reached| (reached.node.identity, reached.depth)).collect()
}

#[test]
fn both_ways_and_twice_is_once() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        let first = catalog.record(&fraud()).await.unwrap();
        assert_eq!((first.created.len(), first.changed.len(), first.linked), (6, 0, 5));
        let second = catalog.record(&fraud()).await.unwrap();
        assert_eq!(second, Recorded::default());
        let up = reach(catalog, "deployment:prod", Direction::Upstream, 9, Moment::NOW).await;
        let names: Vec<_> = up.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["deployment:prod", "model:m@v1", "run:r1", "dataset:s3://lake/d@v1", "run:prepare", "dataset:raw@v1"]
        );
        let down = reach(catalog, "dataset:raw@v1", Direction::Downstream, 2, Moment::NOW).await;
        assert_eq!(down.len(), 3);
        (up, down)
    });
}

#[test]
fn what_changed_is_kept_and_asked_for_by_time() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        let first = Moment::of_change(catalog.record(&fraud()).await.unwrap().change.unwrap());
        let model = NodeRecord {
            state: Some(State::Live),
            uri: Some("s3://m".into()),
            properties: [("note".to_owned(), None), ("accuracy".to_owned(), Some(0.75.into()))].into(),
            ..NodeRecord::new(names::MODEL, id("model:m@v1"))
        };
        let gone = EdgeRecord { remove: true, ..edge("model:m@v1", "deployment:prod", EventKind::Input, "") };
        let done = catalog.record(&Batch { nodes: vec![model], edges: vec![gone], ..batch() }).await.unwrap();
        assert_eq!((done.changed, done.linked), (vec!["model:m@v1".to_owned()], 1));
        let before = catalog.node("model:m@v1", first).await.unwrap().unwrap();
        let now = catalog.node("model:m@v1", Moment::NOW).await.unwrap().unwrap();
        assert_eq!((before.state, before.text("note"), before.uri.clone()), (State::Unknown, Some("first"), None));
        assert_eq!((now.state, now.text("note"), now.uri.as_deref()), (State::Live, None, Some("s3://m")));
        let changes = catalog.changes(now.id, first).await.unwrap();
        let said: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.value.clone(), c.author.as_str())).collect();
        assert_eq!(
            said,
            [
                ("accuracy", Some(0.75.into()), "ann"),
                ("note", None, "ann"),
                ("state", Some("live".into()), "ann"),
                ("uri", Some("s3://m".into()), "ann")
            ]
        );
        assert_eq!(reach(catalog, "deployment:prod", Direction::Upstream, 1, first).await.len(), 2);
        assert_eq!(reach(catalog, "deployment:prod", Direction::Upstream, 1, Moment::NOW).await.len(), 1);
        assert_eq!(catalog.node("model:m@v1", Moment::of_change(0)).await.unwrap(), None);
        assert_eq!(catalog.moment(now.created).await.unwrap(), first);
    });
}

#[test]
fn no_circle_can_be_closed() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        catalog.record(&fraud()).await.unwrap();
        let back = Batch { edges: vec![edge("model:m@v1", "run:prepare", EventKind::Input, "")], ..batch() };
        let error = catalog.record(&back).await.unwrap_err().to_string();
        assert_eq!(error, "model:m@v1 → run:prepare would close a circle: run:prepare already leads to model:m@v1");
        error
    });
}

#[test]
fn what_is_used_before_it_was_made_is_refused_or_flagged() {
    let late = |catalog: &Catalog| {
        let catalog = catalog.clone();
        async move {
            let made = |time: &str| EdgeRecord {
                time: Some(time.parse().unwrap()),
                ..edge("dataset:late@v1", "run:later", EventKind::Output, "")
            };
            let nodes = vec![
                NodeRecord::new(names::DATASET, id("dataset:late@v1")),
                NodeRecord::new(names::INGESTION, id("run:later")),
            ];
            catalog.record(&fraud()).await.unwrap();
            catalog.record(&Batch { nodes, edges: vec![made("2026-02-01T00:00:00Z")], ..batch() }).await.unwrap();
            let use_it = edge("dataset:late@v1", "run:r1", EventKind::Input, "training");
            catalog.record(&Batch { edges: vec![use_it], ..batch() }).await
        }
    };
    let flagged = Stores::new(Causality::Flag).each(async |catalog| late(catalog).await.unwrap().flagged);
    assert_eq!(
        flagged,
        ["dataset:late@v1 → run:r1: made at 2026-02-01T00:00:00Z, after its user ended at 2026-01-01T01:00:00Z"]
    );
    let refused = Stores::new(Causality::Refuse).each(async |catalog| late(catalog).await.unwrap_err().to_string());
    assert!(refused.ends_with("correct the times, or set lineage.catalog.causality: flag"), "{refused}");
}

#[test]
fn a_search_goes_through_pages() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        let nodes = (0..25).map(|number| {
            NodeRecord::new(names::DATASET, NodeRef::Identity(format!("dataset:d{number:02}@v1")))
                .with("owner", if number % 2 == 0 { "ann" } else { "bob" })
        });
        catalog.record(&Batch { nodes: nodes.collect(), ..batch() }).await.unwrap();
        let mut filter = Filter {
            kind: Some(NodeKind::Artifact),
            type_name: Some(names::DATASET.to_owned()),
            name: Some("d".to_owned()),
            properties: vec![("owner".to_owned(), "ann".to_owned())],
            limit: Some(5),
            ..Filter::default()
        };
        let mut found = Vec::new();
        loop {
            let page = catalog.search(&filter, Moment::NOW).await.unwrap();
            found.extend(page.nodes.into_iter().map(|node| node.identity));
            filter.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), 13);
        assert_eq!(catalog.candidates("dataset:d1", Moment::NOW).await.unwrap().len(), 10);
        found
    });
}

#[test]
fn what_is_wrong_is_refused_whole() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        let node = |name: &str, identity: &str| Batch { nodes: vec![NodeRecord::new(name, id(identity))], ..batch() };
        let bad = [
            node("Nothing", "model:m@v1"),
            node(names::MODEL, "dataset:m@v1"),
            node(names::MODEL, ""),
            Batch { nodes: vec![NodeRecord::new(names::MODEL, id("model:m@v1")).with("version", 1)], ..batch() },
            Batch { edges: vec![edge("model:m@v1", "run:x", EventKind::Input, "")], ..batch() },
            Batch {
                nodes: vec![
                    NodeRecord::new(names::MODEL, id("model:m@v1")),
                    NodeRecord::new(names::MODEL, id("run:m")),
                ],
                ..batch()
            },
        ];
        let mut said = Vec::new();
        for batch in bad {
            let error = catalog.record(&batch).await.unwrap_err();
            assert!(error.is_callers(), "{error:?}");
            said.push(error.to_string());
        }
        assert_eq!(catalog.candidates("", Moment::NOW).await.unwrap(), Vec::<String>::new());
        said
    });
}

#[test]
fn a_run_is_refined_and_contexts_hold_each_other_without_circles() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        catalog.record(&fraud()).await.unwrap();
        let named = |name: &str| NodeRef::Named { type_name: names::EXPERIMENT.to_owned(), name: name.to_owned() };
        let nodes = vec![
            NodeRecord::new(names::TRANSFORMATION, id("run:prepare")),
            NodeRecord::new(names::EXPERIMENT, named("a")),
            NodeRecord::new(names::EXPERIMENT, named("b")),
        ];
        let member = |context: &str, node: NodeRef| MemberRecord { context: named(context), node, remove: false };
        let members = vec![member("a", named("b")), member("b", id("run:r1"))];
        catalog.record(&Batch { nodes, members, ..batch() }).await.unwrap();
        let run = catalog.node("run:prepare", Moment::NOW).await.unwrap().unwrap();
        assert_eq!(run.type_name, names::TRANSFORMATION);
        let circle = Batch { members: vec![member("b", named("a"))], ..batch() };
        catalog.record(&circle).await.unwrap_err().to_string()
    });
}

#[test]
fn a_backup_is_a_catalog() {
    let stores = Stores::new(Causality::Flag);
    let catalog = &stores.catalogs[0];
    stores.runtime.block_on(async {
        catalog.record(&fraud()).await.unwrap();
        let copy = stores.folder.join("copy.db");
        catalog.backup(&copy).await.unwrap();
        assert!(catalog.backup(&copy).await.is_err(), "an earlier backup was written over");
        let copy = Catalog::open(&Location::File(copy), Causality::Flag).await.unwrap();
        copy.check().await.unwrap();
        assert_eq!(reach(&copy, "deployment:prod", Direction::Upstream, 9, Moment::NOW).await.len(), 6);
        copy.close().await;
    });
}
