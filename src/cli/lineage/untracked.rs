//! `touchmark lineage untracked`: models that answered and that the graph does not know. Any is a negative finding.

use std::io::Write;

use anyhow::Result;

use super::predictions::{Range, each};
use super::{Asked, Question, json_line, output};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::ask::Traffic;

/// `touchmark lineage untracked`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let question = Question::new("untracked").at("from", args.range.from)?.at("to", args.range.to)?;
    if let Some(answer) = args.asked.elsewhere(question, args.asked.json).await? {
        let models = answer["models"].as_array().map_or(&[][..], Vec::as_slice);
        models.iter().try_for_each(|row| json_line(row, out))?;
        return Ok(ended(models.is_empty(), answer["more"].as_u64().unwrap_or_default()));
    }
    let mut traffic = Traffic::default();
    let status = each(&args.asked.place.ledger()?, args.range, None, |_, prediction| {
        traffic.take(prediction);
        Ok(())
    })?;
    let (catalog, at) = args.asked.open().await?;
    let found = traffic.untracked(&catalog, at).await?;
    catalog.close().await;
    if args.asked.json {
        found.iter().try_for_each(|row| json_line(row, out))?;
    } else {
        let mut table = Table::new(&["model", "version", "deployment", "predictions", "first", "last", "reason"]);
        for row in &found {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let cells = [
                text(&row.model),
                text(&row.version),
                row.deployment.clone(),
                row.predictions.to_string(),
                row.first.clone(),
                row.last.clone(),
                row.reason.to_owned(),
            ];
            table.row(&cells, out)?;
        }
        table.end(out)?;
    }
    let found = ended(found.is_empty(), traffic.more());
    Ok(if status == Status::Done { found } else { status })
}

/// What it comes to, where so many predictions are of models that are not told apart.
fn ended(nothing: bool, more: u64) -> Status {
    if more > 0 {
        output::note(&format!("{more} predictions of yet more models are not told apart"));
    }
    if nothing && more == 0 {
        output::note("every model in traffic is in the catalog");
        return Status::Done;
    }
    Status::Negative
}
