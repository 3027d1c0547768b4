//! What is known of a model becomes its [`Identity`]: of what the configuration declares, or of what a source says.
//!
//! The document is written in its own key order and addressed by the SHA-256 of its RFC 8785 form, so that the same
//! lineage has the same digest whoever writes it down.

use std::sync::Arc;

use super::{
    Code, Content, Dataset, DatasetId, Declared, Document, Environment, Identity, IdentityError, Model, ModelId,
    Reproducible, Role, Run, RunConfig, Source, checks, dataset_version,
};
use crate::sha256::Sha256;
use crate::telemetry::Metrics;

/// Bytes of a document. An entry has at most 65,535, of which its own members take less than 1 KiB.
const DOCUMENT_LEN_MAX: usize = 60 * 1024;
/// Bytes of JSON text that a model's name, its version, and the list of its training datasets may take in each
/// `prediction` entry of at most 4 KiB. Beyond them the ledger would have to cut what was declared.
const NAME_LEN_MAX: usize = 256;
const VERSION_LEN_MAX: usize = 128;
const DATASETS_LEN_MAX: usize = 512;

/// What is declared cannot stand: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ResolveError {
    /// The key under the model's, such as `datasets[1].digest`.
    pub key: String,
    /// What is wrong and how it is mended.
    pub problem: String,
}

/// Freezes a declared lineage, or says everything that is wrong with it.
pub fn resolve(declared: &Declared<'_>) -> Result<Identity, Vec<ResolveError>> {
    freeze(Content {
        model: Model {
            name: declared.name.to_owned(),
            version: declared.version.to_owned(),
            uri: declared.uri.map(str::to_owned),
            digest: declared.digest.map(str::to_owned),
        },
        datasets: declared.datasets.iter().map(super::DatasetConfig::content).collect(),
        bases: Vec::new(),
        run: declared.run.map(run),
        reproducible: Reproducible::default(),
        source: Source::Static,
    })
}

/// Freezes a lineage, whoever says it, or says everything that is wrong with it.
pub fn freeze(mut content: Content) -> Result<Identity, Vec<ResolveError>> {
    let mut errors = Vec::new();
    check_model(&content.model, &mut errors);
    let datasets = check_datasets(&content.datasets, &mut errors);
    check_run(content.run.as_ref(), &mut errors);
    content.reproducible = checks::reproducible(&content);
    match document(&content) {
        Ok(document) if errors.is_empty() => Ok(Identity {
            model: content.model.name,
            version: content.model.version,
            datasets,
            dataset_version: dataset_version(&content.datasets),
            reproducible: content.reproducible.verdict,
            document: Arc::new(document),
        }),
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push(error);
            Err(errors)
        }
    }
}

/// Sets the metrics that say how well the configured models are known; drops what an earlier configuration said.
pub fn observe(metrics: &Metrics, identities: &[Arc<Identity>]) {
    metrics.reproducible.reset();
    metrics.lineage_completeness.reset();
    for identity in identities {
        let labels = [identity.model.as_str(), identity.version.as_str()];
        metrics.reproducible.with_label_values(&labels).set(i64::from(identity.reproducible));
        if let Ok(content) = serde_json::from_str::<Content>(&identity.document.json) {
            metrics.lineage_completeness.with_label_values(&labels).set(checks::completeness(&content));
        }
    }
    let traceable = identities.iter().filter(|identity| !identity.datasets.is_empty()).count();
    #[expect(clippy::cast_precision_loss, reason = "a configuration names at most a few thousand models")]
    let ratio = traceable as f64 / identities.len().max(1) as f64;
    metrics.deployment_traceable.set(ratio);
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn document(content: &Content) -> Result<Document, ResolveError> {
    let failed = |error: serde_json::Error| wrong("", format!("the lineage cannot be written as JSON: {error}"));
    let canonical = serde_json_canonicalizer::to_vec(content).map_err(failed)?;
    let json = serde_json::to_string(content).map_err(failed)?;
    if json.len() > DOCUMENT_LEN_MAX {
        let len = json.len();
        return Err(wrong(
            "",
            format!(
                "the lineage has {len} bytes, at most {DOCUMENT_LEN_MAX} fit an entry: keep what is large by digest"
            ),
        ));
    }
    Ok(Document { digest: Sha256::digest(canonical), json })
}

fn run(config: &RunConfig) -> Run {
    let code = Code { repo: config.code.repo.clone(), commit: config.code.commit.clone(), dirty: config.code.dirty };
    let environment = Environment {
        image: config.environment.image.clone(),
        lock_digest: config.environment.lock_digest.clone(),
        hardware: None,
    };
    Run {
        id: config.id.clone(),
        code: (code != Code::default()).then_some(code),
        parameters: config.parameters.clone(),
        seeds: config.seeds.clone(),
        environment: (environment != Environment::default()).then_some(environment),
        script_digest: None,
    }
}

fn check_model(model: &Model, errors: &mut Vec<ResolveError>) {
    if let Err(error) = ModelId::new(&model.name, &model.version) {
        errors.push(wrong(part(&error), error.to_string()));
    }
    for (key, value, len_max) in [("name", &model.name, NAME_LEN_MAX), ("version", &model.version, VERSION_LEN_MAX)] {
        if !value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            errors.push(wrong(key, format!("'{}' cannot stand in a header: use ASCII", value.escape_debug())));
        }
        let len = json_len(value);
        if len > len_max {
            errors.push(wrong(key, format!("takes {len} bytes of an entry, at most {len_max} fit: shorten it")));
        }
    }
    check_digest("digest", model.digest.as_deref(), errors);
}

/// The names of the training datasets, in order.
fn check_datasets(datasets: &[Dataset], errors: &mut Vec<ResolveError>) -> Vec<String> {
    let mut training = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (index, dataset) in datasets.iter().enumerate() {
        match DatasetId::new(dataset.namespace.as_deref(), &dataset.name, &dataset.version) {
            Ok(id) => {
                if !seen.insert((id.clone(), dataset.role as u8)) {
                    errors.push(wrong(&format!("datasets[{index}]"), format!("'{id}' is listed twice: remove one")));
                }
                if dataset.role == Role::Training {
                    training.push(id.to_string());
                }
            }
            Err(error) => errors.push(wrong(&format!("datasets[{index}].{}", part(&error)), error.to_string())),
        }
        check_digest(&format!("datasets[{index}].digest"), dataset.digest.as_deref(), errors);
    }
    let len = json_len(&training);
    if len > DATASETS_LEN_MAX {
        let problem = format!(
            "the training datasets take {len} bytes of an entry together, at most {DATASETS_LEN_MAX} fit: shorten \
             their names, or declare one dataset that stands for them"
        );
        errors.push(wrong("datasets", problem));
    }
    training
}

fn check_run(run: Option<&Run>, errors: &mut Vec<ResolveError>) {
    let lock_digest = run.and_then(|run| run.environment.as_ref()).and_then(|at| at.lock_digest.as_deref());
    check_digest("run.environment.lock_digest", lock_digest, errors);
}

fn check_digest(key: &str, digest: Option<&str>, errors: &mut Vec<ResolveError>) {
    let Some(digest) = digest else { return };
    if !digest.strip_prefix("sha256:").is_some_and(is_sha256) {
        let problem = format!("'{digest}' is no digest: write sha256: and 64 lower-case hexadecimal digits");
        errors.push(wrong(key, problem));
    }
}

/// Bytes of a value as JSON, without the quotes or brackets around it.
fn json_len(value: &(impl serde::Serialize + ?Sized)) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len() - 2)
}

fn part(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::Empty { part, .. }
        | IdentityError::TooLong { part, .. }
        | IdentityError::Forbidden { part, .. } => part,
        IdentityError::NoVersion { .. } | IdentityError::Kind(_) | IdentityError::Uuid(_) => "name",
    }
}

fn wrong(key: &str, problem: String) -> ResolveError {
    ResolveError { key: key.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lineage::DatasetConfig;
    use crate::sha256::hex;

    fn declared<'a>(datasets: &'a [DatasetConfig], run: Option<&'a RunConfig>) -> Declared<'a> {
        Declared { name: "fraud", version: "v1.2.3", uri: None, digest: None, datasets, run }
    }

    fn transactions() -> DatasetConfig {
        "s3://lake/transactions@v2.0".parse::<DatasetId>().unwrap().into()
    }

    #[test]
    fn a_bare_model_has_a_document_of_known_digest() {
        let identity = resolve(&declared(&[transactions()], None)).unwrap();
        let json = r#"{"model":{"name":"fraud","version":"v1.2.3"},"datasets":[{"namespace":"s3://lake","name":"transactions","version":"v2.0","role":"training"}],"reproducible":{"verdict":false,"missing":["dataset_digest","git_commit","clean_tree","random_seed","lock_digest","image_digest","model_digest"]},"source":"static"}"#;
        assert_eq!(identity.document.json, json);
        // Sorted by hand and hashed with sha256sum.
        assert_eq!(hex(identity.document.digest), "1a0c6c6ab7c4f94472543caf123ea2daa8dd611801654d0d7c56066b1cfcc6b5");
        assert_eq!(identity.datasets, ["s3://lake/transactions@v2.0"]);
        assert_eq!(identity.dataset_version.as_deref(), Some("v2.0"));
        assert!(!identity.reproducible);
    }

    #[test]
    fn the_digest_follows_the_lineage_and_nothing_else() {
        let run =
            RunConfig { parameters: BTreeMap::from([("rate".to_owned(), "0.10".to_owned())]), ..RunConfig::default() };
        let digest = |run: Option<&RunConfig>| resolve(&declared(&[], run)).unwrap().document.digest;
        assert_eq!(digest(Some(&run)), digest(Some(&run.clone())));
        assert_ne!(digest(Some(&run)), digest(None));
        let json = resolve(&declared(&[], Some(&run))).unwrap().document.json.clone();
        assert!(json.contains(r#""run":{"parameters":{"rate":"0.10"},"seeds":{}}"#), "{json}");
        let read: Content = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let datasets = [
            DatasetConfig { digest: Some("md5:00".to_owned()), ..transactions() },
            transactions(),
            DatasetConfig { name: "a/b".to_owned(), version: "v1".to_owned(), ..DatasetConfig::default() },
        ];
        let errors = resolve(&Declared { name: "frühling", version: "", ..declared(&datasets, None) }).unwrap_err();
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "version: 'frühling@' has an empty version: write NAME@VERSION",
                "name: 'frühling' cannot stand in a header: use ASCII",
                "datasets[0].digest: 'md5:00' is no digest: write sha256: and 64 lower-case hexadecimal digits",
                "datasets[1]: 's3://lake/transactions@v2.0' is listed twice: remove one",
                "datasets[2].name: the name 'a/b' must not have a '/': what stands before the last one is the namespace",
            ]
        );
    }

    #[test]
    fn what_fits_no_entry_is_refused() {
        let run = RunConfig {
            parameters: BTreeMap::from([("lock".to_owned(), "x".repeat(DOCUMENT_LEN_MAX))]),
            ..RunConfig::default()
        };
        let errors = resolve(&declared(&[], Some(&run))).unwrap_err();
        assert!(errors[0].problem.contains("keep what is large by digest"));
        let many: Vec<DatasetConfig> =
            (0..9).map(|n| format!("{}{n}@v1", "d".repeat(120)).parse::<DatasetId>().unwrap().into()).collect();
        assert_eq!(resolve(&declared(&many, None)).unwrap_err()[0].key, "datasets");
    }

    #[test]
    fn metrics_say_how_well_the_models_are_known() {
        let metrics = Metrics::new();
        let known = Arc::new(resolve(&declared(&[transactions()], None)).unwrap());
        let unknown = Arc::new(resolve(&Declared { version: "v2", ..declared(&[], None) }).unwrap());
        observe(&metrics, &[known, unknown]);
        assert!((metrics.deployment_traceable.get() - 0.5).abs() < f64::EPSILON);
        let ratio = metrics.lineage_completeness.with_label_values(&["fraud", "v1.2.3"]).get();
        assert!((ratio - 1.0 / 14.0).abs() < 1e-9, "{ratio}");
        assert_eq!(metrics.reproducible.with_label_values(&["fraud", "v2"]).get(), 0);
        observe(&metrics, &[]);
        assert!(metrics.deployment_traceable.get().abs() < f64::EPSILON);
    }
}
