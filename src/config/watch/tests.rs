//! Real folders, real links, a real signal.

use std::os::unix::fs::symlink;

use rustix::process::{Signal as Sent, getpid, kill_process};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
const GOOD: &str = "backends: [{name: a, url: http://127.0.0.1:8000}]\n";

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("touchmark-watch-{:016x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _leftover = fs::remove_dir_all(&self.0);
    }
}

/// Waits for a change of the file; the signal of another test is heard here, too.
async fn file_changed(watch: &mut Watch) {
    tokio::time::timeout(DEADLINE, async { while watch.changed().await != Cause::File {} }).await.unwrap();
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn a_file_written_or_replaced_or_removed_is_noticed() {
    let folder = Folder::new();
    let file = folder.at("touchmark.yaml");
    fs::write(&file, GOOD).unwrap();
    let mut watch = Watch::new(std::slice::from_ref(&file)).unwrap();
    fs::write(&file, "written").unwrap();
    file_changed(&mut watch).await;
    replace(&file, "replaced");
    file_changed(&mut watch).await;
    fs::remove_file(&file).unwrap();
    file_changed(&mut watch).await;
    fs::write(&file, "back").unwrap();
    file_changed(&mut watch).await;
}

#[tokio::test]
async fn neighbours_and_touches_wake_nobody() {
    let folder = Folder::new();
    let file = folder.at("touchmark.yaml");
    fs::write(&file, GOOD).unwrap();
    let mut watch = Watch::new(std::slice::from_ref(&file)).unwrap();
    fs::write(folder.at("other"), "x").unwrap();
    replace(&file, GOOD);
    // The events are there; the contents are the same.
    tokio::time::timeout(DEADLINE, watch.events.recv()).await.unwrap();
    watch.quiet().await;
    assert!(!watch.differs());
}

#[tokio::test]
async fn the_swap_of_a_config_map_is_noticed_twice() {
    let folder = Folder::new();
    for (version, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        fs::create_dir(folder.at(version)).unwrap();
        fs::write(folder.at(version).join("touchmark.yaml"), text).unwrap();
    }
    symlink("..1", folder.at("..data")).unwrap();
    let file = folder.at("touchmark.yaml");
    symlink("..data/touchmark.yaml", &file).unwrap();
    let mut watch = Watch::new(std::slice::from_ref(&file)).unwrap();
    for next in ["..2", "..3"] {
        symlink(next, folder.at("..tmp")).unwrap();
        fs::rename(folder.at("..tmp"), folder.at("..data")).unwrap();
        file_changed(&mut watch).await;
    }
}

#[tokio::test]
async fn a_link_into_another_folder_is_followed() {
    let (here, there) = (Folder::new(), Folder::new());
    fs::write(there.at("real.yaml"), "one").unwrap();
    let file = here.at("touchmark.yaml");
    symlink(there.at("real.yaml"), &file).unwrap();
    let mut watch = Watch::new(std::slice::from_ref(&file)).unwrap();
    assert_eq!(watch.folders, [here.0.clone(), there.0.clone()]);
    replace(&there.at("real.yaml"), "two");
    file_changed(&mut watch).await;
}

#[tokio::test]
async fn a_hangup_is_heard_without_a_file() {
    let mut watch = Watch::new(&[]).unwrap();
    kill_process(getpid(), Sent::HUP).unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, watch.changed()).await.unwrap(), Cause::Hangup);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let error = Watch::new(&[PathBuf::from("/nonexistent/touchmark.yaml")]).unwrap_err();
    assert!(error.to_string().starts_with("cannot watch the configuration's folder"));
}

#[test]
fn what_cannot_change_is_refused_by_name() {
    let old = Config::default();
    assert_eq!(Change::classify(&old, &old), Change::None);
    let mut new = old.clone();
    new.proxy.inflight = 7;
    assert_eq!(Change::classify(&old, &new), Change::Apply);
    new.proxy.listen.set_port(1);
    new.proxy.workers = Some(3);
    new.ledger.dir.push("x");
    new.deployment.name.push('x');
    new.admin.listen.set_port(2);
    let keys = vec!["deployment", "proxy.listen", "proxy.workers", "ledger", "admin"];
    assert_eq!(Change::classify(&old, &new), Change::Refused(keys));
}

#[test]
fn a_bad_file_leaves_the_old_configuration() {
    let folder = Folder::new();
    let file = folder.at("touchmark.yaml");
    fs::write(&file, GOOD).unwrap();
    let source = Source::file(&file);
    let current = source.load().unwrap();
    assert!(reload(&source, &current).unwrap().is_none());
    fs::write(&file, format!("{GOOD}proxy: {{inflight: 5}}\n")).unwrap();
    assert_eq!(reload(&source, &current).unwrap().unwrap().proxy.inflight, 5);
    fs::write(&file, format!("{GOOD}proxy: {{listen: '127.0.0.1:1'}}\n")).unwrap();
    let error = reload(&source, &current).unwrap_err();
    assert_eq!(error.to_string(), "proxy.listen cannot change while running: undo it, or restart");
    fs::write(&file, "backends: [").unwrap();
    assert!(matches!(reload(&source, &current), Err(ReloadError::Load(_))));
}
