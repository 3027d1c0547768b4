//! `touchmark demo`: everything at once on this machine, without anything to install.
//!
//! Two versions of a small fraud model are trained on the spot (`data`, `model`) and served by two model servers
//! of our own (`server`); before them stands the proxy, started as `serve` starts it. Some hundred calls go through
//! it, and what came out is read back from the answers, the ledger's files and the metrics into [`Facts`].
//!
//! Nothing is staged: what is shown was sent over sockets and read from files. Nothing is printed here; `cli` does.

mod client;
mod data;
mod facts;
mod graph;
mod model;
mod place;
mod random;
mod server;
#[cfg(test)]
mod tests;
mod v2;
mod versions;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::sha256::{Sha256, hex};

pub use client::{Answer, CallError};
pub use facts::{Asked, Facts, Found, Input, Share};
pub use graph::{GraphFacts, ImpactFacts};
pub use model::Quality;
pub use place::Place;
pub use versions::VersionFacts;

use crate::app::{App, Ended, Signals, StartError};
use crate::config::Config;
use crate::ledger::Kind;
use crate::ledger::read::{Query, ReadError, Reader};
use crate::lineage::SourceKind;
use crate::proxy::BackendConfig;
use crate::telemetry::{LogConfig, LogFormat, LogLevel, Metrics};
use client::{Call, Client};
use data::{COLUMNS, Labelled, Transaction};
use graph::Graph;
use server::ModelServer;
use versions::{MODEL, Version};

/// Calls that name no version, the tour's own among them.
const CALLS: usize = 400;
/// The field that names the version which answered.
const MODEL_VERSION: &str = "x-model-version";
/// The transaction that the tour follows: the two versions judge it differently.
const FOLLOWED: Transaction = Transaction { amount_eur: 38.2, hour: 14.0, km_from_home: 2.1, device_age_days: 0.0 };

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file cannot be written.
    #[error("{}: cannot be written; name a directory that can be with --data DIR", path.display())]
    Files {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A model server or a client cannot be started.
    #[error("the demo's model servers cannot be started")]
    Server(#[source] io::Error),
    /// The lineage cannot be recorded or asked.
    #[error("the demo's lineage: {0}")]
    Lineage(String),
    /// The proxy cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A call got no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A call got an answer that it should not have got.
    #[error("{path} was answered {status}: {body}")]
    Refused {
        /// The path.
        path: String,
        /// The status.
        status: u16,
        /// The answer's body.
        body: String,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// An entry is no JSON.
    #[error("entry {index} of the ledger is no JSON")]
    Entry {
        /// Its place.
        index: u64,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// Model servers and the proxy before them, running.
#[derive(Debug)]
pub struct Demo {
    app: App,
    servers: Vec<ModelServer>,
    versions: Vec<Version>,
    graph: Graph,
    unseen: Vec<Labelled>,
    client: Client,
    input: Input,
    dir: PathBuf,
    began: SystemTime,
}

impl Demo {
    /// How it logs: what goes wrong, for people.
    pub fn log() -> LogConfig {
        LogConfig { format: LogFormat::Text, level: LogLevel::Warn, ..LogConfig::default() }
    }

    /// Trains, and starts everything.
    pub fn start(place: &Place, metrics: &Arc<Metrics>) -> Result<Self, DemoError> {
        let files = place.files();
        let failed = |source| DemoError::Files { path: files.clone(), source };
        let unseen = data::unseen(CALLS - 1);
        let mut versions = versions::train(&files, &unseen).map_err(failed)?;
        let input = followed(&files.canonicalize().map_err(failed)?).map_err(failed)?;

        let servers = versions.iter().map(|version| ModelServer::start(version.servable()));
        let servers: Vec<ModelServer> = servers.collect::<io::Result<_>>().map_err(DemoError::Server)?;
        let program = versions::program();
        let graph = Graph::new(place.dir())?;
        graph.record(&files.canonicalize().map_err(failed)?, &mut versions, program.as_deref())?;
        let pairs = versions.iter().zip(&servers);
        let backends = pairs.map(|(version, server)| version.backend(server.address())).collect();
        let client = Client::new().map_err(DemoError::Server)?;
        let began = SystemTime::now();
        let app = App::start(config(place.dir(), backends), metrics)?;
        Ok(Self { app, servers, versions, graph, unseen, client, input, dir: place.dir().to_owned(), began })
    }

    /// Sends the predictions, and reads back what came of them.
    pub fn run(&mut self) -> Result<Facts, DemoError> {
        let by_weight = format!("/v2/models/{MODEL}/infer");
        let body = self.input.body.clone();
        let traffic = Instant::now();
        let mut answers = vec![self.predict(&by_weight, &body)?];
        for row in self.unseen.clone() {
            answers.push(self.predict(&by_weight, &request(&row.transaction))?);
        }
        let traffic_us = u64::try_from(traffic.elapsed().as_micros()).unwrap_or(u64::MAX);
        let first = answers[0].clone();
        // Whichever answered first, the other one is asked by name.
        let other =
            self.versions.iter().find(|version| first.answer.header(MODEL_VERSION) != Some(version.facts.version));
        let other = other.map(|other| format!("/v2/models/{MODEL}/versions/{}/infer", other.facts.served_version));
        let second = other.map(|path| self.predict(&path, &body)).transpose()?;

        let reader = Reader::open(&self.dir)?;
        let of_this_run = Query { kind: Some(Kind::Prediction), from: Some(self.began), ..Query::default() };
        let of_the_input = Query { input_hash: Some(Sha256::digest(&body)), ..of_this_run.clone() };
        let made = |query| -> Result<Vec<Found>, DemoError> {
            reader.find(query).map(|found| found.map_err(DemoError::from).and_then(|found| parsed(&found))).collect()
        };
        let all = made(&of_this_run)?;
        let metrics = self.client.call(self.app.admin_on(), &Call::get("/metrics"))?;
        Ok(Facts {
            proxy: format!("http://{}", self.app.listening_on()),
            admin: format!("http://{}", self.app.admin_on()),
            data: self.dir.clone(),
            versions: self.versions.iter().map(|version| version.facts.clone()).collect(),
            input: self.input.clone(),
            found: made(&of_the_input)?,
            graph: self.graph.ask(&self.versions, &all)?,
            split: self.split(&answers),
            predictions: (answers.len() + usize::from(second.is_some())) as u64,
            entries: all.len() as u64,
            answers: std::iter::once(first).chain(second).collect(),
            traffic_us,
            metrics: metrics.body,
        })
    }

    /// Serves on until a signal ends it.
    pub fn wait(self, signals: Signals) -> Ended {
        let Self { app, servers, .. } = self;
        let ended = signals.wait(app);
        drop(servers);
        ended
    }

    /// Stops in order: the proxy first, then what it depends on.
    pub fn stop(self) {
        let Self { app, servers, .. } = self;
        app.stop();
        drop(servers);
    }

    fn predict(&mut self, path: &str, body: &str) -> Result<Asked, DemoError> {
        let answer = self.client.call(self.app.listening_on(), &Call::post(path, body))?;
        let path = path.to_owned();
        match answer.status {
            200 => Ok(Asked { path, answer }),
            status => Err(DemoError::Refused { path, status, body: answer.body }),
        }
    }

    fn split(&self, answers: &[Asked]) -> Vec<Share> {
        let share = |version: &Version| {
            let version = version.facts.version;
            let said = |asked: &&Asked| asked.answer.header(MODEL_VERSION) == Some(version);
            Share { version: version.to_owned(), answers: answers.iter().filter(said).count() as u64 }
        };
        self.versions.iter().map(share).collect()
    }
}

fn config(dir: &Path, backends: Vec<BackendConfig>) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { backends, ..Config::default() };
    "demo".clone_into(&mut config.deployment.name);
    config.deployment.instance = Some("demo".to_owned());
    config.lineage.source = SourceKind::Catalog;
    config.proxy.listen = anywhere;
    config.admin.listen = anywhere;
    dir.clone_into(&mut config.ledger.dir);
    config.telemetry.log = Demo::log();
    config
}

/// Writes the input that the tour follows, for `--input` and `sha256sum`.
fn followed(files: &Path) -> io::Result<Input> {
    let Transaction { amount_eur, hour, km_from_home, .. } = FOLLOWED;
    let body = request(&FOLLOWED);
    let file = files.join("request.json");
    fs::write(&file, &body)?;
    Ok(Input {
        file,
        sha256: hex(Sha256::digest(&body)),
        body,
        says: format!("{amount_eur:.2} EUR, {hour}:00, {km_from_home} km from home, device first seen today"),
    })
}

/// A V2 inference request for one transaction.
fn request(transaction: &Transaction) -> String {
    let (input, columns, data) = (v2::INPUT, COLUMNS.len(), transaction.row().map(|value| value.to_string()).join(","));
    format!(r#"{{"inputs":[{{"name":"{input}","shape":[1,{columns}],"datatype":"FP64","data":[{data}]}}]}}"#)
}

fn parsed(found: &crate::ledger::read::Found) -> Result<Found, DemoError> {
    let index = found.index;
    let entry = serde_json::from_slice(&found.entry).map_err(|source| DemoError::Entry { index, source })?;
    Ok(Found { index, entry })
}
