//! `touchmark audit verify-proof`: a proof and keys in, a verdict out. It reads no ledger and asks no network.
//!
//! The keys must come from elsewhere than the proof: from the operator, a contract, a witness's page. Without them it
//! can say no, never yes.

use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{entry, key};
use crate::cli::{Status, output};
use crate::ledger::proof::{Bundle, Extension, Included, Signed, Trust, Verdict};
use crate::tlog::VerifierKey;

/// The most bytes of a proof or an entry that are read: three entries and three notes have far fewer.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What a bare tlog-proof begins with.
const BARE: &str = "c2sp.org/tlog-proof@";
const NO_KEY: &str = "no --key was given: it agrees with the keys that came with it, which whoever made it chose. Get the \
                      log's key from its operator (touchmark audit key) and give it as --key";

/// `touchmark audit verify-proof FILE --key KEY`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What touchmark audit prove wrote; '-' reads standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// A key to trust, the log's or a witness's; may be repeated
    #[arg(long = "key", value_name = "NAME+ID+BASE64")]
    keys: Vec<VerifierKey>,
    /// How many of the witnesses whose keys are given must have cosigned
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    witnesses: usize,
    /// The entry that a bare .tlog-proof is of
    #[arg(long, value_name = "FILE")]
    entry: Option<String>,
    /// Print the verdict as one JSON object
    #[arg(long)]
    json: bool,
}

/// What a proof says, once it is read.
enum Claim {
    Bundle(Box<Bundle>),
    Extension(Box<Extension>),
    Bare { proof: String, entry: Vec<u8> },
}

/// A verdict in favour: a sentence, lines of what is known, and both as JSON.
struct Shown {
    sentence: String,
    lines: Vec<(&'static str, String)>,
    json: Value,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let bytes = read(&args.file)?;
    let claim = match claim(&bytes, args.entry.as_deref())? {
        Ok(claim) => claim,
        Err(Wrong::Usage(what)) => {
            output::note(&what);
            return Ok(Status::Usage);
        }
        Err(Wrong::NoProof(reason)) => return refuse(args, &format!("this is no proof: {reason}"), out),
    };
    let own = args.keys.is_empty();
    let keys = if own { claim.own_keys() } else { Ok(args.keys.clone()) };
    let trust = match keys {
        Ok(keys) if keys.is_empty() => {
            output::note("it names no key of its own: say with --key whom to trust");
            return Ok(Status::Usage);
        }
        Ok(keys) => Trust { keys, witnesses: args.witnesses },
        Err(error) => return refuse(args, &error, out),
    };
    let shown = match claim.verify(&trust) {
        Ok(shown) => shown,
        Err(reason) => return refuse(args, &reason, out),
    };
    if own {
        // Consistent is not true: never a yes.
        if args.json {
            writeln!(out, "{}", json!({"verified": false, "consistent": true, "reason": NO_KEY}))?;
        } else {
            writeln!(out, "not verified: {NO_KEY}")?;
        }
        return Ok(Status::Usage);
    }
    print(&shown, args.json, out)?;
    Ok(Status::Done)
}

fn refuse(args: &Args, reason: &str, out: &mut dyn Write) -> Result<Status> {
    if args.json {
        writeln!(out, "{}", json!({"verified": false, "reason": reason}))?;
    } else {
        writeln!(out, "NOT VERIFIED: {}", output::printable(reason))?;
    }
    Ok(Status::Negative)
}

fn print(shown: &Shown, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        return Ok(writeln!(out, "{}", shown.json)?);
    }
    writeln!(out, "verified: {}", output::printable(&shown.sentence))?;
    for (name, value) in &shown.lines {
        writeln!(out, "  {name:<10}  {}", output::printable(value))?;
    }
    Ok(())
}

fn read(name: &str) -> Result<Vec<u8>> {
    fn all(source: impl Read) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        source.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
    let bytes = if name == "-" { all(io::stdin().lock()) } else { File::open(name).and_then(all) };
    bytes.with_context(|| name.to_owned())
}

/// Why a file cannot be judged.
enum Wrong {
    Usage(String),
    NoProof(String),
}

fn claim(bytes: &[u8], entry: Option<&str>) -> Result<Result<Claim, Wrong>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(Err(Wrong::NoProof("it is no text".to_owned())));
    };
    if text.starts_with(BARE) {
        let Some(name) = entry else {
            return Ok(Err(Wrong::Usage(
                "a bare tlog-proof does not hold its entry: give it with --entry FILE".into(),
            )));
        };
        let mut entry = read(name)?;
        // Editors and `jq` end files with a line feed, entries never.
        entry.pop_if(|last| *last == b'\n');
        return Ok(Ok(Claim::Bare { proof: text.to_owned(), entry }));
    }
    if entry.is_some() {
        return Ok(Err(Wrong::Usage("--entry is for a bare tlog-proof; this file has its own".into())));
    }
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Ok(Err(Wrong::NoProof(error.to_string()))),
    };
    // From the text again, so that a member that stands twice is refused.
    let claim = if value.get("consistency").is_some() {
        serde_json::from_str(text).map(|extension| Claim::Extension(Box::new(extension)))
    } else {
        serde_json::from_str(text).map(|bundle| Claim::Bundle(Box::new(bundle)))
    };
    Ok(claim.map_err(|error| Wrong::NoProof(error.to_string())))
}

impl Claim {
    /// The keys that it names itself.
    fn own_keys(&self) -> Result<Vec<VerifierKey>, String> {
        let keys = match self {
            Self::Bundle(bundle) => bundle.keys.as_slice(),
            Self::Extension(extension) => extension.keys.as_slice(),
            Self::Bare { .. } => &[],
        };
        keys.iter().map(|key| key.parse().map_err(|error| format!("its keys: {error}"))).collect()
    }

    fn verify(&self, trust: &Trust) -> Result<Shown, String> {
        match self {
            Self::Bundle(bundle) => {
                let verdict = trust.bundle(bundle).map_err(|refused| refused.to_string())?;
                Ok(of_bundle(bundle, &verdict))
            }
            Self::Extension(extension) => {
                let (old, new) = trust.extension(extension).map_err(|refused| refused.to_string())?;
                Ok(of_extension(&old, &new))
            }
            Self::Bare { proof, entry } => {
                let included = trust.entry(entry, proof).map_err(|refused| refused.to_string())?;
                Ok(of_entry(&included))
            }
        }
    }
}

fn of_bundle(bundle: &Bundle, verdict: &Verdict) -> Shown {
    let Included { index, signed } = &verdict.prediction;
    let entry: Value = serde_json::from_str(&bundle.entry).unwrap_or_default();
    let field = |pointer: &str| entry::text(&entry, pointer);
    let datasets = entry.pointer("/datasets").and_then(Value::as_array).into_iter().flatten();
    let datasets: Vec<&str> = datasets.filter_map(Value::as_str).collect();
    let hash = |body: &str| format!("{} {}", field(&format!("{body}/alg")), field(&format!("{body}/hash")));
    let mut lines = vec![
        ("time", field("/time")),
        ("model", [field("/model"), field("/version")].join("@").trim_matches('@').to_owned()),
        ("datasets", datasets.join(", ")),
        ("input", hash("/input")),
        ("output", hash("/output")),
        ("outcome", [field("/outcome"), field("/output/status")].join(" ")),
    ];
    lines.retain(|(_, value)| !value.trim().is_empty());
    if let Some(lineage) = &verdict.lineage {
        let what = if lineage.whole {
            "the document is in the log and hashes to what the prediction refers to"
        } else {
            "the log has this digest alone, the document was too large for an entry"
        };
        lines.push(("lineage", format!("{}: {what}", lineage.digest)));
    }
    if let Some(begin) = &verdict.begin {
        lines.push(("begin", format!("entry {}: its answer was streamed, and begun before", begin.index)));
    }
    lines.extend(signers(signed));
    let mut json = known(signed);
    json["index"] = (*index).into();
    json["lineage"] = verdict.lineage.as_ref().map_or(
        Value::Null,
        |lineage| json!({"index": lineage.included.index, "digest": lineage.digest, "whole": lineage.whole}),
    );
    json["begin"] = verdict.begin.as_ref().map_or(Value::Null, |begin| json!({"index": begin.index}));
    json["entry"].clone_from(&entry);
    let sentence = format!("prediction:{} is entry {index} of the log {}", field("/id"), signed.checkpoint.origin);
    Shown { sentence, lines, json }
}

fn of_extension(old: &Signed, new: &Signed) -> Shown {
    let (before, after) = (old.checkpoint.size, new.checkpoint.size);
    let origin = &new.checkpoint.origin;
    let sentence = format!("the log {origin} grew from {before} entries to {after}; none of the {before} was changed");
    let mut lines = signers(old);
    lines.extend(signers(new));
    Shown { sentence, lines, json: json!({"verified": true, "old": known(old), "new": known(new)}) }
}

fn of_entry(Included { index, signed }: &Included) -> Shown {
    let mut json = known(signed);
    json["index"] = (*index).into();
    let sentence = format!("it is entry {index} of the log {}", signed.checkpoint.origin);
    Shown { sentence, lines: signers(signed), json }
}

/// Who signed, for people.
fn signers(signed: &Signed) -> Vec<(&'static str, String)> {
    let keys: Vec<&str> = signed.keys.iter().map(|signer| key::scheme(signer.scheme())).collect();
    let witnesses: Vec<String> = signed.witnesses.iter().map(|(name, at)| format!("{name} at {}", time(*at))).collect();
    let witnesses = if witnesses.is_empty() { "none whose key was given".to_owned() } else { witnesses.join(", ") };
    let size = signed.checkpoint.size;
    let mut lines = vec![("checkpoint", format!("{size} entries, signed by the log's key ({})", keys.join(", ")))];
    if !signed.rotations.is_empty() {
        let entries: Vec<String> = signed.rotations.iter().map(|index| format!("entry {index}")).collect();
        lines.push(("key", format!("it follows the one that was given, by {}", entries.join(" and "))));
    }
    lines.push(("witnesses", witnesses));
    lines
}

/// A checkpoint that was verified, for scripts.
fn known(signed: &Signed) -> Value {
    let keys: Vec<String> = signed.keys.iter().map(ToString::to_string).collect();
    let witnesses: Vec<Value> =
        signed.witnesses.iter().map(|(name, at)| json!({"name": name, "time": time(*at)})).collect();
    json!({"verified": true, "log": signed.checkpoint.origin, "size": signed.checkpoint.size, "keys": keys,
        "rotations": signed.rotations, "witnesses": witnesses})
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}
