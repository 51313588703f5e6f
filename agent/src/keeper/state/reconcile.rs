//! Bringing the files and the store together at start.
//!
//! The store holds the durable truth. What the files lack at their end is appended; what a crash tore is cut off; what
//! someone changed or took away is reported and left as it is.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use reverie_core::audit::{ChainHead, Line};

use super::alarms::Alarms;
use super::change::MAX_EVENT;
use super::cipher::Cipher;
use super::error::{Fault, StateError};
use super::mirror::{self, LogFile, Mirror};
use super::schema::TRAIL;
use super::store::Store;
use super::trail::{self, Extent};

/// How much of the last file's end is looked at.
const TAIL: u64 = 4 << 20;
/// What the alarms are about.
pub(super) const SUBJECT: &str = "audit log";

/// The end of the files.
struct End {
    path: PathBuf,
    /// Last event that is the store's own, and the end of its line in bytes.
    matched: Option<(ChainHead, u64)>,
    /// Last event of the files, whoever wrote it.
    last: Option<u64>,
    /// What follows the matched line.
    rest: Vec<u8>,
}

/// Where the files stand: the mirror goes on after this event.
pub(super) struct Reconciled {
    pub(super) written: ChainHead,
}

/// Compares the end of the files with the store and prepares the mirror to go on.
pub(super) fn reconcile(
    directory: &Path,
    mirror: &mut Mirror,
    store: &Store,
    cipher: &Cipher,
    (extent, head): (&Extent, ChainHead),
    alarms: &Alarms,
) -> Result<Reconciled, ReconcileError> {
    let mut files = mirror::list(directory)?;
    let end = loop {
        let Some(file) = files.pop() else { break None };
        let end = read_end(file, store, cipher, extent)?;
        // An empty file is one that a crash left right after it was made.
        if end.matched.is_some() || end.last.is_some() || !end.rest.is_empty() {
            break Some(end);
        }
        fs::remove_file(&end.path)?;
    };
    let Some(end) = end else {
        report_missing(alarms, extent, extent.files_start.seq);
        return Ok(Reconciled { written: extent.store_start });
    };
    let path = end.path.display();
    let Some((matched, length)) = end.matched else {
        alarms.raise(SUBJECT, &match end.last.filter(|last| *last > head.seq) {
            Some(last) => ahead(&path, last, head),
            None => format!(
                "the end of {path} is not what the agent wrote there; it was left as it is, `agentctl audit verify` shows where"
            ),
        });
        report_missing(alarms, extent, end.last.unwrap_or(extent.files_start.seq));
        return Ok(Reconciled { written: extent.store_start });
    };
    let torn = end.rest.is_empty() || is_torn(&end.rest, matched, store, cipher)?;
    if torn {
        mirror.resume(end.path, length)?;
    } else {
        alarms.raise(
            SUBJECT,
            &match end.last.filter(|last| *last > head.seq) {
                Some(last) => ahead(&path, last, head),
                None => format!(
                    "{path} was changed after event {}; it was left as it is, and the events from the store follow in another \
                 file; `agentctl audit verify` shows where",
                    matched.seq
                ),
            },
        );
    }
    report_missing(alarms, extent, matched.seq);
    Ok(Reconciled { written: matched })
}

fn ahead(path: &std::path::Display<'_>, last: u64, head: ChainHead) -> String {
    format!(
        "{path} reaches event {last}, but the store ends at event {}: the store was put back from a backup, or others wrote \
         to the file; it was left as it is, new events follow in another file; `agentctl audit verify` shows where",
        head.seq
    )
}

/// Why it cannot be done now.
#[derive(Debug)]
pub(super) enum ReconcileError {
    Files(io::Error),
    Store(StateError),
}

impl From<io::Error> for ReconcileError {
    fn from(error: io::Error) -> Self {
        Self::Files(error)
    }
}

impl From<StateError> for ReconcileError {
    fn from(error: StateError) -> Self {
        Self::Store(error)
    }
}

/// Events that were on disk and are not there any more.
fn report_missing(alarms: &Alarms, extent: &Extent, present: u64) {
    if present >= extent.synced {
        return;
    }
    let gone = extent.store_start.seq;
    let fate = match present < gone {
        true if gone < extent.synced => format!("those up to {gone} are lost, the rest was written anew from the store"),
        true => "they are lost".to_owned(),
        false => "they were written anew from the store".to_owned(),
    };
    alarms.raise(
        SUBJECT,
        &format!(
            "events {} to {} had been written to the files and were gone at the start; {fate}; find out who can write there",
            present + 1,
            extent.synced
        ),
    );
}

fn read_end(file: LogFile, store: &Store, cipher: &Cipher, extent: &Extent) -> Result<End, ReconcileError> {
    let mut reader = mirror::open_for_reading(&file.path)?;
    let length = reader.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    reader.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![];
    reader.take(TAIL).read_to_end(&mut bytes)?;
    // Ends of complete lines, the last first; what lies before the first of them is known only in a short file.
    let ends = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let mut last = None;
    for end in ends {
        let begin = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if begin == 0 && start > 0 {
            break;
        }
        let Some((seq, line)) = parse(&bytes[begin..end]) else { continue };
        last = last.or(Some(seq));
        let ours = store.read(|transaction| {
            let rows = transaction.open_table(TRAIL)?;
            trail::is_line(&rows, cipher, extent, seq, &line)
        })?;
        if ours {
            let head = ChainHead { seq, hash: line.hash };
            let rest = bytes.split_off(end + 1);
            return Ok(End { path: file.path, matched: Some((head, start + end as u64 + 1)), last, rest });
        }
    }
    // A file that a crash tore in its first line: what it should hold is in the store.
    let before = match file.first.checked_sub(1) {
        Some(seq) if last.is_none() && start == 0 => store.read(|transaction| {
            let rows = transaction.open_table(TRAIL)?;
            trail::head_at(&rows, cipher, extent, seq)
        })?,
        _ => None,
    };
    Ok(End { path: file.path, matched: before.map(|head| (head, 0)), last, rest: bytes })
}

fn parse(line: &[u8]) -> Option<(u64, Line)> {
    let line = Line::parse(std::str::from_utf8(line).ok()?).ok()?;
    let (seq, _) = line.event().ok()?;
    Some((seq, line))
}

/// True if a crash can have left this after the matched line: the beginning of what the store has next, or zeroes where
/// the file had grown but its content had not reached the disk.
fn is_torn(rest: &[u8], matched: ChainHead, store: &Store, cipher: &Cipher) -> Result<bool, StateError> {
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(true);
    }
    let lines = store.read(|transaction| -> Result<_, Fault> {
        let rows = transaction.open_table(TRAIL)?;
        trail::read(&rows, cipher, matched.seq, 1, MAX_EVENT)
    })?;
    let next: Vec<u8> = lines.into_iter().flat_map(|(_, line)| (line + "\n").into_bytes()).collect();
    let written = rest.len() - rest.iter().rev().take_while(|byte| **byte == 0).count();
    Ok(next.starts_with(&rest[..written]))
}
