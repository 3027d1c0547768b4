//! `touchmark lineage completeness`: how much leads back to where it came from, and what the rest lacks.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::{Asked, Question, json_line, output};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::ask::{Share, completeness};

/// `touchmark lineage completeness`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let question = Question::new("completeness");
    if let Some(answer) = args.asked.elsewhere(question, args.asked.json).await? {
        json_line(&answer, out)?;
        return Ok(Status::Done);
    }
    let (catalog, at) = args.asked.open().await?;
    let found = completeness(&catalog, at).await?;
    catalog.close().await;
    if args.asked.json {
        json_line(&found, out)?;
        return Ok(Status::Done);
    }
    shares("owner", &found.by_owner, out)?;
    shares("model", &found.by_model, out)?;
    let mut table = Table::new(&["id", "owner", "missing"]);
    for gap in &found.gaps {
        table.row(&[gap.id.clone(), gap.owner.clone().unwrap_or_default(), gap.missing.join(", ")], out)?;
    }
    table.end(out)?;
    if found.more > 0 {
        output::note(&format!("{} more have gaps", found.more));
    }
    let all = found.all;
    writeln!(out, "\n{} of {} models and datasets are fully linked ({})", all.linked, all.artifacts, percent(all))?;
    Ok(Status::Done)
}

fn shares(head: &str, shares: &BTreeMap<String, Share>, out: &mut dyn Write) -> Result<()> {
    let mut table = Table::new(&[head, "linked", "of", "share"]);
    for (name, share) in shares {
        table.row(&[name.clone(), share.linked.to_string(), share.artifacts.to_string(), percent(*share)], out)?;
    }
    table.end(out)?;
    Ok(writeln!(out)?)
}

fn percent(share: Share) -> String {
    format!("{:.0} %", share.ratio() * 100.0)
}
