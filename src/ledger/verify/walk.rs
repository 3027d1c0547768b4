//! Reads one segment into a [`Part`], while another process may be writing it.
//!
//! The last segment is read up to its last commit. What follows is a torn tail, or an entry on its way: no damage, unless
//! a mark behind it swears that more had been synced. Nothing is locked and nothing changed.

use std::io;
use std::sync::Arc;

use super::keys::Keys;
use super::part::{Flow, Job, Part, Taken};
use super::{Progress, derived};
use crate::ledger::frame::FrameKind;
use crate::ledger::index::Index;
use crate::ledger::segment::{File, HEADER_BYTES, Header, Scanner, Step, Storage, later_marks};

/// Bytes read at once where only zeros should be.
const CHUNK_BYTES: usize = 256 << 10;
/// How often the end of a log that grows is looked at again before what stands there counts as damage.
const LOOKS: u32 = 3;
/// Between two looks.
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Reads a segment.
pub(super) fn walk(storage: &dyn Storage, job: Job, keys: &Keys, progress: &Progress) -> io::Result<Part> {
    let file = storage.open(&job.name)?;
    let mut part = Part::new(job);
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, 0)?;
    let decoded = Header::read(&*file)?;
    part.header(&header, decoded);
    let index = decoded.ok().filter(|_| !part.job.old).and_then(|header| Index::open(storage, &header));
    part.indexed = index.as_ref().map(|index| index.end).filter(|_| part.job.limit.is_none());
    let end = if part.job.limit.is_none() && part.indexed.is_none() { open_end(&file, &mut part)? } else { u64::MAX };
    let mut scanner = Scanner::new(Arc::clone(&file));
    let mut told = 0;
    let mut flow = Flow::On;
    while flow == Flow::On && scanner.offset() < end {
        flow = match scanner.step()? {
            Step::Frame { offset, kind, index, mark, payload } => {
                let payload = scanner.payload(payload);
                part.frame(&Taken { offset, kind, index, mark, payload }, keys)
            }
            Step::End | Step::Torn => match part.hole(scanner.offset()) {
                Flow::On if !scanner.resume()? => break,
                flow => flow,
            },
        };
        if scanner.offset() - told > CHUNK_BYTES as u64 {
            progress.add(scanner.offset() - told);
            told = scanner.offset();
        }
    }
    let bytes = file.len()?;
    if flow == Flow::Sealed
        && !part.job.replaced
        && let Some(at) = first_nonzero(&*file, scanner.offset())?
    {
        part.found(at, None, "bytes follow its seal");
    }
    part.finish(bytes);
    if !part.job.old {
        derived::compare(storage, index.as_ref(), &mut part);
    }
    progress.add(bytes.saturating_sub(told));
    Ok(part)
}

/// Where what counts of the last segment ends.
fn open_end(file: &Arc<dyn File>, part: &mut Part) -> io::Result<u64> {
    let mut scanner = Scanner::new(Arc::clone(file));
    let (mut committed, mut entries) = (scanner.offset(), part.job.first);
    let (mut beyond, mut looks) = (0_u64, 0);
    loop {
        match scanner.step()? {
            Step::Frame { kind: FrameKind::Entry, index, .. } => {
                entries = entries.max(index.saturating_add(1));
                beyond += 1;
            }
            Step::Frame { kind, .. } => {
                (committed, beyond) = (scanner.offset(), 0);
                if matches!(kind, FrameKind::Seal { .. }) {
                    return Ok(u64::MAX);
                }
            }
            Step::End | Step::Torn => {
                // A writer may have gone on since: then what stands here is whole at the next look.
                if later_marks(&**file, scanner.offset())?.synced <= entries {
                    break;
                }
                looks += 1;
                if looks > LOOKS {
                    return Ok(u64::MAX);
                }
                std::thread::sleep(LOOK_PAUSE);
            }
        }
    }
    if beyond > 0 {
        let remark = format!("{}: {beyond} entries after the last commit are not counted", part.job.name);
        part.remarks.push(remark);
    }
    if let Some(at) = first_nonzero(&**file, scanner.offset())? {
        let name = &part.job.name;
        let remark = format!(
            "{name}: an unfinished write at byte {at}: of a crash, or of a writer at work; the next start cuts it off"
        );
        part.remarks.push(remark);
    }
    Ok(committed)
}

/// The first byte from a place on that is not zero.
fn first_nonzero(file: &dyn File, from: u64) -> io::Result<Option<u64>> {
    let mut buf = vec![0; CHUNK_BYTES];
    let mut base = from;
    loop {
        let read = file.read_at(&mut buf, base)?;
        if let Some(at) = buf[..read].iter().position(|byte| *byte != 0) {
            return Ok(Some(base + at as u64));
        }
        if read < buf.len() {
            return Ok(None);
        }
        base += read as u64;
    }
}
