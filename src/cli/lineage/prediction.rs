//! `touchmark lineage prediction`: from one answer back to raw data, and what has changed since it was given.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{JsonAlone, Place, Question, Server, output};
use crate::cli::Status;
use crate::cli::audit::entry::{parse, text};
use crate::cli::audit::show::{Story, id, story, unknown};
use crate::lineage::ask::{Traced, render, traced};
use crate::lineage::catalog::{Direction, Graph};
use crate::lineage::{Content, ModelId};

/// `touchmark lineage prediction ID`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The prediction's id, from X-Lineage-Trace-Id
    #[arg(value_name = "ID", value_parser = id)]
    id: Uuid,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    server: Server,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    if args.server.is_named() {
        if !args.json {
            return Err(JsonAlone.into());
        }
        let answer: Value = args.server.ask(&Question::of("prediction", args.id)).await?;
        writeln!(out, "{answer}")?;
        return Ok(Status::Done);
    }
    let Story { entries, document, status } = story(&args.place.ledger()?, args.id)?;
    let Some(last) = entries.last() else {
        return Ok(if status == Status::Done { unknown(args.id) } else { status });
    };
    let entry = parse(last)?;
    let document = document.map(|found| parse(&found)).transpose()?.map(|mut entry| entry["document"].take());
    let traced = in_graph(args, &entry, document.as_ref()).await?;
    if args.json {
        let mut line = json!({"prediction": entry, "document": document});
        if let (Some(line), Value::Object(rest)) = (line.as_object_mut(), serde_json::to_value(&traced)?) {
            line.extend(rest);
        }
        writeln!(out, "{line}")?;
    } else {
        print(args.id, &entry, document.as_ref(), &traced, out)?;
    }
    Ok(status)
}

async fn in_graph(args: &Args, entry: &Value, document: Option<&Value>) -> Result<Traced> {
    let (name, version) = (text(entry, "/model"), text(entry, "/version"));
    let Ok(model) = ModelId::new(&name, &version) else { return Ok(Traced::default()) };
    let time = text(entry, "/time").parse().context("the time of the entry")?;
    let frozen: Option<Content> = document.and_then(|document| serde_json::from_value(document.clone()).ok());
    let deployment = text(entry, "/deployment");
    let catalog = args.place.open().await?;
    let traced = traced(&catalog, &model, Some(&deployment), time, frozen.as_ref()).await?;
    catalog.close().await;
    Ok(traced)
}

fn print(id: Uuid, entry: &Value, document: Option<&Value>, traced: &Traced, out: &mut dyn Write) -> Result<()> {
    let mut line = |name: &str, value: String| match value {
        empty if empty.is_empty() => Ok(()),
        value => writeln!(out, "  {name:<12}  {}", output::printable(&value)),
    };
    line("prediction", id.to_string())?;
    line("time", text(entry, "/time"))?;
    line("deployment", text(entry, "/deployment"))?;
    line("outcome", text(entry, "/outcome"))?;
    line("input", text(entry, "/input/hash"))?;
    line("output", text(entry, "/output/hash"))?;
    line("model", [text(entry, "/model"), text(entry, "/version")].join("@").trim_matches('@').to_owned())?;
    if let Some(document) = document {
        let datasets = document["datasets"].as_array().into_iter().flatten();
        let datasets: Vec<String> = datasets.map(|d| format!("{}@{}", text(d, "/name"), text(d, "/version"))).collect();
        line("stamped from", format!("{} {}", text(document, "/source"), text(entry, "/lineage")))?;
        line("datasets", datasets.join(", "))?;
        line("run", text(document, "/run/id"))?;
        line("commit", text(document, "/run/code/commit"))?;
    }
    let Some(upstream) = &traced.upstream else {
        writeln!(out, "\nthe catalog does not know this model")?;
        return Ok(());
    };
    let when =
        if traced.known_then { "as it was known then" } else { "as it is known now: the catalog had not heard of it" };
    writeln!(out, "\nwhat it was made from, {when}\n")?;
    let graph = Graph {
        nodes: upstream.nodes.clone(),
        edges: upstream.edges.iter().map(|a| a.edge.clone()).collect(),
        truncated: upstream.truncated,
    };
    let begin = graph.nodes.first().map_or(0, |reached| reached.node.id);
    out.write_all(render::tree(&graph, begin, Direction::Upstream).as_bytes())?;
    writeln!(
        out,
        "\n{}",
        if traced.since.is_empty() { "nothing has changed since" } else { "what has changed since\n" }
    )?;
    for change in &traced.since {
        let who = change.author.as_ref().map(|author| format!(", by {author}")).unwrap_or_default();
        let when = change.time.map(|time| format!(" ({time}{who})")).unwrap_or_default();
        writeln!(
            out,
            "  {}: {}{}",
            output::printable(&change.about),
            output::printable(&change.what),
            output::printable(&when)
        )?;
    }
    Ok(())
}
