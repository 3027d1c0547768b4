//! `touchmark lineage search`: things by type, name, owner and properties, a page at a time.

use std::io::Write;

use anyhow::Result;

use super::{Asked, Question, json_line, output, pair};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::ask::render;
use crate::lineage::catalog::{Filter, NodeKind, names};

/// `touchmark lineage search`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The beginning of the name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// A type, such as model, dataset or training, or artifact, execution, context
    #[arg(long = "type", value_name = "TYPE")]
    type_name: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// A tag with its value
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// A property with its value
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// At most so many, up to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on after this place, which the page before named
    #[arg(long, value_name = "PLACE")]
    after: Option<i64>,
    #[command(flatten)]
    asked: Asked,
}

impl Args {
    fn filter(&self) -> Filter {
        let kinds = [NodeKind::Artifact, NodeKind::Execution, NodeKind::Context];
        let word = self.type_name.as_deref();
        let kind = word.and_then(|word| kinds.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(word)));
        let owner = self.owner.iter().map(|owner| ("owner".to_owned(), owner.clone()));
        let tags = self.tags.iter().map(|(name, value)| (format!("tag.{name}"), value.clone()));
        Filter {
            kind,
            type_name: word.filter(|_| kind.is_none()).map(|word| names::known(word).to_owned()),
            name: self.name.clone(),
            properties: owner.chain(tags).chain(self.properties.iter().cloned()).collect(),
            after: self.after,
            limit: Some(self.limit),
            ..Filter::default()
        }
    }

    /// The same as a question to a server.
    fn question(&self) -> Question {
        let pairs = [("tag", &self.tags), ("property", &self.properties)];
        let pairs = pairs.iter().flat_map(|(kind, pairs)| pairs.iter().map(move |(name, value)| (*kind, name, value)));
        let question = Question::new("nodes")
            .with("type", self.type_name.as_deref())
            .with("name", self.name.as_deref())
            .with("owner", self.owner.as_deref())
            .with("after", self.after)
            .with("limit", Some(self.limit));
        pairs.fold(question, |question, (kind, name, value)| question.with(kind, Some(format!("{name}={value}"))))
    }
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    if let Some(page) = args.asked.elsewhere(args.question(), args.asked.json).await? {
        let nodes = page["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        nodes.iter().try_for_each(|node| json_line(node, out))?;
        return Ok(ended(nodes.is_empty(), page["next"].as_i64()));
    }
    let (catalog, moment) = args.asked.open().await?;
    let page = catalog.search(&args.filter(), moment).await?;
    catalog.close().await;
    if args.asked.json {
        page.nodes.iter().try_for_each(|node| json_line(node, out))?;
    } else {
        let mut table = Table::new(&["type", "id", "state", "owner", "uri", "recorded"]);
        for node in &page.nodes {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let cells = [
                node.type_name.clone(),
                render::shown(node),
                render::state(node).unwrap_or_default(),
                text(node.text("owner")),
                text(node.uri.as_deref()),
                node.created.to_string(),
            ];
            table.row(&cells, out)?;
        }
        table.end(out)?;
    }
    Ok(ended(page.nodes.is_empty(), page.next))
}

fn ended(nothing: bool, next: Option<i64>) -> Status {
    if let Some(next) = next {
        output::note(&format!("there is more: --after {next}"));
    }
    if nothing {
        output::note("nothing found");
        return Status::Negative;
    }
    Status::Done
}
