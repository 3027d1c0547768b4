//! The digest of a file, or of a folder: of what `find . -type f | LC_ALL=C sort | xargs sha256sum` prints inside it, so that
//! anybody can check it without us.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cli::audit::hash::file;
use crate::sha256::{self, Sha256, hex};

/// Files of a folder that are hashed, at most.
const FILES_MAX: usize = 1_000_000;

/// `sha256:…`
pub(super) fn of(path: &Path) -> Result<String> {
    let hash = if path.is_dir() { folder(path)? } else { of_file(path)? };
    Ok(sha256::named(hash))
}

fn of_file(path: &Path) -> Result<[u8; 32]> {
    let name = path.to_str().with_context(|| format!("{}: its name is not UTF-8", path.display()))?;
    // '-' would be standard input.
    let name = if name == "-" { "./-" } else { name };
    Ok(file(name).with_context(|| path.display().to_string())?.sha256)
}

fn folder(root: &Path) -> Result<[u8; 32]> {
    let mut files = Vec::new();
    list(root, Path::new("."), &mut files)?;
    files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let mut hash = Sha256::new();
    for name in files {
        let mut line = hex(of_file(&root.join(&name))?);
        let _infallible = writeln!(line, "  {}", name.display());
        hash.update(line);
    }
    Ok(hash.finish())
}

fn list(root: &Path, inside: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let folder = root.join(inside);
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = inside.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(root, &name, files)?;
        } else if kind.is_file() {
            files.push(name);
        }
        if files.len() > FILES_MAX {
            bail!("{}: more than {FILES_MAX} files; give its digest by --digest", root.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_hashed_as_its_list() {
        let folder = std::env::temp_dir().join(format!("touchmark-digest-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("b"), "two").unwrap();
        std::fs::write(folder.join("sub/a"), "one").unwrap();
        let digest = of(&folder).unwrap();
        let line = |text: &str, name: &str| format!("{}  {name}\n", hex(Sha256::digest(text)));
        let list = line("two", "./b") + &line("one", "./sub/a");
        assert_eq!(digest, format!("sha256:{}", hex(Sha256::digest(list))));
        assert_eq!(of(&folder.join("b")).unwrap(), format!("sha256:{}", hex(Sha256::digest("two"))));
        assert!(of(&folder.join("c")).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
