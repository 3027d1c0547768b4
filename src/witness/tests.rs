//! The judge and its memory, against a model, a restart at any moment, damage and a disk that fails.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::sha256::{Sha256, hex};
use crate::tlog::{
    Checkpoint, Hash, Hashes, Note, Range, Scheme, Signer, base64, consistency_proof, leaf_hash, root_at,
};

/// The first leaf in which the histories of a log differ.
const FORK_AT: u64 = 5;
/// Leaves of a log.
const SIZE_MAX: u64 = 24;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("touchmark-witness-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Every log's file.
    fn checkpoints(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.0.join("witness")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "checkpoint")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Tree(HashMap<(u32, u64), Hash>);

impl Hashes for Tree {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        Ok(self.0[&(level, index)])
    }
}

/// A log with two histories, which are the same up to `FORK_AT`.
struct Log {
    signer: Signer,
    histories: [Tree; 2],
}

impl Log {
    fn new(origin: &str) -> Self {
        let signer = Signer::from_pkcs8(origin, &Signer::generate_ed25519().unwrap(), false).unwrap();
        let histories = [0, 1].map(|history| {
            let (mut tree, mut range) = (HashMap::new(), Range::new(0));
            for leaf in 0..SIZE_MAX {
                let history = if leaf < FORK_AT { 0 } else { history };
                range.push(leaf_hash(&[history, u8::try_from(leaf).unwrap()]), |node| {
                    tree.insert((node.level, node.index), node.hash);
                });
            }
            Tree(tree)
        });
        Self { signer, histories }
    }

    fn origin(&self) -> &str {
        self.signer.verifier().name()
    }

    fn root(&self, history: usize, size: u64) -> Hash {
        let Ok(root) = root_at(&self.histories[history], size);
        root
    }

    fn note(&self, history: usize, size: u64) -> Note {
        let checkpoint = Checkpoint { origin: self.origin().to_owned(), size, root: self.root(history, size) };
        Note::sign(checkpoint.to_string(), &self.signer, 0).unwrap()
    }

    fn body(&self, history: usize, old: u64, size: u64) -> String {
        let Ok(proof) = consistency_proof(&self.histories[history], old.min(size), size);
        let proof: String = proof.iter().map(|hash| base64(hash) + "\n").collect();
        format!("old {old}\n{proof}\n{}", self.note(history, size))
    }
}

fn config(folder: &Folder, logs: &[&Log]) -> Config {
    let logs = logs.iter().map(|log| LogConfig { vkey: log.signer.verifier().to_string(), origin: None });
    Config {
        name: Some("witness.example/w1".to_owned()),
        dir: folder.0.clone(),
        logs: logs.collect(),
        ..Config::default()
    }
}

/// The status that a refusal is answered with.
fn status(result: &Result<String, Refusal>) -> String {
    match result {
        Ok(_) => "cosigned".to_owned(),
        Err(Refusal::Conflict(size)) => format!("conflict {size}"),
        Err(refusal) => format!("{refusal:?}").split('(').next().unwrap().to_owned(),
    }
}

fn last(witness: &Witness, log: &Log) -> Option<String> {
    witness.checkpoint(&hex(Sha256::digest(log.origin()))).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    /// Submits a checkpoint of a history; `old` is what the witness has, or else so much more or less.
    Submit { log: usize, history: usize, off: i8, size: u64, junk: bool },
    /// Ends it and begins anew.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let submit = (0..2_usize, 0..2_usize, prop_oneof![6 => Just(0_i8), 1 => -2..=2_i8], 0..=SIZE_MAX, 0..8_u8)
        .prop_map(|(log, history, off, size, junk)| Step::Submit { log, history, off, size, junk: junk == 0 });
    proptest::collection::vec(prop_oneof![9 => submit, 1 => Just(Step::Restart)], 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_what_the_specification_says(steps in steps()) {
        let (folder, logs) = (Folder::new(), [Log::new("example.com/a"), Log::new("example.com/b")]);
        let config = config(&folder, &[&logs[0], &logs[1]]);
        let mut witness = Witness::open(&config, false).unwrap();
        let mut model: [Option<(u64, Hash)>; 2] = [None; 2];
        for step in steps {
            let Step::Submit { log: at, history, off, size, junk } = step else {
                drop(witness);
                witness = Witness::open(&config, false).unwrap();
                continue;
            };
            let log = &logs[at];
            let (known, known_root) = model[at].unwrap_or_else(|| (0, log.root(0, 0)));
            let old = known.saturating_add_signed(i64::from(off));
            let mut body = log.body(history, old.min(SIZE_MAX), size);
            if junk {
                body = body.replacen('\n', &format!("\n{}\n", base64(&[7; 32])), 1);
            }
            let old = old.min(SIZE_MAX);
            let expected = if old > size {
                "Backwards".to_owned()
            } else if old != known {
                format!("conflict {known}")
            } else if junk || log.root(history, old) != known_root {
                "Inconsistent".to_owned()
            } else {
                model[at] = Some((size, log.root(history, size)));
                "cosigned".to_owned()
            };
            let answer = witness.add_checkpoint(body.as_bytes(), 1_700_000_000);
            prop_assert_eq!(status(&answer), expected);
            let shown = last(&witness, log).map(|note| note.parse::<Note>().unwrap());
            let says = shown.as_ref().map(|note| Checkpoint::parse(&note.text).unwrap());
            prop_assert_eq!(says.map(|says| (says.size, says.root)), model[at]);
            if let Some(note) = shown {
                let keys = [log.signer.verifier(), witness.verifiers()[0]];
                prop_assert_eq!(note.verified_by(keys).unwrap().len(), 2);
            }
        }
    }
}

#[test]
fn what_is_cosigned_is_the_whole_checkpoint_at_that_time() {
    let (folder, log) = (Folder::new(), Log::new("example.com/a"));
    let config = Config { ml_dsa_key: Some(folder.0.join("witness/ml.pem")), ..config(&folder, &[&log]) };
    let witness = Witness::open(&config, false).unwrap();
    let lines = witness.add_checkpoint(log.body(0, 0, 7).as_bytes(), 1_700_000_000).unwrap();
    let note: Note = format!("{}{lines}", log.note(0, 7)).parse().unwrap();
    let signed = note.verified_by(witness.verifiers()).unwrap();
    let signed: Vec<_> = signed.iter().map(|(key, time)| (key.scheme(), *time)).collect();
    assert_eq!(signed, [(Scheme::CosignatureV1, Some(1_700_000_000)), (Scheme::MlDsa44, Some(1_700_000_000))]);
    assert_eq!(last(&witness, &log), Some(note.to_string()));
    // Extension lines are not covered by ML-DSA-44 cosignatures: the other scheme signs alone.
    let extended = Note::sign(format!("{}more\n", note.text), &log.signer, 0).unwrap();
    let lines = witness.add_checkpoint(format!("old 7\n\n{extended}").as_bytes(), 1_700_000_001).unwrap();
    assert_eq!(lines.lines().count(), 1);
    assert_eq!(last(&witness, &log), Some(format!("{extended}{lines}")));
    // The empty tree is a tree too, and time never is 0.
    assert_eq!(status(&witness.add_checkpoint(log.body(0, 7, 8).as_bytes(), 0)), "Failed");
    let other = Log::new("example.com/b");
    witness.know(&super::tests::config(&folder, &[&other])).unwrap();
    assert_eq!(status(&witness.add_checkpoint(other.body(0, 0, 0).as_bytes(), 9)), "cosigned");
    assert_eq!(status(&witness.add_checkpoint(log.body(0, 7, 8).as_bytes(), 9)), "Unknown");
    assert!(last(&witness, &log).is_some(), "what was cosigned is shown still");
}

#[test]
fn what_could_not_be_read_again_is_not_remembered() {
    let (folder, log) = (Folder::new(), Log::new("example.com/a"));
    let config = config(&folder, &[&log]);
    let witness = Witness::open(&config, false).unwrap();
    let mut cosigned = 0;
    // Around the size at which the log's note fits and ours with it does not.
    for length in (130_400..131_000).step_by(20) {
        let text = format!("{}{}\n", log.note(0, 7).text, "x".repeat(length));
        let note = Note::sign(text, &log.signer, 0).unwrap();
        let old = if cosigned == 0 { 0 } else { 7 };
        cosigned += usize::from(witness.add_checkpoint(format!("old {old}\n\n{note}").as_bytes(), 9).is_ok());
    }
    assert!((1..30).contains(&cosigned), "{cosigned} of 30");
    drop(witness);
    assert!(last(&Witness::open(&config, false).unwrap(), &log).is_some());
}

#[test]
fn only_a_trusted_key_is_believed() {
    let (folder, log, stranger) = (Folder::new(), Log::new("example.com/a"), Log::new("example.com/a"));
    let witness = Witness::open(&config(&folder, &[&log]), false).unwrap();
    let answer = |body: &str| status(&witness.add_checkpoint(body.as_bytes(), 9));
    assert_eq!(answer(&stranger.body(0, 0, 3)), "Untrusted");
    let mut note = log.note(0, 3);
    note.add(stranger.signer.sign(&note.text, 0).unwrap());
    // A line under a trusted key's name and id that is false makes the note malformed.
    let mut forged = note.clone();
    forged.signatures[0].bytes[9] ^= 1;
    assert_eq!(answer(&format!("old 0\n\n{forged}")), "Untrusted");
    assert_eq!(answer(&format!("old 0\n\n{note}")), "cosigned");
    let shown: Note = last(&witness, &log).unwrap().parse().unwrap();
    assert_eq!(shown.signatures.len(), 2, "a stranger's signature is not passed on");
    assert_eq!(answer(&Log::new("example.com/c").body(0, 0, 3)), "Unknown");
    assert_eq!(answer("old 0\n"), "Malformed");
    // A root of the empty tree that is none.
    let odd = Checkpoint { origin: log.origin().to_owned(), size: 0, root: [1; 32] };
    let folder = Folder::new();
    let witness = Witness::open(&config(&folder, &[&log]), false).unwrap();
    let odd = Note::sign(odd.to_string(), &log.signer, 0).unwrap();
    assert_eq!(status(&witness.add_checkpoint(format!("old 0\n\n{odd}").as_bytes(), 9)), "Inconsistent");
}

#[test]
fn damage_of_any_kind_ends_the_start() {
    let (folder, log) = (Folder::new(), Log::new("example.com/a"));
    let config = config(&folder, &[&log]);
    let witness = Witness::open(&config, false).unwrap();
    witness.add_checkpoint(log.body(0, 0, 7).as_bytes(), 9).unwrap();
    drop(witness);
    let file = folder.checkpoints().remove(0);
    let whole = fs::read(&file).unwrap();
    let refused = |what: &str| {
        let error = Witness::open(&config, false).unwrap_err();
        assert!(matches!(error, StartError::Memory(MemoryError::Damaged { .. })), "{what}: {error}");
        assert!(error.to_string().contains(".checkpoint is damaged"), "{what}: {error}");
    };
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        refused("a flipped bit");
        fs::write(&file, &whole[..at]).unwrap();
        refused("cut");
    }
    fs::remove_file(&file).unwrap();
    refused("missing");
    let other = file.with_file_name(format!("{}.checkpoint", "0".repeat(64)));
    fs::write(&other, &whole).unwrap();
    refused("another log's name");
    fs::rename(&other, &file).unwrap();
    let witness = Witness::open(&config, false).unwrap();
    assert_eq!(status(&witness.add_checkpoint(log.body(1, 7, 9).as_bytes(), 9)), "Inconsistent");
    assert_eq!(status(&witness.add_checkpoint(log.body(0, 0, 9).as_bytes(), 9)), "conflict 7");
}

#[test]
fn what_a_crash_leaves_is_mended() {
    let (folder, log) = (Folder::new(), Log::new("example.com/a"));
    let config = config(&folder, &[&log]);
    Witness::open(&config, false).unwrap().add_checkpoint(log.body(0, 0, 7).as_bytes(), 9).unwrap();
    let file = folder.checkpoints().remove(0);
    let known = folder.0.join("witness/known");
    let list = fs::read_to_string(&known).unwrap();
    for (torn, draft) in [("", true), (&list[..20], false), (&list[..64], false), ("\0\0\0\n", true)] {
        fs::write(&known, torn).unwrap();
        let draft = draft.then(|| file.with_extension("checkpoint.new"));
        if let Some(draft) = &draft {
            fs::write(draft, "half a").unwrap();
        }
        let witness = Witness::open(&config, false).unwrap();
        assert_eq!(status(&witness.add_checkpoint(log.body(0, 0, 7).as_bytes(), 9)), "conflict 7");
        assert_eq!(fs::read_to_string(&known).unwrap(), list);
        assert!(draft.is_none_or(|draft| !draft.exists()));
    }
    fs::write(&known, format!("nonsense\n{list}")).unwrap();
    let error = Witness::open(&config, false).unwrap_err().to_string();
    assert!(error.contains("known is damaged"), "{error}");
}

#[test]
fn a_key_without_a_memory_is_refused_unless_it_is_new() {
    let (folder, log) = (Folder::new(), Log::new("example.com/a"));
    let config = Config { key: Some(folder.0.join("key.pem")), ..config(&folder, &[&log]) };
    let vkey = |witness: &Witness| witness.verifiers()[0].to_string();
    let first = vkey(&Witness::open(&config, false).unwrap());
    assert_eq!(fs::metadata(folder.0.join("key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(vkey(&Witness::open(&config, false).unwrap()), first, "a key is made once");
    fs::remove_dir_all(folder.0.join("witness")).unwrap();
    let error = Witness::open(&config, false).unwrap_err().to_string();
    assert!(error.contains("--new") && error.contains("has no memory"), "{error}");
    assert_eq!(vkey(&Witness::open(&config, true).unwrap()), first);
    assert_eq!(vkey(&Witness::open(&config, false).unwrap()), first, "said once");
    // Another process may not even look.
    let one = Witness::open(&config, false).unwrap();
    let error = Witness::open(&config, false).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by another witness, process {}", std::process::id())), "{error}");
    drop(one);
}

#[test]
fn a_key_of_another_kind_is_told() {
    let folder = Folder::new();
    let config = Config { key: Some(folder.0.join("key.pem")), ..config(&folder, &[]) };
    let swapped = Config { ml_dsa_key: config.key.clone(), key: Some(folder.0.join("other.pem")), ..config.clone() };
    drop(Witness::open(&config, false).unwrap());
    let error = Witness::open(&swapped, false).unwrap_err().to_string();
    assert!(error.contains("witness.ml_dsa_key") && error.contains("is an Ed25519 key"), "{error}");
    fs::write(folder.0.join("key.pem"), "junk").unwrap();
    let error = Witness::open(&config, false).unwrap_err().to_string();
    assert!(error.contains("-----BEGIN PRIVATE KEY-----"), "{error}");
}

#[test]
fn a_disk_that_fails_costs_an_answer_and_no_memory() {
    let (folder, log) = (Folder::new(), Log::new("example.com/a"));
    let witness = Witness::open(&config(&folder, &[&log]), false).unwrap();
    let add = |history, old, size| status(&witness.add_checkpoint(log.body(history, old, size).as_bytes(), 9));
    assert_eq!(add(0, 0, 3), "cosigned");
    let file = folder.checkpoints().remove(0);
    let draft = file.with_extension("checkpoint.new");
    // A folder in its place: the draft cannot be written.
    fs::create_dir(&draft).unwrap();
    assert_eq!(add(0, 3, 7), "Failed");
    assert_eq!(add(0, 3, 3), "cosigned", "just written: nothing has to be");
    fs::remove_dir(&draft).unwrap();
    // Nor renamed.
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(add(0, 3, 7), "Failed");
    let shown = witness.checkpoint(&hex(Sha256::digest(log.origin())));
    assert!(shown.unwrap_err().to_string().contains("may not be on the disk"));
    assert_eq!(add(0, 0, 7), "conflict 3");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, kept).unwrap();
    assert_eq!(add(0, 3, 7), "cosigned");
    assert_eq!(add(1, 7, 7), "Inconsistent");
    assert!(last(&witness, &log).is_some());
}

#[test]
fn names_of_the_configuration_are_judged() {
    let problems = |config: &Config| config.problems(true).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(problems(&Config::default()), ["witness.name"]);
    assert_eq!(Config::default().problems(false), []);
    let key = Some(PathBuf::from("same.pem"));
    let bad = Config {
        name: Some("a b".to_owned()),
        dir: PathBuf::new(),
        key: key.clone(),
        ml_dsa_key: key,
        logs: vec![LogConfig { vkey: "x".to_owned(), origin: None }],
        ..Config::default()
    };
    assert_eq!(problems(&bad), ["witness.name", "witness.dir", "witness.ml_dsa_key", "witness.logs[0].vkey"]);
    assert_eq!(problems(&Config { ml_dsa_key: Some(PathBuf::new()), ..bad })[2], "witness.ml_dsa_key");
}
