//! One entry for reading: as a JSON line with its index, or as a row of a table.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cli::output::Table;
use crate::ledger::read::Found;

/// A list of entries being printed.
#[derive(Debug)]
pub(super) enum Listing {
    /// One object a line.
    Json,
    /// A table.
    Table(Table),
}

impl Listing {
    pub(super) fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else {
            Self::Table(Table::new(&["index", "time", "kind", "id", "model", "outcome", "status", "ms", "detail"]))
        }
    }

    pub(super) fn print(&mut self, found: &Found, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Json => Ok(json_line(found, out)?),
            Self::Table(table) => Ok(table.row(&row(found)?, out)?),
        }
    }

    /// Shows what was printed so far, for who watches.
    pub(super) fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Self::Table(table) = self {
            table.flush(out)?;
        }
        out.flush()
    }

    pub(super) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Json => Ok(()),
            Self::Table(table) => table.end(out),
        }
    }
}

/// The entry's own bytes with its index before them.
pub(super) fn json_line(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    let rest = found.entry.strip_prefix(b"{").unwrap_or(&found.entry);
    let comma = if rest.starts_with(b"}") { "" } else { "," };
    write!(out, "{{\"index\":{}{comma}", found.index)?;
    out.write_all(rest)?;
    out.write_all(b"\n")
}

/// The entry's fields.
pub(in crate::cli) fn parse(found: &Found) -> Result<Value> {
    serde_json::from_slice(&found.entry).with_context(|| format!("entry {} is no JSON", found.index))
}

/// A field by its path, as text; empty where there is none.
pub(in crate::cli) fn text(entry: &Value, pointer: &str) -> String {
    match entry.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn row(found: &Found) -> Result<[String; 9]> {
    let entry = parse(found)?;
    let field = |pointer: &str| text(&entry, pointer);
    let model = match (field("/model"), field("/version")) {
        (model, version) if version.is_empty() => model,
        (model, version) => format!("{model}@{version}"),
    };
    let status = match field("/output/grpc_status") {
        grpc if grpc.is_empty() => field("/output/status"),
        grpc => format!("grpc {grpc}"),
    };
    let millis = entry.pointer("/duration_us").and_then(Value::as_u64);
    let millis = millis.map(|micros| format!("{}.{:03}", micros / 1000, micros % 1000)).unwrap_or_default();
    let kind = field("/kind");
    let (id, detail) = match kind.as_str() {
        "lineage" => {
            (field("/digest"), format!("{}@{}", field("/document/model/name"), field("/document/model/version")))
        }
        "lifecycle" => (String::new(), [field("/event"), field("/detail")].join(" ").trim().to_owned()),
        "gap" => (String::new(), format!("{} {}", field("/count"), field("/reason"))),
        _ => (field("/id"), field("/decision")),
    };
    let model = if kind == "lineage" { String::new() } else { model };
    Ok([found.index.to_string(), field("/time"), kind, id, model, field("/outcome"), status, millis, detail])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const PREDICTION: &str = r#"{"v":1,"kind":"prediction","nonce":"00","id":"0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10","time":"2026-11-20T17:29:01.123456Z","duration_us":2140,"deployment":"fraud-prod","instance":"pod","backend":"champion","protocol":"oip-rest","route":"/v2/models/{model}/infer","model":"fraud","version":"v1.2.3","version_source":"declared","datasets":["transactions@v2.0"],"lineage":"aa","input":{"bytes":812,"alg":"sha256","hash":"bb","type":"application/json"},"output":{"status":200,"bytes":141,"alg":"sha256","hash":"cc"},"decision":"a \"b\", c","outcome":"complete","trace":"dd","span":"ee","client_request_id":"=1+1"}"#;

    pub(crate) fn found(index: u64, entry: &str) -> Found {
        Found { log: [0; 16], index, entry: entry.as_bytes().to_vec() }
    }

    fn printed(json: bool, entries: &[Found]) -> String {
        let mut out = Vec::new();
        let mut listing = Listing::new(json);
        for entry in entries {
            listing.print(entry, &mut out).unwrap();
        }
        listing.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_is_the_entry_with_its_index() {
        let line = printed(true, &[found(17, PREDICTION)]);
        assert_eq!(line, format!("{{\"index\":17,{}\n", &PREDICTION[1..]));
        assert_eq!(printed(true, &[found(0, "{}")]), "{\"index\":0}\n");
    }

    #[test]
    fn every_kind_has_its_row() {
        let lines = printed(
            false,
            &[
                found(7, PREDICTION),
                found(8, r#"{"v":1,"kind":"gap","time":"t","count":17,"reason":"passed"}"#),
                found(9, r#"{"v":1,"kind":"lifecycle","time":"t","event":"start","detail":{"unclean":true}}"#),
                found(
                    10,
                    r#"{"v":1,"kind":"lineage","time":"t","digest":"ab","document":{"model":{"name":"m","version":"v"}}}"#,
                ),
            ],
        );
        let lines: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1][..4],
            ["7", "2026-11-20T17:29:01.123456Z", "prediction", "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10"]
        );
        assert_eq!(lines[1][4..8], ["fraud@v1.2.3", "complete", "200", "2.140"]);
        assert_eq!(lines[2][8..], ["17", "passed"]);
        assert_eq!(lines[3][8..], ["start", "{\"unclean\":true}"]);
        assert_eq!(lines[4][3..], ["ab", "-", "-", "-", "-", "m@v"]);
    }
}
