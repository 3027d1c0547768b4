//! The two versions of the model: trained on the spot, kept as files, and described with their lineage.
//!
//! What is said of them is true and can be checked: digests are those of the files in the data directory, of the code
//! that made them, and of this very program. Of v1.3.0's training less was written down, as it happens in life;
//! what is left out is missing, not wrong.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::sha256::{self, Sha256};
use serde::Serialize;

use super::data::{Dataset, Labelled};
use super::model::{Model, Parameters, Quality};
use super::v2::Servable;
use crate::lineage::catalog::State;
use crate::lineage::{Code, DatasetFact, EnvironmentFact, Facts, ModelFact, RunFact, RunKind, Stage, Used};
use crate::proxy::{BackendConfig, HealthConfig, ModelConfig, ServedAs, UpstreamProtocol};

/// The model's name, in the lineage and at the server.
pub(super) const MODEL: &str = "fraud";
/// Where a V2 answer says `approve` or `review`.
const DECISION: &str = "/outputs/0/data/0";
/// The code that trains, as it was compiled in: it has no commit of its own, and this is as exact.
const CODE: [&str; 3] = [include_str!("data.rs"), include_str!("model.rs"), include_str!("random.rs")];
/// The packages that it was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// Bytes of the program that are read at once.
const CHUNK_LEN: usize = 256 << 10;

/// What tells the versions apart before they are trained.
#[derive(Clone, Copy, Debug)]
struct Plan {
    version: &'static str,
    served_version: &'static str,
    backend: &'static str,
    weight: u32,
    parameters: Parameters,
    /// Whether seed and environment were written down.
    recorded: bool,
}

const PLANS: [Plan; 2] = [
    Plan {
        version: "v1.2.3",
        served_version: "1",
        backend: "champion",
        weight: 90,
        parameters: Parameters { epochs: 8, rate: 0.5, seed: 42 },
        recorded: true,
    },
    Plan {
        version: "v1.3.0",
        served_version: "2",
        backend: "challenger",
        weight: 10,
        parameters: Parameters { epochs: 8, rate: 0.5, seed: 7 },
        recorded: false,
    },
];

/// A version of the model, trained.
#[derive(Debug)]
pub(super) struct Version {
    plan: Plan,
    dataset: DatasetFact,
    model: Model,
    file: PathBuf,
    digest: String,
    pub(super) facts: VersionFacts,
}

/// What the tour tells of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionFacts {
    /// The lineage's version.
    pub version: &'static str,
    /// The server's own word for it.
    pub served_version: &'static str,
    /// The backend that serves it.
    pub backend: &'static str,
    /// Its share of the calls, in percent.
    pub weight: u32,
    /// What it was trained on, `NAME@VERSION`.
    pub dataset: String,
    /// How many transactions that has.
    pub rows: usize,
    /// How well it does on transactions that it has not seen.
    pub quality: Quality,
    /// Why it could not be made again; empty where it could.
    pub missing: Vec<String>,
}

/// Trains both versions, and writes datasets and models into a folder.
pub(super) fn train(folder: &Path, unseen: &[Labelled]) -> io::Result<Vec<Version>> {
    let folder = folder.canonicalize()?;
    PLANS
        .into_iter()
        .zip([Dataset::v1(), Dataset::v2()])
        .map(|(plan, data)| version(plan, &data, &folder, unseen))
        .collect()
}

fn version(plan: Plan, data: &Dataset, folder: &Path, unseen: &[Labelled]) -> io::Result<Version> {
    let model = Model::train(data, &plan.parameters);
    let file = folder.join(format!("{MODEL}-{}.json", plan.version));
    let dataset = DatasetFact { stage: Some(Stage::Prepared), ..self::file(folder, data)? };
    let digest = write(&file, &model.json())?;
    let facts = VersionFacts {
        version: plan.version,
        served_version: plan.served_version,
        backend: plan.backend,
        weight: plan.weight,
        dataset: dataset.id.clone(),
        rows: data.rows.len(),
        quality: model.quality(unseen),
        missing: Vec::new(),
    };
    Ok(Version { plan, dataset, model, file, digest, facts })
}

/// Writes a dataset into a folder. What is to be said of it.
pub(super) fn file(folder: &Path, data: &Dataset) -> io::Result<DatasetFact> {
    let csv = folder.join(format!("{}-{}.csv", data.name, data.version));
    Ok(DatasetFact {
        id: format!("{}@{}", data.name, data.version),
        digest: Some(write(&csv, &data.csv())?),
        uri: Some(uri(&csv)),
        records: u64::try_from(data.rows.len()).ok(),
        ..DatasetFact::default()
    })
}

impl Version {
    /// What a model server needs to know.
    pub(super) fn servable(&self) -> Servable {
        Servable { name: MODEL, version: self.plan.served_version, model: self.model.clone() }
    }

    /// The backend at an address. What is known of the model behind it stands in the graph.
    pub(super) fn backend(&self, address: SocketAddr) -> BackendConfig {
        let served = ServedAs { version: Some(self.plan.served_version.to_owned()), ..ServedAs::default() };
        let model = ModelConfig {
            served_as: Some(served),
            decision: Some(DECISION.to_owned()),
            ..ModelConfig::new(MODEL, self.plan.version)
        };
        BackendConfig {
            name: self.plan.backend.to_owned(),
            url: format!("http://{address}"),
            grpc_url: None,
            tls: None,
            protocol: UpstreamProtocol::default(),
            weight: self.plan.weight,
            image: None,
            models: vec![model],
            health: HealthConfig::default(),
            health_check: None,
        }
    }

    /// Says where it comes from: its dataset, its training, itself.
    pub(super) fn describe(&self, program: Option<&str>, facts: &mut Facts) {
        facts.datasets.push(self.dataset.clone());
        facts.runs.push(self.run(program));
        facts.models.push(ModelFact {
            id: format!("{MODEL}@{}", self.plan.version),
            uri: Some(uri(&self.file)),
            digest: Some(self.digest.clone()),
            aliases: vec![self.plan.backend.to_owned()],
            ..ModelFact::default()
        });
    }

    fn run(&self, program: Option<&str>) -> RunFact {
        let Plan { version, parameters, recorded, .. } = self.plan;
        let source = digest(CODE.concat().as_bytes());
        let code = Code {
            repo: Some("touchmark/src/demo".to_owned()),
            commit: Some(source.clone()),
            // Compiled in: there is no work tree left that could differ.
            dirty: Some(false),
        };
        let environment = EnvironmentFact {
            // The program is the whole environment that it trained in.
            image: program.filter(|_| recorded).map(|digest| format!("touchmark@{digest}")),
            lock_digest: Some(digest(LOCK.as_bytes())),
            hardware: Some(std::env::consts::ARCH.to_owned()),
            ..EnvironmentFact::default()
        };
        let text = |name: &str, value: String| (name.to_owned(), value);
        RunFact {
            id: format!("train-{version}"),
            kind: RunKind::Training,
            state: Some(State::Complete),
            script_digest: Some(source),
            code: Some(code),
            environment: Some(environment),
            parameters: BTreeMap::from([
                text("epochs", parameters.epochs.to_string()),
                text("rate", parameters.rate.to_string()),
            ]),
            seeds: recorded.then(|| text("rows", parameters.seed.to_string())).into_iter().collect(),
            inputs: vec![Used { id: format!("dataset:{}", self.dataset.id), role: "training".to_owned() }],
            outputs: vec![format!("model:{MODEL}@{version}")],
            ..RunFact::default()
        }
    }
}

/// The digest of the program that runs, where it can be read.
pub(super) fn program() -> Option<String> {
    let mut file = std::env::current_exe().and_then(File::open).ok()?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_LEN]);
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return Some(sha256::named(hasher.finish())),
            len => hasher.update(&chunk[..len]),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    sha256::named(Sha256::digest(bytes))
}

fn write(file: &Path, text: &str) -> io::Result<String> {
    fs::write(file, text)?;
    Ok(digest(text.as_bytes()))
}

fn uri(file: &Path) -> String {
    format!("file://{}", file.display())
}
