//! What Airflow, Spark and dbt send, in the shape that their integrations give it, and what becomes of it.

use super::*;

const AIRFLOW: &str = include_str!("../fixtures/airflow.json");
const SPARK: &str = include_str!("../fixtures/spark.json");
const DBT: &str = include_str!("../fixtures/dbt.json");

const DAG: &str = "run:01937a60-0000-7000-8000-00000000da60";
const TASK: &str = "run:01937a60-0000-7000-8000-000000007a51";
const APPLICATION: &str = "run:01937a64-0000-7000-8000-0000000000a9";
const SQL: &str = "run:01937a64-0000-7000-8000-000000000591";
const SAVE: &str = "run:01937a64-0000-7000-8000-000000005a7e";

fn read(events: &str) -> Vec<Json> {
    serde_json::from_str(events).unwrap()
}

fn rules(config: Json) -> Rules {
    Rules::new(&serde_json::from_value(config).unwrap()).unwrap()
}

/// What stands once all has come.
fn file(rules: &Rules, events: &[Json]) -> BTreeMap<String, Stands> {
    Stores::new(Causality::Flag).each(async |catalog| {
        for event in events {
            put_by(catalog, rules, event).await;
        }
        all(catalog).await
    })
}

fn text(stands: &Stands, name: &str) -> String {
    stands.2.get(name).map_or_else(|| panic!("no {name}: {:?}", stands.2), ToString::to_string)
}

/// Contexts that one holds.
fn held(rules: &Rules, events: &[Json], holder: &str) -> Vec<String> {
    Stores::new(Causality::Flag).each(async |catalog| {
        for event in events {
            put_by(catalog, rules, event).await;
        }
        let holder = catalog.named("Pipeline", holder, Moment::NOW).await.unwrap().unwrap();
        let filter = Filter { context: Some(holder.id), ..Filter::default() };
        let mut held: Vec<_> = catalog.search(&filter, Moment::NOW).await.unwrap().nodes.iter().map(label).collect();
        held.sort();
        held
    })
}

#[test]
fn a_dag_of_airflow_holds_its_tasks_and_their_runs() {
    let events = read(AIRFLOW);
    let found = file(&Rules::default(), &events);
    let task = &found[TASK];
    assert_eq!((task.0.as_str(), task.1), ("Transformation", State::Complete));
    let wanted = [
        "code:https://github.com/shop/dags@9f2c1e7ab04d5563718290aabbccddeeff001122",
        "dataset:postgres://tills.shop:5432/tills.public.sales@unversioned",
    ];
    assert_eq!(task.3, wanted);
    assert_eq!(found["dataset:s3://lake/raw/sales@unversioned"].3, [TASK]);
    let texts = |names: [&str; 8]| names.map(|name| text(task, name));
    let said =
        ["parent_run", "root_run", "engine", "triggered_by", "dag_run", "param.shop", "seed.random_seed", "start"];
    let wanted = [DAG, DAG, "Airflow 3.1.0", "manual", "manual__2026-11-20T06:00:00+00:00", "north", "7"];
    assert_eq!(texts(said)[..7], wanted);
    assert_eq!(texts(said)[7], "2026-11-20T06:00:05.2Z");
    let dag = &found[DAG];
    assert_eq!((dag.0.as_str(), dag.1, text(dag, "triggered_by").as_str()), ("Run", State::Complete, "manual"));
    let pipeline = &found["Pipeline prod/shop_daily"];
    let said = ["job_type", "owner", "description"].map(|name| text(pipeline, name));
    assert_eq!(said, ["AIRFLOW DAG", "shop-data", "The tills of a day."]);
    let wanted = ["Pipeline prod/shop_daily.load_tills", DAG];
    assert_eq!(held(&Rules::default(), &events, "prod/shop_daily"), wanted);
}

#[test]
fn spark_says_at_the_start_what_it_reads_and_at_the_end_what_it_wrote() {
    let events = read(SPARK);
    let found = file(&Rules::default(), &events);
    let sql = &found[SQL];
    assert_eq!((sql.0.as_str(), sql.1), ("Transformation", State::Complete), "its last event names no input");
    assert_eq!(sql.3, ["dataset:s3a://lake/raw/sales@unversioned"]);
    assert_eq!(
        [text(sql, "engine"), text(sql, "parent_run"), text(sql, "root_run")],
        ["spark 3.5.6", APPLICATION, DAG]
    );
    for facet in ["environment-properties", "spark_applicationDetails", "spark_jobDetails", "spark.logicalPlan"] {
        assert!(sql.2.contains_key(&format!("facet.{facet}")), "{facet}");
    }
    let made = "dataset:s3a://lake/warehouse/shop/features@6177311830394876401";
    assert_eq!(found[made].3, [SQL], "the version that came at the end");
    assert_eq!(found["dataset:s3a://lake/warehouse/shop/features@unversioned"].3, [""; 0]);
    for facet in ["columnLineage", "schema", "symlinks", "version", "catalog"] {
        assert!(found[made].2.contains_key(&format!("facet.{facet}")), "{facet}");
    }
    assert!(sql.2.contains_key(&format!("output_facet.{made}")));
    assert_eq!(found[SAVE].3, [made], "read as it was written");
    assert_eq!((found[APPLICATION].0.as_str(), text(&found[APPLICATION], "parent_run").as_str()), ("Run", TASK));
    assert_eq!(text(&found["Pipeline spark/shop_features"], "job_type"), "SPARK APPLICATION");
    let tasks = held(&Rules::default(), &events, "prod/shop_daily.features");
    assert_eq!(tasks, ["Pipeline spark/shop_features"]);
}

#[test]
fn dbt_tells_of_models_and_of_its_tests() {
    let events = read(DBT);
    let found = file(&Rules::default(), &events);
    let of = |last: &str| &found[&format!("run:01937a70-0000-7000-8000-0000000000{last}")];
    let (run, model, test) = (of("d0"), of("d1"), of("d2"));
    assert_eq!((run.0.as_str(), run.1, text(run, "error").as_str()), ("Run", State::Failed, "1 test failed"));
    assert_eq!((model.0.as_str(), text(model, "engine").as_str()), ("Transformation", "dbt 1.10.15"));
    assert_eq!(model.3, ["dataset:postgres://warehouse.shop:5432/shop.raw.refunds@unversioned"]);
    let rates = "dataset:postgres://warehouse.shop:5432/shop.marts.refund_rates@unversioned";
    assert_eq!((found[rates].3.len(), text(&found[rates], "tag.pii").as_str()), (1, "false"));
    assert_eq!((test.0.as_str(), test.1, &test.3[..]), ("Run", State::Complete, &[rates.to_owned()][..]));
    assert_eq!([text(test, "checks_passed"), text(test, "checks_failed")], ["2", "1"]);
    assert!(!model.2.contains_key("checks_passed"), "it checked nothing");
    assert_eq!(text(&found["Pipeline dbt/shop.marts.shop.refund_rates.build.run"], "job_type"), "DBT MODEL");
    assert_eq!(
        held(&Rules::default(), &events, "dbt/dbt-run-shop").len(),
        3,
        "its run, and the jobs of model and test"
    );
}

#[test]
fn by_the_rules_of_a_team_pipelines_meet_and_end_in_a_model() {
    let rules = rules(json!({
        "namespaces": {"s3a://": "s3://"}, "models": ["s3://models/{name}/{version}/{**}"], "symlinks": "use",
    }));
    let events: Vec<Json> = [read(AIRFLOW), read(SPARK)].concat();
    let found = file(&rules, &events);
    let features = "dataset:hive://metastore.shop:9083/shop.features@6177311830394876401";
    assert_eq!(found["model:fraud@v7"].3, [SAVE]);
    assert_eq!((found[SAVE].0.as_str(), &found[SAVE].3[..]), ("Training", &[features.to_owned()][..]));
    assert_eq!(found[features].3, [SQL]);
    assert_eq!(found[SQL].3, ["dataset:s3://lake/raw/sales@unversioned"]);
    assert_eq!(found["dataset:s3://lake/raw/sales@unversioned"].3, [TASK], "one bucket, whatever it is called");
}

#[test]
fn a_table_that_is_read_in_a_version_may_be_written_without() {
    let read = event("START", "2026-11-20T10:00:00Z", json!([table("tx", version("1"))]), json!([]));
    let last =
        event("COMPLETE", "2026-11-20T11:00:00Z", json!([table("tx", json!({}))]), json!([table("tx", json!({}))]));
    let found = file(&Rules::default(), &[read, last]);
    assert_eq!(found["dataset:s3://lake/tx@unversioned"].3, [format!("run:{RUN}")]);
    assert!(found[&format!("run:{RUN}")].3.contains(&"dataset:s3://lake/tx@1".to_owned()));
}

#[test]
fn in_any_order_and_twice_it_is_the_same() {
    for events in [AIRFLOW, SPARK, DBT] {
        let events = read(events);
        let stands = |events: &[Json]| {
            let mut found = file(&Rules::default(), events);
            // Its word is taken by the version that is known.
            found.remove("dataset:s3a://lake/warehouse/shop/features@unversioned");
            found
        };
        let wanted = stands(&events);
        let backwards: Vec<Json> = events.iter().rev().cloned().collect();
        assert_eq!(stands(&backwards), wanted, "backwards");
        assert_eq!(stands(&[backwards, events.clone()].concat()), wanted, "and once more");
        let ends_first = events.iter().skip(1).step_by(2).chain(events.iter().step_by(2)).cloned().collect::<Vec<_>>();
        assert_eq!(stands(&ends_first), wanted, "every second one first");
        Stores::new(Causality::Flag).each(async |catalog| {
            for event in &events {
                put(catalog, event).await;
            }
            for event in &events {
                assert_eq!(put(catalog, event).await.recorded.change, None, "{event}");
            }
        });
    }
}
