//! Could this model be made again, and how much of its lineage is known? Pure functions of a document's content.
//!
//! A check asks whether what a second run would need is pinned: inputs, code, randomness, environment, and the
//! result's digest to compare with. That a second run gives the same is not claimed. Of what comes from the catalog
//! two more are asked, which the configuration has no words for: the hardware, and the script's digest.

use super::{Content, Dataset, Reproducible, Role, Run, Source};

/// Answers with the verdict and the names of the checks that did not pass, in a fixed order.
pub fn reproducible(content: &Content) -> Reproducible {
    let missing: Vec<String> =
        checks(content).into_iter().filter(|(_, passed)| !passed).map(|(name, _)| name.to_owned()).collect();
    Reproducible { verdict: missing.is_empty(), missing }
}

/// The share of the lineage's fields that are known, from 0 to 1.
///
/// Name and version do not count, since there is no lineage without them.
#[expect(clippy::cast_precision_loss, reason = "a document has at most a few thousand fields")]
pub fn completeness(content: &Content) -> f64 {
    let fields = fields(content);
    let known = fields.iter().filter(|known| **known).count();
    known as f64 / fields.len() as f64
}

/// Each check by name, and whether it passed.
pub(super) fn checks(content: &Content) -> Vec<(&'static str, bool)> {
    let empty = Run::default();
    let run = content.run.as_ref().unwrap_or(&empty);
    let code = run.code.as_ref();
    let environment = run.environment.as_ref();
    let training = || content.datasets.iter().filter(|dataset| dataset.role == Role::Training);
    let mut checks = vec![
        ("dataset_version", training().next().is_some()),
        ("dataset_digest", training().next().is_some() && training().all(|dataset| is_digest(dataset.digest.as_ref()))),
        ("git_commit", code.is_some_and(|code| code.commit.is_some())),
        ("clean_tree", code.is_some_and(|code| code.dirty == Some(false))),
        ("random_seed", !run.seeds.is_empty()),
        ("lock_digest", is_digest(environment.and_then(|environment| environment.lock_digest.as_ref()))),
        ("image_digest", environment.and_then(|environment| environment.image.as_deref()).is_some_and(is_pinned)),
        ("model_digest", is_digest(content.model.digest.as_ref())),
    ];
    if content.source == Source::Catalog {
        checks.push(("hardware", environment.is_some_and(|environment| environment.hardware.is_some())));
        checks.push(("script_digest", is_digest(run.script_digest.as_ref())));
    }
    checks
}

/// Whether a text is a digest that tells any two things apart. Others are shown, and not believed.
fn is_digest(digest: Option<&String>) -> bool {
    digest.and_then(|digest| digest.strip_prefix("sha256:")).is_some_and(super::resolve::is_sha256)
}

/// A tag can be moved; a digest cannot.
fn is_pinned(image: &str) -> bool {
    image.rsplit_once("@sha256:").is_some_and(|(name, digest)| !name.is_empty() && super::resolve::is_sha256(digest))
}

fn fields(content: &Content) -> Vec<bool> {
    let empty = Run::default();
    let run = content.run.as_ref().unwrap_or(&empty);
    let code = run.code.clone().unwrap_or_default();
    let environment = run.environment.clone().unwrap_or_default();
    let mut fields = vec![
        content.model.uri.is_some(),
        content.model.digest.is_some(),
        content.datasets.iter().any(|dataset| dataset.role == Role::Training),
        run.id.is_some(),
        code.repo.is_some(),
        code.commit.is_some(),
        code.dirty.is_some(),
        !run.parameters.is_empty(),
        !run.seeds.is_empty(),
        environment.image.is_some(),
        environment.lock_digest.is_some(),
    ];
    // No dataset at all leaves as much unknown as one of which only the name is known.
    let nothing = [Dataset::default()];
    let datasets = if content.datasets.is_empty() { &nothing[..] } else { &content.datasets };
    fields.extend(
        datasets
            .iter()
            .flat_map(|dataset| [dataset.uri.is_some(), dataset.digest.is_some(), dataset.records.is_some()]),
    );
    fields
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lineage::{Code, Environment, Model, Source};

    fn digest() -> String {
        format!("sha256:{}", "0".repeat(64))
    }

    fn whole() -> Content {
        let text = |text: &str| Some(text.to_owned());
        Content {
            model: Model { name: "fraud".into(), version: "v1".into(), uri: text("s3://m"), digest: Some(digest()) },
            datasets: vec![Dataset {
                name: "transactions".into(),
                version: "v2.0".into(),
                uri: text("s3://d"),
                digest: Some(digest()),
                records: Some(1),
                ..Dataset::default()
            }],
            run: Some(Run {
                id: text("r1"),
                code: Some(Code { repo: text("r"), commit: text("c"), dirty: Some(false) }),
                parameters: BTreeMap::from([("depth".into(), "6".into())]),
                seeds: BTreeMap::from([("numpy".into(), "42".into())]),
                environment: Some(Environment {
                    image: Some(format!("trainer@{}", digest())),
                    lock_digest: Some(digest()),
                    hardware: None,
                }),
                script_digest: None,
            }),
            bases: Vec::new(),
            reproducible: Reproducible::default(),
            source: Source::Static,
        }
    }

    #[test]
    fn all_pinned_passes_and_is_complete() {
        assert_eq!(reproducible(&whole()), Reproducible { verdict: true, missing: vec![] });
        assert!((completeness(&whole()) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn each_missing_part_is_named() {
        type Cut = fn(&mut Content);
        let run = |content: &mut Content| content.run.take().unwrap();
        let cuts: [(&str, Cut); 8] = [
            ("dataset_digest", |c| c.datasets[0].digest = None),
            ("git_commit", |c| c.run.as_mut().unwrap().code.as_mut().unwrap().commit = None),
            ("clean_tree", |c| c.run.as_mut().unwrap().code.as_mut().unwrap().dirty = Some(true)),
            ("clean_tree", |c| c.run.as_mut().unwrap().code.as_mut().unwrap().dirty = None),
            ("random_seed", |c| c.run.as_mut().unwrap().seeds.clear()),
            ("lock_digest", |c| c.run.as_mut().unwrap().environment.as_mut().unwrap().lock_digest = None),
            ("image_digest", |c| {
                c.run.as_mut().unwrap().environment.as_mut().unwrap().image = Some("trainer:latest".into());
            }),
            ("model_digest", |c| c.model.digest = None),
        ];
        for (name, cut) in cuts {
            let mut content = whole();
            cut(&mut content);
            assert_eq!(reproducible(&content), Reproducible { verdict: false, missing: vec![name.to_owned()] });
        }
        let mut content = whole();
        content.datasets[0].role = Role::Test;
        assert_eq!(reproducible(&content).missing, ["dataset_version", "dataset_digest"]);
        let mut content = whole();
        run(&mut content);
        assert_eq!(reproducible(&content).missing.len(), 5);
    }

    #[test]
    fn the_catalog_is_asked_for_more() {
        let mut content = Content { source: Source::Catalog, ..whole() };
        assert_eq!(reproducible(&content).missing, ["hardware", "script_digest"]);
        let run = content.run.as_mut().unwrap();
        run.script_digest = Some(digest());
        run.environment.as_mut().unwrap().hardware = Some("one processor".into());
        assert!(reproducible(&content).verdict);
        content.model.digest = Some("md5:00".into());
        assert_eq!(reproducible(&content).missing, ["model_digest"]);
    }

    #[test]
    fn completeness_is_a_share() {
        let mut content = whole();
        content.model.uri = None;
        assert!((completeness(&content) - 13.0 / 14.0).abs() < 1e-9);
        let bare = Content { datasets: vec![], run: None, model: Model::default(), ..whole() };
        assert!(completeness(&bare).abs() < f64::EPSILON);
    }
}
