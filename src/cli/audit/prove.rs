//! `touchmark audit prove`: one record, or the growth of the log, as a file that a third party verifies offline.
//!
//! Every proof is verified before it is written. What a verifier makes of it is `verify_proof`'s matter.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::{Data, export, show};
use crate::cli::{Status, output};
use crate::ledger::proof::Unproven;
use crate::ledger::read::{BySize, Reader};
use crate::tlog::{Checkpoint, Note, Proof};

/// How long to wait for the next checkpoint, which a running process signs each second.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks for it.
const STEP: Duration = Duration::from_millis(100);
/// The most bytes of a checkpoint's file that are read; a note has fewer.
const NOTE_BYTES_MAX: u64 = 1 << 20;
/// Stands for the newest checkpoint.
const LATEST: &str = "latest";

/// `touchmark audit prove ID`, or `touchmark audit prove --consistency OLD NEW`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The prediction's id, from X-Lineage-Trace-Id
    #[arg(value_name = "ID", value_parser = show::id, required_unless_present = "consistency")]
    id: Option<Uuid>,
    /// Prove that the log only grew between two checkpoints. Each is a file with a checkpoint, the size of one that
    /// stands in the log, or 'latest'
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["id", "tlog_proof"])]
    consistency: Vec<String>,
    /// Write the bare C2SP tlog-proof of the prediction's entry
    #[arg(long)]
    tlog_proof: bool,
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
    /// Say what was written as one JSON object; only with a file
    #[arg(long, requires = "output")]
    json: bool,
}

/// A proof, and what to say of it.
struct Made {
    text: String,
    about: String,
    json: serde_json::Value,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let dir = args.data.dir()?;
    let reader = Reader::open(&dir)?;
    let made = match (args.id, args.consistency.as_slice()) {
        (Some(id), _) => prediction(&reader, id, args.tlog_proof, is_served(&dir)),
        (None, [old, new]) => match (checkpoint(&reader, old)?, checkpoint(&reader, new)?) {
            (Ok(old), Ok(new)) => consistency(&reader, &old, &new, is_served(&dir)),
            (Err(missing), _) | (_, Err(missing)) => {
                output::note(&missing);
                return Ok(Status::Negative);
            }
        },
        // The parser asks for one or the other.
        _ => return Ok(Status::Usage),
    };
    let made = match made {
        Ok(made) => made,
        Err(unproven) => return refuse(unproven),
    };
    let Some(path) = &args.output else {
        out.write_all(made.text.as_bytes())?;
        return Ok(Status::Done);
    };
    export::whole(path, |file| Ok(file.write_all(made.text.as_bytes()).map(|()| 1)?))?;
    if args.json {
        let mut json = made.json;
        json["file"] = path.display().to_string().into();
        writeln!(out, "{json}")?;
    } else {
        output::note(&format!("{}: {}", path.display(), made.about));
    }
    Ok(Status::Done)
}

/// Whether a process seems to write there, so that a checkpoint may come.
fn is_served(dir: &Path) -> bool {
    dir.join("serve.json").exists()
}

fn prediction(reader: &Reader, id: Uuid, bare: bool, served: bool) -> Result<Made, Unproven> {
    let bundle = patiently(served, || reader.prove_prediction(id))?;
    let proof = bundle.proof.parse::<Proof>().ok();
    let index = proof.as_ref().map_or(0, |proof| proof.index);
    let size = proof.and_then(|proof| Checkpoint::parse(&proof.checkpoint.text).ok()).map_or(0, |head| head.size);
    let mut about = format!("entry {index} in the checkpoint of {size} entries");
    if !bare {
        let parts = [(bundle.lineage.is_some(), "its lineage document"), (bundle.begin.is_some(), "its beginning")];
        let parts: Vec<&str> = parts.into_iter().filter(|(is, _)| *is).map(|(_, part)| part).collect();
        if !parts.is_empty() {
            about = format!("{about}, with {}", parts.join(" and "));
        }
    }
    let json = serde_json::json!({"index": index, "checkpoint": size, "lineage": bundle.lineage.is_some(),
        "begin": bundle.begin.is_some()});
    let text = if bare { bundle.proof } else { bundle.to_json() };
    Ok(Made { text, about, json })
}

/// Waits a little for what a running process is about to write: the next checkpoint, or one that it has shown already.
fn patiently<T>(served: bool, mut prove: impl FnMut() -> Result<T, Unproven>) -> Result<T, Unproven> {
    let began = Instant::now();
    loop {
        match prove() {
            Err(Unproven::Uncovered(_) | Unproven::Shrunk(..)) if served && began.elapsed() < PATIENCE => {
                std::thread::sleep(STEP);
            }
            result => return result,
        }
    }
}

fn consistency(reader: &Reader, old: &Note, new: &Note, served: bool) -> Result<Made, Unproven> {
    let extension = patiently(served, || reader.prove_extension(old, new))?;
    let size = |note: &Note| Checkpoint::parse(&note.text).map_or(0, |head| head.size);
    let (old, new) = (size(old), size(new));
    let about = format!("from the checkpoint of {old} entries to that of {new}, nothing was changed or removed");
    let json = serde_json::json!({"old": old, "new": new});
    Ok(Made { text: extension.to_json(), about, json })
}

/// A checkpoint by its size, by its file, or the newest. The inner error says that the log has none such.
fn checkpoint(reader: &Reader, named: &str) -> Result<Result<Note, String>> {
    if named == LATEST {
        let newest = reader.newest_checkpoint()?.map(|committed| committed.note);
        return Ok(newest.ok_or_else(|| Unproven::NoCheckpoint.to_string()));
    }
    if !named.is_empty() && named.bytes().all(|byte| byte.is_ascii_digit()) {
        let size = named.parse().with_context(|| named.to_owned())?;
        return Ok(match reader.checkpoint_of(size)? {
            BySize::Exact(note) => Ok(note),
            BySize::Nearest(below, above) => {
                let near = [below, above].into_iter().flatten().map(|size| size.to_string()).collect::<Vec<_>>();
                let near = if near.is_empty() { "none".to_owned() } else { near.join(" and ") };
                Err(format!("no checkpoint in the log has {size} entries; the nearest: {near}"))
            }
        });
    }
    let mut text = String::new();
    let file = File::open(named).with_context(|| format!("{named}: neither a size nor a checkpoint's file"))?;
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).with_context(|| named.to_owned())?;
    Ok(text.parse::<Note>().map_err(|error| format!("{named}: {error}")))
}

fn refuse(unproven: Unproven) -> Result<Status> {
    let status = match &unproven {
        Unproven::Read(_) | Unproven::Tree { .. } => return Err(unproven.into()),
        Unproven::Reversed(..) => Status::Usage,
        _ => Status::Negative,
    };
    output::error(&unproven.into());
    Ok(status)
}
