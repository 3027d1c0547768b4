//! The document of a model: one run, none, several, ensembles, children, and the same one at every refresh.

use super::*;
use crate::lineage::ask::content_of;
use crate::lineage::catalog::names;
use crate::lineage::{Content, Role, Source};

async fn asked(catalog: &Catalog, id: &str) -> Content {
    content_of(catalog, &id.parse().unwrap(), Moment::NOW).await.unwrap().unwrap()
}

fn training_data(content: &Content) -> Vec<String> {
    let training = content.datasets.iter().filter(|dataset| dataset.role == Role::Training);
    training.map(|dataset| format!("{}@{}", dataset.name, dataset.version)).collect()
}

#[test]
fn a_model_with_everything_is_reproducible() {
    stores().each(async |catalog| {
        tell(catalog, &fraud()).await;
        let content = asked(catalog, "fraud@v2").await;
        assert_eq!((content.model.name.as_str(), content.model.version.as_str()), ("fraud", "v2"));
        assert_eq!(training_data(&content), ["transactions@v2"]);
        assert_eq!(content.datasets[1].role, Role::Test);
        assert_eq!(content.datasets[0].namespace.as_deref(), Some("s3://lake"));
        assert_eq!((content.reproducible.verdict, content.source), (true, Source::Catalog), "{content:?}");
        let run = content.run.as_ref().unwrap();
        assert_eq!((run.parameters["depth"].as_str(), run.seeds["numpy"].as_str()), ("6", "42"));
        // printf 'numpy==2.1\n' | sha256sum
        let lock = run.environment.as_ref().unwrap().lock_digest.as_deref();
        assert_eq!(lock, Some("sha256:496444b58e80a41b02825b561355ce8375f014b47100ef6d8aec2b92394f1376"));
        let json = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), content);
        // Recorded again, it is the same to the byte.
        tell(catalog, &fraud()).await;
        assert_eq!(serde_json::to_string(&asked(catalog, "fraud@v2").await).unwrap(), json);
        json
    });
}

#[test]
fn what_is_not_known_is_absent() {
    stores().each(async |catalog| {
        tell(catalog, &Facts { models: vec![model("lonely@v1")], ..Facts::default() }).await;
        let content = asked(catalog, "lonely@v1").await;
        assert!(content.run.is_none() && content.datasets.is_empty() && !content.reproducible.verdict);
        assert_eq!(content_of(catalog, &"lonely@v2".parse().unwrap(), Moment::NOW).await.unwrap(), None);
        assert_eq!(content_of(catalog, &"lonely@v1".parse().unwrap(), Moment::of_change(0)).await.unwrap(), None);
    });
}

#[test]
fn an_ensemble_and_a_quantised_child_have_the_data_of_what_they_come_from() {
    stores().each(async |catalog| {
        tell(catalog, &fraud()).await;
        let of = |id: &str, inputs: &[(&str, &str)], output: &str| RunFact {
            id: id.into(),
            inputs: inputs.iter().map(|(id, role)| used(id, role)).collect(),
            outputs: vec![output.into()],
            ..RunFact::default()
        };
        let facts = Facts {
            runs: vec![
                of("put-together", &[("model:fraud@v2", "base"), ("model:fraud@v1", "base")], "model:both@v1"),
                of("quantise", &[("model:both@v1", "base")], "model:small@v1"),
                of("tune", &[("model:small@v1", "base"), ("dataset:extra@v9", "training")], "model:tuned@v1"),
            ],
            models: ["both@v1", "small@v1", "tuned@v1"].map(model).into(),
            ..Facts::default()
        };
        tell(catalog, &facts).await;
        let both = asked(catalog, "both@v1").await;
        assert_eq!(both.bases, ["fraud@v2", "fraud@v1"]);
        assert_eq!(training_data(&both), ["transactions@v2", "transactions@v1"]);
        assert_eq!(training_data(&asked(catalog, "small@v1").await), ["transactions@v2", "transactions@v1"]);
        // What was trained itself has its own data, and names where it began.
        let tuned = asked(catalog, "tuned@v1").await;
        assert_eq!((training_data(&tuned), tuned.bases), (vec!["extra@v9".to_owned()], vec!["small@v1".to_owned()]));
    });
}

#[test]
fn the_training_made_it_whatever_else_names_it_as_its_output() {
    stores().each(async |catalog| {
        let copy = RunFact {
            id: "copied".into(),
            kind: RunKind::Packaging,
            outputs: vec!["model:fraud@v2".into()],
            ..RunFact::default()
        };
        tell(catalog, &Facts { runs: vec![copy], ..Facts::default() }).await;
        tell(catalog, &fraud()).await;
        let content = asked(catalog, "fraud@v2").await;
        assert_eq!(content.run.unwrap().id.as_deref(), Some("train-2"));
        assert_eq!(catalog.node("run:copied", Moment::NOW).await.unwrap().unwrap().type_name, names::PACKAGING);
    });
}

#[test]
fn many_datasets_keep_their_order() {
    stores().each(async |catalog| {
        let ids: Vec<String> = (0..40).rev().map(|number| format!("dataset:part-{number:02}@v1")).collect();
        let inputs: Vec<_> = ids.iter().map(|id| (id.as_str(), "training")).collect();
        let facts = Facts {
            runs: vec![training("t", &inputs, "model:many@v1")],
            models: vec![model("many@v1")],
            ..Facts::default()
        };
        tell(catalog, &facts).await;
        let data = training_data(&asked(catalog, "many@v1").await);
        assert_eq!((data.len(), data[0].as_str(), data[39].as_str()), (40, "part-39@v1", "part-00@v1"));
    });
}
