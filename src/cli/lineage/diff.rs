//! `touchmark lineage diff`: what changed between two models, or between two deployments.

use std::io::Write;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::Value;

use super::{Asked, Question, json_line, moment, output};
use crate::cli::output::Table;
use crate::cli::{Status, time};
use crate::lineage::ask::{diff, find_among};

/// What can be compared.
const KINDS: [&str; 2] = ["model", "deployment"];

/// `touchmark lineage diff A B`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What was before: model:NAME@VERSION or deployment:NAME
    #[arg(value_name = "A")]
    before: String,
    /// What came after [default: A itself, as it stands now; then --before says since when]
    #[arg(value_name = "B", required_unless_present = "since")]
    after: Option<String>,
    /// A as it stood then, such as what a deployment served before: a time as for --as-of
    #[arg(long = "before", value_name = "TIME", value_parser = time::time)]
    since: Option<SystemTime>,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    if let Some(answer) = elsewhere(args).await? {
        json_line(&answer, out)?;
        return Ok(Status::Done);
    }
    let (catalog, now) = args.asked.open().await?;
    let then = if args.since.is_some() { moment(&catalog, args.since).await? } else { now };
    let before = find_among(&catalog, &args.before, &KINDS, then).await?;
    let after = match &args.after {
        Some(after) => find_among(&catalog, after, &KINDS, now).await?,
        None => find_among(&catalog, &before.identity, &KINDS, now).await?,
    };
    let diff = diff(&catalog, (&before, then), (&after, now)).await?;
    catalog.close().await;
    if args.asked.json {
        json_line(&diff, out)?;
        return Ok(Status::Done);
    }
    for (side, id) in [("before", &diff.before), ("after", &diff.after)] {
        writeln!(out, "{side:<6} {}", output::printable(id))?;
    }
    writeln!(out)?;
    let mut table = Table::new(&["about", "what", "before", "after"]);
    for change in &diff.changes {
        let text = |side: &Option<String>| side.clone().unwrap_or_default();
        table.row(
            &[change.section.word().to_owned(), change.name.clone(), text(&change.before), text(&change.after)],
            out,
        )?;
    }
    table.end(out)?;
    writeln!(out, "{}{}", if diff.changes.is_empty() { "" } else { "\n" }, output::printable(&diff.sentence))?;
    Ok(Status::Done)
}

/// What a server answers, where one is named.
async fn elsewhere(args: &Args) -> Result<Option<Value>> {
    let after = match &args.after {
        // A with itself later: the thing that the name meant then, which an alias may have left since.
        None if args.asked.server.is_named() => {
            let then: Value =
                args.asked.server.ask(&Question::of("nodes", &args.before).at("as_of", args.since)?).await?;
            then["id"].as_str().map(str::to_owned)
        }
        after => after.clone(),
    };
    let question = Question::new("diff").with("before", Some(&args.before)).with("after", after);
    args.asked.elsewhere(question.at("before_as_of", args.since)?, args.asked.json).await
}
