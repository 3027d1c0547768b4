//! What stands in the catalog after an import, after another one, and after things have moved.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{Client, Credentials, Importer, MlflowError, Report, Scope, Settings, Stopped};
use super::{Answers, Registry, recorded};
use crate::lineage::ModelId;
use crate::lineage::ask::content_of;
use crate::lineage::catalog::tests::Stores;
use crate::lineage::catalog::{Catalog, Causality, Moment, State, names};

fn importer(registry: &Registry, settings: Settings) -> Importer {
    Importer::new(Client::new(&registry.uri(), &Credentials::None).unwrap(), settings)
}

async fn import(registry: &Registry, catalog: &Catalog, scope: Scope) -> Result<Report, Stopped> {
    importer(registry, Settings::default()).import(catalog, &scope).await
}

async fn registered(catalog: &Catalog, name: &str) -> [Option<String>; 3] {
    let node = catalog.named(names::REGISTERED_MODEL, "fraud", Moment::NOW).await.unwrap().unwrap();
    let of = |kind: &str| node.text(&format!("{kind}.{name}")).map(str::to_owned);
    [of("alias"), of("stage"), of("tag")]
}

#[test]
fn a_registry_is_imported_and_twice_is_once() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Refuse));
    stores.each(async |catalog| {
        let first = import(&registry, catalog, Scope::All).await.unwrap();
        let line = "found 3 models, 5 versions, 4 runs and 6 datasets;";
        assert!(first.to_string().starts_with(line), "{first}");
        assert!(first.new.contains("model:fraud@v3.0.0"), "by its tag: {:?}", first.new);
        assert_eq!(registered(catalog, "champion").await[0], Some("1".to_owned()));
        assert_eq!(registered(catalog, "Production").await[1], Some("1".to_owned()));
        let content = content_of(catalog, &"fraud@1".parse().unwrap(), Moment::NOW).await.unwrap().unwrap();
        let datasets: Vec<_> =
            content.datasets.iter().map(|d| format!("{}@{} {:?}", d.name, d.version, d.role)).collect();
        assert_eq!(datasets, ["transactions@v2.0 Training", "transactions@v2.0-holdout Validation", "labels@17 Test"]);
        let again = import(&registry, catalog, Scope::All).await.unwrap();
        assert!(!again.is_news(), "{again:?}");
        assert_eq!(again.unplaced, first.unplaced);
        // What changes from one store to the next is not compared.
        (first.found, first.new, first.unplaced)
    });
}

#[test]
fn what_moved_is_taken_over_and_what_others_said_stays() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        import(&registry, catalog, Scope::All).await.unwrap();
        let mut facts = crate::lineage::Facts::default();
        facts.models.push(crate::lineage::ModelFact {
            id: "fraud@1".into(),
            digest: Some(format!("sha256:{}", "a".repeat(64))),
            ..Default::default()
        });
        catalog.record(&facts.batch("ann", "cli").unwrap()).await.unwrap();
        *registry.answers.lock().unwrap() = recorded("after");
        let moved = import(&registry, catalog, Scope::Model("fraud".into())).await.unwrap();
        assert!(moved.new.is_empty() && moved.changed.contains("model:fraud@1"), "{moved:?}");
        assert_eq!(registered(catalog, "champion").await[0], Some("2".to_owned()));
        assert_eq!(registered(catalog, "challenger").await[0], None, "taken away");
        assert_eq!(registered(catalog, "Production").await[1], Some("2".to_owned()));
        let model = catalog.node("model:fraud@1", Moment::NOW).await.unwrap().unwrap();
        assert_eq!(
            (model.state, model.text("stage"), model.text("tag.tier")),
            (State::Deleted, Some("Archived"), None)
        );
        assert!(model.text("digest").is_some(), "of another source");
        // The past stands as it was.
        let past = catalog.changes(model.id, Moment::of_change(0)).await.unwrap();
        assert!(past.iter().any(|change| change.name == "stage" && change.value == Some("Production".into())));
    });
}

#[test]
fn one_version_is_imported_alone() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        let report = import(&registry, catalog, "fraud@champion".parse().unwrap()).await.unwrap();
        assert_eq!((report.found.versions, report.found.runs), (1, 1));
        assert_eq!(registered(catalog, "champion").await[0], Some("1".to_owned()));
        let said = report.unplaced.iter().any(|finding| finding.what.contains("alias 'challenger'"));
        assert!(said, "{:?}", report.unplaced);
        let report = import(&registry, catalog, "fraud/2".parse().unwrap()).await.unwrap();
        assert_eq!(report.found.versions, 1);
        assert_eq!(registered(catalog, "challenger").await[0], Some("2".to_owned()));
        assert_eq!(registered(catalog, "champion").await[0], Some("1".to_owned()), "known from before");
        let unknown = |stopped: Stopped| matches!(stopped.error, MlflowError::Unknown(_)).then(|| stopped.to_string());
        let error = import(&registry, catalog, "fraud@zzz".parse().unwrap()).await.unwrap_err();
        assert_eq!(unknown(error).unwrap(), "MLflow has no alias 'zzz' of 'fraud'");
        let error = import(&registry, catalog, Scope::Model("nope".into())).await.unwrap_err();
        assert_eq!(unknown(error).unwrap(), "MLflow has no registered model 'nope'");
    });
}

#[test]
fn a_dry_run_writes_nothing() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        let settings = Settings { dry_run: true, ..Settings::default() };
        let report = importer(&registry, settings).import(catalog, &Scope::All).await.unwrap();
        assert!(report.new.contains("model:fraud@1") && report.to_string().contains("would be new"));
        assert!(catalog.node("model:fraud@1", Moment::NOW).await.unwrap().is_none());
    });
}

#[test]
fn what_a_configuration_names_is_resolved() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        let mut importer = importer(&registry, Settings::default());
        let asked: BTreeSet<String> = ["@champion", "@zzz", "2", "3", "v3.0.0", "99"].map(str::to_owned).into();
        let (resolved, report) = importer.resolve(catalog, "fraud", &asked).await.unwrap();
        let resolved: Vec<_> = resolved.into_iter().map(|(asked, id)| format!("{asked} {id}")).collect();
        assert_eq!(resolved, ["2 fraud@2", "@champion fraud@1", "v3.0.0 fraud@v3.0.0"], "3 is v3.0.0, not 3");
        assert_eq!(report.found.versions, 4);
        *registry.answers.lock().unwrap() = recorded("after");
        let champion = BTreeSet::from(["@champion".to_owned()]);
        let (resolved, _) = importer.resolve(catalog, "fraud", &champion).await.unwrap();
        assert_eq!(resolved["@champion"], ModelId::new("fraud", "2").unwrap());
        assert_eq!(registered(catalog, "champion").await[0], Some("2".to_owned()));
        let (nothing, _) = importer.resolve(catalog, "nope", &champion).await.unwrap();
        assert!(nothing.is_empty());
    });
}

#[test]
fn what_has_not_changed_is_not_asked_for_again() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        let mut importer = importer(&registry, Settings { skip_unchanged: true, ..Settings::default() });
        importer.import(catalog, &Scope::Model("fraud".into())).await.unwrap();
        registry.asked();
        let report = importer.import(catalog, &Scope::Model("fraud".into())).await.unwrap();
        assert_eq!((report.found.unchanged, registry.asked().len(), report.is_news()), (3, 2, false));
        *registry.answers.lock().unwrap() = recorded("after");
        let report = importer.import(catalog, &Scope::Model("fraud".into())).await.unwrap();
        assert_eq!((report.found.unchanged, report.is_news()), (1, true));
    });
}

#[test]
fn a_name_once_given_stays() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        import(&registry, catalog, Scope::Model("fraud".into())).await.unwrap();
        for target in ["model-versions/get?name=fraud&version=3", "model-versions/get?name=fraud&version=1"] {
            let text = recorded("before")[target].1.replace("v3.0.0", "v4").replace("tier", "model_version");
            registry.set(target, 200, &text);
        }
        let renamed = import(&registry, catalog, "fraud/3".parse().unwrap()).await.unwrap();
        assert!(renamed.new.is_empty(), "{renamed:?}");
        let tagged = import(&registry, catalog, "fraud/1".parse().unwrap()).await.unwrap();
        assert!(tagged.new.is_empty(), "{tagged:?}");
        for (report, name) in [(renamed, "it is known as v3.0.0"), (tagged, "it is known as 1")] {
            assert!(report.unplaced.iter().any(|finding| finding.why.starts_with(name)), "{:?}", report.unplaced);
        }
    });
}

#[test]
fn a_model_that_was_made_anew_is_not_the_old_one() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        import(&registry, catalog, Scope::Model("bought".into())).await.unwrap();
        let mut answers = recorded("before");
        for (_, body) in answers.values_mut() {
            *body = body
                .replace("s3://vendor/bought", "s3://vendor/anew")
                .replace("\"creation_timestamp\": 17", "\"creation_timestamp\": 18");
        }
        *registry.answers.lock().unwrap() = answers;
        let report = import(&registry, catalog, Scope::Model("bought".into())).await.unwrap();
        assert!(report.unplaced.iter().any(|finding| finding.why.contains("register it under another name")));
        let node = catalog.node("model:bought@1", Moment::NOW).await.unwrap().unwrap();
        assert_eq!(node.uri.as_deref(), Some("s3://vendor/bought"));
    });
}

#[test]
fn a_deleted_version_is_marked_and_kept() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        import(&registry, catalog, Scope::Model("bought".into())).await.unwrap();
        registry.set("model-versions/search?max_results=200&filter=name%3D%27bought%27", 200, "{}");
        import(&registry, catalog, Scope::Model("bought".into())).await.unwrap();
        let node = catalog.node("model:bought@1", Moment::NOW).await.unwrap().unwrap();
        assert_eq!(node.state, State::Deleted);
    });
}

#[test]
fn one_version_for_two_datasets_is_doubted() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    stores.each(async |catalog| {
        *registry.answers.lock().unwrap() = recorded("before");
        import(&registry, catalog, "fraud/1".parse().unwrap()).await.unwrap();
        // Another run says v2.0, and has other data.
        let mut answers = recorded("before");
        for (_, body) in answers.values_mut() {
            *body = body
                .replace("\"mlflow.runName\"", "\"dataset_version\"")
                .replace("\"value\": \"weak\"", "\"value\": \"v2.0\"");
            *body = body.replace("aa66b917", "00000000");
        }
        *registry.answers.lock().unwrap() = answers;
        let report = import(&registry, catalog, "fraud/2".parse().unwrap()).await.unwrap();
        let doubt = report.unplaced.iter().find(|finding| finding.why.contains("was the version used for other data?"));
        assert!(doubt.is_some_and(|doubt| doubt.what.contains("transactions@v2.0")), "{:?}", report.unplaced);
        let node = catalog.node("dataset:s3://lake/transactions@v2.0", Moment::NOW).await.unwrap().unwrap();
        assert_eq!(node.text("weak_digest"), Some("aa66b917"));
    });
}

/// Changes to what a registry answers: which text, and what stands in its place.
fn edits() -> impl Strategy<Value = Vec<(usize, usize)>> {
    proptest::collection::vec((0..TEXTS.len(), 0..TEXTS.len()), 0..6)
}

const TEXTS: [&str; 14] = [
    "\"v2.0\"",
    "\"training\"",
    "\"transactions\"",
    "\"auc\"",
    "\"v3.0.0\"",
    "\"Production\"",
    "\"champion\"",
    "\"\"",
    "\"s3://lake/transactions@v3.0\"",
    "\"dataset_version\"",
    "\"owner\"",
    "\"1\"",
    "\"READY\"",
    "null",
];

fn edited(edits: &[(usize, usize)]) -> Answers {
    let mut answers = recorded("before");
    for (from, to) in edits {
        for (_, body) in answers.values_mut() {
            *body = body.replace(TEXTS[*from], TEXTS[*to]);
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn import_twice_is_import_once(edits in edits()) {
        let (registry, stores) = (Registry::new(edited(&edits)), Stores::new(Causality::Flag));
        stores.each(async |catalog| {
            // What is no answer of MLflow's ends an import; what it says by then is recorded once, too.
            let _first = import(&registry, catalog, Scope::All).await;
            match import(&registry, catalog, Scope::All).await {
                Ok(again) => assert!(!again.is_news(), "{again:?}"),
                Err(stopped) => assert!(!stopped.report.is_news(), "{stopped:?}"),
            }
        });
    }
}
