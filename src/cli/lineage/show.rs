//! `touchmark lineage show`: one thing in full.

use std::io::{self, Write};

use anyhow::Result;

use super::{Asked, Question, json_line, output};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::ask::{Detail, Link, detail, find, render};

/// `touchmark lineage show X`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What: model:NAME@VERSION, dataset:[NAMESPACE/]NAME@VERSION, run:ID, …, or a name that fits one thing
    #[arg(value_name = "X")]
    what: String,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let question = Question::of("nodes", &args.what);
    if let Some(answer) = args.asked.elsewhere(question, args.asked.json).await? {
        json_line(&answer, out)?;
        return Ok(Status::Done);
    }
    let (catalog, moment) = args.asked.open().await?;
    let node = find(&catalog, &args.what, moment).await?;
    let detail = detail(&catalog, node, moment).await?;
    catalog.close().await;
    if args.asked.json {
        json_line(&detail, out)?;
    } else {
        print(&detail, out)?;
    }
    if detail.truncated {
        output::note("there is more than is shown");
    }
    Ok(Status::Done)
}

fn print(detail: &Detail, out: &mut dyn Write) -> Result<()> {
    let node = &detail.node;
    writeln!(out, "{}", render::shown(node))?;
    field("type", &node.type_name, out)?;
    for (name, value) in [("state", render::state(node)), ("uri", node.uri.clone())] {
        value.map_or(Ok(()), |value| field(name, &value, out))?;
    }
    field("recorded", &node.created.to_string(), out)?;
    for (name, value) in &node.properties {
        field(name, &value.to_string(), out)?;
    }
    for context in &detail.contexts {
        field(&format!("in {}", context.type_name.to_lowercase()), &context.name, out)?;
    }
    links("made from", &detail.inputs, out)?;
    links("led to", &detail.outputs, out)?;
    writeln!(out)?;
    let mut table = Table::new(&["time", "author", "source", "property", "became"]);
    for change in &detail.history {
        let value = change.value.as_ref().map(ToString::to_string).unwrap_or_default();
        let cells = [change.time.to_string(), change.author.clone(), change.source.clone(), change.name.clone(), value];
        table.row(&cells, out)?;
    }
    Ok(table.end(out)?)
}

fn links(head: &str, links: &[Link], out: &mut dyn Write) -> Result<()> {
    for link in links {
        let role = if link.edge.path.is_empty() { String::new() } else { format!(" [{}]", link.edge.path) };
        let flaw = link.edge.flaw.as_ref().map(|flaw| format!(" ! {flaw}")).unwrap_or_default();
        field(head, &format!("{}{role}{flaw}", link.id), out)?;
    }
    Ok(())
}

fn field(name: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {:<18}  {}", output::printable(name), output::printable(text))
}
