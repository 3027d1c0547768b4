//! Commands to try while the demo goes on; each works when pasted into a shell as it stands.

use std::path::Path;

use crate::demo::Facts;

/// A command and what it is for.
pub(super) type Command = (&'static str, String);

/// What to try.
#[derive(Clone, Debug)]
pub(super) struct Commands(Vec<Command>);

impl Commands {
    pub(super) fn new(facts: &Facts) -> Self {
        let program = program();
        let (proxy, admin) = (&facts.proxy, &facts.admin);
        let (data, input) = (path(&facts.data), path(&facts.input.file));
        let json = "-H 'content-type: application/json'";
        let id = facts.found.first().map(|found| found.text("/id")).unwrap_or_default();
        let infer = |path: &str| format!("curl -i {json} --data-binary @{input} {proxy}{path}");
        let mut commands = Vec::new();
        for (what, asked) in
            ["Ask the model, and read the stamp", "Ask the other version by name"].iter().zip(&facts.answers)
        {
            commands.push((*what, infer(&asked.path)));
        }
        commands.extend([
            ("What the model takes (passed through, no prediction)", format!("curl {proxy}/v2/models/fraud")),
            (
                "The auditor: what did this input lead to?",
                format!("{program} audit find --data {data} --input {input}"),
            ),
            ("The same hash without us", format!("sha256sum {input}")),
            ("One decision in full, with its lineage", format!("{program} audit show {id} --data {data}")),
            ("This decision back to raw data", format!("{program} lineage prediction {id} --data {data}")),
            (
                "On-call: what changed between the versions?",
                format!("{program} lineage diff fraud@v1.2.3 fraud@v1.3.0 --data {data}"),
            ),
            (
                "The data engineer: what did this dataset lead to?",
                format!("{program} lineage impact {} --data {data}", facts.graph.impact.of),
            ),
            ("Could it be made again?", format!("{program} lineage reproducible fraud@v1.2.3 --data {data}")),
            ("What leads nowhere?", format!("{program} lineage completeness --data {data}")),
            (
                "On-call: who answered how often?",
                format!("curl -s {admin}/metrics | grep ^touchmark_predictions_total"),
            ),
            ("The platform engineer: is it well?", format!("curl {admin}/readyz")),
        ]);
        Self(commands)
    }

    pub(super) fn all(&self) -> &[Command] {
        &self.0
    }

    /// The commands alone.
    pub(super) fn lines(&self) -> Vec<&str> {
        self.0.iter().map(|(_, line)| line.as_str()).collect()
    }
}

/// What to do once the demo has ended.
pub(super) fn next() -> [Command; 2] {
    let program = program();
    let serve = "serve --upstream http://127.0.0.1:8000 --model fraud@v1.2.3 --dataset transactions@v2.0";
    [
        ("Leave it running, with commands to try", format!("{program} demo --keep")),
        ("Put it before your own model server", format!("{program} {serve}")),
    ]
}

/// This program, as it was called.
fn program() -> String {
    quoted(&std::env::args().next().unwrap_or_else(|| "touchmark".to_owned()))
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_what_was_meant() {
        for text in ["/tmp/a-b_c.d/1", "it's a \"dir\" $HOME `x`", "", "a b\n"] {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), text);
        }
        assert_eq!(quoted("/tmp/x"), "/tmp/x");
    }
}
