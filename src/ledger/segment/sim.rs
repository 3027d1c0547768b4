//! A file system in memory that can lose power, fail and fill up.
//!
//! What is not synced may or may not survive: a crash image keeps, for each file, what was synced and a random part
//! of each later write; for names, a random subset of later changes. A killed process loses nothing that a call
//! had handed over. Calls can be made to fail, or the whole system to stop, at the n-th that changes anything.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{File, Storage};

/// What happens at a call that changes something, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This call fails.
    Once(u64, i32),
    /// This and every later call fails until the fault is lifted.
    From(u64, i32),
    /// The system stops within this call, and every later call fails.
    Crash(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum Naming {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

#[derive(Debug)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    namings: Vec<Naming>,
    calls: u64,
    fault: Option<Fault>,
    stopped: bool,
    bytes_read: usize,
    rng: StdRng,
}

/// The file system.
#[derive(Clone, Debug)]
pub(crate) struct Sim(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct SimFile(Sim, usize);

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            namings: Vec::new(),
            calls: 0,
            fault: None,
            stopped: false,
            bytes_read: 0,
            rng: StdRng::seed_from_u64(seed),
        })))
    }

    pub(crate) fn fault(&self, fault: Option<Fault>) {
        self.disk().fault = fault;
    }

    /// Calls so far that change something.
    pub(crate) fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// Stops everything now.
    pub(crate) fn stop(&self) {
        self.disk().stopped = true;
    }

    /// What a process that starts after a kill finds.
    pub(crate) fn after_kill(&self) -> Self {
        let disk = self.disk();
        let next = Self::new(0);
        let mut found = next.disk();
        found.names.clone_from(&disk.names);
        found.inodes = disk.inodes.iter().map(|inode| settled(inode.now.clone())).collect();
        found.durable_names.clone_from(&disk.names);
        drop(found);
        next
    }

    /// What a machine that starts after a power loss finds; another each time.
    pub(crate) fn after_power_loss(&self) -> Self {
        let mut disk = self.disk();
        let mut names = disk.durable_names.clone();
        for naming in disk.namings.clone() {
            if disk.rng.random() {
                apply(&mut names, naming);
            }
        }
        let inodes = disk.inodes.clone();
        let inodes = inodes.into_iter().map(|inode| settled(survivors(&inode, &mut disk.rng))).collect();
        let next = Self::new(disk.rng.random());
        let mut found = next.disk();
        found.inodes = inodes;
        found.durable_names.clone_from(&names);
        found.names = names;
        drop(found);
        next
    }

    /// Changes a byte of a file for good.
    pub(crate) fn flip(&self, name: &str, at: usize) {
        let mut disk = self.disk();
        let inode = disk.names[name];
        disk.inodes[inode].now[at] ^= 0x40;
        disk.inodes[inode].durable = disk.inodes[inode].now.clone();
    }

    /// Where a file's last byte that is not zero ends.
    pub(crate) fn data_end(&self, name: &str) -> usize {
        let disk = self.disk();
        let bytes = &disk.inodes[disk.names[name]].now;
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
    }

    /// Every file's name that ends so.
    pub(crate) fn names_with(&self, end: &str) -> Vec<String> {
        self.disk().names.keys().filter(|name| name.ends_with(end)).cloned().collect()
    }

    /// Removes every file whose name ends so.
    pub(crate) fn remove_all(&self, end: &str) {
        let mut disk = self.disk();
        disk.names.retain(|name, _| !name.ends_with(end));
        disk.durable_names = disk.names.clone();
    }

    /// Bytes that were read so far.
    pub(crate) fn bytes_read(&self) -> usize {
        self.disk().bytes_read
    }

    /// The entries that a file's last mark swears are synced.
    pub(crate) fn sworn(&self, name: &str) -> u64 {
        let file = self.open(name).unwrap();
        super::later_marks(&*file, super::DATA_START).unwrap().synced
    }

    /// Zeroes a file from a byte on.
    pub(crate) fn zero_from(&self, name: &str, at: usize) {
        let mut disk = self.disk();
        let inode = disk.names[name];
        disk.inodes[inode].now[at..].fill(0);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

fn settled(bytes: Vec<u8>) -> Inode {
    Inode { durable: bytes.clone(), now: bytes, unsynced: Vec::new() }
}

fn survivors(inode: &Inode, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = inode.durable.clone();
    for change in &inode.unsynced {
        match change {
            Change::Truncate(len) if rng.random() => bytes.resize(*len, 0),
            Change::Truncate(_) => {}
            Change::Write(at, written) => {
                let (a, b) = (rng.random_range(0..=written.len()), rng.random_range(0..=written.len()));
                let part = match rng.random_range(0..4) {
                    0 => 0..0,
                    1 => a.min(b)..a.max(b),
                    2 => 0..a,
                    _ => 0..written.len(),
                };
                put(&mut bytes, at + part.start, &written[part]);
            }
        }
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    let end = at + written.len();
    if bytes.len() < end && !written.is_empty() {
        bytes.resize(end, 0);
    }
    if !written.is_empty() {
        bytes[at..end].copy_from_slice(written);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, naming: Naming) {
    match naming {
        Naming::Link(name, inode) => drop(names.insert(name, inode)),
        Naming::Unlink(name) => drop(names.remove(&name)),
        Naming::Rename(from, to, inode) => {
            names.remove(&from);
            names.insert(to, inode);
        }
    }
}

impl Disk {
    /// Counts a call that changes something: how it ends, and whether a crash tears it.
    fn call(&mut self) -> Result<(), (io::Error, bool)> {
        if self.stopped {
            return Err((io::Error::other("stopped"), false));
        }
        let number = self.calls;
        self.calls += 1;
        match self.fault {
            Some(Fault::Once(at, code)) if at == number => Err((io::Error::from_raw_os_error(code), true)),
            Some(Fault::From(at, code)) if number >= at => Err((io::Error::from_raw_os_error(code), true)),
            Some(Fault::Crash(at)) if number >= at => {
                self.stopped = true;
                Err((io::Error::other("stopped"), true))
            }
            _ => Ok(()),
        }
    }

    fn name(&mut self, naming: Naming) {
        apply(&mut self.names, naming.clone());
        self.namings.push(naming);
    }

    fn write(&mut self, inode: usize, at: usize, bytes: &[u8]) {
        put(&mut self.inodes[inode].now, at, bytes);
        self.inodes[inode].unsynced.push(Change::Write(at, bytes.to_vec()));
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        if self.stopped {
            return Err(io::Error::other("stopped"));
        }
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for Sim {
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.call().map_err(|(error, _)| error)?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.inodes.push(settled(vec![0; usize::try_from(size).unwrap()]));
        let inode = disk.inodes.len() - 1;
        disk.name(Naming::Link(name.to_owned(), inode));
        Ok(Arc::new(SimFile(self.clone(), inode)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SimFile(self.clone(), self.disk().inode(name)?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call().map_err(|(error, _)| error)?;
        let inode = disk.inode(from)?;
        disk.name(Naming::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call().map_err(|(error, _)| error)?;
        disk.inode(name)?;
        disk.name(Naming::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call().map_err(|(error, _)| error)?;
        disk.durable_names = disk.names.clone();
        disk.namings.clear();
        Ok(())
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.disk().inodes[self.1].now.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.0.disk();
        let bytes = &disk.inodes[self.1].now;
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let read = buf.len().min(bytes.len() - start);
        buf[..read].copy_from_slice(&bytes[start..start + read]);
        disk.bytes_read += read;
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.0.disk();
        let at = usize::try_from(offset).unwrap();
        match disk.call() {
            Ok(()) => disk.write(self.1, at, bytes),
            Err((error, torn)) => {
                // A call that fails or is cut short may have done some of its work.
                if torn {
                    let done = disk.rng.random_range(0..=bytes.len());
                    disk.write(self.1, at, &bytes[..done]);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.0.disk();
        match disk.call() {
            Ok(()) => {
                let inode = &mut disk.inodes[self.1];
                inode.durable = inode.now.clone();
                inode.unsynced.clear();
                Ok(())
            }
            Err((error, failed)) => {
                // What a failed sync leaves behind is called clean and may be gone (Rebello et al., ATC 2020).
                if failed && !disk.stopped {
                    let inode = disk.inodes[self.1].clone();
                    let durable = survivors(&inode, &mut disk.rng);
                    disk.inodes[self.1].durable = durable;
                    disk.inodes[self.1].unsynced.clear();
                }
                Err(error)
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.disk();
        disk.call().map_err(|(error, _)| error)?;
        let len = usize::try_from(len).unwrap();
        disk.inodes[self.1].now.resize(len, 0);
        disk.inodes[self.1].unsynced.push(Change::Truncate(len));
        Ok(())
    }
}
