//! Builds indices beside segments that are written no more, on a thread of its own: it may take a second, and the
//! keeper has groups to sync. What is not built before the process ends is built at the next start.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use uuid::Uuid;

use crate::ledger::frame::FrameKind;
use crate::ledger::index::{Builder, Summary};
use crate::ledger::segment::{Header, Scanner, Step, Storage, list, segment_name};

/// Segments that may wait for their index. With more, the rest waits for the next start.
const BACKLOG_MAX: usize = 64;

/// The thread.
#[derive(Debug)]
pub(crate) struct Indexer {
    sender: Option<SyncSender<u64>>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts it, with the `begin` entries that were open when the log was.
    pub(crate) fn start(storage: Arc<dyn Storage>, open: BTreeMap<Uuid, u64>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(BACKLOG_MAX);
        let thread = std::thread::Builder::new()
            .name("ledger-index".to_owned())
            .spawn(move || build_all(&*storage, &receiver, open))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Asks for an index of the segment that begins here.
    pub(crate) fn add(&self, first: u64) {
        if self.sender.as_ref().is_some_and(|sender| sender.try_send(first).is_err()) {
            tracing::warn!(segment = first, "a ledger segment has to wait for the next start to be indexed");
        }
    }

    /// Finishes what was asked for and ends.
    pub(crate) fn finish(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("building a ledger index panicked");
        }
    }
}

fn build_all(storage: &dyn Storage, receiver: &Receiver<u64>, mut open: BTreeMap<Uuid, u64>) {
    for first in receiver {
        match build(storage, first, open) {
            Ok(summary) => open = summary.open,
            Err(error) => {
                // Which `begin` entries are open is known no more, so later indices must wait for the next start too.
                tracing::warn!(%error, segment = first, "a ledger segment could not be indexed; it will be scanned");
                return;
            }
        }
    }
}

/// Builds the index of a segment that is written no more.
fn build(storage: &dyn Storage, first: u64, open: BTreeMap<Uuid, u64>) -> io::Result<Summary> {
    let limit = list(storage)?.into_iter().find(|other| *other > first).unwrap_or(u64::MAX);
    let file = storage.open(&segment_name(first))?;
    let header = Header::read(&*file)?.map_err(|_| io::Error::other("its header is damaged"))?;
    let mut scanner = Scanner::new(file);
    let mut builder = Builder::new(open);
    let mut end = (first, scanner.offset());
    while let Step::Frame { offset, kind, index, payload, .. } = scanner.step()? {
        if kind == FrameKind::Entry {
            if index >= limit {
                break;
            }
            builder.note(offset, index, scanner.payload(payload));
            end.0 = index.wrapping_add(1);
        }
        end.1 = scanner.offset();
        if matches!(kind, FrameKind::Seal { .. }) {
            break;
        }
    }
    builder.write(storage, &header, end)
}
