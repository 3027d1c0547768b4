//! Which part of the crate may use which: the arrows of `ARCHITECTURE.md`.

use crate::{File, is_tests, none, product, rust};

/// Plain tools that everyone may use and that use nothing of the crate.
const LEAVES: [&str; 3] = ["durable", "sha256", "units"];

/// Part → what it may use beside the leaves. A name with `::` allows that item alone; `*` everything.
///
/// A new arrow is a decision: it needs a record in `docs/adr/` before it needs a line here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &["*"]),
    ("cli", &["*"]),
    ("demo", &["*"]),
    ("app", &["admin", "config", "exchange", "ledger", "lineage", "protocol", "proxy", "telemetry", "tls", "witness"]),
    // Composes the sections of those below.
    ("config", &["admin", "exchange", "ledger", "lineage", "proxy", "telemetry", "tls", "witness"]),
    // Never the ledger: it knows a `Recorder`, and `app` connects the two.
    (
        "proxy",
        &[
            "exchange",
            "protocol",
            "telemetry",
            "tls",
            // The resolved document, and the configuration that it comes from; no resolver.
            "lineage::DatasetConfig",
            "lineage::Declared",
            "lineage::Document",
            "lineage::Identity",
            "lineage::RunConfig",
        ],
    ),
    ("ledger", &["exchange", "key_file", "telemetry", "tlog", "lineage::Document", "lineage::Identity"]),
    ("lineage", &["telemetry", "tls"]),
    ("admin", &["ledger", "lineage", "telemetry", "tlog", "tls"]),
    ("exchange", &["lineage::Identity"]),
    ("telemetry", &["exchange"]),
    ("protocol", &[]),
    ("durable", &[]),
    // Where private keys are kept, for whoever signs.
    ("key_file", &["tlog"]),
    ("sha256", &[]),
    // Formats of others, as bytes in and bytes out.
    ("tlog", &[]),
    // Certificates of listeners and callers, and nothing of what is said over them.
    ("tls", &[]),
    ("units", &[]),
    // A process of its own, which must be believed: it sees neither the ledger nor what an entry means.
    ("witness", &["key_file", "tlog"]),
];

/// Every use of another part of the crate that has no arrow.
fn findings(file: &File) -> Vec<String> {
    let path = file.path.trim_start_matches("src/");
    let part = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == part) else {
        return vec![format!("{}: '{part}' has no place in the arrows", file.path)];
    };
    // The binary sees the library from outside; elsewhere its name may be a word, such as a log's target.
    let root = if part == "main" { "touchmark::" } else { "crate::" };
    let used = uses(root, product(&file.text));
    let foreign = used.iter().filter(|item| item.split("::").next() != Some(part));
    let leaves = LEAVES.iter().filter(|_| !LEAVES.contains(&part));
    let arrows: Vec<&str> = allowed.iter().chain(leaves).copied().collect();
    let wrong = foreign.filter(|item| !arrows.iter().any(|arrow| fits(arrow, item)));
    wrong.map(|item| format!("{}: {part} → {item} is no arrow of the design", file.path)).collect()
}

fn fits(arrow: &str, item: &str) -> bool {
    arrow == "*" || item == arrow || item.strip_prefix(arrow).is_some_and(|rest| rest.starts_with("::"))
}

/// Paths that begin at the crate's root, such as `lineage::Identity`, with groups taken apart; comments left out.
fn uses(root: &str, text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).fold(String::new(), |mut code, line| {
            code.push_str(line);
            code.push(' ');
            code
        });
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root) {
        let before = code[..at].chars().next_back();
        if before.is_none_or(|char| !char.is_alphanumeric() && char != '_' && char != ':') {
            expand("", &code[at + root.len()..], &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Reads one path, `a::b` or `a::{b, c::d}`, and answers where it ends.
fn expand(prefix: &str, text: &str, found: &mut Vec<String>) -> usize {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    if !text[end..].starts_with('{') {
        found.push(path.trim_end_matches(':').trim_end_matches("::self").to_owned());
        return end;
    }
    let mut at = end + 1;
    while let Some(next) = text[at..].find(|c: char| !c.is_whitespace() && c != ',') {
        at += next;
        if text[at..].starts_with('}') {
            return at + 1;
        }
        let length = expand(&path, &text[at..], found);
        if length == 0 {
            return at;
        }
        at += length;
    }
    text.len()
}

#[test]
fn every_use_follows_an_arrow() {
    let sources = rust("src");
    none(&sources.iter().filter(|file| !is_tests(&file.path)).flat_map(findings).collect::<Vec<_>>());
}

#[test]
fn a_use_without_an_arrow_is_found() {
    let found = |path: &str, text: &str| {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        findings(&file)
    };
    assert_eq!(found("src/proxy/record.rs", "use crate::ledger::Ledger;\n").len(), 1);
    assert_eq!(found("src/proxy/a.rs", "use crate::{\n    exchange::{Exchange, Outcome},\n    ledger,\n};\n").len(), 1);
    assert_eq!(found("src/ledger/mod.rs", "fn a() { crate::proxy::Server::new() }\n").len(), 1);
    assert_eq!(found("src/ledger/a.rs", "use crate::lineage::{Document, Identity, resolve};\n").len(), 1);
    assert_eq!(found("src/exchange.rs", "use crate::lineage::Document;\n").len(), 1);
    assert_eq!(found("src/main.rs", "touchmark::app::serve();\n").len(), 1);
    assert_eq!(found("src/units.rs", "use crate::sha256::Sha256;\n").len(), 1);
    assert_eq!(found("src/surprise.rs", "").len(), 1);
    assert!(found("src/proxy/a.rs", "// See crate::ledger.\nuse crate::lineage::Identity;\n").is_empty());
    assert!(found("src/ledger/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::proxy;\n}\n").is_empty());
}

#[test]
fn groups_are_taken_apart() {
    let found = uses("crate::", "use crate::{a::{self, B, c::{D, E}}, f};\nuse crate::g::*;");
    assert_eq!(found, ["a", "a::B", "a::c::D", "a::c::E", "f", "g"]);
}
