//! Documents: that what they point to is there.

use crate::{File, files, has_extension, none, root};

/// The targets of a Markdown text's links, `[text](target)`; code left out.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        // Every second piece stands between backticks.
        for piece in line.split('`').step_by(2) {
            found.extend(piece.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    found
}

/// A heading's anchor: lower case, blanks as hyphens, anything else but letters, digits, `-` and `_` left out.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Links to files that are not there, or to headings that the file does not have.
fn broken(file: &File, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for link in links(&file.text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (target, heading) = link.split_once('#').map_or((link, None), |(target, heading)| (target, Some(heading)));
        let path = if target.is_empty() { file.path.clone() } else { resolve(folder, target) };
        match read(&path) {
            None => found.push(format!("{}: ({link}) leads to {path}, which is not there", file.path)),
            Some(text) if heading.is_some_and(|heading| !anchors(&text).iter().any(|known| known == heading)) => {
                found.push(format!("{}: ({link}): {path} has no such heading", file.path));
            }
            Some(_) => {}
        }
    }
    found
}

fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The text of a file; of a folder or another thing that is there, nothing.
fn read(path: &str) -> Option<String> {
    let full = root().join(path);
    full.exists().then(|| std::fs::read_to_string(full).unwrap_or_default())
}

#[test]
fn links_lead_somewhere() {
    let documents = files("", |path| has_extension(path, "md"));
    assert!(documents.iter().any(|file| file.path == "README.md"), "no README.md");
    none(&documents.iter().flat_map(|file| broken(file, read)).collect::<Vec<_>>());
}

#[test]
fn every_decision_is_in_the_index() {
    let records = files("docs/adr", |path| !path.ends_with("README.md"));
    let index = read("docs/adr/README.md").unwrap_or_default();
    let name = |file: &File| file.path.trim_start_matches("docs/adr/").to_owned();
    let missing = records.iter().map(name).filter(|name| !index.contains(&format!("({name})")));
    none(&missing.map(|name| format!("docs/adr/README.md does not list {name}")).collect::<Vec<_>>());
    for record in &records {
        for part in ["## Context", "## Decision", "## Consequences", "## Rejected"] {
            assert!(record.text.contains(part), "{}: no '{part}'", record.path);
        }
    }
}

/// Tests that a text names as `path.rs::name`, or files of tests as `tests/…`, and that are not there.
fn missing_tests(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|code| match code.split_once(".rs::") {
        Some((path, name)) => Some((format!("{path}.rs"), format!("fn {name}("))),
        None => code.starts_with("tests/").then(|| (code.to_owned(), String::new())),
    });
    let missing = named.filter(|(path, function)| !read(path).is_some_and(|source| source.contains(function)));
    missing.map(|(path, function)| format!("there is no {function} in {path}")).collect()
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let text = read("docs/guarantees.md").unwrap_or_default();
    none(&missing_tests(&text, read));
    let promises: Vec<&str> = text.split("\n## G").skip(1).collect();
    assert_eq!(promises.len(), 9, "G1 to G9");
    for promise in promises {
        let title = promise.lines().next().unwrap_or_default();
        assert!(promise.contains("**Tests.**") || promise.contains("**Not yet.**"), "G{title}: nothing would fail");
    }
}

#[test]
fn what_is_said_of_http_names_tests_that_exist() {
    let text = read("docs/http.md").unwrap_or_default();
    none(&missing_tests(&text, read));
    let bare: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---") && !line.contains(".rs::"))
        // Heads of tables.
        .filter(|line| !["| what |", "| | clients"].iter().any(|head| line.starts_with(head)))
        .map(|line| format!("docs/http.md: no test for {line}"))
        .collect();
    none(&bare);
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let there = |path: &str| (path == "src/a.rs").then(|| "fn one() {}".to_owned());
    assert!(missing_tests("`src/a.rs::one` and `b`", there).is_empty());
    assert_eq!(missing_tests("`src/a.rs::two`, `src/b.rs::one`, `tests/c`", there).len(), 3);
}

#[test]
fn a_broken_link_is_found() {
    let file = |text: &str| File { path: "docs/a.md".to_owned(), text: text.to_owned() };
    let there = |path: &str| (path == "docs/b.md").then(|| "# One `two`, three\n".to_owned());
    let found = |text: &str| broken(&file(text), there).len();
    assert_eq!(found("See [b](b.md), [b](../docs/b.md#one-two-three) and [out](https://example.org)."), 0);
    assert_eq!(found("See [c](c.md)."), 1);
    assert_eq!(found("See [b](b.md#four)."), 1);
    assert_eq!(found("`[c](c.md)`\n```\n[c](c.md)\n```\n"), 0);
}
