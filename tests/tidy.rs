//! The rules of the house, as tests: what a reviewer should never have to say.
//!
//! Each check is a function from text to findings, with a small text beside it that must be found. It does not judge
//! what a compiler, rustfmt or clippy already does.

#![expect(clippy::expect_used, reason = "a check that cannot look has failed")]

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// What holds nothing of our own.
const FOREIGN: [&str; 7] =
    [".git", "artifacts", "corpus", "node_modules", "proptest-regressions", "target", "touchmark-data"];

/// A file of the repository: its path from the root, with `/`, and its text.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file under a folder of the repository whose path passes, in order of path.
pub(crate) fn files(folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<File> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let named = paths.into_iter().map(|path| {
        let relative = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        (relative, path)
    });
    // What is no text has no lines to judge.
    named
        .filter(|(relative, _)| wanted(relative))
        .filter_map(|(path, full)| Some(File { path, text: fs::read_to_string(full).ok()? }))
        .collect()
}

/// Every Rust source under a folder.
pub(crate) fn rust(folder: &str) -> Vec<File> {
    let found = files(folder, |path| has_extension(path, "rs"));
    assert!(!found.is_empty(), "no sources under {folder}");
    found
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// The product's part of a source: without its in-file tests.
pub(crate) fn product(text: &str) -> &str {
    let tests = text.match_indices("#[cfg(test)]\n").find(|(at, mark)| {
        let next = text[at + mark.len()..].lines().next().unwrap_or_default();
        next.contains("mod ") && next.ends_with('{')
    });
    tests.map_or(text, |(at, _)| &text[..at])
}

/// Whether a source is tests from end to end.
pub(crate) fn is_tests(path: &str) -> bool {
    path.rsplit('/').any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

/// Fails with every finding at once.
#[track_caller]
pub(crate) fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n  {}", findings.len(), findings.join("\n  "));
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if FOREIGN.iter().any(|foreign| name == *foreign) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

#[test]
fn tests_are_told_from_the_product() {
    let text = "use a;\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\n";
    assert!(product(text).ends_with("fn b() {}\n"));
    assert!(is_tests("src/config/load/tests.rs") && is_tests("src/admin/tests/a.rs") && !is_tests("src/admin/mod.rs"));
    assert!(files("", |path| path == "Cargo.toml").len() == 1);
}
