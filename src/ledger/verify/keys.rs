//! Whose signatures count: those of keys that the auditor was handed, else those that the log names itself. Pure.

use crate::tlog::{Checkpoint, Note, NoteError, Scheme, SignedCheckpoint, VerifierKey};

/// The keys to check with.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// What the auditor brought.
    pub(super) given: Vec<VerifierKey>,
    /// What the log's start and key entries name: those whose signatures are looked at. Which of them count, and when, is
    /// the chain's matter.
    pub(super) named: Vec<VerifierKey>,
    /// Those of them that a key entry introduces, and which.
    pub(super) introduced: Vec<(VerifierKey, u64)>,
    /// The log must be signed by one of those given, if any of them can be a log's. Not asked of a log set aside, whose
    /// key the auditor may never have had.
    pub(super) strict: bool,
}

/// A checkpoint, and what its signatures are worth.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) checkpoint: Checkpoint,
    /// Which given keys signed it, by their place, with the time of a cosignature.
    pub(super) by: Vec<(usize, Option<u64>)>,
    /// Which keys that the log alone names signed it, by their place.
    pub(super) named: Vec<usize>,
    /// Signatures of keys that are not known here.
    pub(super) unknown: u64,
    /// A signature that is false.
    pub(super) problem: Option<String>,
}

impl Keys {
    /// Whether the log's own keys are those that it names itself. A plain Ed25519 key is never a witness's.
    pub(super) fn log_vouches_for_itself(&self, origin: Option<&str>) -> bool {
        let is_logs =
            |key: &VerifierKey| Some(key.name()) == origin || (self.strict && key.scheme() == Scheme::Ed25519);
        !self.given.iter().any(is_logs)
    }

    /// Reads a checkpoint of the log with this id, and checks who signed it.
    pub(super) fn check(&self, note: &[u8], log: Option<&str>) -> Result<Signed, String> {
        let SignedCheckpoint { checkpoint, note } =
            SignedCheckpoint::from_bytes(note).map_err(|error| error.to_string())?;
        if let Some(log) = log
            && checkpoint.origin.rsplit('/').next() != Some(log)
        {
            return Err(format!("it is of another log, {}", checkpoint.origin));
        }
        Ok(self.signatures(&note, checkpoint))
    }

    /// Checks who signed a checkpoint.
    pub(super) fn signatures(&self, note: &Note, checkpoint: Checkpoint) -> Signed {
        let (mut by, mut named, mut problem) = (Vec::new(), Vec::new(), None);
        for (place, key) in self.given.iter().enumerate() {
            match note.verified_by([key]) {
                Ok(verified) => by.extend(verified.into_iter().map(|(_, time)| (place, time))),
                Err(NoteError::Untrusted) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
        let origin = checkpoint.origin.as_str();
        let own = |(_, key): &(usize, &VerifierKey)| signs_for(key, origin) && !self.given.contains(key);
        for (place, key) in self.named.iter().enumerate().filter(own) {
            match note.verified_by([key]) {
                Ok(_) => named.push(place),
                Err(NoteError::Untrusted) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
        let known = |name: &str, id: [u8; 4]| {
            self.given.iter().chain(&self.named).any(|key| key.name() == name && key.id() == id)
        };
        let unknown = note.signatures.iter().filter(|line| !known(&line.name, line.id)).count() as u64;
        Signed { checkpoint, by, named, unknown, problem }
    }

    /// What to say where nobody who counts signed.
    pub(super) fn untrusted(&self, origin: &str) -> String {
        if self.log_vouches_for_itself(Some(origin)) {
            format!("none of the keys that the log names for {origin} signed it")
        } else {
            format!("none of the given keys signed it for {origin}")
        }
    }
}

/// Whether a key can be that of the log with this name.
pub(super) fn signs_for(key: &VerifierKey, origin: &str) -> bool {
    key.name() == origin && key.scheme() != Scheme::CosignatureV1
}
