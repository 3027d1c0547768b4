//! The shape of sources: how long files and functions are, and that every file says why it exists.

use crate::{File, files, has_extension, none, rust};

/// Lines of a file, at most.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function's body, at most.
const FN_LINES_MAX: usize = 70;
/// Lines within which the module doc begins: attributes may stand before it.
const DOC_WITHIN_LINES: usize = 12;

fn long_file(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path))
}

/// Functions that are too long, by rustfmt's indentation: the body ends at the first brace in the column of `fn`'s line.
fn long_functions(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let close = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        // Declarations and one-liners have no body of their own.
        let signature =
            lines[start..].iter().position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
        let Some(open) = signature.map(|at| start + at).filter(|&at| lines[at].ends_with('{')) else { continue };
        let length = lines[open + 1..].iter().position(|line| *line == close).unwrap_or(lines.len() - open);
        if length > FN_LINES_MAX {
            found.push(format!("{}:{}: a function of {length} lines, at most {FN_LINES_MAX}", file.path, start + 1));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "extern" | "default") || word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

fn no_doc(file: &File) -> Option<String> {
    let documented = file.text.lines().take(DOC_WITHIN_LINES).any(|line| line.starts_with("//! "));
    (!documented).then(|| format!("{}: no `//!` that says why it exists", file.path))
}

#[test]
fn files_are_short() {
    let ours = files("", |path| ["rs", "py", "sh"].iter().any(|extension| has_extension(path, extension)));
    none(&ours.iter().filter_map(long_file).collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let sources = files("", |path| has_extension(path, "rs"));
    none(&sources.iter().flat_map(long_functions).collect::<Vec<_>>());
}

#[test]
fn files_say_why_they_exist() {
    let sources = rust("").into_iter().filter(|file| !file.path.starts_with("target/"));
    none(&sources.filter_map(|file| no_doc(&file)).collect::<Vec<_>>());
}

#[test]
fn what_is_too_long_or_undocumented_is_found() {
    let file = |text: String| File { path: "src/a.rs".to_owned(), text };
    let function = |lines: usize| {
        let body = "        b();\n".repeat(lines);
        file(format!("//! A.\nimpl A {{\n    pub(super) async fn a(\n        b: B,\n    ) {{\n{body}    }}\n}}\n"))
    };
    assert!(long_file(&file("a\n".repeat(FILE_LINES_MAX))).is_none());
    assert!(long_file(&file("a\n".repeat(FILE_LINES_MAX + 1))).is_some());
    assert!(long_functions(&function(FN_LINES_MAX)).is_empty());
    assert_eq!(long_functions(&function(FN_LINES_MAX + 1)).len(), 1);
    assert!(no_doc(&function(1)).is_none());
    assert!(no_doc(&file("// A.\nfn a() {}\n".to_owned())).is_some());
}
