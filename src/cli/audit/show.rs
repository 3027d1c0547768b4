//! `touchmark audit show`: one prediction in full, with the lineage document behind its stamp.

use std::io::Write;

use anyhow::Result;
use uuid::Uuid;

use super::{Data, Readable, entry};
use crate::cli::{Status, output};
use crate::ledger::Kind;
use crate::ledger::read::{Found, Query, Reader};

/// `touchmark audit show ID`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The prediction's id, from X-Lineage-Trace-Id
    #[arg(value_name = "ID", value_parser = id)]
    id: Uuid,
    #[command(flatten)]
    data: Data,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let Story { entries, document, status } = story(&args.data.open()?, args.id)?;
    if entries.is_empty() && status == Status::Done {
        return Ok(unknown(args.id));
    }
    for found in entries.iter().chain(&document) {
        print(found, args.json, out)?;
    }
    Ok(status)
}

/// All that the ledger knows of one prediction.
#[derive(Debug)]
pub(in crate::cli) struct Story {
    /// Its entries, oldest first; none where it is not there.
    pub(in crate::cli) entries: Vec<Found>,
    /// The entry with the document behind its stamp.
    pub(in crate::cli) document: Option<Found>,
    /// Whether all of it could be read.
    pub(in crate::cli) status: Status,
}

pub(in crate::cli) fn story(reader: &Reader, id: Uuid) -> Result<Story> {
    let query = Query { prediction: Some(id), ..Query::default() };
    let mut readable = Readable::new(reader.find(&query));
    let entries: Vec<Found> = readable.by_ref().collect();
    let mut status = readable.status();
    let Some(last) = entries.last() else { return Ok(Story { entries, document: None, status }) };
    let digest = entry::text(&entry::parse(last)?, "/lineage");
    let query = Query { kind: Some(Kind::Lineage), ..Query::default() };
    let mut documents = Readable::new(reader.find(&query));
    let document = documents
        .by_ref()
        .find(|found| entry::parse(found).is_ok_and(|entry| entry::text(&entry, "/digest") == digest));
    status = if status == Status::Done { documents.status() } else { status };
    Ok(Story { entries, document, status })
}

/// Says that the ledger does not have it.
pub(in crate::cli) fn unknown(id: Uuid) -> Status {
    output::note(&format!("prediction:{id} is not in the ledger"));
    Status::Negative
}

/// Takes what reports say, too.
pub(in crate::cli) fn id(text: &str) -> Result<Uuid, uuid::Error> {
    text.strip_prefix("prediction:").unwrap_or(text).parse()
}

fn print(found: &Found, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        return Ok(entry::json_line(found, out)?);
    }
    let entry = entry::parse(found)?;
    writeln!(out, "entry {}", found.index)?;
    lines(&entry, "", out)?;
    Ok(writeln!(out)?)
}

/// `path  value` for each field.
fn lines(value: &serde_json::Value, path: &str, out: &mut dyn Write) -> Result<()> {
    match value {
        serde_json::Value::Object(members) if !members.is_empty() => {
            for (key, inner) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                lines(inner, &path, out)?;
            }
            Ok(())
        }
        serde_json::Value::Array(elements) if !elements.is_empty() => {
            for (index, inner) in elements.iter().enumerate() {
                lines(inner, &format!("{path}[{index}]"), out)?;
            }
            Ok(())
        }
        serde_json::Value::String(text) => field(path, text, out),
        other => field(path, &other.to_string(), out),
    }
}

fn field(path: &str, text: &str, out: &mut dyn Write) -> Result<()> {
    Ok(writeln!(out, "  {:<28}  {}", output::printable(path), output::printable(text))?)
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{PREDICTION, found};
    use super::*;

    #[test]
    fn every_field_has_its_line() {
        let mut out = Vec::new();
        print(&found(7, PREDICTION), false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("entry 7\n"));
        assert!(text.contains("\n  input.hash                    bb\n"), "{text}");
        assert!(text.contains("\n  datasets[0]                   transactions@v2.0\n"), "{text}");
    }

    #[test]
    fn reports_name_predictions_with_their_kind() {
        let plain = "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10";
        assert_eq!(id(plain).unwrap(), id(&format!("prediction:{plain}")).unwrap());
        assert!(id("17").is_err());
    }
}
