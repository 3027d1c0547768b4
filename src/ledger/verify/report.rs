//! What verification found, as data: for people, for scripts, for tests.

use std::collections::BTreeMap;

use serde::Serialize;

/// Findings of one segment, and of one log, that are kept; the others are counted.
pub(super) const FINDINGS_MAX: usize = 100;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, in the ledger's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// The first entry that is affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl Finding {
    pub(super) fn general(problem: impl Into<String>) -> Self {
        Self { file: None, byte: None, entry: None, problem: problem.into() }
    }
}

/// Findings, bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) kept: Vec<Finding>,
    pub(super) more: u64,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.more += others.more;
        others.kept.into_iter().for_each(|finding| self.add(finding));
    }
}

/// How a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// An orderly stop sealed it.
    Stopped,
    /// It is being written, or its writer was stopped by force: what lies on disk does not tell which.
    #[default]
    Open,
}

/// A witness, or another key that was given, and what it signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosigner {
    /// The verifier key.
    pub key: String,
    /// The smallest size that it cosigned with a time, and that time in seconds since 1970.
    pub first: Option<(u64, u64)>,
    /// The largest size that it signed, and its time where it gave one.
    pub last: (u64, Option<u64>),
    /// Checkpoints that it signed.
    pub checkpoints: u64,
}

/// A checkpoint that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// Entries.
    pub size: u64,
    /// The root over them, in base 64.
    pub root: String,
}

/// A change of a log's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// The entry that makes it.
    pub entry: u64,
    /// The verifier key until there.
    pub old: String,
    /// The one from there on.
    pub new: String,
}

/// One log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its id in hexadecimal, where any header says it.
    pub log: Option<String>,
    /// The name in its checkpoints.
    pub origin: Option<String>,
    /// Files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries, up to the last commit.
    pub entries: u64,
    /// How it ends.
    pub ending: Ending,
    /// Entries by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The earliest time of an entry.
    pub from: Option<String>,
    /// The latest.
    pub to: Option<String>,
    /// Starts, and those of them that followed no orderly stop.
    pub starts: (u64, u64),
    /// Checkpoints whose signature and root hold.
    pub checkpoints: u64,
    /// The largest of them.
    pub checkpoint: Option<Anchor>,
    /// Entries after it.
    pub uncovered: u64,
    /// What keys that were given signed, the log's own apart.
    pub cosigners: Vec<Cosigner>,
    /// Signatures by keys that are not known here.
    pub unknown_signatures: u64,
    /// Lineage documents.
    pub documents: u64,
    /// `begin` entries without their `prediction`.
    pub open: u64,
    /// Predictions without an entry, by reason, as `gap` entries tell.
    pub gaps: BTreeMap<String, u64>,
    /// Changes of its key, each signed by the key before.
    pub rotations: Vec<Rotation>,
    /// The log that this one says that it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Findings that were not kept.
    pub more_findings: u64,
    /// What is no damage and should be known.
    pub remarks: Vec<String>,
}

/// What a log's first entry says of the log that was set aside before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Follows {
    /// The other log's id in hexadecimal, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The segment that was damaged.
    pub segment: String,
    /// What was wrong with it.
    pub reason: String,
    /// This log's id.
    pub new: String,
    /// How many logs were set aside before.
    pub number: u32,
}

/// A log that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OldLog {
    /// Its number, in its files' names.
    pub number: u32,
    /// The id of the log after it, as its files' names say.
    pub before: String,
    /// Whether the log after it says that it follows this one.
    pub followed: bool,
    /// What there is to say of it.
    #[serde(flatten)]
    pub report: LogReport,
}

/// How today's log relates to a checkpoint that was seen earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Since {
    /// The log's name.
    pub origin: String,
    /// Its size then.
    pub size: u64,
    /// Who signed it, of the keys that count.
    pub signed_by: Vec<String>,
    /// Today's log has that root at that size.
    pub extended: bool,
}

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is wrong with what could be read.
    pub intact: bool,
    /// The log's signatures were checked with keys that the log itself names.
    pub vouches_for_itself: bool,
    /// The keys that count as the log's.
    pub keys: Vec<String>,
    /// The current log.
    pub log: LogReport,
    /// Logs that were set aside, oldest first.
    pub older: Vec<OldLog>,
    /// The checkpoint seen earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// What is wrong beyond single logs.
    pub findings: Vec<Finding>,
    /// What is no damage and should be known.
    pub remarks: Vec<String>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<String>,
}

impl Report {
    /// Everything that is wrong, the log's findings first.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.log.findings.iter().chain(&self.findings)
    }

    /// How many things are wrong, those counted that were not kept.
    pub fn findings_total(&self) -> u64 {
        (self.log.findings.len() + self.findings.len()) as u64 + self.log.more_findings
    }
}
