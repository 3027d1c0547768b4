//! Servers that say no, say nothing, say too much, or are none.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::super::http::ANSWER_BYTES_MAX;
use super::super::{Client, Credentials, Importer, Report, Scope, Settings, Stopped};
use super::{Registry, recorded};
use crate::lineage::catalog::tests::Stores;
use crate::lineage::catalog::{Causality, Moment};

const SEARCH: &str = "registered-models/search?max_results=200";

fn import(uri: &str, credentials: &Credentials) -> Result<Report, Stopped> {
    let stores = Stores::new(Causality::Flag);
    let mut importer = Importer::new(Client::new(uri, credentials).unwrap(), Settings::default());
    stores.runtime.block_on(importer.import(&stores.catalogs[0], &Scope::All))
}

fn error(uri: &str) -> String {
    import(uri, &Credentials::None).unwrap_err().to_string()
}

#[test]
fn a_server_that_says_no_is_told_with_the_mend() {
    let registry = Registry::new(recorded("before"));
    let said = |status: u16, body: &str| {
        registry.set(SEARCH, status, body);
        error(&registry.uri())
    };
    assert!(said(401, "You are not authenticated.").contains("set MLFLOW_TRACKING_TOKEN"));
    assert!(said(403, "Permission denied").contains("grant them READ"));
    assert!(said(302, "").contains("does not answer as MLflow does"));
    assert!(said(200, "<!doctype html>").contains("give the address under which its pages open"));
    assert!(said(200, "[1]").contains("does not answer as MLflow does"));
    assert!(said(404, "<h1>Not Found</h1>").contains("does not answer as MLflow does"));
    let busy = said(429, r#"{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"slow down"}"#);
    assert!(busy.contains("429") && busy.contains("slow down"), "{busy}");
    assert!(said(500, "a trace").contains("500"));
    assert!(said(200, &" ".repeat(ANSWER_BYTES_MAX + 1)).contains("bytes"));
}

#[test]
fn credentials_are_sent_and_nothing_is_written() {
    let registry = Registry::new(recorded("before"));
    let credentials = Credentials::Basic { username: "ann".into(), password: "s3cret".into() };
    import(&registry.uri(), &credentials).unwrap();
    let asked = registry.asked();
    assert!(asked.iter().all(|head| head.contains("authorization: Basic YW5uOnMzY3JldA==")));
    assert!(asked.iter().all(|head| head.starts_with("GET ")), "MLflow is only read");
}

#[test]
fn a_server_that_is_not_there_or_dies_says_so() {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    assert!(error(&format!("http://{free}")).contains("cannot be reached"));
    let dying = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = dying.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in dying.incoming().flatten() {
            let _some = socket.read(&mut [0; 1024]);
            let _cut = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        }
    });
    assert!(error(&format!("http://{address}")).contains("cannot be reached"));
}

#[test]
fn what_was_recorded_before_an_outage_stays() {
    let (registry, stores) = (Registry::new(recorded("before")), Stores::new(Causality::Flag));
    registry.set("registered-models/get?name=fraud", 500, "");
    let mut importer = Importer::new(Client::new(&registry.uri(), &Credentials::None).unwrap(), Settings::default());
    stores.runtime.block_on(async {
        let catalog = &stores.catalogs[0];
        let stopped = importer.import(catalog, &Scope::All).await.unwrap_err();
        assert!(stopped.report.new.contains("model:bought@1"), "{:?}", stopped.report);
        assert!(catalog.node("model:bought@1", Moment::NOW).await.unwrap().is_some());
    });
}

#[test]
fn a_run_that_is_gone_costs_what_it_said() {
    let registry = Registry::new(recorded("before"));
    let gone = recorded("before")["runs/get?run_id=nope"].clone();
    let runs: Vec<String> = recorded("before").into_keys().filter(|target| target.starts_with("runs/get")).collect();
    for target in &runs {
        registry.set(target, gone.0, &gone.1);
    }
    let report = import(&registry.uri(), &Credentials::None).unwrap();
    assert!(report.new.contains("model:fraud@1"));
    assert!(
        report.unplaced.iter().any(|finding| finding.why.starts_with("MLflow has no run ")),
        "{:?}",
        report.unplaced
    );
}

#[test]
fn pages_are_followed_and_must_end() {
    let registry = Registry::new(recorded("before"));
    let all = &recorded("before")[SEARCH].1;
    registry.set(SEARCH, 200, r#"{"next_page_token":"a+b"}"#);
    registry.set(&format!("{SEARCH}&page_token=a%2Bb"), 200, all);
    assert_eq!(import(&registry.uri(), &Credentials::None).unwrap().found.models, 3);
    registry.set(&format!("{SEARCH}&page_token=a%2Bb"), 200, r#"{"next_page_token":"a+b"}"#);
    assert_eq!(error(&registry.uri()), "the pages of the registered models do not end");
}
