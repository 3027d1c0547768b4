//! `touchmark audit hash`: the hash under which the ledger keeps an input, as `sha256sum` would print it.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::sha256::{Sha256, hex};
use anyhow::{Context as _, Result};
use serde_json::json;

use crate::cli::Status;

/// Bytes read at once: payloads may be larger than memory.
const CHUNK_LEN: usize = 64 << 10;

/// `touchmark audit hash FILE…`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The payload's raw bytes; '-' reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// What was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Hashed {
    /// How many bytes.
    pub(in crate::cli) bytes: u64,
    /// Their hash.
    pub(in crate::cli) sha256: [u8; 32],
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    for name in &args.files {
        let Hashed { bytes, sha256 } = file(name).with_context(|| name.clone())?;
        let hash = hex(sha256);
        if args.json {
            writeln!(out, "{}", json!({"name": name, "bytes": bytes, "alg": "sha256", "hash": hash}))?;
        } else {
            writeln!(out, "{hash}  {}", crate::cli::output::printable(name))?;
        }
    }
    Ok(Status::Done)
}

/// Hashes a file's bytes, or standard input's.
pub(in crate::cli) fn file(name: &str) -> io::Result<Hashed> {
    if name == "-" { read(io::stdin().lock()) } else { read(File::open(name)?) }
}

fn read(mut source: impl Read) -> io::Result<Hashed> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_LEN];
    let mut bytes = 0;
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(Hashed { bytes, sha256: hasher.finish() }),
            Ok(len) => {
                hasher.update(&chunk[..len]);
                bytes += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 180-4's own examples.
        let hash = |bytes: &[u8]| hex(read(bytes).unwrap().sha256);
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hash(&million), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
        assert_eq!(read(&million[..]).unwrap().bytes, 1_000_000);
    }
}
