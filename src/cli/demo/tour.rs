//! The tour: six things that came out, each with one line that says why it matters and to whom.

use std::io::{self, Write};

use super::commands::{self, Command, Commands};
use super::figures::Figures;
use super::style::{Painted, Style};
use crate::demo::{Asked, Facts, Found, GraphFacts, VersionFacts};

/// Cells of a full bar.
const BAR_LEN: u64 = 50;
/// Characters of an answer's body.
const BODY_LEN: usize = 90;
/// Steps back on one line.
const WAY_LEN: usize = 3;
/// The header fields that the proxy adds.
const STAMP: [&str; 5] =
    ["x-lineage-trace-id", "x-model-name", "x-model-version", "x-dataset-version", "x-reproducible"];

/// Prints everything, at most 100 columns wide. With `commands` it goes on running.
pub(super) fn print(
    facts: &Facts,
    figures: &Figures,
    commands: Option<&Commands>,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut tour = Tour { facts, style, out, stops: 0 };
    tour.opening()?;
    tour.stamp()?;
    tour.ledger()?;
    tour.lineage()?;
    tour.graph()?;
    tour.split()?;
    tour.metrics(figures)?;
    match commands {
        Some(commands) => tour.go_on(commands),
        None => tour.end(),
    }
}

struct Tour<'a> {
    facts: &'a Facts,
    style: Style,
    out: &'a mut dyn Write,
    stops: u32,
}

impl Tour<'_> {
    fn opening(&mut self) -> io::Result<()> {
        let Self { facts, style, out, .. } = self;
        let (sent, proxy) = (facts.predictions, facts.proxy.trim_start_matches("http://"));
        writeln!(out, "{}\n", style.head("Touchmark: every prediction with its lineage, on record"))?;
        writeln!(
            out,
            "Just now, on this machine: two versions of a fraud model were trained and put behind the proxy,"
        )?;
        writeln!(
            out,
            "and {sent} card payments were sent through it. What follows was read back from what that left.\n"
        )?;
        writeln!(out, "   payments ─▶ {} {}", style.head("touchmark"), style.dim(proxy))?;
        for (place, version) in facts.versions.iter().enumerate() {
            let branch = if place + 1 == facts.versions.len() { "└" } else { "├" };
            let VersionFacts { backend, weight, rows, dataset, version, .. } = version;
            let (name, data) = (style.value(version), format!("trained on {} {dataset}", thousands(*rows)));
            writeln!(out, "               {branch}─ {weight} % ─▶ {backend:<10}  fraud {name}  {}", style.dim(&data))?;
        }
        writeln!(out)
    }

    fn stamp(&mut self) -> io::Result<()> {
        self.stop("The stamp", "every answer says which model gave it, and what that was trained on")?;
        let Self { facts, style, out, .. } = self;
        let Some(Asked { path, answer }) = facts.answers.first() else { return Ok(()) };
        writeln!(out, "   {}", style.dim(&facts.input.says))?;
        writeln!(out, "   POST {path}  {}", style.good(&answer.status.to_string()))?;
        for name in STAMP {
            if let Some(value) = answer.header(name) {
                writeln!(out, "     {name}: {}", style.value(value))?;
            }
        }
        writeln!(out, "     {}\n", style.dim(&clipped(&answer.body, BODY_LEN)))
    }

    fn ledger(&mut self) -> io::Result<()> {
        self.stop("The ledger", "the auditor holds an input, nothing else, and asks what it led to")?;
        let Self { facts, style, out, .. } = self;
        writeln!(out, "   sha256 of the {} bytes sent: {}", facts.input.body.len(), style.value(&facts.input.sha256))?;
        let head = "entry  decision  model         trained on         x-lineage-trace-id";
        writeln!(out, "     {}", style.dim(head))?;
        for found in &facts.found {
            let (index, decision) = (found.index, decision(*style, found));
            let model = format!("{}@{}", found.text("/model"), found.text("/version"));
            let (dataset, id) = (found.text("/datasets/0"), found.text("/id"));
            writeln!(out, "     {index:<5}  {decision:<8}  {model:<12}  {dataset:<17}  {id}")?;
        }
        let decisions: Vec<&str> = facts.found.iter().map(|found| found.text("/decision")).collect();
        if let ([first, second], [old, new]) = (decisions.as_slice(), facts.versions.as_slice())
            && first != second
        {
            writeln!(out, "   One input, two decisions: {} ends before this kind of fraud began.", old.dataset)?;
            let caught = |version: &VersionFacts| format!("{} catches {}", version.version, version.quality.caught);
            let (old, new, frauds) = (caught(old), caught(new), new.quality.frauds);
            writeln!(out, "   Of the {frauds} frauds among today's payments {old}, {new}.")?;
        }
        writeln!(out)
    }

    fn lineage(&mut self) -> io::Result<()> {
        self.stop("The lineage", "could this model be made again? The stamp's x-reproducible says so")?;
        let Self { facts, style, out, .. } = self;
        for version in &facts.versions {
            let (name, missing) = (style.value(version.version), version.missing.join(", "));
            if missing.is_empty() {
                let (verdict, all) = (style.good("true "), "data, code, seed, environment and model are all pinned");
                writeln!(out, "   {name}  {verdict}  {all}")?;
            } else {
                writeln!(out, "   {name}  {}  its run did not record: {missing}", style.warn("false"))?;
            }
        }
        writeln!(out)
    }

    fn graph(&mut self) -> io::Result<()> {
        self.stop("The graph", "a prediction back to raw data, a dataset forward to every decision")?;
        let Self { facts, style, out, .. } = self;
        let GraphFacts { back, diff, impact, complete } = &facts.graph;
        let way: Vec<&str> = back.iter().map(|(_, id)| id.as_str()).collect();
        for (place, step) in way.chunks(WAY_LEN).enumerate() {
            let begin = if place == 0 { "back:" } else { "  ◀──" };
            writeln!(out, "   {begin:<9} {}", step.join(" ◀── "))?;
        }
        for (place, part) in diff.sentence.split("; ").enumerate() {
            writeln!(out, "   {:<9} {}", if place == 0 { "changed:" } else { "" }, style.value(part))?;
        }
        let made: u64 = impact.predictions.iter().map(|row| row.predictions).sum();
        let of = impact.models.join(", ");
        writeln!(out, "   {:<9} a bug in {} would concern {of} and {made} predictions", "forward:", impact.of)?;
        let (linked, all) = (complete.linked, complete.artifacts);
        writeln!(out, "   {:<9} {linked} of {all} models and datasets lead back to where they came from\n", "linked:")
    }

    fn split(&mut self) -> io::Result<()> {
        self.stop("The split", "at 3 a.m. on-call sees which version answers how often")?;
        let Self { facts, style, out, .. } = self;
        let all = facts.split.iter().map(|share| share.answers).sum::<u64>().max(1);
        for share in &facts.split {
            let (name, answers) = (style.value(&share.version), share.answers);
            let percent = (answers * 100 + all / 2) / all;
            let bar = "█".repeat(usize::try_from(share.answers * BAR_LEN / all).unwrap_or_default().max(1));
            writeln!(out, "   {name}  {} {answers}, {percent} %", style.good(&bar))?;
        }
        writeln!(out)
    }

    fn metrics(&mut self, figures: &Figures) -> io::Result<()> {
        self.stop("The metrics", "the platform engineer sees what it costs, and that nothing is lost")?;
        let Self { style, out, .. } = self;
        let Figures { predictions, entries, unrecorded, .. } = figures;
        let balanced = figures.balance();
        let verdict = if balanced { style.good("the books balance") } else { style.warn("THE BOOKS DO NOT BALANCE") };
        writeln!(out, "   {predictions} predictions = {entries} in the ledger + {unrecorded} unrecorded: {verdict}")?;
        if let (Some(half), Some(most)) = (figures.overhead_median_us, figures.overhead_p99_us) {
            let added = format!("at most {half} µs for half of them, {most} µs for 99 of 100");
            let build =
                if cfg!(debug_assertions) { "a debug build: try --release" } else { "touchmark_overhead_seconds" };
            writeln!(out, "   added: {} {}", style.value(&added), style.dim(&format!("({build})")))?;
        }
        writeln!(out)
    }

    fn end(&mut self) -> io::Result<()> {
        writeln!(self.out, "{}", self.style.head("Where next"))?;
        self.commands(&commands::next())
    }

    fn go_on(&mut self, commands: &Commands) -> io::Result<()> {
        writeln!(self.out, "{}", self.style.head("Now you"))?;
        self.commands(commands.all())?;
        let Self { facts, style, out, .. } = self;
        writeln!(out, "\nPredictions {}   admin {}", style.value(&facts.proxy), style.value(&facts.admin))?;
        writeln!(out, "Running until Ctrl-C; {} stays.", facts.data.display())
    }

    fn commands(&mut self, commands: &[Command]) -> io::Result<()> {
        for (what, command) in commands {
            writeln!(self.out, "   {}", self.style.dim(&format!("# {what}")))?;
            writeln!(self.out, "   {command}")?;
        }
        Ok(())
    }

    /// A heading, and why one should care.
    fn stop(&mut self, title: &str, why: &str) -> io::Result<()> {
        self.stops += 1;
        let head = format!("{}. {title}", self.stops);
        writeln!(self.out, "{} {}", self.style.head(&head), self.style.dim(&format!("· {why}")))
    }
}

fn decision(style: Style, found: &Found) -> Painted<'_> {
    let decision = found.text("/decision");
    if decision == "approve" { style.good(decision) } else { style.warn(decision) }
}

/// 12000 as 12,000.
fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

/// At most so many characters, with `…` where more were.
fn clipped(text: &str, len: usize) -> String {
    if text.chars().count() <= len {
        return text.to_owned();
    }
    text.chars().take(len - 1).chain(['…']).collect()
}
