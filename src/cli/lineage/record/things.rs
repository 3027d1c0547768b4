//! What is said of a dataset, a model, an image, a deployment, or by a file. No command is run here.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Common, Target, digest, word};
use crate::cli::Status;
use crate::lineage::catalog::State;
use crate::lineage::{DatasetFact, DeploymentFact, Facts, ImageFact, ModelFact, RunFact, Stage, Used};

/// Where the files of something lie, and what they are.
#[derive(Debug, clap::Args)]
struct Files {
    /// Where its files lie
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// The digest of its files
    #[arg(long, value_name = "sha256:HEX")]
    digest: Option<String>,
    /// Its file or folder here, to be hashed
    #[arg(long, value_name = "PATH", conflicts_with = "digest")]
    file: Option<PathBuf>,
}

impl Files {
    fn digest(&self) -> Result<Option<String>> {
        self.file.as_deref().map_or_else(|| Ok(self.digest.clone()), |path| digest::of(path).map(Some))
    }
}

/// `touchmark lineage record dataset`
#[derive(Debug, clap::Args)]
pub(super) struct Dataset {
    /// [NAMESPACE/]NAME@VERSION
    #[arg(value_name = "DATASET")]
    id: String,
    #[command(flatten)]
    files: Files,
    /// How many records it has
    #[arg(long, value_name = "COUNT")]
    records: Option<u64>,
    /// How far it is from where it came from
    #[arg(long, value_name = "raw|prepared|features", value_parser = word::<Stage>)]
    stage: Option<Stage>,
    #[command(flatten)]
    common: Common,
}

impl Dataset {
    pub(super) async fn record(&self, out: &mut dyn Write) -> Result<Status> {
        let dataset = DatasetFact {
            id: self.id.clone(),
            uri: self.files.uri.clone(),
            digest: self.files.digest()?,
            records: self.records,
            stage: self.stage,
            about: self.common.about(),
            ..DatasetFact::default()
        };
        let facts = Facts { datasets: vec![dataset], ..Facts::default() };
        self.common.target.record(&facts, out).await
    }
}

/// `touchmark lineage record model`
#[derive(Debug, clap::Args)]
pub(super) struct Model {
    /// NAME@VERSION
    #[arg(value_name = "MODEL")]
    id: String,
    #[command(flatten)]
    files: Files,
    /// The run that made it
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// The model that its run began with, NAME@VERSION
    #[arg(long, value_name = "MODEL", requires = "run")]
    base: Option<String>,
    /// How it came of that: fine-tuned, quantised, pruned, distilled
    #[arg(long, value_name = "HOW", requires = "base")]
    derivation: Option<String>,
    /// An alias that names it from now on, such as champion
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// It is withdrawn
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    common: Common,
}

impl Model {
    pub(super) async fn record(&self, out: &mut dyn Write) -> Result<Status> {
        let model = ModelFact {
            id: self.id.clone(),
            uri: self.files.uri.clone(),
            digest: self.files.digest()?,
            derivation: self.derivation.clone(),
            state: self.archived.then_some(State::Deleted),
            aliases: self.aliases.clone(),
            about: self.common.about(),
            ..ModelFact::default()
        };
        let run = self.run.iter().map(|id| RunFact {
            id: id.clone(),
            inputs: self.base.iter().map(|base| Used { id: qualified("model", base), role: "base".into() }).collect(),
            outputs: vec![qualified("model", &self.id)],
            ..RunFact::default()
        });
        let facts = Facts { runs: run.collect(), models: vec![model], ..Facts::default() };
        self.common.target.record(&facts, out).await
    }
}

/// An identity with its kind, which people leave out where only one fits.
pub(super) fn qualified(kind: &str, id: &str) -> String {
    if id.starts_with(&format!("{kind}:")) { id.to_owned() } else { format!("{kind}:{id}") }
}

/// `touchmark lineage record image`
#[derive(Debug, clap::Args)]
pub(super) struct Image {
    /// NAME@sha256:HEX
    #[arg(value_name = "IMAGE")]
    id: String,
    #[command(flatten)]
    common: Common,
}

impl Image {
    pub(super) async fn record(&self, out: &mut dyn Write) -> Result<Status> {
        let image = ImageFact { id: self.id.clone(), about: self.common.about() };
        let facts = Facts { images: vec![image], ..Facts::default() };
        self.common.target.record(&facts, out).await
    }
}

/// `touchmark lineage record deployment`
#[derive(Debug, clap::Args)]
pub(super) struct Deployment {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// A model that it serves, NAME@VERSION
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// The image that it runs, NAME@sha256:HEX
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// It no longer serves
    #[arg(long)]
    ended: bool,
    #[command(flatten)]
    common: Common,
}

impl Deployment {
    pub(super) async fn record(&self, out: &mut dyn Write) -> Result<Status> {
        let deployment = DeploymentFact {
            name: self.name.clone(),
            models: self.models.clone(),
            image: self.image.clone(),
            end: self.ended.then(jiff::Timestamp::now),
            about: self.common.about(),
            ..DeploymentFact::default()
        };
        let facts = Facts { deployments: vec![deployment], ..Facts::default() };
        self.common.target.record(&facts, out).await
    }
}

/// `touchmark lineage record file`
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// Datasets, runs, models, images and deployments, in YAML or JSON
    #[arg(value_name = "FILE", default_value = "touchmark.lineage.yaml")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

impl File {
    pub(super) async fn record(&self, out: &mut dyn Write) -> Result<Status> {
        let name = self.file.display();
        let text = std::fs::read_to_string(&self.file).with_context(|| name.to_string())?;
        let facts = Facts::parse(&text).with_context(|| name.to_string())?;
        self.target.record(&facts, out).await
    }
}
