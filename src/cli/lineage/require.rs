//! `touchmark check lineage`: the gate before a release. Exit status 1 where a field is missing, each named.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use super::{Asked, Question, output, wait};
use crate::cli::Status;
use crate::lineage::ask::{fields, find_among, required};

/// `touchmark check lineage MODEL --require FIELD,…`
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The model: NAME@VERSION, NAME@ALIAS, or a name that fits one
    #[arg(value_name = "MODEL")]
    model: String,
    /// What must be known, such as `dataset_version,git_commit`
    #[arg(long, value_name = "FIELD", value_delimiter = ',', required = true, value_parser = field)]
    require: Vec<String>,
    #[command(flatten)]
    asked: Asked,
}

pub(in crate::cli) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let found = wait(async {
        if args.asked.server.is_named() {
            let question = Question::of("required", &args.model).at("as_of", args.asked.as_of)?;
            let question = args.require.iter().fold(question, |question, field| question.with("field", Some(field)));
            return args.asked.server.ask(&question).await;
        }
        let (catalog, at) = args.asked.open().await?;
        let model = find_among(&catalog, &args.model, &["model"], at).await?;
        let found = required(&catalog, &model, &args.require, at).await?;
        catalog.close().await;
        Ok(found)
    })?;
    let passed = found.missing.is_empty();
    if args.asked.json {
        writeln!(out, "{}", json!({"model": found.model, "passed": passed, "missing": found.missing}))?;
    } else {
        for missing in &found.missing {
            writeln!(out, "{}: {missing} is missing", output::printable(&found.model))?;
        }
        if passed {
            writeln!(out, "{}: all that is required is known", output::printable(&found.model))?;
        }
    }
    Ok(if passed { Status::Done } else { Status::Negative })
}

fn field(text: &str) -> Result<String, String> {
    let known = fields();
    if known.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("is no field: write some of {}", known.join(",")))
    }
}
