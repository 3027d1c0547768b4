//! The command line through another Touchmark: CI jobs record into a fleet's catalog, and ask it, with a token alone.

use std::path::Path;
use std::process::{Command, Output};

use rcgen::SanType;
use serde_json::{Value, json};

use super::support::message::Message;
use super::support::model_server::ModelServer;
use super::support::process::Fleet;
use super::support::tls::Authority;
use super::support::touchmark::Folder;
use super::support::wire::Wire;

/// A machine that knows a fleet's address, and has a token of each role in a file.
struct Machine {
    folder: Folder,
    server: String,
}

impl Machine {
    fn new(server: String) -> Self {
        let folder = Folder::new();
        for role in ["recorder", "viewer", "auditor", "nobody"] {
            std::fs::write(folder.path().join(role), format!("{role}\n")).unwrap();
        }
        Self { folder, server }
    }

    fn near(fleet: &Fleet) -> Self {
        Self::new(format!("http://{}", fleet.admin))
    }

    fn command(&self, words: &[&str], role: Option<&str>) -> Command {
        let mut command = touchmark(self.folder.path(), &[]);
        // A command to be run stands last.
        let (words, run) = words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        command.args(words).args(["--server", &self.server]);
        command.args(role.iter().flat_map(|role| ["--token-file", *role])).args(run);
        command
    }

    /// The exit status, and both outputs.
    fn said(&self, words: &[&str], role: Option<&str>) -> (Option<i32>, String) {
        said(&self.command(words, role).output().unwrap())
    }

    fn recorded(&self, words: &[&str]) -> String {
        let (status, told) = self.said(&[&["lineage", "record"], words].concat(), Some("recorder"));
        assert_eq!(status, Some(0), "{words:?}: {told}");
        told
    }
}

fn touchmark(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
    command.current_dir(folder).args(words);
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap())
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_job_records_and_asks_with_a_token_alone() {
    let fleet = Fleet::start(&["recorder", "viewer", "auditor"], json!({}), json!({})).await;
    fleet.opened().await;
    let machine = Machine::near(&fleet);
    std::fs::write(machine.folder.path().join("data.csv"), "a,b\n").unwrap();
    let dataset = ["dataset", "s3://lake/tx@v1", "--file", "data.csv", "--records", "1", "--owner", "data"];
    assert!(machine.recorded(&dataset).contains("new: dataset:s3://lake/tx@v1"));
    assert_eq!(machine.recorded(&dataset), "all of it was known\n");
    let file = "models: [{id: fraud@v0, aliases: [champion], owner: risk}]\n";
    std::fs::write(machine.folder.path().join("touchmark.lineage.yaml"), file).unwrap();
    machine.recorded(&["file"]);
    let train = ["--", "sh", "-c", "echo weights > model.bin"];
    let told =
        ["run", "--id", "r1", "--dataset", "s3://lake/tx@v1", "--model", "fraud@v1", "--model-file", "model.bin"];
    let told = machine.recorded(&[&told[..], &train].concat());
    assert!(told.contains("new: model:fraud@v1") && told.contains("run:r1: complete"), "{told}");
    machine.recorded(&["model", "fraud@v2", "--run", "r2", "--base", "fraud@v1", "--derivation", "pruned"]);
    let image = format!("fraud@sha256:{}", "0".repeat(64));
    machine.recorded(&["image", &image]);
    machine.recorded(&["deployment", "prod", "--model", "fraud@v1", "--image", &image]);
    assert!(!machine.folder.path().join("touchmark-data").exists(), "no catalog is made here");

    // What the server answers is what the catalog itself would.
    for words in [
        "show model:fraud@v1",
        "search --type model --limit 2",
        "search --owner data --type dataset",
        "upstream fraud@v2 --depth 3 --kind dataset,model",
        "downstream dataset:s3://lake/tx@v1",
        "diff fraud@v1 fraud@v2",
        "diff deployment:prod --before 0s",
        "impact dataset:s3://lake/tx@v1",
        "reproducible fraud@v1",
        "completeness",
    ] {
        let words: Vec<_> = ["lineage"].into_iter().chain(words.split(' ')).chain(["--json"]).collect();
        let there = machine.command(&words, Some("auditor")).output().unwrap();
        let here = touchmark(machine.folder.path(), &words).arg("--data").arg(fleet.data()).output().unwrap();
        assert_eq!(there.status.code(), here.status.code(), "{words:?}: {there:?}");
        assert!(!there.stdout.is_empty() && lines(&there) == lines(&here), "{words:?}: {there:?}\n{here:?}");
    }
    let shown = machine.said(&["lineage", "show", "run:r1", "--json"], Some("viewer")).1;
    assert!(shown.contains("the recorder") && shown.contains("complete"), "{shown}");

    let gate = |fields: &str| machine.said(&["check", "lineage", "fraud@v1", "--require", fields], Some("viewer"));
    assert_eq!(gate("dataset_version,run,model_digest").0, Some(0));
    assert_eq!(
        gate("run,owner,image_digest"),
        (Some(1), "model:fraud@v1: owner is missing\nmodel:fraud@v1: image_digest is missing\n".to_owned())
    );
    let before = ["check", "lineage", "fraud@v1", "--require", "run", "--as-of", "2020-01-01"];
    assert_eq!(machine.said(&before, Some("viewer")).0, Some(1), "nobody knew it then");
    assert_eq!(fleet.process.terminated().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_names_its_mend() {
    let fleet = Fleet::start(&["recorder", "viewer"], json!({}), json!({"catalog": {"causality": "refuse"}})).await;
    fleet.opened().await;
    let machine = Machine::near(&fleet);
    machine.recorded(&["model", "a@v1"]);
    machine.recorded(&["model", "a@v2"]);
    std::fs::write(
        machine.folder.path().join("circle.yaml"),
        "runs: [{id: r1, inputs: [{id: 'model:a@v1'}], outputs: ['model:a@v1']}]\n",
    )
    .unwrap();
    let record = |name| ["lineage", "record", "dataset", name];
    let wrong: [(&[&str], Option<&str>, i32, &str); 11] = [
        (&record("d@v1"), None, 2, "--token-file"),
        (&record("d@v1"), Some("nobody"), 2, "the token in nobody is not known there"),
        (&record("d@v1"), Some("viewer"), 2, "'the viewer' may not: it takes the role recorder or operator"),
        (&record("d@v1"), Some("gone"), 2, "the token file gone cannot be read"),
        (&record("no-version"), Some("recorder"), 2, "no-version"),
        (&[&record("d@v1")[..], &["--data", "x"]].concat(), Some("recorder"), 2, "--data"),
        (&[&record("d@v1")[..], &["--author", "ann"]].concat(), Some("recorder"), 2, "--author"),
        (&["lineage", "record", "file", "circle.yaml"], Some("recorder"), 2, "would close a circle"),
        (&["lineage", "upstream", "model:a@v1"], Some("viewer"), 2, "add --json"),
        (&["lineage", "show", "model:none@v1", "--json"], Some("viewer"), 1, "model:none@v1"),
        (&["lineage", "upstream", "a", "--json"], Some("viewer"), 2, "model:a@v2"),
    ];
    for (words, role, status, message) in wrong {
        let (ended, told) = machine.said(words, role);
        assert_eq!(ended, Some(status), "{words:?}: {told}");
        assert!(told.contains(message), "{words:?}: {told}");
    }

    let other = ModelServer::answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let elsewhere = Machine::new(format!("http://{}", other.address()));
    let question = ["check", "lineage", "a@v1", "--require", "run"];
    let (ended, told) = tokio::task::block_in_place(|| elsewhere.said(&question, None));
    assert_eq!(ended, Some(3), "a proxy's 404 is no finding: {told}");
    let (ended, told) = Machine::new("catalog:9091".to_owned()).said(&question, None);
    assert!(ended == Some(2) && told.contains("http://HOST:PORT"), "{told}");
    drop(fleet);
    let (ended, told) = machine.said(&question, Some("viewer"));
    assert!(ended == Some(3) && told.contains(&machine.server) && told.contains("admin address"), "{told}");
}

#[tokio::test]
async fn a_run_outlives_the_server() {
    let fleet = Fleet::start(&["recorder"], json!({}), json!({})).await;
    fleet.opened().await;
    let machine = Machine::near(&fleet);
    let kill = format!("kill -9 {}", fleet.process.id());
    let words = ["lineage", "record", "run", "--id", "r1", "--model", "fraud@v1", "--", "sh", "-c", &kill];
    let (status, told) = machine.said(&words, Some("recorder"));
    assert_eq!(status, Some(3), "{told}");
    let mend = format!(
        "'touchmark lineage record file touchmark-run-r1.json --server {} --token-file recorder'",
        machine.server
    );
    assert!(told.contains(&mend), "{told}");
    let (status, told) = machine.said(&words, Some("recorder"));
    assert!(status == Some(3) && !told.contains("is kept"), "what cannot be recorded is not begun: {told}");

    let another = Fleet::start(&["recorder"], json!({}), json!({})).await;
    another.opened().await;
    let machine = Machine { server: format!("http://{}", another.admin), ..machine };
    assert!(machine.recorded(&["file", "touchmark-run-r1.json"]).contains("new: model:fraud@v1"));
}

#[tokio::test]
async fn a_server_is_met_under_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let here = SanType::IpAddress([127, 0, 0, 1].into());
    let issued = authority.issue_with(&[], |params| params.subject_alt_names.push(here));
    let (certificate, key) = issued.write(folder.path());
    let tls = json!({"tls": {"certificate": certificate, "key": key}});
    let fleet = Fleet::start(&["recorder"], tls, json!({})).await;
    let machine = Machine::new(format!("https://{}", fleet.admin));
    let ca = fleet.folder().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let record = |ca: &Path| {
        let mut command = machine.command(&["lineage", "record", "dataset", "d@v1"], Some("recorder"));
        said(&command.env("SSL_CERT_FILE", ca).output().unwrap())
    };
    // Until the catalog is open, it says that it is not.
    let recorded = super::support::eventually("the catalog", || {
        let (status, told) = record(&ca);
        (!told.contains("503")).then_some((status, told))
    });
    let (status, told) = recorded.await;
    assert!(status == Some(0) && told.contains("new: dataset:d@v1"), "{told}");
    let stranger = fleet.folder().join("stranger.pem");
    std::fs::write(&stranger, Authority::new().pem).unwrap();
    let (status, told) = record(&stranger);
    assert!(status == Some(3) && told.contains("certificate"), "{told}");
}

/// What is not sent by this binary.
#[tokio::test]
async fn facts_are_taken_whole_or_not_at_all() {
    let fleet = Fleet::start(&["recorder", "viewer"], json!({}), json!({"catalog": {"causality": "refuse"}})).await;
    fleet.opened().await;
    let post = async |body: String, role: &str| -> Message {
        let bearer = format!("Bearer {role}");
        let fields = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let mut client = Wire::connect(fleet.admin).await;
        client.send(super::support::message::post_with("/api/v1/facts", &fields, body)).await;
        client.answer().await
    };
    let object = |answer: &Message| -> Value { serde_json::from_slice(&answer.body).unwrap() };
    let good = json!({"models": [{"id": "m@v1", "tags": {"tier": "1"}}]}).to_string();
    assert_eq!(post(good.clone(), "viewer").await.head.status(), 403);
    let first = post(good.clone(), "recorder").await;
    assert_eq!((first.head.status(), &object(&first)["created"][0]), (200, &json!("model:m@v1")), "{}", first.text());
    assert_eq!(object(&post(good, "recorder").await), json!({"created": [], "changed": [], "linked": 0}));
    let run = |times: &str| format!(r#"{{"id":"r1","inputs":[{{"id":"dataset:d@v1"}}],{times}}}"#);
    let late = format!(
        r#"{{"runs":[{{"id":"r0","outputs":["dataset:d@v1"],"start":"2026-02-01T00:00:00Z","end":"2026-02-02T00:00:00Z"}},{}]}}"#,
        run(r#""start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z""#)
    );
    let deep = format!(r#"{{"models":[{{"id":"m@v1","properties":{{"x":{}"#, "[".repeat(100_000));
    for (body, status, kind, named) in [
        (r#"{"models":[{"id":"m@v1","ownr":"me"}]}"#, 400, "facts", "models[0].ownr"),
        (r#"{"model":[]}"#, 400, "facts", "model"),
        ("models: []", 400, "facts", "line 1"),
        (&deep, 400, "facts", "recursion"),
        ("", 400, "facts", ""),
        (r#"{"models":[{"id":"m"}]}"#, 422, "identity", "'m'"),
        (
            r#"{"runs":[{"id":"r1","inputs":[{"id":"model:m@v1"}],"outputs":["model:m@v1"]}]}"#,
            422,
            "circle",
            "model:m@v1",
        ),
        (&late, 422, "causality", "dataset:d@v1"),
    ] {
        let answer = post(body.to_owned(), "recorder").await;
        let said = object(&answer);
        let kind = format!("urn:touchmark:problem:{kind}");
        assert_eq!((answer.head.status(), said["type"].as_str()), (status, Some(&*kind)), "{}", answer.text());
        assert!(said["detail"].as_str().unwrap().contains(named), "{named}: {said}");
    }
    let mut client = Wire::connect(fleet.admin).await;
    let head = "POST /api/v1/facts HTTP/1.1\r\nhost: admin\r\ncontent-type: application/json\r\n\
                authorization: Bearer recorder\r\ncontent-length: 16777217\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.answer().await.head.status(), 413);
    let log = std::fs::read_to_string(fleet.data().join("access.jsonl")).unwrap();
    let told = |line: &&str| line.contains("the recorder") && line.contains("/api/v1/facts");
    assert!(log.lines().filter(told).count() >= 2, "{log}");
}
