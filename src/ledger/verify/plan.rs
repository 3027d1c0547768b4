//! Which files make up which log, and what has to be known before their segments are read side by side.

use std::io;

use super::part::Job;
use crate::ledger::frame::FrameKind;
use crate::ledger::parse::Entry;
use crate::ledger::rotation::Change;
use crate::ledger::segment::{Header, Scanner, Step, Storage, index_name, parse_name};
use crate::tlog::VerifierKey;

/// Bytes read of a segment's first frame; a larger one takes a second read.
const FIRST_READ_BYTES: usize = 4096;

/// A log's segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Of a log that was set aside: its number, and the id of the log after it.
    pub(super) old: Option<(u32, String)>,
    /// First index and name, in order.
    pub(super) segments: Vec<(u64, String)>,
    /// Indices of the current log whose segments are not there.
    pub(super) orphans: Vec<String>,
}

/// A log, ready to be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// Its id, by its first readable header.
    pub(super) log: Option<[u8; 16]>,
    /// The keys that its start entries name.
    pub(super) named: Vec<VerifierKey>,
    /// Those of them that a key entry introduces, and which.
    pub(super) introduced: Vec<(VerifierKey, u64)>,
    pub(super) bytes: u64,
}

/// Every log, the current one last, which may have no segments.
pub(super) fn logs(storage: &dyn Storage) -> io::Result<Vec<Files>> {
    let mut names = storage.list()?;
    // `old-…` sorts before `seg-…`, and segments by their first index.
    names.sort_unstable();
    let mut logs: Vec<Files> = Vec::new();
    let mut current = Files { old: None, segments: Vec::new(), orphans: Vec::new() };
    let orphan = |name: &&String| name.strip_prefix("seg-").is_some_and(|rest| rest.strip_suffix(".idx").is_some());
    current.orphans.extend(names.iter().filter(orphan).cloned());
    for name in names {
        if let Some(first) = parse_name(&name) {
            current.segments.push((first, name));
            continue;
        }
        let Some((old, first)) = parse_old(&name) else { continue };
        match logs.last_mut() {
            Some(log) if log.old.as_ref() == Some(&old) => log.segments.push((first, name)),
            _ => logs.push(Files { old: Some(old), segments: vec![(first, name)], orphans: Vec::new() }),
        }
    }
    let segments = &current.segments;
    current.orphans.retain(|index| !segments.iter().any(|(first, _)| index_name(*first) == *index));
    logs.push(current);
    Ok(logs)
}

/// `old-NUMBER-NEWLOG-seg-….log`.
fn parse_old(name: &str) -> Option<((u32, String), u64)> {
    let (number, rest) = name.strip_prefix("old-")?.split_once('-')?;
    let (new, segment) = rest.split_once('-')?;
    Some(((number.parse().ok()?, new.to_owned()), parse_name(segment)?))
}

/// Reads the beginning of each segment. A file that cannot be read is left to the one who reads all of it.
pub(super) fn plan(storage: &dyn Storage, files: &Files) -> Plan {
    let mut plan = Plan::default();
    let mut next: Option<(u64, bool)> = None;
    for (first, name) in files.segments.iter().rev() {
        let (limit, replaced) = next.map_or((None, false), |(after, takes_over)| (Some(after), takes_over));
        let mut job = Job { name: name.clone(), first: *first, limit, replaced, log: None, old: files.old.is_some() };
        let mut takes_over = false;
        if let Ok((header, keys, bytes)) = beginning(storage, name, &mut plan.introduced) {
            plan.bytes += bytes;
            job.log = header.map(|header| header.log);
            takes_over = header.is_some_and(|header| header.replaces == Some(*first));
            plan.named.extend(keys);
        }
        next = Some((*first, takes_over));
        plan.jobs.push(job);
    }
    plan.jobs.reverse();
    plan.log = plan.jobs.iter().find_map(|job| job.log);
    plan.jobs.iter_mut().for_each(|job| job.log = plan.log);
    plan.named.reverse();
    let mut known: Vec<VerifierKey> = Vec::new();
    plan.named.retain(|key| {
        !known.contains(key) && {
            known.push(key.clone());
            true
        }
    });
    plan
}

fn beginning(
    storage: &dyn Storage,
    name: &str,
    introduced: &mut Vec<(VerifierKey, u64)>,
) -> io::Result<(Option<Header>, Vec<VerifierKey>, u64)> {
    let file = storage.open(name)?;
    let (header, bytes) = (Header::read(&*file)?.ok(), file.len()?);
    let mut scanner = Scanner::at(file, crate::ledger::segment::DATA_START, FIRST_READ_BYTES);
    let mut keys = Vec::new();
    // A run begins with a segment, that with its `start`, and where the key is changed that comes next.
    for _ in 0..2 {
        let Step::Frame { kind: FrameKind::Entry, index, payload, .. } = scanner.step()? else { break };
        let entry = scanner.payload(payload);
        keys.extend(named_keys(entry));
        let change = Entry::parse(entry).ok().and_then(|entry| Change::of(&entry)?.ok());
        introduced.extend(change.and_then(|change| Some((change.verify(index).ok()?.1, index))));
    }
    Ok((header, keys, bytes))
}

/// The verifier keys that a `start` or a `key` entry names.
fn named_keys(entry: &[u8]) -> Vec<VerifierKey> {
    #[derive(serde::Deserialize)]
    struct Detail {
        #[serde(default)]
        keys: Vec<String>,
    }
    let Ok(entry) = Entry::parse(entry) else { return Vec::new() };
    let names = match (Change::of(&entry), entry.event.as_deref(), entry.detail) {
        (Some(Ok(change)), ..) => vec![change.old, change.new],
        (None, Some("start"), Some(detail)) => {
            serde_json::from_str::<Detail>(detail.get()).map_or(Vec::new(), |it| it.keys)
        }
        _ => Vec::new(),
    };
    names.iter().filter_map(|key| key.parse().ok()).collect()
}
