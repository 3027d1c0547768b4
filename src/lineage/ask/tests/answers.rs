//! What is answered about the small graphs: names, both ways, differences, impact, gaps, and what has changed since.

use super::*;
use crate::lineage::ask::*;
use crate::lineage::catalog::{Batch, Direction, Node, NodeRecord, NodeRef, names};

fn prediction<'a>(time: &'a str, version: &'a str, datasets: &'a [&'a str]) -> Prediction<'a> {
    Prediction { time, deployment: "fraud-prod", model: Some("fraud"), version: Some(version), datasets }
}

async fn node(catalog: &Catalog, text: &str) -> Node {
    find(catalog, text, Moment::NOW).await.unwrap()
}

async fn named(catalog: &Catalog, text: &str) -> Result<String, String> {
    find(catalog, text, Moment::NOW).await.map(|node| node.identity).map_err(|error| error.to_string())
}

#[test]
fn a_name_is_what_fits_or_its_candidates() {
    stores().each(async |catalog| {
        tell(catalog, &fraud()).await;
        for (text, identity) in [
            ("model:fraud@v2", "model:fraud@v2"),
            ("fraud@v2", "model:fraud@v2"),
            ("fraud@champion", "model:fraud@v2"),
            ("raw", "dataset:raw@2026-01"),
            ("transactions@v1", "dataset:s3://lake/transactions@v1"),
            ("dataset:held-out", "dataset:s3://lake/held-out@v1"),
            ("train-1", "run:train-1"),
            ("fraud-prod", "deployment:fraud-prod"),
            ("code:git@example.org:fraud@ab", "code:git@example.org:fraud@abc"),
            ("abc", "code:git@example.org:fraud@abc"),
        ] {
            assert_eq!(named(catalog, text).await.as_deref(), Ok(identity), "{text}");
        }
        for (text, mend) in [
            ("fraud", "'fraud' may be model:fraud@v1, model:fraud@v2: write one of them"),
            ("transactions", "'transactions' may be dataset:s3://lake/transactions@v1, dataset:s3://lake/transactions@v2: write one of them"),
            ("fraud@v3", "'fraud@v3' is not in the catalog: 'touchmark lineage search' shows what is"),
            ("prediction:0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10", "'touchmark lineage prediction' begins there"),
        ] {
            let error = named(catalog, text).await.unwrap_err();
            assert!(error.contains(mend), "{text}: {error}");
        }
        let kind = find_among(catalog, "run:train-1", &["model"], Moment::NOW).await.unwrap_err();
        assert_eq!(kind.to_string(), "'run:train-1' is no model");
    });
}

#[test]
fn a_tree_goes_through_merges_and_tells_nothing_twice() {
    let text = stores().each(async |catalog| {
        tell(catalog, &fraud()).await;
        let both = RunFact {
            id: "put-together".into(),
            kind: RunKind::Training,
            inputs: vec![used("model:fraud@v1", "base"), used("model:fraud@v2", "base")],
            outputs: vec!["model:both@v1".into()],
            ..RunFact::default()
        };
        tell(catalog, &Facts { runs: vec![both], models: vec![model("both@v1")], ..Facts::default() }).await;
        let begin = node(catalog, "both@v1").await;
        let question = Question { kinds: vec!["model".into(), "dataset".into()], ..Question::new(Direction::Upstream) };
        let graph = reach(catalog, &begin, &question).await.unwrap();
        let json = serde_json::to_value(Lineage::new(&begin, Direction::Upstream, graph.clone())).unwrap();
        assert_eq!((json["of"].as_str(), json["nodes"].as_array().unwrap().len()), (Some("model:both@v1"), 7));
        assert_eq!(json["edges"][0]["to"], "model:both@v1");
        assert!(render::dot(&graph).contains("n1 -> n0 [label=\"base\"];"), "{}", render::dot(&graph));
        assert!(render::mermaid(&graph).contains("n1 -->|\"base\"| n0"), "{}", render::mermaid(&graph));
        assert_eq!(render::rows(&graph)[0][..3], ["0", "Model", "model:both@v1"]);
        render::tree(&graph, begin.id, Direction::Upstream)
    });
    assert_eq!(
        text,
        "model:both@v1\n\
         ├─ model:fraud@v1 [base]\n\
         │  ├─ dataset:s3://lake/transactions@v1 (900000 records) [training]\n\
         │  │  └─ dataset:raw@2026-01 (1000000 records)\n\
         │  └─ dataset:s3://lake/held-out@v1 (10000 records) [test]\n\
         └─ model:fraud@v2 [base]\n   \
            ├─ dataset:s3://lake/held-out@v1 (10000 records) [test]\n   \
            └─ dataset:s3://lake/transactions@v2 (950000 records) [training]\n      \
               └─ dataset:raw@2026-01 (1000000 records)\n"
    );
}

#[test]
fn what_is_written_by_others_cannot_steer_a_terminal_or_a_diagram() {
    stores().each(async |catalog| {
        let odd = "x\u{1b}[31m\"]<b>@v1";
        let identity = NodeRef::Identity(format!("model:{odd}"));
        let nodes = vec![NodeRecord::new(names::MODEL, identity)];
        catalog.record(&Batch { nodes, ..Batch::default() }).await.unwrap();
        let begin = node(catalog, &format!("model:{odd}")).await;
        let graph = reach(catalog, &begin, &Question::new(Direction::Upstream)).await.unwrap();
        for text in [
            render::tree(&graph, begin.id, Direction::Upstream),
            render::dot(&graph),
            render::mermaid(&graph),
            render::rows(&graph)[0].join(" "),
        ] {
            assert!(!text.contains('\u{1b}'), "{text}");
        }
        assert!(render::mermaid(&graph).contains("#quot;]&lt;b&gt;"));
        assert!(render::dot(&graph).contains("\\\"]<b>"));
    });
}

#[test]
fn a_difference_ends_in_its_sentence() {
    stores().each(async |catalog| {
        let then = tell(catalog, &fraud()).await;
        let (one, two) = (node(catalog, "fraud@v1").await, node(catalog, "fraud@v2").await);
        let found = diff(catalog, (&one, Moment::NOW), (&two, Moment::NOW)).await.unwrap();
        assert_eq!(found.sentence, "data changed, code did not; parameters, seeds, environment and image did not");
        let said: Vec<_> = found.changes.iter().map(|change| change.name.as_str()).collect();
        let data = "s3://lake/transactions (training)";
        assert_eq!(
            said,
            ["version".to_owned(), format!("{data} digest"), format!("{data} records"), format!("{data} version")]
        );
        // A deployment against itself, before and after it moved on.
        let prod = node(catalog, "fraud-prod").await;
        tell(
            catalog,
            &Facts {
                deployments: vec![DeploymentFact {
                    name: "fraud-prod".into(),
                    models: vec!["fraud@v1".into()],
                    ..DeploymentFact::default()
                }],
                ..Facts::default()
            },
        )
        .await;
        let found = diff(catalog, (&prod, then), (&prod, Moment::NOW)).await.unwrap();
        assert!(found.sentence.contains("changed"), "{found:?}");
    });
}

#[test]
fn impact_leads_to_models_deployments_and_predictions() {
    let stores = stores();
    stores.each(async |catalog| {
        tell(catalog, &fraud()).await;
        let impact =
            impact(catalog, &node(catalog, "transactions@v2").await, Moment::NOW, (Moment::of_change(0), Moment::NOW))
                .await
                .unwrap();
        let models: Vec<_> = impact.models.iter().map(|model| (model.id.as_str(), model.owner.as_deref())).collect();
        assert_eq!(models, [("model:fraud@v2", Some("risk"))]);
        assert_eq!(impact.deployments.len(), 1);
        assert_eq!(
            (impact.deployments[0].deployment.as_str(), impact.deployments[0].until),
            ("deployment:fraud-prod", None)
        );
        let mut tally = Tally::new(&impact);
        let bad = "s3://lake/transactions@v2";
        assert!(tally.take(&prediction("2026-11-20T23:59:59.9Z", "v2", &[bad])));
        assert!(tally.take(&prediction("2026-11-21T00:00:00Z", "v2", &[])));
        // Stamped with it by a configuration of which the graph knows nothing.
        assert!(tally.take(&prediction("2026-11-21T00:00:01Z", "v7", &[bad])));
        assert!(!tally.take(&prediction("2026-11-21T00:00:01Z", "v1", &["s3://lake/transactions@v1"])));
        let rows: Vec<_> = tally.rows().into_iter().map(|row| (row.day, row.model, row.predictions)).collect();
        let row = |day: &str, model: &str| (day.to_owned(), model.to_owned(), 1);
        assert_eq!(
            rows,
            [
                row("2026-11-20", "model:fraud@v2"),
                row("2026-11-21", "model:fraud@v2"),
                row("2026-11-21", "model:fraud@v7"),
            ]
        );
        let mut traffic = Traffic::default();
        traffic.take(&prediction("2026-11-21T00:00:00Z", "v7", &[]));
        traffic.take(&prediction("2026-11-20T00:00:00Z", "v7", &[]));
        traffic.take(&prediction("2026-11-20T00:00:00Z", "v2", &[]));
        let untracked = traffic.untracked(catalog, Moment::NOW).await.unwrap();
        assert_eq!(untracked.len(), 1);
        assert_eq!((untracked[0].version.as_deref(), untracked[0].predictions), (Some("v7"), 2));
        assert_eq!(untracked[0].first, "2026-11-20T00:00:00Z");
    });
}

#[test]
fn gaps_and_what_a_gate_asks_for() {
    stores().each(async |catalog| {
        tell(catalog, &fraud()).await;
        tell(catalog, &Facts { models: vec![model("lonely@v1")], ..Facts::default() }).await;
        let found = completeness(catalog, Moment::NOW).await.unwrap();
        assert_eq!((found.by_model["fraud"].linked, found.by_model["lonely"].linked), (2, 0));
        assert_eq!(found.gaps[0].missing, ["run", "dataset", "code", "environment"]);
        // Nobody says where the held-out data came from.
        assert_eq!((found.gaps[1].id.as_str(), found.all.artifacts), ("dataset:s3://lake/held-out@v1", 7));
        let wanted = ["dataset_version", "owner", "git_commit"].map(str::to_owned);
        let whole = required(catalog, &node(catalog, "fraud@v2").await, &wanted, Moment::NOW).await.unwrap();
        let bare = required(catalog, &node(catalog, "lonely").await, &wanted, Moment::NOW).await.unwrap();
        assert_eq!((whole.missing.len(), bare.missing), (0, wanted.to_vec()));
        assert!(wanted.iter().all(|field| fields().contains(&field.as_str())));
        let checks = reproduction(catalog, &node(catalog, "lonely").await, Moment::NOW).await.unwrap();
        assert!(
            !checks.reproducible && checks.missing.contains(&"git_commit") && !checks.missing.contains(&"model_digest")
        );
        found
    });
}

#[test]
fn a_prediction_leads_back_and_tells_what_has_changed_since() {
    stores().each(async |catalog| {
        tell(catalog, &fraud()).await;
        let id = "fraud@v2".parse().unwrap();
        let time = node(catalog, "fraud@v2").await.created;
        let frozen = content_of(catalog, &id, Moment::NOW).await.unwrap();
        let before = traced(catalog, &id, Some("fraud-prod"), time, frozen.as_ref()).await.unwrap();
        assert!(before.known_then && before.since.is_empty(), "{:?}", before.since);
        let nodes = before.upstream.unwrap().nodes;
        assert!(nodes.iter().any(|reached| reached.node.identity == "dataset:raw@2026-01"));
        let later = Facts {
            datasets: vec![dataset("s3://lake/transactions@v3", '4', 1), dataset("s3://lake/transactions@v4", '5', 1)],
            models: vec![
                ModelFact { aliases: vec!["champion".into()], ..model("fraud@v1") },
                ModelFact { state: Some(crate::lineage::catalog::State::Deleted), ..model("fraud@v2") },
            ],
            ..Facts::default()
        };
        tell(catalog, &later).await;
        let after = traced(catalog, &id, Some("fraud-batch"), time, frozen.as_ref()).await.unwrap();
        let said: Vec<_> = after.since.iter().map(|since| format!("{}: {}", since.about, since.what)).collect();
        assert_eq!(
            said,
            [
                "model:fraud@v2: archived",
                "model:fraud@v2: alias champion names v1 now",
                "dataset:s3://lake/transactions@v2: dataset:s3://lake/transactions@v4 is newer, and 1 before it",
                "deployment:fraud-batch: serves model:fraud@v1 now",
            ]
        );
        assert_eq!(traced(catalog, &"nobody@v1".parse().unwrap(), None, time, None).await.unwrap(), Traced::default());
    });
}
