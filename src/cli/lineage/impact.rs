//! `touchmark lineage impact`: from a dataset forward to the models, the deployments and every decision. The recall
//! report.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use super::predictions::{Range, each};
use super::{Asked, Question, json_line, moment, output};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::ledger::read::Touching;
use crate::lineage::ask::{Impact, Tally, find, impact};
use crate::lineage::catalog::Moment;

/// `touchmark lineage impact X`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is in doubt: dataset:[NAMESPACE/]NAME@VERSION, or anything else in the catalog
    #[arg(value_name = "X")]
    what: String,
    #[command(flatten)]
    range: Range,
    /// Print the predictions instead, one a line: id, time, model, deployment
    #[arg(long, conflicts_with = "server")]
    ids: bool,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let question = Question::of("impact", &args.what).at("from", args.range.from)?.at("to", args.range.to)?;
    if let Some(answer) = args.asked.elsewhere(question, args.asked.json).await? {
        json_line(&answer, out)?;
        if answer["predictions"].is_null() {
            output::note("there is no ledger there, so that no prediction was counted");
        }
        return Ok(Status::Done);
    }
    let (catalog, at) = args.asked.open().await?;
    let node = find(&catalog, &args.what, at).await?;
    let from = if args.range.from.is_some() { moment(&catalog, args.range.from).await? } else { Moment::of_change(0) };
    let to = moment(&catalog, args.range.to).await?;
    let impact = impact(&catalog, &node, at, (from, to)).await?;
    catalog.close().await;
    if args.ids {
        return ids(args, &impact, out);
    }
    let mut tally = Tally::new(&impact);
    let reader = args.asked.place.ledger_if_any()?;
    let status = match &reader {
        Some(reader) => each(reader, args.range, Some(touching(&impact)), |_, prediction| {
            tally.take(prediction);
            Ok(())
        })?,
        None => Status::Done,
    };
    if args.asked.json {
        let mut line = serde_json::to_value(&impact)?;
        line["predictions"] = json!(reader.is_some().then_some(&tally));
        json_line(&line, out)?;
    } else {
        print(&impact, out)?;
        if reader.is_some() {
            predictions(&tally, out)?;
        }
    }
    if reader.is_none() {
        output::note("there is no ledger here, so that no prediction was counted: name one by --data");
    }
    if impact.truncated {
        output::note("more hangs on it than can be told");
    }
    Ok(status)
}

/// What predictions must have to be looked at.
fn touching(impact: &Impact) -> Touching {
    let (models, datasets) = impact.versions();
    Touching { models, datasets }
}

fn ids(args: &Args, impact: &Impact, out: &mut dyn Write) -> Result<Status> {
    let mut tally = Tally::new(impact);
    let mut table = Table::new(&["id", "time", "model", "version", "deployment"]);
    let status = each(&args.asked.place.ledger()?, args.range, Some(touching(impact)), |id, prediction| {
        if !tally.take(prediction) {
            return Ok(());
        }
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let cells = [
            id.to_owned(),
            prediction.time.to_owned(),
            text(prediction.model),
            text(prediction.version),
            prediction.deployment.to_owned(),
        ];
        if args.asked.json {
            let [id, time, model, version, deployment] = cells;
            let line = json!({"id": id, "time": time, "model": model, "version": version, "deployment": deployment});
            return json_line(&line, out);
        }
        Ok(table.row(&cells, out)?)
    })?;
    table.end(out)?;
    Ok(status)
}

fn print(impact: &Impact, out: &mut dyn Write) -> Result<()> {
    let mut models = Table::new(&["model", "owner", "steps"]);
    for model in &impact.models {
        models.row(&[model.id.clone(), model.owner.clone().unwrap_or_default(), model.depth.to_string()], out)?;
    }
    models.end(out)?;
    let mut deployments = Table::new(&["deployment", "model", "from", "to"]);
    for serving in &impact.deployments {
        let until = serving.until.map_or_else(|| "now".to_owned(), |until| until.to_string());
        deployments.row(&[serving.deployment.clone(), serving.model.clone(), serving.since.to_string(), until], out)?;
    }
    writeln!(out)?;
    deployments.end(out)?;
    if impact.models.is_empty() {
        writeln!(out, "no model was made from {}", output::printable(&impact.of))?;
    }
    Ok(())
}

fn predictions(tally: &Tally, out: &mut dyn Write) -> Result<()> {
    writeln!(out)?;
    let mut table = Table::new(&["day", "model", "deployment", "predictions"]);
    for row in tally.rows() {
        table.row(&[row.day, row.model, row.deployment, row.predictions.to_string()], out)?;
    }
    table.end(out)?;
    Ok(writeln!(out, "{} predictions", tally.total())?)
}
