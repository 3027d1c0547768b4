//! `touchmark lineage reproducible`: whether a model could be made again, check by check.

use std::io::Write;

use anyhow::Result;

use super::{Asked, Question, json_line};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::ask::{find_among, reproduction};

/// `touchmark lineage reproducible MODEL`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: NAME@VERSION, NAME@ALIAS, or a name that fits one
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let question = Question::of("reproducible", &args.model);
    if let Some(answer) = args.asked.elsewhere(question, args.asked.json).await? {
        json_line(&answer, out)?;
        return Ok(if answer["reproducible"] == true { Status::Done } else { Status::Negative });
    }
    let (catalog, at) = args.asked.open().await?;
    let model = find_among(&catalog, &args.model, &["model"], at).await?;
    let found = reproduction(&catalog, &model, at).await?;
    catalog.close().await;
    if args.asked.json {
        json_line(&found, out)?;
    } else {
        let mut table = Table::new(&["check", "passed", "found"]);
        for check in &found.checks {
            let passed = if check.passed { "yes" } else { "NO" };
            table.row(&[check.name.to_owned(), passed.to_owned(), check.value.clone().unwrap_or_default()], out)?;
        }
        table.end(out)?;
        match found.missing.as_slice() {
            [] => writeln!(out, "\n{} is reproducible", found.model)?,
            missing => writeln!(out, "\n{} is not reproducible: {} missing", found.model, missing.join(", "))?,
        }
    }
    Ok(if found.reproducible { Status::Done } else { Status::Negative })
}
