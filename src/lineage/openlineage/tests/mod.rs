//! Events as clients send them, put into real catalogs in every order.

mod producers;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::lineage::catalog::tests::Stores;
use crate::lineage::catalog::{Catalog, Causality, Direction, Filter, Moment, Node, NodeKind, State, Value};

const RUN: &str = "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10";

fn event(kind: &str, time: &str, inputs: impl Into<Json>, outputs: impl Into<Json>) -> Json {
    let (inputs, outputs) = (inputs.into(), outputs.into());
    json!({
        "eventType": kind, "eventTime": time, "producer": "https://example.com/p/1", "schemaURL": "https://x/2-0-2",
        "run": {"runId": RUN, "facets": {
            "parent": {"run": {"runId": "dag-1"}, "job": {"namespace": "airflow", "name": "dag"}},
            "executionParameters": {"parameters": [{"key": "depth", "value": "6"}, {"key": "random_seed", "value": 7}]},
            "processing_engine": {"name": "Spark", "version": "4.0"},
        }},
        "job": {"namespace": "airflow", "name": "dag.train", "facets": {
            "sourceCodeLocation": {"type": "git", "url": "https://g/x", "repoUrl": "git@g:x.git", "version": "4f2a"},
            "ownership": {"owners": [{"name": "team:data"}]},
        }},
        "inputs": inputs, "outputs": outputs,
    })
}

fn table(name: &str, facets: impl Into<Json>) -> Json {
    let facets = facets.into();
    json!({"namespace": "s3://lake", "name": name, "facets": facets})
}

fn version(version: &str) -> Json {
    json!({"version": {"_producer": "p", "_schemaURL": "s", "datasetVersion": version}})
}

fn model() -> Json {
    let facets = json!({"version": {"datasetVersion": "3"}, "datasetType": {"datasetType": "MODEL"}});
    json!({"namespace": "mlflow", "name": "fraud", "facets": facets})
}

async fn put(catalog: &Catalog, event: &Json) -> Placed {
    put_by(catalog, &Rules::default(), event).await
}

async fn put_by(catalog: &Catalog, rules: &Rules, event: &Json) -> Placed {
    let said = Event::parse(event.to_string().as_bytes()).unwrap().said("ann", rules).unwrap();
    place(catalog, said).await.unwrap()
}

/// A node's type, state, properties, and what leads to it.
type Stands = (String, State, BTreeMap<String, Value>, Vec<String>);

/// Everything that stands in a catalog, by identity, without what tells when it was said.
async fn all(catalog: &Catalog) -> BTreeMap<String, Stands> {
    let nodes = catalog.search(&Filter { limit: Some(1000), ..Filter::default() }, Moment::NOW).await.unwrap().nodes;
    let mut found = BTreeMap::new();
    for mut node in nodes {
        node.properties.remove("openlineage.times");
        let graph = catalog.walk(&[node.id], Direction::Upstream, 1, 100, Moment::NOW).await.unwrap();
        let mut inputs: Vec<String> = graph.inputs(node.id).map(|(_, from)| label(from)).collect();
        inputs.sort();
        found.insert(label(&node), (node.type_name, node.state, node.properties, inputs));
    }
    found
}

fn label(node: &Node) -> String {
    let is_bare = node.kind == NodeKind::Context || node.identity.starts_with("artifact:");
    let name = node.name.as_ref().filter(|_| is_bare);
    name.map_or_else(|| node.identity.clone(), |name| format!("{} {name}", node.type_name))
}

fn training() -> [Json; 3] {
    [
        event("START", "2026-11-20T10:00:00.000001Z", json!([table("tx", json!({}))]), json!([])),
        event(
            "RUNNING",
            "2026-11-20T11:00:00+01:00",
            json!([table("tx", json!({})), table("raw/days", json!({}))]),
            json!(null),
        ),
        event("COMPLETE", "2026-11-20T12:00:00Z", json!([table("tx", version("v2"))]), json!([model()])),
    ]
}

#[test]
fn a_training_becomes_a_run_with_its_data_and_its_model() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        for event in training() {
            put(catalog, &event).await;
        }
        let found = all(catalog).await;
        let (type_name, state, properties, inputs) = &found[&format!("run:{RUN}")];
        assert_eq!((type_name.as_str(), *state), ("Training", State::Complete));
        let text = |name: &str| properties[name].to_string();
        assert_eq!([text("param.depth"), text("seed.random_seed"), text("engine")], ["6", "7", "Spark 4.0"]);
        assert_eq!(text("start"), "2026-11-20T10:00:00.000001Z");
        assert_eq!(text("parent_run"), "run:dag-1");
        assert!(matches!(&properties["facet.parent"], Value::Struct(facet) if facet["job"]["name"] == "dag"));
        let wanted = ["code:git@g:x.git@4f2a", "dataset:s3://lake/raw/days@unversioned", "dataset:s3://lake/tx@v2"];
        assert_eq!(inputs, &wanted, "a version takes the place of none");
        assert_eq!(found["model:fraud@3"].3, [format!("run:{RUN}")]);
        assert_eq!(found["Pipeline airflow/dag.train"].2["owner"].to_string(), "team:data");
        let dag = catalog.named("Pipeline", "airflow/dag", Moment::NOW).await.unwrap().unwrap();
        let held = Filter { context: Some(dag.id), ..Filter::default() };
        let held = catalog.search(&held, Moment::NOW).await.unwrap().nodes;
        assert_eq!(held.iter().map(label).collect::<Vec<_>>(), ["Pipeline airflow/dag.train"]);
    });
}

#[test]
fn what_is_known_already_leaves_no_trace() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        for event in training() {
            assert!(put(catalog, &event).await.recorded.change.is_some());
        }
        for event in training() {
            assert_eq!(put(catalog, &event).await.recorded.change, None, "{event}");
        }
    });
}

#[test]
fn a_circle_is_left_out_and_told() {
    let stores = Stores::new(Causality::Refuse);
    stores.each(async |catalog| {
        let merge =
            event("COMPLETE", "2026-11-20T12:00:00Z", json!([table("tx", json!({}))]), json!([table("tx", json!({}))]));
        let placed = put(catalog, &merge).await;
        let circle = format!("run:{RUN} → dataset:s3://lake/tx@unversioned: would close a circle");
        assert_eq!(placed.left_out, std::slice::from_ref(&circle));
        let found = all(catalog).await;
        assert_eq!(found[&format!("run:{RUN}")].2["left_out"], Value::Struct(json!([circle])));
        assert_eq!(put(catalog, &merge).await.recorded.change, None);
    });
}

#[test]
fn datasets_and_jobs_speak_for_themselves() {
    let stores = Stores::new(Causality::Flag);
    stores.each(async |catalog| {
        let facets = json!({"version": {"datasetVersion": "a@b"}, "dataQualityMetrics": {"rowCount": 9},
            "ownership": {"owners": [{"name": "ann"}, {"name": "bob"}]}, "tags": {"tags": [
                {"key": "pii", "value": "true"}, {"key": "pii", "value": "no", "field": "email"}]}});
        let mut of = json!({"eventTime": "2026-11-20T12:00:00Z", "dataset": table("/tx/", facets)});
        put(catalog, &of).await;
        let (_, _, properties, _) = &all(catalog).await["dataset:s3://lake/tx@a%40b"];
        let text = |name: &str| properties[name].to_string();
        assert_eq!([text("owner"), text("tag.pii"), text("records")], ["ann, bob", "true", "9"]);
        of["dataset"]["facets"] = json!({"version": {"datasetVersion": "a@b"}, "ownership": {"_deleted": true}});
        put(catalog, &of).await;
        let (_, _, properties, _) = &all(catalog).await["dataset:s3://lake/tx@a%40b"];
        assert!(!properties.contains_key("owner"), "it was taken back");
        let job = json!({"eventTime": "2026-11-20T12:00:00Z", "job": {"namespace": "dbt", "name": "m"},
            "inputs": [table("tx", version("1"))], "outputs": [table("out", json!(null))]});
        put(catalog, &job).await;
        let (_, _, properties, _) = &all(catalog).await["Pipeline dbt/m"];
        assert_eq!(properties["inputs"], Value::Struct(json!(["dataset:s3://lake/tx@1"])));
        assert_eq!(properties["outputs"], Value::Struct(json!(["dataset:s3://lake/out@unversioned"])));
    });
}

#[test]
fn what_is_no_event_says_why() {
    let wrong = |json: &str| Event::parse(json.as_bytes()).unwrap_err().to_string();
    assert!(wrong("{").contains("EOF"));
    assert!(wrong("{}").contains("eventTime"));
    assert!(
        wrong(r#"{"eventTime":"2026-11-20T12:00:00"}"#).contains("offset"),
        "{}",
        wrong(r#"{"eventTime":"2026-11-20T12:00:00"}"#)
    );
    assert!(wrong(r#"{"eventTime":"2026-11-20T12:00:00Z"}"#).contains("RunEvent"));
    let mut began = event("BEGIN", "2026-11-20T12:00:00Z", json!([]), json!([]));
    assert!(wrong(&began.to_string()).contains("write START"));
    began["eventType"] = "START".into();
    began["run"]["runId"] = "".into();
    let said = Event::parse(began.to_string().as_bytes()).unwrap().said("ann", &Rules::default()).unwrap_err();
    assert!(said.to_string().contains("empty id"), "{said}");
    let batch = events(br#"[{"eventTime":"2026-11-20T12:00:00Z","dataset":{"namespace":"a","name":"b"}},{}]"#).unwrap();
    assert!(batch[0].is_ok() && batch[1].is_err());
    assert!(events(b"{}").is_err());
}

#[test]
fn a_large_facet_is_kept_by_its_digest() {
    let large = json!({"schema": {"fields": "x".repeat(200_000)}});
    let of = json!({"eventTime": "2026-11-20T12:00:00Z", "dataset": table("tx", large)});
    let said = Event::parse(of.to_string().as_bytes()).unwrap().said("ann", &Rules::default()).unwrap();
    let facet = said.batch.nodes[0].properties["facet.schema"].clone();
    assert!(matches!(facet, Some(Value::Struct(facet)) if facet["omitted_bytes"] == 200_013), "{said:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_order_comes_to_the_same(order in proptest::collection::vec(0..3_usize, 0..4)) {
        let file = |events: Vec<Json>| {
            let stores = Stores::new(Causality::Flag);
            stores.each(async |catalog| {
                for event in &events {
                    put(catalog, event).await;
                }
                let mut found = all(catalog).await;
                // Its word is taken by the version that is known.
                found.remove("dataset:s3://lake/tx@unversioned");
                found
            })
        };
        let events = training();
        let mixed = order.iter().map(|place| events[*place].clone());
        // What was not drawn comes last, backwards.
        let rest = (0..3).rev().filter(|place| !order.contains(place)).map(|place| events[place].clone());
        prop_assert_eq!(file(mixed.chain(rest).collect()), file(events.to_vec()));
    }

    #[test]
    fn any_name_becomes_an_identity(namespace in "\\PC{0,300}", name in ".{1,300}", version in ".{0,300}", is_model: bool) {
        let kind = if is_model { "MODEL" } else { "TABLE" };
        let facets = json!({"version": {"datasetVersion": version}, "datasetType": {"datasetType": kind}});
        let of = json!({"eventTime": "2026-11-20T12:00:00Z",
            "dataset": {"namespace": namespace, "name": name, "facets": facets}});
        let said = Event::parse(of.to_string().as_bytes()).unwrap().said("ann", &Rules::default());
        prop_assert!(said.is_ok() || name.trim_matches('/').is_empty(), "{:?}", said.map(|said| said.batch.nodes));
    }
}
