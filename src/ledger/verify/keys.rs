//! Whose signatures count: those of keys that the auditor was handed, else those that the log names itself. Pure.

use crate::tlog::{Checkpoint, Note, NoteError, Scheme, SignedCheckpoint, VerifierKey};

/// The keys to check with.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// What the auditor brought.
    pub(super) given: Vec<VerifierKey>,
    /// What the log's start entries name.
    pub(super) named: Vec<VerifierKey>,
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
    /// Signatures of keys that are not known here.
    pub(super) unknown: u64,
    /// Why the log's own signature does not count.
    pub(super) problem: Option<String>,
}

impl Keys {
    /// Whether the log's own keys are those that it names itself. A plain Ed25519 key is never a witness's.
    pub(super) fn log_vouches_for_itself(&self, origin: Option<&str>) -> bool {
        let is_logs =
            |key: &VerifierKey| Some(key.name()) == origin || (self.strict && key.scheme() == Scheme::Ed25519);
        !self.given.iter().any(is_logs)
    }

    /// The keys that count as the log's.
    pub(super) fn of_log(&self, origin: &str) -> Vec<&VerifierKey> {
        let keys = if self.log_vouches_for_itself(Some(origin)) { &self.named } else { &self.given };
        keys.iter().filter(|key| signs_for(key, origin)).collect()
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
        let (mut by, mut problem) = (Vec::new(), None);
        for (place, key) in self.given.iter().enumerate() {
            match note.verified_by([key]) {
                Ok(verified) => by.extend(verified.into_iter().map(|(_, time)| (place, time))),
                Err(NoteError::Untrusted) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
        let origin = checkpoint.origin.as_str();
        let by_log = if self.log_vouches_for_itself(Some(origin)) {
            let own = note.verified_by(self.of_log(origin));
            if let Err(error @ NoteError::Forged(_)) = &own {
                problem = Some(error.to_string());
            }
            own.is_ok()
        } else {
            by.iter().any(|(place, _)| self.given.get(*place).is_some_and(|key| signs_for(key, origin)))
        };
        if !by_log && problem.is_none() {
            problem = Some(self.untrusted(origin));
        }
        let known = |name: &str, id: [u8; 4]| {
            self.given.iter().chain(&self.named).any(|key| key.name() == name && key.id() == id)
        };
        let unknown = note.signatures.iter().filter(|line| !known(&line.name, line.id)).count() as u64;
        Signed { checkpoint, by, unknown, problem }
    }

    fn untrusted(&self, origin: &str) -> String {
        if self.log_vouches_for_itself(Some(origin)) {
            format!("none of the keys that the log names for {origin} signed it")
        } else {
            format!("none of the given keys signed it for {origin}")
        }
    }
}

/// Whether a key can be that of the log with this name.
fn signs_for(key: &VerifierKey, origin: &str) -> bool {
    key.name() == origin && key.scheme() != Scheme::CosignatureV1
}
