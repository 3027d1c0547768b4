//! `touchmark lineage record`, as a CI job calls it: what it finds out, what it passes on, and what twice comes to.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::support::process::Running;
use super::support::skipped_without;
use super::support::touchmark::Folder;

fn touchmark(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
    command.current_dir(folder).args(["lineage"]).args(arguments);
    // As nobody's CI job.
    for name in ["GITHUB_ACTOR", "GITHUB_RUN_ID", "GITLAB_USER_LOGIN", "CI_JOB_URL", "BUILD_URL"] {
        command.env_remove(name);
    }
    command.env("USER", "ann");
    command
}

/// The status and standard error.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

fn record(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    said(&touchmark(folder, &[&["record"], arguments].concat()).output().unwrap())
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = touchmark(folder, arguments).arg("--json").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output).1))
}

/// A repository with a script in it.
fn repository(folder: &Path) -> String {
    std::fs::write(folder.join("train.sh"), "echo model > model.bin\necho '{\"auc\": 0.9}' > metrics.json\n").unwrap();
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").current_dir(folder).args(identity).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output).1);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    std::fs::write(folder.join(".gitignore"), "touchmark-data/\nmodel.bin\nmetrics.json\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "train"]);
    git(&["remote", "add", "origin", "https://me:secret@git.example/fraud.git"]);
    git(&["rev-parse", "HEAD"])
}

#[test]
fn a_training_is_run_watched_and_linked() {
    if Command::new("git").arg("--version").output().is_err() {
        return skipped_without("git");
    }
    let folder = Folder::new();
    let commit = repository(folder.path());
    let words = ["run", "--dataset", "s3://lake/transactions@v2", "--test", "holdout@v1", "--model", "fraud@v2"];
    let files = ["--model-file", "model.bin", "--metrics", "metrics.json", "--parameter", "depth=6", "--id", "r1"];
    let mut command = touchmark(folder.path(), &[&["record"], &words[..], &files, &["--", "sh", "train.sh"]].concat());
    let (status, told) = said(&command.env("PYTHONHASHSEED", "7").output().unwrap());
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("new: model:fraud@v2"), "{told}");
    assert!(told.contains(&format!("https://git.example/fraud.git@{commit}, clean")), "{told}");
    assert!(told.contains("not found    image"), "{told}");

    let shown = json(folder.path(), &["reproducible", "fraud@v2"]);
    let missing = shown.to_string();
    for found in ["git_commit", "clean_tree", "random_seed", "script_digest", "hardware", "model_digest"] {
        let lacks = shown.pointer("/missing").or(shown.pointer("/reproducible/missing")).unwrap();
        assert!(!lacks.as_array().unwrap().iter().any(|lack| lack == found), "{found}: {missing}");
    }
    let upstream = json(folder.path(), &["upstream", "fraud@v2"]).to_string();
    for node in ["run:r1", "dataset:s3://lake/transactions@v2", "dataset:holdout@v1", &commit] {
        assert!(upstream.contains(node), "{node} in {upstream}");
    }
    assert!(!upstream.contains("secret"), "{upstream}");
}

#[test]
fn how_the_command_ends_is_how_it_ends() {
    let folder = Folder::new();
    let (status, told) =
        record(folder.path(), &["run", "--id", "r1", "--model", "fraud@v1", "--", "sh", "-c", "exit 7"]);
    assert_eq!(status, Some(7), "{told}");
    assert!(told.contains("run:r1: failed"), "{told}");
    let (status, _) = said(&touchmark(folder.path(), &["show", "fraud@v1"]).output().unwrap());
    assert_eq!(status, Some(1), "a run that failed made no model");
    let (status, told) = record(folder.path(), &["run", "--id", "r2", "--", "./no-such-program"]);
    assert_eq!(status, Some(3), "{told}");
    assert!(told.contains("./no-such-program cannot be run"), "{told}");
    assert!(json(folder.path(), &["show", "run:r2"]).to_string().contains("failed"));
}

#[test]
fn a_signal_reaches_the_command() {
    let folder = Folder::new();
    let script = "trap 'exit 9' TERM; echo ready; for i in $(seq 1 1000); do sleep 0.05; done";
    let mut command = touchmark(folder.path(), &["record", "run", "--id", "r1", "--", "sh", "-c", script]);
    let mut child = Running::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // While it runs, it is seen to.
    assert!(json(folder.path(), &["show", "run:r1"]).to_string().contains("running"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn twice_is_once_and_a_file_says_it_all() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("data.csv"), "a,b\n").unwrap();
    let dataset = ["dataset", "d@v1", "--file", "data.csv", "--records", "1", "--stage", "raw", "--owner", "data"];
    let (status, told) = record(folder.path(), &dataset);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("new: dataset:d@v1"), "{told}");
    assert_eq!(record(folder.path(), &dataset), (Some(0), "all of it was known\n".to_owned()));

    let file = folder.path().join("touchmark.lineage.yaml");
    std::fs::write(
        &file,
        "runs:\n  - {id: r1, kind: training, inputs: [{id: 'dataset:d@v1', role: training}], outputs: ['model:m@v1']}\n\
         models:\n  - {id: m@v1, aliases: [champion]}\n",
    )
    .unwrap();
    let (status, told) = record(folder.path(), &["file"]);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(record(folder.path(), &["file"]).1, "all of it was known\n");
    assert!(json(folder.path(), &["downstream", "dataset:d@v1"]).to_string().contains("model:m@v1"));
    let shown = json(folder.path(), &["show", "dataset:d@v1"]).to_string();
    assert!(shown.contains("ann") && shown.contains("sha256:"), "{shown}");

    let (status, told) =
        record(folder.path(), &["model", "m@v2", "--run", "r2", "--base", "m@v1", "--derivation", "pruned"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(json(folder.path(), &["upstream", "m@v2"]).to_string().contains("dataset:d@v1"));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("typo.yaml"), "models: [{id: m@v1, ownr: me}]\n").unwrap();
    let wrong: [(&[&str], i32, &str); 6] = [
        (&["file", "typo.yaml"], 2, "unknown keys: models[0].ownr"),
        (&["file", "none.yaml"], 3, "none.yaml"),
        (&["dataset", "no-version"], 2, "no-version"),
        (&["dataset", "d@v1", "--stage", "cooked"], 2, "expected one of `raw`, `prepared`, `features`"),
        (&["dataset", "d@v1", "--file", "gone.csv"], 3, "gone.csv"),
        (&["run"], 2, "--id"),
    ];
    for (arguments, status, message) in wrong {
        let (ended, told) = record(folder.path(), arguments);
        assert_eq!(ended, Some(status), "{arguments:?}: {told}");
        assert!(told.contains(message), "{arguments:?}: {told}");
    }
    assert!(!folder.path().join("touchmark-data").exists(), "nothing was recorded, and nothing made");
}
