//! The whole demo in process: what its three witnesses say, the answers, the ledger and the metrics, must agree.

use std::fs;

use super::*;

fn facts(demo: &mut Demo) -> Facts {
    demo.run().unwrap()
}

fn hash_of(file: &Path) -> String {
    hex(Sha256::digest(fs::read(file).unwrap()))
}

#[test]
fn the_answers_the_ledger_and_the_metrics_agree() {
    let place = Place::new(None, false).unwrap();
    let metrics = Arc::new(Metrics::new());
    let mut demo = Demo::start(&place, &metrics).unwrap();
    let facts = facts(&mut demo);

    assert_eq!(facts.predictions, CALLS as u64 + 1);
    assert_eq!(facts.entries, facts.predictions);
    let shares: Vec<u64> = facts.split.iter().map(|share| share.answers).collect();
    assert_eq!(shares.iter().sum::<u64>(), CALLS as u64, "an answer without a version");
    // Weighted 90 to 10 by dice: 40 of 400, more than five deviations to either side.
    assert!((8..=80).contains(&shares[1]), "{shares:?}");

    // The followed input: both versions' answers, each with its entry.
    assert_eq!(facts.input.sha256, hash_of(&facts.input.file));
    assert_eq!((facts.answers.len(), facts.found.len()), (2, 2));
    for (Asked { answer, .. }, found) in facts.answers.iter().zip(&facts.found) {
        let header = |name| answer.header(name).unwrap();
        assert_eq!(found.text("/id"), header("x-lineage-trace-id"));
        assert_eq!(found.text("/model"), header("x-model-name"));
        assert_eq!(found.text("/version"), header("x-model-version"));
        assert_eq!(found.text("/input/hash"), facts.input.sha256);
        assert!(found.text("/datasets/0").ends_with(&format!("@{}", header("x-dataset-version"))), "{found:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(Some(found.text("/decision")), body.pointer("/outputs/0/data/0").and_then(|it| it.as_str()));
        let version = facts.versions.iter().find(|version| version.version == header("x-model-version")).unwrap();
        assert_eq!(header("x-reproducible"), version.missing.is_empty().to_string());
    }
    assert_ne!(facts.found[0].text("/decision"), facts.found[1].text("/decision"), "the story has lost its point");
    assert_ne!(facts.found[0].text("/version"), facts.found[1].text("/version"));

    // Back to raw data, and forward to every decision of the older version.
    let back: Vec<&str> = facts.graph.back.iter().map(|(_, id)| id.as_str()).collect();
    let way = ["model:fraud@v1.2.3", "run:train-v1.2.3", "dataset:transactions@v1.0", "run:prepare-v1.0"];
    assert_eq!(back, [&way[..], &["dataset:payments@2026-spring"]].concat());
    let by_name = facts.found.iter().filter(|found| found.text("/version") == "v1.2.3" && found.index > CALLS as u64);
    let made: u64 = facts.graph.impact.predictions.iter().map(|row| row.predictions).sum();
    assert_eq!(made, shares[0] + by_name.count() as u64);
    assert!(facts.graph.diff.sentence.starts_with("data changed, code did not"), "{:?}", facts.graph.diff);
    assert_eq!((facts.graph.complete.linked, facts.graph.complete.artifacts), (6, 6));

    let counted: u64 = metrics.ledger_entries.with_label_values(&["prediction"]).get();
    assert_eq!(counted, facts.entries);
    demo.stop();
    drop(place);
    assert!(!facts.data.exists());
}

#[test]
fn what_the_lineage_claims_can_be_checked() {
    let place = Place::new(None, false).unwrap();
    let mut demo = Demo::start(&place, &Arc::new(Metrics::new())).unwrap();
    let facts = facts(&mut demo);
    assert!(facts.versions[0].missing.is_empty(), "{:?}", facts.versions[0]);
    assert_eq!(facts.versions[1].missing, ["random_seed", "image_digest"]);

    let lineages = Query { kind: Some(Kind::Lineage), ..Query::default() };
    let lineages: Vec<Found> =
        Reader::open(place.dir()).unwrap().find(&lineages).map(|found| parsed(&found.unwrap()).unwrap()).collect();
    assert_eq!(lineages.len(), 2);
    for lineage in &lineages {
        for part in ["/document/model", "/document/datasets/0"] {
            let file = lineage.text(&format!("{part}/uri")).strip_prefix("file://").unwrap();
            let digest = lineage.text(&format!("{part}/digest"));
            assert_eq!(digest, format!("sha256:{}", hash_of(Path::new(file))), "{file}");
        }
    }
    for found in &facts.found {
        assert!(lineages.iter().any(|lineage| lineage.text("/digest") == found.text("/lineage")));
    }
    demo.stop();
}

#[test]
fn a_directory_may_be_used_again() {
    let place = Place::new(None, false).unwrap();
    for _ in 0..2 {
        let mut demo = Demo::start(&place, &Arc::new(Metrics::new())).unwrap();
        let facts = facts(&mut demo);
        // Each run speaks of its own calls.
        assert_eq!((facts.entries, facts.found.len()), (facts.predictions, 2));
        demo.stop();
    }
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let file = std::env::temp_dir().join(format!("touchmark-no-dir-{}", std::process::id()));
    fs::write(&file, "").unwrap();
    assert!(Place::new(Some(&file.join("x")), false).is_err());
    fs::remove_file(&file).unwrap();
}
