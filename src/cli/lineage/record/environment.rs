//! What a command runs in: the packages of its Python, its lock file, its image, the machine.
//!
//! Asked of the interpreter itself, since only that knows what it would import.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use serde::Deserialize;

use super::digest;
use crate::lineage::EnvironmentFact;

/// What an interpreter is asked.
const QUESTION: &str = "import importlib.metadata as m, json, platform
print(json.dumps({'python': platform.python_version(),
    'packages': {d.metadata['Name']: d.version for d in m.distributions() if d.metadata['Name']}}))";
/// Where Linux tells of its processors.
const CPUINFO: &str = "/proc/cpuinfo";

#[derive(Deserialize)]
struct Said {
    python: String,
    packages: BTreeMap<String, String>,
}

/// What is to be found of it; the lock file's digest where one is named, else that of the pinned packages.
pub(super) fn of(command: &[String], image: Option<&str>, lock: Option<&Path>) -> Result<EnvironmentFact> {
    let said = interpreter(command).and_then(|python| ask(&python));
    let packages = said.as_ref().map(|said| said.packages.clone()).unwrap_or_default();
    let pinned = (!packages.is_empty()).then(|| EnvironmentFact::digest_of(&packages));
    Ok(EnvironmentFact {
        image: image.map(str::to_owned),
        lock_digest: lock.map(digest::of).transpose()?.or(pinned),
        python: said.map(|said| said.python),
        hardware: Some(hardware()),
        packages,
    })
}

/// The Python that a command runs: itself, or the one in its script's first line.
fn interpreter(command: &[String]) -> Option<String> {
    let program = command.first()?;
    let is_python = |path: &str| {
        Path::new(path).file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python"))
    };
    if is_python(program) {
        return Some(program.clone());
    }
    // A console script of a virtual environment, such as `torchrun`, names its interpreter.
    let bytes = std::fs::read(which(program)?).ok()?;
    let first = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let words = std::str::from_utf8(first).ok()?;
    words.split_whitespace().find(|word| is_python(word)).map(str::to_owned)
}

fn which(program: &str) -> Option<std::path::PathBuf> {
    if program.contains('/') {
        return Some(program.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn ask(python: &str) -> Option<Said> {
    let output =
        Command::new(python).args(["-c", QUESTION]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

/// Processors and accelerators, on one line.
fn hardware() -> String {
    let cpuinfo = std::fs::read_to_string(CPUINFO).unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut parts = vec![format!("{count} x {model}")];
    let mut accelerators = BTreeMap::new();
    for name in nvidia().unwrap_or_default().lines().map(str::trim).filter(|name| !name.is_empty()) {
        *accelerators.entry(name.to_owned()).or_insert(0) += 1;
    }
    parts.extend(accelerators.into_iter().map(|(name, count)| format!("{count} x {name}")));
    parts.join(", ")
}

fn nvidia() -> Option<String> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=name", "--format=csv,noheader"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}
