//! What can be found out around a command before it runs: its code, its script, its seeds, who began it.
//!
//! Nothing here fails: what is not to be found is told, and left out. Values that look like secrets are not kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::digest;
use crate::lineage::Code;

/// Words before a script that are not it.
const INTERPRETERS: [&str; 12] =
    ["python", "python3", "sh", "bash", "zsh", "Rscript", "julia", "node", "uv", "poetry", "torchrun", "accelerate"];
/// Parts of names whose values are kept from the record.
const SECRETS: [&str; 6] = ["token", "password", "passwd", "secret", "api-key", "api_key"];
/// In place of a secret.
const REDACTED: &str = "***";

/// The code in the current folder; `None` outside a repository, and where there is no `git`.
pub(super) fn code() -> Option<Code> {
    let commit = git(&["rev-parse", "HEAD"])?;
    // A repository without a remote is told apart by its folder's name.
    let named = || Some(Path::new(&git(&["rev-parse", "--show-toplevel"])?).file_name()?.to_str()?.to_owned());
    let repo = git(&["remote", "get-url", "origin"]).map(|url| without_credentials(&url)).or_else(named);
    let dirty = git(&["status", "--porcelain"]).map(|changes| !changes.is_empty());
    Some(Code { repo, commit: Some(commit), dirty })
}

fn git(words: &[&str]) -> Option<String> {
    // Another process of the user's may be at work in the repository.
    let output = Command::new("git")
        .args(words)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(text.trim_end().to_owned())
}

/// `https://user:password@host/…` without what stands before the host. `git@host:…` names no secret.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.find('/').unwrap_or(rest.len());
            let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => url.to_owned(),
    }
}

/// The script that a command runs, and its digest: its first word that is a file here, after an interpreter.
pub(super) fn script(command: &[String]) -> Option<(PathBuf, String)> {
    let program = Path::new(command.first()?).file_name()?.to_str()?;
    let interpreted = INTERPRETERS.contains(&program) || program.starts_with("python3.");
    let mut words = command.iter().skip(usize::from(interpreted));
    // A program that is found by PATH is none of the user's own.
    let own = |word: &&String| Path::new(word).is_file() && (interpreted || word.contains('/'));
    let script = if interpreted { words.find(own) } else { words.next().filter(own) }?;
    Some((PathBuf::from(script), digest::of(Path::new(script)).ok()?))
}

/// Seeds that the environment names: numbers in variables whose names end in `SEED`, such as `PYTHONHASHSEED`.
pub(super) fn seeds(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables
        .filter(|(name, value)| name.to_ascii_uppercase().ends_with("SEED") && value.trim().parse::<i128>().is_ok())
        .map(|(name, value)| (name, value.trim().to_owned()))
        .collect()
}

/// The CI job that runs this, by its address.
pub(super) fn triggered_by() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let github = || {
        let [server, repository, run] = ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"].map(variable);
        Some(format!("{}/{}/actions/runs/{}", server?, repository?, run?))
    };
    github().or_else(|| variable("CI_JOB_URL")).or_else(|| variable("BUILD_URL"))
}

/// A command as one line for a shell, without what looks like a secret.
pub(super) fn line(command: &[String]) -> String {
    let mut hide_next = false;
    let words = command.iter().map(|word| {
        if std::mem::take(&mut hide_next) {
            return REDACTED.to_owned();
        }
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let secret = SECRETS.iter().any(|part| name.to_ascii_lowercase().contains(part));
        match value {
            Some(_) if secret => format!("{name}={REDACTED}"),
            None if secret && word.starts_with('-') => {
                hide_next = true;
                word.clone()
            }
            _ => quoted(&without_credentials(word)),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+./:,@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn secrets_are_not_kept() {
        let said = line(&words("train --token abc --db-password=x --data https://me:pw@h/d --name a'b"));
        assert_eq!(said, r"train --token *** --db-password=*** --data https://h/d --name 'a'\''b'");
        assert_eq!(without_credentials("git@host:team/repo.git"), "git@host:team/repo.git");
        assert_eq!(without_credentials("https://host/a@b"), "https://host/a@b");
    }

    #[test]
    fn seeds_are_numbers() {
        let variables = [("PYTHONHASHSEED", "0"), ("GLOBAL_SEED", " 42"), ("DB_SEED", "seed.sql"), ("SEEDS", "1")];
        let found = seeds(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(found, [("GLOBAL_SEED", "42"), ("PYTHONHASHSEED", "0")].map(|(a, b)| (a.into(), b.into())).into());
    }

    #[test]
    fn a_script_is_a_file_after_its_interpreter() {
        let file = std::env::temp_dir().join(format!("touchmark-script-{}.py", std::process::id()));
        std::fs::write(&file, "print()").unwrap();
        let path = file.to_str().unwrap().to_owned();
        let command = |line: &str| script(&words(&line.replace("FILE", &path))).map(|(path, _)| path);
        assert_eq!(command("python3.12 -u FILE --epochs 3"), Some(file.clone()));
        assert_eq!(command("FILE --epochs 3"), Some(file.clone()));
        assert_eq!(command("cat FILE"), None);
        assert_eq!(command("python -m train"), None);
        std::fs::remove_file(file).unwrap();
    }
}
