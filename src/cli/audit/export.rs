//! `touchmark audit export`: entries for other tools.
//!
//! Values are written as they are recorded: evidence is not altered for a spreadsheet's sake. A file appears under
//! its name only when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::filter::Filter;
use super::{Data, Readable, entry};
use crate::cli::{Status, output};
use crate::ledger::read::Found;

/// The columns of CSV and where their values stand in an entry. Order is a contract: append only.
const COLUMNS: &[(&str, &str)] = &[
    ("v", "/v"),
    ("kind", "/kind"),
    ("nonce", "/nonce"),
    ("id", "/id"),
    ("time", "/time"),
    ("duration_us", "/duration_us"),
    ("deployment", "/deployment"),
    ("instance", "/instance"),
    ("backend", "/backend"),
    ("protocol", "/protocol"),
    ("route", "/route"),
    ("model", "/model"),
    ("version", "/version"),
    ("version_source", "/version_source"),
    ("requested_version", "/requested_version"),
    ("observed_version", "/observed_version"),
    ("datasets", "/datasets"),
    ("lineage", "/lineage"),
    ("input_bytes", "/input/bytes"),
    ("input_alg", "/input/alg"),
    ("input_hash", "/input/hash"),
    ("input_type", "/input/type"),
    ("input_encoding", "/input/encoding"),
    ("input_grpc_encoding", "/input/grpc_encoding"),
    ("input_messages", "/input/messages"),
    ("output_status", "/output/status"),
    ("output_grpc_status", "/output/grpc_status"),
    ("output_bytes", "/output/bytes"),
    ("output_alg", "/output/alg"),
    ("output_hash", "/output/hash"),
    ("output_encoding", "/output/encoding"),
    ("output_grpc_encoding", "/output/grpc_encoding"),
    ("output_messages", "/output/messages"),
    ("decision", "/decision"),
    ("outcome", "/outcome"),
    ("trace", "/trace"),
    ("span", "/span"),
    ("parent", "/parent"),
    ("client_request_id", "/client_request_id"),
    ("truncated", "/truncated"),
    ("digest", "/digest"),
    ("document", "/document"),
    ("event", "/event"),
    ("detail", "/detail"),
    ("from", "/from"),
    ("to", "/to"),
    ("count", "/count"),
    ("reason", "/reason"),
];

/// `touchmark audit export`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    data: Data,
    /// Say how much was written as one JSON object; only with a file
    #[arg(long, requires = "output")]
    json: bool,
}

/// What entries are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The entries' own bytes, one a line, with their index
    Jsonl,
    /// RFC 4180, with a header; lists and objects as JSON
    Csv,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let query = args.filter.query(None)?;
    let reader = args.data.open()?;
    let mut readable = Readable::new(reader.find(&query));
    let Some(path) = &args.output else {
        write(&mut readable, args.format, out)?;
        return Ok(readable.status());
    };
    let count = whole(path, |file| write(&mut readable, args.format, file))?;
    if args.json {
        writeln!(out, "{}", serde_json::json!({"file": path, "entries": count}))?;
    } else {
        output::note(&format!("{}: {count} entries", path.display()));
    }
    Ok(readable.status())
}

/// Writes a file beside its place and moves it there once it is whole and on the disk.
pub(super) fn whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<u64>) -> Result<u64> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = write_synced(&partial, write).and_then(|count| Ok(fs::rename(&partial, path).map(|()| count)?));
    if written.is_err() {
        let _already_failing = fs::remove_file(&partial);
    }
    written.with_context(|| path.display().to_string())
}

fn write_synced(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<u64>) -> Result<u64> {
    let mut file = BufWriter::new(File::create_new(path)?);
    let count = write(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(count)
}

fn write(entries: impl Iterator<Item = Found>, format: Format, out: &mut dyn Write) -> Result<u64> {
    if format == Format::Csv {
        let names = std::iter::once("index").chain(COLUMNS.iter().map(|(name, _)| *name));
        record(names.map(str::to_owned), out)?;
    }
    let mut count = 0;
    for found in entries {
        match format {
            Format::Jsonl => entry::json_line(&found, out)?,
            Format::Csv => {
                let fields = entry::parse(&found)?;
                let values = COLUMNS.iter().map(|(_, pointer)| entry::text(&fields, pointer));
                record(std::iter::once(found.index.to_string()).chain(values), out)?;
            }
        }
        count += 1;
    }
    Ok(count)
}

/// One record: RFC 4180, section 2.
fn record(values: impl Iterator<Item = String>, out: &mut dyn Write) -> io::Result<()> {
    for (place, value) in values.enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        if value.contains([',', '"', '\r', '\n']) {
            write!(out, "\"{}\"", value.replace('"', "\"\""))?;
        } else {
            out.write_all(value.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{PREDICTION, found};
    use super::*;

    fn written(format: Format) -> String {
        let entries = [found(3, PREDICTION), found(4, r#"{"v":1,"kind":"gap","count":2,"reason":"passed"}"#)];
        let mut out = Vec::new();
        assert_eq!(write(entries.into_iter(), format, &mut out).unwrap(), 2);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_quotes_by_the_book_and_alters_nothing() {
        let text = written(Format::Csv);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("index,v,kind,nonce,id,time,"));
        assert!(lines[1].starts_with("3,1,prediction,00,0192f0c1-"));
        assert!(lines[1].contains(r#","[""transactions@v2.0""]","#), "{}", lines[1]);
        assert!(lines[1].contains(r#","a ""b"", c",complete,"#), "{}", lines[1]);
        assert!(lines[1].contains(",=1+1,"), "{}", lines[1]);
        assert_eq!(lines[2].split(',').count(), COLUMNS.len() + 1);
        assert!(lines[2].ends_with(",2,passed"));
    }

    #[test]
    fn json_lines_are_the_entries_own_bytes() {
        assert_eq!(written(Format::Jsonl).lines().next().unwrap(), format!("{{\"index\":3,{}", &PREDICTION[1..]));
    }

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let dir = std::env::temp_dir().join(format!("touchmark-export-{:016x}", rand::random::<u64>()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("entries.csv");
        let failed = whole(&path, |out| {
            out.write_all(b"half")?;
            anyhow::bail!("damaged")
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("entries.csv: damaged"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        let count = whole(&path, |out| {
            out.write_all(b"all")?;
            Ok(1)
        });
        assert_eq!((count.unwrap(), fs::read(&path).unwrap().as_slice()), (1, &b"all"[..]));
        fs::remove_dir_all(&dir).unwrap();
    }
}
