//! `touchmark lineage upstream` and `downstream`: what something was made from, and what was made from it.

use std::io::Write;

use anyhow::Result;
use clap::ValueEnum;

use super::{Asked, Question, json_line, output};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::ask::{self, Lineage, find, reach, render};
use crate::lineage::catalog::Direction;

/// `touchmark lineage upstream X`, `touchmark lineage downstream X`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to begin: model:NAME@VERSION, dataset:[NAMESPACE/]NAME@VERSION, run:ID, …, or a name that fits one thing
    #[arg(value_name = "X")]
    what: String,
    /// At most so many steps
    #[arg(long, value_name = "STEPS", default_value_t = ask::Question::DEPTH)]
    depth: u32,
    /// Only these: model, dataset, run, training, artifact, …; what is left out still connects
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<String>,
    /// At most so many nodes
    #[arg(long, value_name = "COUNT", default_value_t = ask::Question::NODES)]
    limit: usize,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Tree, conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    asked: Asked,
}

/// What a graph is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One thing a line, below what it was reached from
    Tree,
    /// One thing a line, nearest first
    Table,
    /// One object; the same as --json
    Json,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
}

pub(super) async fn run(args: &Args, direction: Direction, out: &mut dyn Write) -> Result<Status> {
    let question = Question::of(&format!("{direction:?}").to_lowercase(), &args.what)
        .with("depth", Some(args.depth))
        .with("limit", Some(args.limit))
        .with("kind", (!args.kinds.is_empty()).then(|| args.kinds.join(",")));
    if let Some(answer) = args.asked.elsewhere(question, args.asked.json || args.format == Format::Json).await? {
        json_line(&answer, out)?;
        return Ok(Status::Done);
    }
    let (catalog, at) = args.asked.open().await?;
    let begin = find(&catalog, &args.what, at).await?;
    let (depth_max, nodes_max) = (args.depth, args.limit.max(1));
    let question = ask::Question { direction, depth_max, nodes_max, kinds: args.kinds.clone(), at };
    let graph = reach(&catalog, &begin, &question).await?;
    catalog.close().await;
    match args.format {
        _ if args.asked.json => json_line(&Lineage::new(&begin, direction, graph), out)?,
        Format::Json => json_line(&Lineage::new(&begin, direction, graph), out)?,
        Format::Tree => out.write_all(render::tree(&graph, begin.id, direction).as_bytes())?,
        Format::Dot => out.write_all(render::dot(&graph).as_bytes())?,
        Format::Mermaid => out.write_all(render::mermaid(&graph).as_bytes())?,
        Format::Table => {
            let mut table = Table::new(&render::HEADS);
            render::rows(&graph).iter().try_for_each(|row| table.row(row, out))?;
            table.end(out)?;
            if graph.truncated {
                output::note("there is more: raise --limit or --depth");
            }
        }
    }
    Ok(Status::Done)
}
