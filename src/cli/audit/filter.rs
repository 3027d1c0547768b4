//! The flags that say which entries are meant, and what they may look like.
//!
//! A value that cannot fit any entry is refused here: a mistyped hash must not read as "no such decision".

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::hash;
use crate::cli::time::time;
use crate::exchange::Outcome;
use crate::ledger::Kind;
use crate::ledger::read::Query;

/// Which entries are meant: those that fit every flag.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// The input itself; '-' reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "input_hash")]
    input: Option<String>,
    /// The SHA-256 of the input, as sha256sum prints it
    #[arg(long, value_name = "HEX", value_parser = digest::<32>)]
    input_hash: Option<Hex<32>>,
    /// The SHA-256 of the output
    #[arg(long, value_name = "HEX", value_parser = digest::<32>)]
    output_hash: Option<Hex<32>>,
    /// A prediction's id, from X-Lineage-Trace-Id
    #[arg(long, value_name = "ID")]
    prediction: Option<Uuid>,
    /// A W3C trace id, from traceparent
    #[arg(long, value_name = "ID", value_parser = digest::<16>)]
    trace: Option<Hex<16>>,
    /// A model's name, or NAME@VERSION
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A model's version
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// A dataset that the model was trained on, as [NAMESPACE/]NAME@VERSION
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    /// How the prediction ended
    #[arg(long, value_parser = Outcome::ALL.map(Outcome::as_str))]
    outcome: Option<String>,
    /// The kind of entry
    #[arg(long, value_parser = Kind::ALL.map(Kind::as_str))]
    kind: Option<String>,
    /// The earliest time: 2026-11-20T17:00:00Z, 2026-11-20 (UTC), or 2h (ago)
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<SystemTime>,
    /// The time before which: as --from
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<SystemTime>,
    /// At most so many entries
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Bytes as hexadecimal. A type of its own, since clap takes arrays for lists of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hex<const LEN: usize>([u8; LEN]);

impl Filter {
    /// The query, which reads the input where it is given itself.
    pub(super) fn query(&self, kind_default: Option<Kind>) -> Result<Query> {
        let input = self.input.as_deref().map(|name| hash::file(name).with_context(|| name.to_owned())).transpose()?;
        let (mut model, mut version) = (self.model.clone(), self.version.clone());
        if version.is_none()
            && let Some((name, of_name)) = self.model.as_deref().and_then(|model| model.rsplit_once('@'))
        {
            (model, version) = (Some(name.to_owned()), Some(of_name.to_owned()));
        }
        let kind = self.kind.as_deref().and_then(|name| Kind::ALL.into_iter().find(|kind| kind.as_str() == name));
        Ok(Query {
            input_hash: input.map(|hashed| hashed.sha256).or(self.input_hash.map(|hex| hex.0)),
            output_hash: self.output_hash.map(|hex| hex.0),
            prediction: self.prediction,
            trace: self.trace.map(|hex| hex.0),
            model,
            version,
            dataset: self.dataset.clone(),
            touching: None,
            outcome: self.outcome.clone(),
            kind: kind.or(kind_default),
            from: self.from,
            to: self.to,
            limit: self.limit,
        })
    }
}

fn digest<const LEN: usize>(text: &str) -> Result<Hex<LEN>, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let wrong = || format!("write {} hexadecimal digits", 2 * LEN);
    if hex.len() != 2 * LEN || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; LEN];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).map_err(|_error| wrong())?;
    }
    Ok(Hex(bytes))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        filter: Filter,
    }

    fn query(line: &str) -> Result<Query, String> {
        let args = std::iter::once("x").chain(line.split_whitespace());
        let alone = Alone::try_parse_from(args).map_err(|error| error.to_string())?;
        alone.filter.query(Some(Kind::Prediction)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_flag_arrives() {
        let hash = "AB".repeat(32);
        let found = query(&format!(
            "--input-hash {hash} --output-hash sha256:{hash} --prediction 0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10 --trace \
             4bf92f3577b34da6a3ce929d0e0e4736 --model fraud --version v1 --dataset s3://l/t@v2 --outcome timeout \
             --kind begin --from 2026-11-20T17:00:00+01:00 --to 2026-11-21 --limit 3"
        ))
        .unwrap();
        assert_eq!(found.input_hash, Some([0xab; 32]));
        assert_eq!(found.output_hash, Some([0xab; 32]));
        assert_eq!(found.trace.unwrap()[..2], [0x4b, 0xf9]);
        assert_eq!((found.model.as_deref(), found.version.as_deref()), (Some("fraud"), Some("v1")));
        assert_eq!((found.outcome.as_deref(), found.kind), (Some("timeout"), Some(Kind::Begin)));
        assert_eq!(found.from, Some(UNIX_EPOCH + Duration::from_hours(498_664)));
        assert_eq!(found.to, Some(UNIX_EPOCH + Duration::from_hours(498_672)));
        assert_eq!(found.limit, Some(3));
        assert!(found.prediction.is_some() && found.dataset.is_some());
    }

    #[test]
    fn a_model_may_bring_its_version() {
        let found = query("--model team@corp@v1").unwrap();
        assert_eq!((found.model.as_deref(), found.version.as_deref()), (Some("team@corp"), Some("v1")));
        assert_eq!(found.kind, Some(Kind::Prediction));
    }

    #[test]
    fn what_fits_no_entry_is_refused() {
        for (line, mend) in [
            ("--input-hash abc", "write 64 hexadecimal digits"),
            ("--trace 00", "write 32 hexadecimal digits"),
            ("--prediction 17", "invalid value"),
            ("--outcome done", "complete"),
            ("--kind predictions", "lifecycle"),
            ("--from yesterday", "2h"),
            ("--input a --input-hash b", "write 64"),
            ("--input /nonexistent", "/nonexistent: No such file"),
        ] {
            let error = query(line).unwrap_err();
            assert!(error.contains(mend), "{line}: {error}");
        }
    }

    #[test]
    fn ago_is_before_now() {
        let from = query("--from 2h").unwrap().from.unwrap();
        let age = SystemTime::now().duration_since(from).unwrap();
        assert!(age >= Duration::from_hours(2) && age < Duration::from_hours(3));
    }
}
