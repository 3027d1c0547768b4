//! `touchmark serve`: the configuration from a file or from flags, then the proxy until it is told to stop.

use std::path::PathBuf;

use anyhow::Result;

use super::Status;
use crate::app::{self, Ended};
use crate::config::Source;
use crate::lineage::{DatasetId, ModelId};

/// `touchmark serve --config FILE`, or `touchmark serve --upstream URL --model NAME@VERSION`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "upstream")]
    config: Option<PathBuf>,
    /// The model server's address, instead of a file
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The model that it serves
    #[arg(long, value_name = "NAME@VERSION", requires = "upstream")]
    model: Option<ModelId>,
    /// A dataset that the model was trained on; may be repeated
    #[arg(long = "dataset", value_name = "[NAMESPACE/]NAME@VERSION", requires = "model")]
    datasets: Vec<DatasetId>,
    /// The deployment's name [default: default]
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where metrics, health and the API are served [default: 127.0.0.1:9091]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where the ledger is kept [default: ./touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Args {
    /// Where the configuration comes from.
    pub(super) fn source(&self) -> Source {
        let mut source = self.config.as_ref().map_or_else(Source::default, Source::file);
        if let Some(url) = &self.upstream {
            let datasets: Vec<String> = self.datasets.iter().map(ToString::to_string).collect();
            source = source.with_upstream(url, self.model.as_ref(), &datasets);
        }
        let data = self.data.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        for (flag, key, value) in [
            ("--deployment", "deployment.name", &self.deployment),
            ("--listen", "proxy.listen", &self.listen),
            ("--admin", "admin.listen", &self.admin),
            ("--data", "ledger.dir", &data),
        ] {
            if let Some(value) = value {
                source = source.with(flag, key, value);
            }
        }
        source
    }
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let source = args.source();
    let config = source.load()?;
    Ok(match app::serve(config, &source)? {
        Ended::InOrder => Status::Done,
        Ended::AtOnce => Status::Failed,
    })
}
