//! `touchmark audit verify`: whether the whole ledger is what was recorded, for a person and for CI.
//!
//! What was checked and what is missing stands in the report; the exit status says whether anything is wrong. A file that
//! cannot be read leaves it open, unless something is wrong already.

use std::io::{IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use super::Data;
use crate::cli::output::printable;
use crate::cli::{Status, output};
use crate::ledger::read::{ReadError, Reader};
use crate::ledger::verify::{Cosigner, Ending, Finding, LogReport, OldLog, Options, Progress, Report};
use crate::tlog::{SignedCheckpoint, VerifierKey};

/// Between two drawings of the progress bar.
const REDRAW: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR_WIDTH: u64 = 30;

/// `touchmark audit verify`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A verifier key that you were handed: the log's own, or a witness's; may be given several times. Without the log's,
    /// the log vouches for itself
    #[arg(long = "key", value_name = "VKEY")]
    keys: Vec<VerifierKey>,
    /// A checkpoint that you saw earlier: today's log must extend it
    #[arg(long, value_name = "FILE")]
    since: Option<String>,
    #[command(flatten)]
    data: Data,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let since = match &args.since {
        None => None,
        Some(file) => {
            let bytes = std::fs::read(file).with_context(|| file.clone())?;
            match String::from_utf8_lossy(&bytes).parse::<SignedCheckpoint>() {
                Ok(seen) => Some(seen),
                Err(error) => {
                    output::error(&anyhow::anyhow!("--since {file}: {error}"));
                    return Ok(Status::Usage);
                }
            }
        }
    };
    let options = Options { keys: args.keys.clone(), since, now: Some(SystemTime::now()), threads: None };
    let report = watched(&args.data.open()?, &options)?;
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, out)?;
    }
    Ok(status(&report))
}

fn status(report: &Report) -> Status {
    match (report.intact, report.unreadable.is_empty()) {
        (false, _) => Status::Negative,
        (true, false) => Status::Failed,
        (true, true) => Status::Done,
    }
}

/// Verifies, with a bar where somebody looks.
fn watched(reader: &Reader, options: &Options) -> Result<Report, ReadError> {
    let (progress, done) = (Progress::default(), AtomicBool::new(false));
    if !std::io::stderr().is_terminal() {
        return reader.verify(options, &progress);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                output::bar(&bar(progress.bytes()));
                std::thread::park_timeout(REDRAW);
            }
            output::bar("");
        });
        let report = reader.verify(options, &progress);
        done.store(true, Ordering::Relaxed);
        report
    })
}

fn bar((done, total): (u64, u64)) -> String {
    let share = |of: u64| (u128::from(done.min(total)) * u128::from(of)).checked_div(u128::from(total)).unwrap_or(0);
    let filled = usize::try_from(share(BAR_WIDTH)).unwrap_or(0);
    let blank = usize::try_from(BAR_WIDTH).unwrap_or(0).saturating_sub(filled);
    format!(
        "verifying [{}{}] {:>3} %  {} MiB of {}",
        "=".repeat(filled),
        " ".repeat(blank),
        share(100),
        done >> 20,
        total >> 20
    )
}

fn print(report: &Report, out: &mut dyn Write) -> Result<()> {
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<12}  {}", printable(text));
    let log = &report.log;
    line("log", log.origin.as_deref().or(log.log.as_deref()).unwrap_or("none"))?;
    line("entries", &entries(log))?;
    if !log.kinds.is_empty() {
        let kinds: Vec<String> = log.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        line("", &kinds.join(", "))?;
    }
    if let (Some(from), Some(to)) = (&log.from, &log.to) {
        line("time", &format!("{from} to {to}"))?;
    }
    line(
        "end",
        match log.ending {
            Ending::Stopped => "stopped in order",
            Ending::Open => "open: it is being written, or its writer was stopped by force",
        },
    )?;
    line("starts", &format!("{}, {} of them after no orderly stop", log.starts.0, log.starts.1))?;
    line("checkpoints", &checkpoints(log))?;
    for key in &report.keys {
        line("key", &known(key, log))?;
    }
    if report.vouches_for_itself {
        line(
            "",
            "the log vouches for itself: whoever can sign for it could have written another; give its key with --key",
        )?;
    }
    for signer in &log.cosigners {
        line("anchored by", &anchored(signer))?;
    }
    if log.cosigners.is_empty() {
        line("anchored by", &nobody(log))?;
    }
    if let Some(since) = &report.since {
        let how = if since.extended { "extends" } else { "does not extend" };
        line("since", &format!("today's log {how} the checkpoint of {} entries that was seen earlier", since.size))?;
    }
    line("lineage", &format!("{} documents", log.documents))?;
    line("begun", &format!("{} predictions without an end", log.open))?;
    let gaps: Vec<String> = log.gaps.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    line(
        "gaps",
        &if gaps.is_empty() { "none".to_owned() } else { format!("predictions without an entry: {}", gaps.join(", ")) },
    )?;
    for old in &report.older {
        line("set aside", &set_aside(old, report))?;
    }
    for remark in log.remarks.iter().chain(&report.remarks) {
        line("remark", remark)?;
    }
    for file in &report.unreadable {
        line("unreadable", file)?;
    }
    for finding in report.all_findings() {
        line("finding", &found(finding))?;
    }
    writeln!(out, "{}", verdict(report))?;
    Ok(())
}

/// A key, and how the log came to it.
fn known(key: &str, log: &LogReport) -> String {
    let rotation = log.rotations.iter().find(|rotation| rotation.new == key);
    let since = rotation.map_or_else(String::new, |rotation| {
        format!(", since entry {}, which the key before it signed", rotation.entry)
    });
    format!("{key}{since}")
}

fn entries(log: &LogReport) -> String {
    format!("{} in {} segments, {} bytes", log.entries, log.segments, log.bytes)
}

fn checkpoints(log: &LogReport) -> String {
    let Some(anchor) = &log.checkpoint else {
        return "none holds: nothing but checksums protects the entries".to_owned();
    };
    let rest = match log.uncovered {
        0 => "all of them".to_owned(),
        rest => format!("{} of them, {rest} newer ones are not covered yet", anchor.size),
    };
    format!("{} hold; the last covers {rest}, root {}", log.checkpoints, anchor.root)
}

fn anchored(signer: &Cosigner) -> String {
    let since = signer.first.map_or_else(String::new, |(size, time)| format!(" since {} ({size} entries)", when(time)));
    let (size, time) = signer.last;
    let last = time.map_or_else(String::new, |time| format!(" at {}", when(time)));
    format!("{}{since}, last {size} entries{last}, {} checkpoints", signer.key, signer.checkpoints)
}

fn nobody(log: &LogReport) -> String {
    match log.unknown_signatures {
        0 => "nobody else: who holds the log's key could rewrite it; keep a checkpoint and give it with --since"
            .to_owned(),
        count => format!("nobody whose key was given; {count} signatures of others, give their keys with --key"),
    }
}

fn set_aside(old: &OldLog, report: &Report) -> String {
    let log = old.report.log.as_deref().unwrap_or("without a readable id");
    let next = if Some(&old.before) == report.log.log.as_ref() { "this log" } else { &old.before };
    let follows = std::iter::once(&report.log).chain(report.older.iter().map(|old| &old.report));
    let why = follows.filter_map(|log| log.follows.as_ref()).find(|follows| follows.new == old.before);
    let why = why.map_or_else(String::new, |follows| format!(" since {}: {}", follows.segment, follows.reason));
    let (entries, wrong) = (old.report.entries, old.report.findings.len() as u64 + old.report.more_findings);
    format!(
        "number {}, log {log}{why}; {entries} entries, {} checkpoints hold, {wrong} things are wrong with it; followed by {next}",
        old.number, old.report.checkpoints
    )
}

fn found(finding: &Finding) -> String {
    let byte = finding.byte.map_or_else(String::new, |byte| format!(" byte {byte}"));
    let entry = finding.entry.map_or_else(String::new, |entry| format!(" (entry {entry})"));
    let file = finding.file.as_ref().map_or_else(String::new, |file| format!("{file}{byte}: "));
    format!("{file}{}{entry}", finding.problem)
}

fn verdict(report: &Report) -> String {
    match (report.findings_total(), report.unreadable.len()) {
        (0, 0) => "verdict       intact: every entry is what the checkpoints commit to".to_owned(),
        (0, files) => format!("verdict       unknown: {files} files could not be read; what could be is intact"),
        (count, _) => format!("verdict       NOT intact: {count} findings"),
    }
}

fn when(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("{seconds} s"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert!(bar((0, 0)).contains("  0 %"));
        assert!(bar((5 << 20, 10 << 20)).contains("===============               ]  50 %  5 MiB of 10"));
        assert!(bar((20, 10)).contains("100 %"));
    }

    #[test]
    fn the_status_follows_the_verdict() {
        let clean = Report { intact: true, ..Report::default() };
        let unread = Report { unreadable: vec!["seg".to_owned()], ..clean.clone() };
        let wrong = Report { intact: false, ..unread.clone() };
        assert_eq!([&clean, &unread, &wrong].map(status), [Status::Done, Status::Failed, Status::Negative]);
    }
}
