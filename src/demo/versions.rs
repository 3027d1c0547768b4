//! The two versions of the model: trained on the spot, kept as files, and declared with their lineage.
//!
//! What is declared is true and can be checked: digests are those of the files in the data directory, of the code
//! that made them, and of this very program. Of v1.3.0's training less was written down, as it happens in life;
//! what is left out is missing, not wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::sha256::Sha256;
use serde::Serialize;

use super::data::{Dataset, Labelled};
use super::model::{Model, Parameters, Quality};
use super::v2::Servable;
use crate::lineage::{CodeConfig, DatasetConfig, EnvironmentConfig, RunConfig};
use crate::proxy::{BackendConfig, HealthConfig, ModelConfig, ServedAs, UpstreamProtocol};

/// The model's and the dataset's names, in the lineage and at the server.
pub(super) const MODEL: &str = "fraud";
const DATASET: &str = "transactions";
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
    /// Whether seed, state of the code and environment were written down.
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
    dataset: DatasetConfig,
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
    let csv = folder.join(format!("{DATASET}-{}.csv", data.version));
    let file = folder.join(format!("{MODEL}-{}.json", plan.version));
    let dataset = DatasetConfig {
        name: DATASET.to_owned(),
        version: data.version.to_owned(),
        digest: Some(write(&csv, &data.csv())?),
        uri: Some(uri(&csv)),
        records: u64::try_from(data.rows.len()).ok(),
        ..DatasetConfig::default()
    };
    let digest = write(&file, &model.json())?;
    let facts = VersionFacts {
        version: plan.version,
        served_version: plan.served_version,
        backend: plan.backend,
        weight: plan.weight,
        dataset: format!("{DATASET}@{}", data.version),
        rows: data.rows.len(),
        quality: model.quality(unseen),
        missing: Vec::new(),
    };
    Ok(Version { plan, dataset, model, file, digest, facts })
}

impl Version {
    /// What a model server needs to know.
    pub(super) fn servable(&self) -> Servable {
        Servable { name: MODEL, version: self.plan.served_version, model: self.model.clone() }
    }

    /// The backend at an address, with everything that is known of the model behind it.
    pub(super) fn backend(&self, address: SocketAddr, program: Option<&str>) -> BackendConfig {
        let served = ServedAs { version: Some(self.plan.served_version.to_owned()), ..ServedAs::default() };
        let model = ModelConfig {
            served_as: Some(served),
            decision: Some(DECISION.to_owned()),
            uri: Some(uri(&self.file)),
            digest: Some(self.digest.clone()),
            datasets: vec![self.dataset.clone()],
            run: Some(self.run(program)),
            ..ModelConfig::new(MODEL, self.plan.version)
        };
        BackendConfig {
            name: self.plan.backend.to_owned(),
            url: format!("http://{address}"),
            grpc_url: None,
            tls: None,
            protocol: UpstreamProtocol::default(),
            weight: self.plan.weight,
            models: vec![model],
            health: HealthConfig::default(),
            health_check: None,
        }
    }

    fn run(&self, program: Option<&str>) -> RunConfig {
        let Plan { version, parameters, recorded, .. } = self.plan;
        let code = CodeConfig {
            repo: Some("touchmark/src/demo".to_owned()),
            commit: Some(digest(CODE.concat().as_bytes())),
            // Compiled in: there is no work tree left that could differ.
            dirty: recorded.then_some(false),
        };
        let environment = EnvironmentConfig {
            // The program is the whole environment that it trained in.
            image: program.filter(|_| recorded).map(|digest| format!("touchmark@{digest}")),
            lock_digest: Some(digest(LOCK.as_bytes())),
        };
        let text = |name: &str, value: String| (name.to_owned(), value);
        RunConfig {
            id: Some(format!("demo-{version}")),
            code,
            parameters: BTreeMap::from([
                text("epochs", parameters.epochs.to_string()),
                text("rate", parameters.rate.to_string()),
            ]),
            seeds: recorded.then(|| text("rows", parameters.seed.to_string())).into_iter().collect(),
            environment,
        }
    }
}

/// The digest of the program that runs, where it can be read.
pub(super) fn program() -> Option<String> {
    let mut file = std::env::current_exe().and_then(File::open).ok()?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_LEN]);
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return Some(format!("sha256:{}", hex(&hasher.finish()))),
            len => hasher.update(&chunk[..len]),
        }
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn write(file: &Path, text: &str) -> io::Result<String> {
    fs::write(file, text)?;
    Ok(digest(text.as_bytes()))
}

fn uri(file: &Path) -> String {
    format!("file://{}", file.display())
}
