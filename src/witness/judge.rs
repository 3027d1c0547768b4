//! The judge: what may be cosigned, in the order in which the specification asks.
//!
//! A log is judged by one caller at a time, from the look at what is remembered to the moment when the new checkpoint
//! is durable: between two that race, one conflicts. Time comes from the caller; what is signed leaves only after it is
//! remembered.

use arc_swap::ArcSwap;

use super::memory::{Head, LOGS_MAX, Memory, MemoryError, Turn, unhex};
use super::request::{Request, RequestError};
use super::{Config, Logs, StartError, keys};
use crate::sha256::{Sha256, hex};
use crate::tlog::{Note, ProofError, Signature, Signer, VerifierKey, empty_root, verify_consistency};

/// A checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 400: the body is no request.
    #[error("bad request: {0}")]
    Malformed(#[from] RequestError),
    /// 400: the old size is beyond the checkpoint's.
    #[error("bad request: the old size is larger than the checkpoint's")]
    Backwards,
    /// 404: no log of this origin is known.
    #[error("unknown log")]
    Unknown,
    /// 403: none of its keys signed, or a signature of one is false.
    #[error("not signed by a key of this log")]
    Untrusted,
    /// 409: the last cosigned checkpoint has this size.
    #[error("{0}")]
    Conflict(u64),
    /// 422: it does not extend what was cosigned before.
    #[error("inconsistent: {0}")]
    Inconsistent(ProofError),
    /// 503: a log more does not fit.
    #[error("this witness remembers {LOGS_MAX} logs already")]
    Full,
    /// 500: it could not be remembered, or signed.
    #[error("the witness cannot cosign now")]
    Failed,
}

/// A witness: its keys, the logs that it knows, and what it remembers of them.
#[derive(Debug)]
pub struct Witness {
    signers: Vec<Signer>,
    logs: ArcSwap<Logs>,
    memory: Memory,
}

impl Witness {
    /// Opens memory and keys. `new` says that there may be a key without a memory: it has never cosigned.
    ///
    /// # Errors
    /// Where the memory is not whole, in use, or missing though a key is there; where a key cannot be had.
    pub fn open(config: &Config, new: bool) -> Result<Self, StartError> {
        let logs = compile(config)?;
        let name = config.name.as_deref().ok_or_else(|| StartError::Config("witness.name: none".to_owned()))?;
        // The memory first: a key that was made and a memory that was not would look like a loss.
        let memory = Memory::open(&config.folder(), new || !keys::any_exists(config))?;
        Ok(Self { signers: keys::load(config, name)?, logs: ArcSwap::from_pointee(logs), memory })
    }

    /// The keys that check its cosignatures, the Ed25519 one first.
    pub fn verifiers(&self) -> Vec<&VerifierKey> {
        self.signers.iter().map(Signer::verifier).collect()
    }

    /// How many logs it remembers.
    pub fn remembered(&self) -> usize {
        self.memory.len()
    }

    /// Knows these logs from here on. What it remembers stays.
    ///
    /// # Errors
    /// Where an entry is wrong; those that were known stay.
    pub fn know(&self, config: &Config) -> Result<(), StartError> {
        self.logs.store(compile(config)?.into());
        Ok(())
    }

    /// Judges the body of an `add-checkpoint` and gives the cosignature lines. `time` is in seconds since 1970.
    ///
    /// # Errors
    /// Where it is not cosigned.
    pub fn add_checkpoint(&self, body: &[u8], time: u64) -> Result<String, Refusal> {
        let request = Request::parse(body)?;
        let keys = self.logs.load().keys(&request.checkpoint.origin);
        if keys.is_empty() {
            return Err(Refusal::Unknown);
        }
        let signed = request.note.verified_by(&keys).map_err(|_| Refusal::Untrusted)?;
        let ours = |line: &&Signature| signed.iter().any(|(key, _)| key.name() == line.name && key.id() == line.id);
        let signatures = request.note.signatures.iter().filter(ours).cloned().collect();
        let note = Note { text: request.note.text.clone(), signatures };
        if request.old > request.checkpoint.size {
            return Err(Refusal::Backwards);
        }
        let judged = |turn: Turn<'_>| self.judge(turn, &request, note, time);
        self.memory.turn(&request.checkpoint.origin, judged).unwrap_or(Err(Refusal::Full))
    }

    /// The last cosigned checkpoint of the log whose origin has this SHA-256 in hex; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn checkpoint(&self, origin_hash: &str) -> Result<Option<String>, MemoryError> {
        unhex(origin_hash).map_or(Ok(None), |origin| self.memory.checkpoint(&origin))
    }

    fn judge(&self, mut turn: Turn<'_>, request: &Request, mut note: Note, time: u64) -> Result<String, Refusal> {
        let last = turn.head().unwrap_or(Head { size: 0, root: empty_root() });
        if request.old != last.size {
            return Err(Refusal::Conflict(last.size));
        }
        let head = Head { size: request.checkpoint.size, root: request.checkpoint.root };
        if let Err(error) = follows(last, head, request) {
            if turn.may_tell() {
                report(last, request, &note, error);
            }
            return Err(Refusal::Inconsistent(error));
        }
        if time == 0 {
            // A cosignature without time says less than what was asked for.
            tracing::error!("the clock says 1970: not cosigned");
            return Err(Refusal::Failed);
        }
        let mut lines = String::new();
        for signer in &self.signers {
            // One that cannot cover the whole text leaves it to the others.
            let Some(signature) = signer.sign(&note.text, time) else { continue };
            lines += &signature.to_string();
            note.signatures.push(signature);
        }
        if lines.is_empty() {
            return Err(Refusal::Failed);
        }
        // Remembered must mean that it can be read again.
        note.to_string().parse::<Note>().map_err(RequestError::from)?;
        turn.remember(head, &note).map_err(|error| {
            tracing::error!(origin = request.checkpoint.origin, %error, "a checkpoint cannot be remembered: not cosigned");
            Refusal::Failed
        })?;
        tracing::debug!(origin = request.checkpoint.origin, size = head.size, old = last.size, "cosigned");
        Ok(lines)
    }
}

/// Whether one head extends another.
fn follows(last: Head, head: Head, request: &Request) -> Result<(), ProofError> {
    if head.size == 0 && head.root != empty_root() {
        return Err(ProofError::Root);
    }
    verify_consistency((last.size, &last.root), (head.size, &head.root), &request.proof)
}

/// A log that signs two roots of one size has broken its promise, and the two notes prove it to anybody.
fn report(last: Head, request: &Request, note: &Note, error: ProofError) {
    let origin = &request.checkpoint.origin;
    if last.size == request.checkpoint.size && last.root != request.checkpoint.root {
        let file = hex(Sha256::digest(origin));
        tracing::error!(origin, size = last.size, signed = %note, remembered = file,
            "the log has signed two histories: keep this line and the remembered checkpoint, which prove it");
    } else {
        tracing::warn!(origin, size = request.checkpoint.size, old = last.size, %error, "inconsistent: not cosigned");
    }
}

fn compile(config: &Config) -> Result<Logs, StartError> {
    Logs::compile(&config.logs).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
        StartError::Config(lines.join("\n"))
    })
}
