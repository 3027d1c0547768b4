//! `touchmark lineage record`: what people and CI jobs say of datasets, runs, models, images and deployments.
//!
//! Every way of saying it ends as [`Facts`], recorded whole or not at all, and saying it twice changes nothing. Each
//! command tells what was new to the catalog and what it could not place.

mod capture;
mod digest;
mod environment;
mod run;
mod things;

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use clap::Subcommand;

use super::{Place, Server, json_line, output, pair};
use crate::cli::Status;
use crate::lineage::catalog::{Catalog, Recorded, Value};
use crate::lineage::{About, Facts};

/// By which way it came.
const SOURCE: &str = "cli";

/// `touchmark lineage record …`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what a dataset version is
    Dataset(things::Dataset),
    /// Says what a model version is
    Model(things::Model),
    /// Says that a container image is there
    Image(things::Image),
    /// Says what a deployment serves
    Deployment(things::Deployment),
    /// Says what a run used and made; with '-- COMMAND', runs it and finds out the rest
    Run(Box<run::Args>),
    /// Says all that a file says, such as the touchmark.lineage.yaml beside a model
    File(things::File),
}

/// What can be said of anything, and where to.
#[derive(Debug, clap::Args)]
struct Common {
    /// Who answers for it
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// A tag
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Anything else that is worth knowing
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    #[command(flatten)]
    target: Target,
}

/// Where it is recorded, and as whose word.
#[derive(Debug, clap::Args)]
struct Target {
    /// Who says it [default: whoever began the CI job, else the user]; at a server it is the token's name
    #[arg(long, value_name = "NAME", conflicts_with = "server")]
    author: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    server: Server,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Common {
    fn about(&self) -> About {
        let properties = self.properties.iter().map(|(name, value)| (name.clone(), Value::from(value.clone())));
        About {
            owner: self.owner.clone(),
            tags: self.tags.iter().cloned().collect(),
            properties: properties.collect::<BTreeMap<_, _>>(),
        }
    }
}

impl Target {
    fn author(&self) -> String {
        let said = ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME"];
        let known = said.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        self.author.clone().or(known).unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
    }

    /// The catalog that takes it: a server's, or the one here, which is made where there is none.
    async fn open(&self) -> Result<Keeper<'_>> {
        if self.server.is_named() {
            return Ok(Keeper::There(&self.server));
        }
        Ok(Keeper::Here { catalog: self.place.open_or_make().await?, author: self.author() })
    }

    /// Records and tells of it.
    async fn record(&self, facts: &Facts, out: &mut dyn Write) -> Result<Status> {
        // A name that cannot be is said before a catalog is made, or a server asked.
        facts.batch("", SOURCE)?;
        let keeper = self.open().await?;
        let recorded = keeper.record(facts).await?;
        keeper.close().await;
        if self.json {
            json_line(&recorded, out)?;
        } else {
            tell(&recorded);
        }
        Ok(Status::Done)
    }
}

/// Who keeps what is said.
#[derive(Debug)]
enum Keeper<'s> {
    Here { catalog: Catalog, author: String },
    There(&'s Server),
}

impl Keeper<'_> {
    async fn record(&self, facts: &Facts) -> Result<Recorded> {
        match self {
            Self::Here { catalog, author } => Ok(catalog.record(&facts.batch(author, SOURCE)?).await?),
            Self::There(server) => server.record(facts).await,
        }
    }

    async fn close(self) {
        if let Self::Here { catalog, .. } = self {
            catalog.close().await;
        }
    }
}

/// What is different now, to people.
fn tell(recorded: &Recorded) {
    for (word, nodes) in [("new", &recorded.created), ("changed", &recorded.changed)] {
        for node in nodes {
            output::note(&format!("{word}: {node}"));
        }
    }
    for doubt in &recorded.flagged {
        output::note(&format!("doubtful, recorded all the same: {doubt}"));
    }
    match (recorded.change, recorded.linked) {
        (None, _) => output::note("all of it was known"),
        (Some(change), links) => output::note(&format!("recorded as change {change}, with {links} new links")),
    }
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    match &args.command {
        Command::Dataset(dataset) => dataset.record(out).await,
        Command::Model(model) => model.record(out).await,
        Command::Image(image) => image.record(out).await,
        Command::Deployment(deployment) => deployment.record(out).await,
        Command::Run(run) => run.record(out).await,
        Command::File(file) => file.record(out).await,
    }
}

/// One of a few words, as they stand in files too.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error: serde_json::Error| error.to_string())
}
