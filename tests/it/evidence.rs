//! Evidence as a third party meets it: the real binary, its files carried elsewhere, and a mirror that knows HTTP alone.
//!
//! G4 (`docs/guarantees.md`). What a verifier refuses in detail stands in `src/ledger/proof`'s own tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use touchmark::ledger::read::{Query, Reader};
use touchmark::tlog::{Checkpoint, Hash, Note, Range, TILE_WIDTH, Tile, TilePath, VerifierKey, leaf_hash};

use super::support::eventually;
use super::support::message::{CHAT, INFER, LAST_CHUNK, Message, OUTPUT, chunk, get, ok, post, streaming};
use super::support::model_server::ModelServer;
use super::support::process::Running;
use super::support::touchmark::Folder;
use super::support::wire::Wire;

const TOUCHMARK: &str = env!("CARGO_BIN_EXE_touchmark");

/// A `touchmark serve` of its own.
struct Process {
    child: Running,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    async fn start(folder: &Folder, model: SocketAddr, environment: &[(&str, &str)]) -> Self {
        let announced = folder.path().join("serve.json");
        let _ = std::fs::remove_file(&announced);
        let mut command = Command::new(TOUCHMARK);
        command
            .args(["serve", "--upstream", &format!("http://{model}"), "--model", "fraud@v1.2.3"])
            .args(["--dataset", "transactions@v2.0", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--data")
            .arg(folder.path())
            .env("TOUCHMARK_LEDGER__SEGMENT_SIZE", "1MiB")
            .envs(environment.iter().copied())
            .stderr(Stdio::null());
        let child = Running::spawn(&mut command);
        let says: Value =
            eventually("serve.json", || serde_json::from_slice(&std::fs::read(&announced).ok()?).ok()).await;
        let address = |key: &str| says[key].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, listen: address("listen"), admin: address("admin") }
    }

    /// Sends predictions, and gives their ids.
    async fn predict(&self, path: &str, count: usize) -> Vec<String> {
        let mut wire = Wire::connect(self.listen).await;
        let mut ids = Vec::new();
        for number in 0..count {
            wire.send(post(path, format!(r#"{{"number":{number}}}"#))).await;
            ids.push(wire.answer().await.head.one("x-lineage-trace-id").to_owned());
        }
        ids
    }

    async fn stop(self) {
        let ended = self.child.terminated().await;
        assert!(ended.success(), "{ended}");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn model_server() -> ModelServer {
    ModelServer::serving(|request| {
        if request.head.target() == CHAT {
            [streaming(&[]), chunk("data: {}\n\n"), LAST_CHUNK.to_vec()].concat()
        } else {
            ok(OUTPUT)
        }
    })
    .await
}

/// What a command answered: its status, what it printed, and what it said beside.
struct Said {
    status: i32,
    out: String,
    beside: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.beside))
    }
}

/// Runs `touchmark audit …` in a directory.
fn audit(dir: &Path, words: &[&str]) -> Said {
    let output = Command::new(TOUCHMARK).arg("audit").args(words).current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code().unwrap(), out: text(output.stdout), beside: text(output.stderr) }
}

/// Runs a command that must do what it is asked.
#[track_caller]
fn done(dir: &Path, words: &[&str]) -> Said {
    let said = audit(dir, words);
    assert_eq!(said.status, 0, "{words:?}: {} {}", said.out, said.beside);
    said
}

/// The log's only key.
fn key(folder: &Folder) -> String {
    done(folder.path(), &["key", "--data", "."]).out.trim().to_owned()
}

/// Writes a file in a place that has nothing of the ledger, and verifies it there.
fn verify(elsewhere: &Folder, file: &str, content: &str, words: &[&str]) -> Said {
    std::fs::write(elsewhere.path().join(file), content).unwrap();
    audit(elsewhere.path(), &[&["verify-proof", file][..], words].concat())
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_prediction_is_proved_where_nothing_else_is_known() {
    let (model, folder, elsewhere) = (model_server().await, Folder::new(), Folder::new());
    let process = Process::start(&folder, model.address(), &[]).await;
    let held = process.predict(INFER, 3).await;
    let streamed = process.predict(CHAT, 1).await;
    let key = key(&folder);
    let named = done(folder.path(), &["key", "--data", ".", "--json"]).json();
    assert_eq!((&named["key"], &named["scheme"]), (&json!(key), &json!("Ed25519")));
    for (id, is_streamed) in [(&held[1], false), (&streamed[0], true)] {
        // At once: no checkpoint covers it, and the command waits for the next.
        let made = done(folder.path(), &["prove", id, "-o", "proof.json", "--data", ".", "--json"]).json();
        assert_eq!((&made["begin"], &made["lineage"]), (&json!(is_streamed), &json!(true)));
        let bundle = read(folder.path().join("proof.json"));
        let verdict = verify(&elsewhere, "p.json", &bundle, &["--key", &key, "--json"]);
        assert_eq!(verdict.status, 0, "{}", verdict.out);
        let verdict = verdict.json();
        assert_eq!((&verdict["verified"], &verdict["entry"]["id"]), (&json!(true), &json!(id)));
        assert_eq!(verdict["begin"].is_object(), is_streamed);
        assert_eq!(verdict["lineage"]["digest"], verdict["entry"]["lineage"]);
        let said = audit(elsewhere.path(), &["verify-proof", "p.json", "--key", &key]);
        let origin = key.split('+').next().unwrap();
        for part in [&format!("verified: prediction:{id} is entry"), origin, "fraud@v1.2.3", "transactions@v2.0"] {
            assert!(said.out.contains(part), "{part}: {}", said.out);
        }
    }
    // As bare tlog-proof, which does not hold the entry.
    done(folder.path(), &["prove", &held[0], "--tlog-proof", "-o", "p.tlog-proof", "--data", "."]);
    let bundle: Value = serde_json::from_str(&done(folder.path(), &["prove", &held[0], "--data", "."]).out).unwrap();
    let bare = read(folder.path().join("p.tlog-proof"));
    std::fs::write(elsewhere.path().join("entry"), format!("{}\n", bundle["entry"].as_str().unwrap())).unwrap();
    let with = ["--entry", "entry", "--key", &key];
    assert_eq!(verify(&elsewhere, "p.tlog-proof", &bare, &with).status, 0);
    let without = verify(&elsewhere, "p.tlog-proof", &bare, &["--key", &key]);
    assert_eq!(without.status, 2);
    assert!(without.beside.contains("--entry"), "{}", without.beside);
    std::fs::write(elsewhere.path().join("entry"), bundle["lineage"]["entry"].as_str().unwrap()).unwrap();
    assert_eq!(verify(&elsewhere, "p.tlog-proof", &bare, &with).status, 1);
    process.stop().await;
    // The proof is as good once nobody serves, and so is a new one.
    done(folder.path(), &["prove", &held[0], "-o", "again.json", "--data", "."]);
    let none = audit(folder.path(), &["prove", "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10", "--data", "."]);
    assert_eq!(none.status, 1);
    assert!(none.beside.contains("is not in the ledger"), "{}", none.beside);
}

/// What is done to a bundle.
type Edit<'a> = &'a dyn Fn(&mut Value);

#[tokio::test]
async fn no_part_of_a_bundle_can_be_changed() {
    let (model, folder, elsewhere) = (model_server().await, Folder::new(), Folder::new());
    let process = Process::start(&folder, model.address(), &[]).await;
    let streamed = process.predict(CHAT, 2).await;
    let key = key(&folder);
    let bundle = |id: &str| -> Value { done(folder.path(), &["prove", id, "--data", "."]).json() };
    let (good, other) = (bundle(&streamed[1]), bundle(&streamed[0]));
    process.stop().await;
    let judge = |bundle: &Value| verify(&elsewhere, "p.json", &bundle.to_string(), &["--key", &key]);
    assert_eq!(judge(&good).status, 0);
    let index = format!("index {}\n", judge_index(&good));
    let edits: [(&str, &str, &str, &str); 9] = [
        ("/entry", "\"complete\"", "\"timeout\"", "the prediction: it is not what the log committed to"),
        ("/proof", &index, "index 0\n", "the prediction: it is not what the log committed to"),
        ("/proof", "\n\n", "\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n", "wrong number of hashes"),
        ("/proof", "— ", "- ", "no signed note"),
        ("/proof", "default/", "default./", "does not fit"),
        ("/lineage/entry", "transactions", "transections", "the lineage document: it is not what the log committed to"),
        ("/lineage/proof", "tlog-proof@v1", "tlog-proof@v2", "the lineage document: this is no tlog-proof"),
        ("/begin/entry", "\"begin\"", "\"other\"", "the begin entry: it is not what the log committed to"),
        ("/begin/proof", "index ", "index 1", "the begin entry"),
    ];
    for (pointer, from, to, reason) in edits {
        let mut bad = good.clone();
        let text = bad.pointer_mut(pointer).unwrap();
        let changed = text.as_str().unwrap().replacen(from, to, 1);
        assert_ne!(text.as_str(), Some(changed.as_str()), "{pointer} {from}");
        *text = changed.into();
        let said = judge(&bad);
        assert_eq!(said.status, 1, "{pointer} {from}: {}", said.out);
        assert!(said.out.starts_with("NOT VERIFIED: ") && said.out.contains(reason), "{pointer} {from}: {}", said.out);
    }
    // Whole parts: another's, each in the other's place, or none.
    let swapped = |edit: Edit<'_>| {
        let mut bad = good.clone();
        edit(&mut bad);
        judge(&bad)
    };
    let swaps: [(&str, Edit<'_>); 6] = [
        ("the begin entry: it has the id", &|bad| bad["begin"] = other["begin"].clone()),
        ("where a lineage entry belongs", &|bad| bad["lineage"] = bad["begin"].clone()),
        ("where a begin entry belongs", &|bad| bad["begin"] = bad["lineage"].clone()),
        ("which is not here", &|bad| bad["lineage"] = Value::Null),
        ("unknown field", &|bad| bad["summary"] = "approved".into()),
        ("missing field", &|bad| drop(bad.as_object_mut().unwrap().remove("proof"))),
    ];
    for (reason, edit) in swaps {
        let said = swapped(edit);
        assert_eq!(said.status, 1, "{reason}: {}", said.out);
        assert!(said.out.contains(reason), "{reason}: {}", said.out);
    }
    let twice = format!("{{\"entry\":{},{}", other["entry"], &good.to_string()[1..]);
    assert_eq!(verify(&elsewhere, "p.json", &twice, &["--key", &key]).status, 1, "which of the two was verified?");
    // Cut anywhere, it is no proof; and nothing of it makes the command fail otherwise.
    let text = good.to_string();
    for cut in (0..text.len()).step_by(text.len() / 20) {
        let said = verify(&elsewhere, "p.json", &text[..text.floor_char_boundary(cut)], &["--key", &key]);
        assert_eq!(said.status, 1, "cut at {cut}: {} {}", said.out, said.beside);
    }
}

/// The index in a bundle's own proof.
fn judge_index(bundle: &Value) -> String {
    let proof = bundle["proof"].as_str().unwrap();
    proof.lines().find_map(|line| line.strip_prefix("index ")).unwrap().to_owned()
}

/// A forger makes a ledger of their own: consistent in itself, and nothing to whoever has the true key.
#[tokio::test]
async fn a_bundle_is_not_believed_for_its_own_keys() {
    let (model, folder, forged, elsewhere) = (model_server().await, Folder::new(), Folder::new(), Folder::new());
    let mut bundles = Vec::new();
    for folder in [&folder, &forged] {
        let process = Process::start(folder, model.address(), &[]).await;
        let ids = process.predict(INFER, 1).await;
        bundles.push(done(folder.path(), &["prove", &ids[0], "--data", "."]).out);
        process.stop().await;
    }
    let key = key(&folder);
    assert_eq!(verify(&elsewhere, "p.json", &bundles[0], &["--key", &key]).status, 0);
    let refused = verify(&elsewhere, "p.json", &bundles[1], &["--key", &key, "--json"]);
    assert_eq!((refused.status, &refused.json()["verified"]), (1, &json!(false)));
    for bundle in &bundles {
        let unsure = verify(&elsewhere, "p.json", bundle, &["--json"]);
        assert_eq!(unsure.status, 2, "consistent is not yes");
        let unsure = unsure.json();
        assert_eq!((&unsure["verified"], &unsure["consistent"]), (&json!(false), &json!(true)));
        let said = verify(&elsewhere, "p.json", bundle, &[]);
        assert!(said.out.starts_with("not verified: no --key"), "{}", said.out);
    }
    // The true key among the bundle's own changes nothing.
    let mut bundle: Value = serde_json::from_str(&bundles[1]).unwrap();
    bundle["keys"] = json!([key]);
    assert_eq!(verify(&elsewhere, "p.json", &bundle.to_string(), &["--key", &key]).status, 1);
    assert_eq!(verify(&elsewhere, "p.json", &bundle.to_string(), &[]).status, 1);
    let mistyped = verify(&elsewhere, "p.json", &bundles[0], &["--key", &key.replacen('+', "+0", 1)]);
    assert_eq!(mistyped.status, 2, "{}", mistyped.beside);
    let unwitnessed = verify(&elsewhere, "p.json", &bundles[0], &["--key", &key, "--witnesses", "1"]);
    assert_eq!(unwitnessed.status, 1);
    assert!(unwitnessed.out.contains("1 are wanted"), "{}", unwitnessed.out);
    assert_eq!(audit(elsewhere.path(), &["verify-proof", "none.json", "--key", &key]).status, 3);
}

#[tokio::test]
async fn a_log_that_only_grew_is_shown_to() {
    let (model, folder, elsewhere) = (model_server().await, Folder::new(), Folder::new());
    let process = Process::start(&folder, model.address(), &[]).await;
    let first = process.predict(INFER, 5).await;
    done(folder.path(), &["prove", &first[4], "--data", ".", "-o", "first.json"]);
    // An auditor keeps a checkpoint.
    let mut wire = Wire::connect(process.admin).await;
    wire.send(get("/checkpoint", &[])).await;
    std::fs::write(folder.path().join("kept"), wire.answer().await.text()).unwrap();
    let later = process.predict(INFER, 5).await;
    done(folder.path(), &["prove", &later[4], "--data", ".", "-o", "later.json"]);
    let key = key(&folder);
    let prove = |old: &str, new: &str| audit(folder.path(), &["prove", "--consistency", old, new, "--data", "."]);
    let grown = prove("kept", "latest");
    assert_eq!(grown.status, 0, "{}", grown.beside);
    let size = grown.json()["old"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    let judge = |proof: &str, words: &[&str]| verify(&elsewhere, "c.json", proof, words);
    let said = judge(&grown.out, &["--key", &key]);
    assert_eq!(said.status, 0, "{}", said.out);
    assert!(said.out.contains(&format!("grew from {size} entries to ")), "{}", said.out);
    assert_eq!(judge(&grown.out, &[]).status, 2);
    assert_eq!(prove(&size, "latest").status, 0, "by its size");
    assert_eq!(prove("latest", "latest").status, 0);
    let reversed = prove("latest", "kept");
    assert_eq!(reversed.status, 2, "{}", reversed.beside);
    let unknown = prove("999999", "latest");
    assert!(unknown.status == 1 && unknown.beside.contains("nearest"), "{}", unknown.beside);
    assert_eq!(prove("nowhere", "latest").status, 3);
    let mut bad = grown.json();
    let swapped = (bad["old"].take(), bad["new"].take());
    (bad["new"], bad["old"]) = swapped;
    let said = judge(&bad.to_string(), &["--key", &key]);
    assert!(said.status == 1 && said.out.contains("has become smaller"), "{}", said.out);
    let mut bad = grown.json();
    bad["consistency"].as_array_mut().unwrap().pop();
    assert_eq!(judge(&bad.to_string(), &["--key", &key]).status, 1);
    process.stop().await;
    // A checkpoint of another log, and one of a longer past.
    let other = Folder::new();
    let process = Process::start(&other, model.address(), &[]).await;
    let ids = process.predict(INFER, 1).await;
    done(other.path(), &["prove", &ids[0], "--data", ".", "-o", "p.json"]);
    process.stop().await;
    std::fs::copy(folder.path().join("kept"), other.path().join("kept")).unwrap();
    let foreign = audit(other.path(), &["prove", "--consistency", "kept", "latest", "--data", "."]);
    assert!(foreign.status == 1 && foreign.beside.contains("is of the log"), "{}", foreign.beside);
}

#[tokio::test]
async fn what_no_checkpoint_covers_yet_is_said_to_be_so() {
    let (model, folder) = (model_server().await, Folder::new());
    let process = Process::start(&folder, model.address(), &[("TOUCHMARK_LEDGER__SYNC_INTERVAL", "1h")]).await;
    let id = process.predict(INFER, 1).await.remove(0);
    let early = audit(folder.path(), &["prove", &id, "--data", "."]);
    assert_eq!((early.status, early.out.as_str()), (1, ""));
    assert!(early.beside.contains("no checkpoint covers entry"), "{}", early.beside);
    process.kill();
    Process::start(&folder, model.address(), &[]).await.stop().await;
    done(folder.path(), &["prove", &id, "--data", "."]);
}

#[tokio::test]
async fn damaged_hashes_are_told_and_made_again() {
    let (model, folder) = (model_server().await, Folder::new());
    let process = Process::start(&folder, model.address(), &[]).await;
    let ids = process.predict(INFER, 9).await;
    process.stop().await;
    let tree = folder.path().join("ledger/tree-0.hash");
    let whole = std::fs::read(&tree).unwrap();
    done(folder.path(), &["prove", &ids[3], "--data", "."]);
    let damaged: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    for content in [&damaged[..], &whole[..40], b""] {
        std::fs::write(&tree, content).unwrap();
        let said = audit(folder.path(), &["prove", &ids[3], "--data", "."]);
        assert_eq!((said.status, said.out.as_str()), (3, ""), "{}", said.beside);
        assert!(said.beside.contains("tree-*.hash"), "{}", said.beside);
    }
    std::fs::remove_file(&tree).unwrap();
    Process::start(&folder, model.address(), &[]).await.stop().await;
    done(folder.path(), &["prove", &ids[3], "--data", "."]);
    assert_eq!(std::fs::read(&tree).unwrap()[..whole.len()], whole);
}

/// Asks for a path; nothing where it is not there.
async fn fetch(wire: &mut Wire, path: &str) -> Option<Message> {
    wire.send(get(path, &[])).await;
    let answer = wire.answer().await;
    match answer.head.status() {
        200 => Some(answer),
        404 => None,
        status => panic!("{path}: {status} {}", answer.text()),
    }
}

/// The tiles of a level in a log of this size, the last perhaps partial.
fn tiles(level: u8, size: u64) -> impl Iterator<Item = Tile> {
    let hashes = size >> (8 * u32::from(level));
    (0..hashes.div_ceil(TILE_WIDTH)).map(move |index| Tile {
        level,
        index,
        width: TILE_WIDTH.min(hashes - index * TILE_WIDTH),
    })
}

/// Splits a bundle into its entries.
fn unbundle(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
        entries.push(entry.to_vec());
        bytes = rest;
    }
    entries
}

/// Mirrors ask at any time, and a log without a checkpoint is none to them.
#[tokio::test]
async fn a_process_that_answers_has_a_checkpoint_of_all_that_it_found() {
    let (model, folder) = (model_server().await, Folder::new());
    let seldom = [("TOUCHMARK_LEDGER__SYNC_INTERVAL", "1h")];
    for (predictions, least) in [(3, 1), (0, 5)] {
        let process = Process::start(&folder, model.address(), &seldom).await;
        let mut wire = Wire::connect(process.admin).await;
        let note: Note = fetch(&mut wire, "/checkpoint").await.unwrap().text().parse().unwrap();
        let Checkpoint { size, .. } = Checkpoint::parse(&note.text).unwrap();
        assert!(size >= least, "{size}");
        process.predict(INFER, predictions).await;
        process.kill();
    }
}

/// A client of the standard, over HTTP alone: the whole log, its tree, and the signature over it.
#[tokio::test]
async fn a_mirror_has_the_whole_log() {
    let (model, folder) = (model_server().await, Folder::new());
    let process = Process::start(&folder, model.address(), &[]).await;
    // More than a segment of 1 MiB holds, and some bundles.
    process.predict(INFER, 1400).await;
    let last = process.predict(INFER, 1).await.remove(0);
    done(folder.path(), &["prove", &last, "--data", ".", "-o", "p.json"]);
    let mut wire = Wire::connect(process.admin).await;
    let checkpoint = fetch(&mut wire, "/checkpoint").await.unwrap();
    assert_eq!(checkpoint.head.one("content-type"), "text/plain; charset=utf-8");
    let note: Note = checkpoint.text().parse().unwrap();
    let key: VerifierKey = key(&folder).parse().unwrap();
    note.verified_by([&key]).unwrap();
    let Checkpoint { size, root, .. } = Checkpoint::parse(&note.text).unwrap();
    assert!(size > 1400, "{size}");

    let mut mirror = Vec::new();
    let mut range = Range::new(0);
    let mut made: Vec<(u32, u64, Hash)> = Vec::new();
    for tile in tiles(0, size) {
        let path = format!("/{}", TilePath::Entries(tile).path());
        let bundle = fetch(&mut wire, &path).await.unwrap_or_else(|| panic!("{path}"));
        assert_eq!(bundle.head.one("content-type"), "application/octet-stream");
        assert!(bundle.head.one("cache-control").contains("immutable"));
        for entry in unbundle(&bundle.body) {
            range.push(leaf_hash(&entry), |node| made.push((node.level, node.index, node.hash)));
            mirror.push(entry);
        }
    }
    assert_eq!((range.end(), range.root()), (size, Some(root)), "the entries lead to the signed root");
    // Entries are those that a reader finds, from bundles in any order too.
    let found: Vec<Vec<u8>> =
        Reader::open(folder.path()).unwrap().find(&Query::default()).map(|found| found.unwrap().entry).collect();
    assert!(found.starts_with(&mirror));
    for (index, width) in [(4, 256), (1, 7), (2, 256), (0, 1)] {
        let path = TilePath::Entries(Tile { level: 0, index, width }).path();
        let bundle = unbundle(&fetch(&mut wire, &format!("/{path}")).await.unwrap().body);
        let first = usize::try_from(index * TILE_WIDTH).unwrap();
        assert_eq!(bundle, mirror[first..first + usize::try_from(width).unwrap()], "{path}");
    }
    for level in 0..2_u8 {
        for tile in tiles(level, size) {
            let hashes = fetch(&mut wire, &format!("/{}", TilePath::Hashes(tile).path())).await.unwrap().body;
            assert_eq!(hashes.len() as u64, tile.width * 32);
            for (place, hash) in (tile.index * TILE_WIDTH..).zip(hashes.as_chunks::<32>().0) {
                assert!(made.contains(&(u32::from(level) * 8, place, *hash)), "level {level} hash {place}");
            }
        }
    }
    // What no checkpoint covers is not there.
    let beyond = size / TILE_WIDTH;
    for path in [
        TilePath::Hashes(Tile { level: 0, index: beyond, width: TILE_WIDTH }),
        TilePath::Entries(Tile { level: 0, index: beyond, width: size % TILE_WIDTH + 9 }),
        TilePath::Hashes(Tile { level: 1, index: 0, width: beyond + 1 }),
        TilePath::Hashes(Tile { level: 2, index: 0, width: 1 }),
        TilePath::Entries(Tile { level: 0, index: u64::MAX / TILE_WIDTH, width: TILE_WIDTH }),
    ] {
        assert!(fetch(&mut wire, &format!("/{}", path.path())).await.is_none(), "{}", path.path());
    }
    process.stop().await;
}
