//! Documents are run: every `sh` block of the user's documents, in order, with the built binary before a small model
//! server, and what the `text` block below it shows must come out.
//!
//! `…` in a `text` block stands for anything, blanks for blanks, and each of its lines for a part of some line. A block
//! marked `sh elsewhere` needs what a test machine has not, and may only say what [`ELSEWHERE`] lists.

#![expect(clippy::expect_used, reason = "a document that cannot be run has failed")]

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/machine.rs"]
mod machine;

use std::path::Path;

use blocks::{Block, blocks, shows};
use machine::Machine;

/// What commands of blocks that are not run begin with.
const ELSEWHERE: [&str; 5] = ["bash .ci/run", "cargo ", "docker ", "kubectl ", "touchmark lineage import mlflow "];
/// Documents with commands. The others must have none.
const RUN: [&str; 10] = [
    "README.md",
    "docs/api.md",
    "docs/configuration.md",
    "docs/guarantees.md",
    "docs/lineage.md",
    "docs/mlflow.md",
    "docs/openlineage.md",
    "docs/operations.md",
    "docs/runbook.md",
    "docs/witness.md",
];

fn read(document: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).expect(document)
}

/// Runs a document from top to bottom on a machine of its own.
fn run(document: &str) {
    let blocks = blocks(&read(document));
    let scripts: Vec<&str> = blocks.iter().filter_map(Block::script).collect();
    if scripts.is_empty() {
        return;
    }
    if !machine::has_curl() {
        // A reader has it; `cargo test` must not need it. In CI it is there.
        assert!(std::env::var_os("CI").is_none(), "curl is missing: {document} cannot be run");
        return;
    }
    let machine = Machine::new();
    let outputs = machine.run(&scripts);
    let mut at = 0;
    for (number, block) in blocks.iter().enumerate() {
        at += usize::from(block.script().is_some());
        let Block::Shown(shown) = block else { continue };
        // What is shown with no command before it is an illustration.
        let Some(output) = at.checked_sub(1).filter(|_| number > 0 && blocks[number - 1].script().is_some()) else {
            continue;
        };
        for line in machine.here(shown).lines() {
            assert!(shows(&outputs[output], line), "{document} shows\n  {line}\nbut out came\n{}", outputs[output]);
        }
    }
}

#[test]
fn the_readme() {
    run("README.md");
}

#[test]
fn the_operators_page() {
    run("docs/operations.md");
}

#[test]
fn the_page_on_the_admin_listener() {
    run("docs/api.md");
}

#[test]
fn the_runbook() {
    run("docs/runbook.md");
}

#[test]
fn the_page_on_configuration() {
    run("docs/configuration.md");
}

#[test]
fn the_page_on_the_witness() {
    run("docs/witness.md");
}

#[test]
fn the_page_on_lineage() {
    run("docs/lineage.md");
}

#[test]
fn the_page_on_mlflow() {
    run("docs/mlflow.md");
}

#[test]
fn the_page_on_openlineage() {
    run("docs/openlineage.md");
}

#[test]
fn the_guarantees() {
    run("docs/guarantees.md");
}

#[test]
fn nothing_else_has_commands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for place in ["", "docs"] {
        for entry in std::fs::read_dir(folder.join(place)).expect(place).flatten() {
            let name = format!("{place}/{}", entry.file_name().to_string_lossy()).trim_start_matches('/').to_owned();
            if Path::new(&name).extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            seen += 1;
            for block in blocks(&read(&name)) {
                match block {
                    Block::Run(script) => assert!(RUN.contains(&name.as_str()), "{name} is not run: {script}"),
                    Block::Elsewhere(script) => {
                        let strange =
                            script.lines().find(|line| !ELSEWHERE.iter().any(|start| line.starts_with(start)));
                        assert_eq!(strange, None, "{name} has a command that a test could run");
                    }
                    Block::Shown(_) => {}
                }
            }
        }
    }
    assert!(seen >= RUN.len(), "the documents are not there");
}

#[test]
fn what_a_document_says_is_held_against_what_comes_out() {
    let found =
        blocks("A\n```sh\necho a\n```\n```text\na … c\n```\n```sh elsewhere\ncargo test\n```\n```yaml\nb\n```\n");
    let expected = [
        Block::Run("echo a\n".to_owned()),
        Block::Shown("a … c\n".to_owned()),
        Block::Elsewhere("cargo test\n".to_owned()),
    ];
    assert_eq!(found, expected);
    assert!(shows("x\n  a   b c\n", "a … c") && shows("abc", "b") && shows("", ""));
    assert!(!shows("a\nc\n", "a … c") && !shows("c a", "a … c") && !shows("ab", "a b"));
}
