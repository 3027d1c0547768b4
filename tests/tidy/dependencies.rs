//! What we build on: how many crates, from where, under which licences, and whether each is used.
//!
//! `deny.toml` says the same to `cargo deny`; these checks need nothing but cargo. Advisories are not checked here: they
//! need a database from the network.

use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::{files, has_extension, none, root};

/// Crates named in `[dependencies]`, at most. A new one takes the place of another, or a decision.
const DIRECT_MAX: usize = 42;
/// Where every crate comes from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let host = run("rustc", &["-vV"]);
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    // Offline: whatever is built here has been fetched.
    let filter = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host];
    serde_json::from_str(&run(env!("CARGO"), &filter)).expect("cargo's metadata")
});

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn packages() -> &'static [Value] {
    METADATA["packages"].as_array().expect("packages")
}

fn ours() -> &'static Value {
    packages().iter().find(|package| package["name"] == "touchmark").expect("our own package")
}

/// Names of our dependencies of one kind: `None` is what the product is built of.
fn direct(kind: Option<&str>) -> Vec<&'static str> {
    let dependencies = ours()["dependencies"].as_array().expect("dependencies");
    let ours = dependencies.iter().filter(|one| one["kind"].as_str() == kind);
    // Where it is renamed, by the name that the code uses.
    ours.filter_map(|one| one["rename"].as_str().or(one["name"].as_str())).collect()
}

/// The licences that `deny.toml` allows.
fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let list = text.split("[licenses]").nth(1).and_then(|rest| rest.split("allow = [").nth(1)).expect("licenses.allow");
    let list = list.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met: `OR` (also written `/`) by one side, `AND` by both.
fn licence_fits(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+WITH+");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let fits = either(&tokens, &mut at, allowed);
    fits && at == tokens.len()
}

fn either(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut fits = both(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        fits |= both(tokens, at, allowed);
    }
    fits
}

fn both(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut fits = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        fits &= one(tokens, at, allowed);
    }
    fits
}

fn one(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let fits = either(tokens, at, allowed);
        *at += 1;
        return fits;
    }
    allowed.iter().any(|licence| *licence == token.replace("+WITH+", " WITH "))
}

fn wrong_licence(name: &str, licence: Option<&str>, allowed: &[String]) -> Option<String> {
    match licence {
        None => Some(format!("{name}: names no licence")),
        Some(licence) if licence_fits(licence, allowed) => None,
        Some(licence) => Some(format!("{name}: {licence} is not allowed by deny.toml")),
    }
}

fn wrong_source(name: &str, source: &str) -> Option<String> {
    (source != SOURCE).then(|| format!("{name}: comes from {source}"))
}

/// Whether a source uses a crate: by a path into it, or by importing it.
fn uses(text: &str, name: &str) -> bool {
    let ident = name.replace('-', "_");
    text.match_indices(&ident).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_none_or(|char| !char.is_alphanumeric() && char != '_');
        let after = &text[at + ident.len()..];
        before && ["::", ";", "!", " as "].iter().any(|next| after.starts_with(next))
    })
}

#[test]
fn licences_are_allowed() {
    let allowed = allowed();
    let found = packages().iter().filter_map(|package| {
        wrong_licence(package["name"].as_str().unwrap_or_default(), package["license"].as_str(), &allowed)
    });
    none(&found.collect::<Vec<_>>());
    assert!(packages().len() > 50, "the metadata is not whole");
}

#[test]
fn crates_come_from_the_registry() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = std::fs::read_to_string(root().join(lock)).expect(lock);
        let sources = text.lines().filter_map(|line| line.strip_prefix("source = \"")?.strip_suffix('"'));
        none(&sources.filter_map(|source| wrong_source(lock, source)).collect::<Vec<_>>());
    }
}

#[test]
fn direct_dependencies_are_few_and_used() {
    let direct = direct(None);
    assert!(direct.len() <= DIRECT_MAX, "{} direct dependencies, at most {DIRECT_MAX}", direct.len());
    let sources = files("src", |path| has_extension(path, "rs"));
    let unused = direct.iter().filter(|name| !sources.iter().any(|file| uses(&file.text, name)));
    none(&unused.map(|name| format!("Cargo.toml: nothing uses {name}")).collect::<Vec<_>>());
}

#[test]
fn test_dependencies_are_used() {
    let sources = files("", |path| has_extension(path, "rs"));
    let unused = direct(Some("dev")).into_iter().filter(|name| !sources.iter().any(|file| uses(&file.text, name)));
    none(&unused.map(|name| format!("Cargo.toml: no test uses {name}")).collect::<Vec<_>>());
}

#[test]
fn what_is_not_allowed_is_found() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for fits in ["MIT", "MIT/GPL-3.0", "(MIT OR GPL-2.0) AND Apache-2.0", "GPL-2.0 OR Apache-2.0 WITH LLVM-exception"] {
        assert!(licence_fits(fits, &allowed), "{fits}");
    }
    for fails in
        ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR LGPL-3.0) AND MIT", "", "MIT MIT", "MIT WITH LLVM-exception"]
    {
        assert!(!licence_fits(fails, &allowed), "{fails}");
    }
    assert!(wrong_licence("a", None, &allowed).is_some());
    assert!(wrong_source("a", "git+https://example.org/a.git#0123").is_some());
    assert!(uses("use serde_json::Value;", "serde-json") && uses("#[derive(thiserror::Error)]", "thiserror"));
    assert!(!uses("use my_h2::A; // h2 is fast", "h2"));
}
