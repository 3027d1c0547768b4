//! No question of a walk, of a search by identity, or as of a moment goes through a whole table, by SQLite's own word.

use sqlx::Row as _;

use super::super::{MOMENT, look, read, search, walk};
use super::*;

/// Tables that grow with what is recorded.
const GROWING: [&str; 6] = ["node", "revision", "property", "edge", "member", "change"];

/// Steps of the plan that go through all of a growing table.
async fn scans(catalog: &Catalog, text: &str) -> Vec<String> {
    let text = catalog.store.dialect.sql(&format!("EXPLAIN QUERY PLAN {text}"));
    let mut query = sqlx::query(text);
    for _ in 0..8 {
        query = query.bind("[1]");
    }
    let rows = query.fetch_all(&catalog.store.pool).await.unwrap();
    let steps = rows.iter().map(|row| row.try_get::<String, _>(3).unwrap());
    steps
        .filter(|step| {
            let mut words = step.split_whitespace();
            words.next() == Some("SCAN") && words.next().is_some_and(|table| GROWING.contains(&table))
        })
        .collect()
}

#[test]
fn no_question_walks_a_whole_table() {
    let stores = Stores::new(Causality::Flag);
    let catalog = &stores.catalogs[0];
    let filter = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        search::question(&filter, filter.type_name.as_ref().map(|_| &[10_i64][..])).0
    };
    let texts = [
        MOMENT.to_owned(),
        read::NODE.to_owned(),
        read::NAMED.to_owned(),
        read::CANDIDATES.to_owned(),
        read::NODES.to_owned(),
        read::PROPERTIES.to_owned(),
        read::CHANGES.to_owned(),
        walk::UPSTREAM.to_owned(),
        walk::DOWNSTREAM.to_owned(),
        look::HELD_UPSTREAM.to_owned(),
        look::HELD_DOWNSTREAM.to_owned(),
        filter(|_| {}),
        filter(|filter| filter.type_name = Some(names::DATASET.to_owned())),
        filter(|filter| filter.properties = vec![("owner".to_owned(), "ann".to_owned())]),
        filter(|filter| filter.context = Some(1)),
        filter(|filter| {
            filter.type_name = Some(names::DATASET.to_owned());
            filter.name = Some("d".to_owned());
        }),
    ];
    stores.runtime.block_on(async {
        for text in &texts {
            assert_eq!(scans(catalog, text).await, Vec::<String>::new(), "{text}");
        }
        // It would be seen.
        assert_eq!(scans(catalog, "SELECT id FROM edge WHERE flaw IS NOT NULL").await.len(), 1);
    });
}

#[test]
fn a_page_of_a_type_comes_in_the_order_of_its_index() {
    let stores = Stores::new(Causality::Flag);
    let catalog = &stores.catalogs[0];
    let filter = Filter { type_name: Some(names::DATASET.to_owned()), ..Filter::default() };
    let text = format!("EXPLAIN QUERY PLAN {}", search::question(&filter, Some(&[10])).0);
    let plan = stores.runtime.block_on(async {
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(0).bind(1).bind(1).fetch_all(&catalog.store.pool).await;
        rows.unwrap().iter().map(|row| row.try_get::<String, _>(3).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(plan.len(), 1, "{plan:?}");
    assert!(plan[0].contains("node_of_type"), "{plan:?}");
}
