//! Checking the files against themselves, the store and the signed heads; reading old lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reverie_core::audit::{ChainHead, Line, Report, SignedHead, Verifier};

use super::error::{Fault, StateError};
use super::mirror::{self, HEADS_FILE, LogFile};
use super::reconcile::SUBJECT;
use super::schema::{HEADS, TRAIL};
use super::{Shared, heads, trail};

/// A longer line is not one of ours.
const MAX_LINE: u64 = 1 << 20;
/// Signed heads from the file whose signatures are checked; the newest ones.
const CHECKED_HEADS: usize = 4096;
/// How long is waited for the files to catch up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks the whole log. Reads every file: seconds for a large one.
pub(super) fn verify(shared: &Shared) -> Result<(Report, Option<SignedHead>), StateError> {
    let committed = shared.progress.look(|stand| stand.committed.seq);
    let until = Instant::now() + PATIENCE;
    shared.progress.wait(Some(until), |stand| {
        stand.written.seq >= committed || stand.fault.is_some() || shared.stopping.load(Ordering::Relaxed)
    });
    for _ in 0..3 {
        if let Some(report) = attempt(shared)? {
            return Ok((report, shared.progress.look(|stand| stand.signed.clone())));
        }
    }
    Err(StateError::Unavailable { why: "files of the audit log are being removed while they are read".into() })
}

/// Checks the whole log once and says what is wrong.
pub(super) fn check(shared: &Shared) {
    let Ok((report, _)) = verify(shared) else { return };
    let Some(first) = report.faults.first() else { return };
    let more = match report.faults.len() {
        1 => String::new(),
        faults => format!(", and {} more", faults - 1),
    };
    let message = format!(
        "{first}{more}; nothing was changed, `agentctl audit verify` shows all; compare with a copy of the log elsewhere and \
         find out who can write to {}",
        shared.audit_directory.display()
    );
    shared.alarms.raise(SUBJECT, &message);
}

/// `None` if a file was cleared away meanwhile.
fn attempt(shared: &Shared) -> Result<Option<Report>, StateError> {
    let (files, stand) = {
        let _files = shared.lock_files();
        let files = mirror::list(&shared.audit_directory).map_err(|error| unreadable(shared, &error))?;
        let sized = files.into_iter().map(|file| Ok((std::fs::symlink_metadata(&file.path)?.len(), file)));
        let sized: Vec<(u64, LogFile)> = sized.collect::<io::Result<_>>().map_err(|error| unreadable(shared, &error))?;
        (sized, shared.progress.look(Clone::clone))
    };
    let start = stand.extent.files_start;
    let vouched = vouched(shared, start.seq, stand.written.seq)?;
    let mut verifier = Verifier::new(start, vouched);
    for (length, file) in &files {
        // Older than wanted, and about to be removed: what is kept begins with a file of its own.
        if file.first <= start.seq {
            continue;
        }
        match mirror::open_for_reading(&file.path) {
            Ok(reader) => each_line(reader, *length, |line| {
                verifier.line(&String::from_utf8_lossy(line));
                !shared.stopping.load(Ordering::Relaxed)
            })
            .map_err(|error| unreadable(shared, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if shared.progress.look(|stand| stand.extent.files_start) != start {
                    return Ok(None);
                }
            }
            Err(error) => return Err(unreadable(shared, &error)),
        }
    }
    if shared.stopping.load(Ordering::Relaxed) {
        return Err(StateError::Closed);
    }
    Ok(Some(verifier.finish()))
}

/// Heads that are certain: those signed by this host, and those of the events in the store.
fn vouched(shared: &Shared, start: u64, written: u64) -> Result<Vec<ChainHead>, StateError> {
    let kept = shared.store.read(|transaction| {
        let rows = transaction.open_table(HEADS)?;
        heads::list(&rows, &shared.cipher)
    })?;
    let (in_file, bad) = signed_in_file(shared, &kept).map_err(|error| unreadable(shared, &error))?;
    if bad > 0 {
        let message = format!("{HEADS_FILE} has {bad} lines that this host did not sign; find out who can write there");
        shared.alarms.raise(SUBJECT, &message);
    }
    let mut vouched: Vec<ChainHead> = kept.iter().map(|signed| signed.head).chain(in_file).collect();
    let mut after = shared.progress.look(|stand| stand.extent.store_start.seq);
    loop {
        let lines = shared.store.read(|transaction| {
            let rows = transaction.open_table(TRAIL)?;
            trail::read(&rows, &shared.cipher, after, 1024, 1 << 20)
        })?;
        let Some((last, _)) = lines.last() else { break };
        after = *last;
        for (seq, line) in &lines {
            let hash = Line::parse(line).map_err(|_| Fault::Content(format!("event {seq} is not a line")))?.hash;
            vouched.push(ChainHead { seq: *seq, hash });
        }
        if after >= written {
            break;
        }
    }
    vouched.retain(|head| start < head.seq && head.seq <= written);
    Ok(vouched)
}

/// Heads in the file that are signed, and how many lines are not.
fn signed_in_file(shared: &Shared, kept: &[SignedHead]) -> io::Result<(Vec<ChainHead>, usize)> {
    let file = match mirror::open_for_reading(&shared.audit_directory.join(HEADS_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((vec![], 0)),
        file => file?,
    };
    let length = file.metadata()?.len();
    let (mut newest, mut bad) = (std::collections::VecDeque::new(), 0);
    each_line(file, length, |line| {
        match serde_json::from_slice::<SignedHead>(line) {
            Ok(signed) => newest.push_back(signed),
            // The beginning of a line, torn by a crash, is no forgery.
            Err(error) if error.is_eof() => {}
            Err(_) => bad += 1,
        }
        if newest.len() > CHECKED_HEADS {
            newest.pop_front();
        }
        true
    })?;
    let mut heads = vec![];
    for signed in newest {
        match kept.contains(&signed) || shared.head_key.signed(&signed) {
            true => heads.push(signed.head),
            false => bad += 1,
        }
    }
    Ok((heads, bad))
}

/// Lines after `after`, from the store or, if it has them no more, from the files.
pub(super) fn lines(shared: &Shared, after: u64, limit: usize) -> Result<Vec<String>, StateError> {
    const BYTES: usize = 4 << 20;
    if shared.progress.look(|stand| after >= stand.extent.store_start.seq) {
        let lines = shared.store.read(|transaction| {
            let rows = transaction.open_table(TRAIL)?;
            trail::read(&rows, &shared.cipher, after, limit, BYTES)
        })?;
        return Ok(lines.into_iter().map(|(_, line)| line).collect());
    }
    let files = mirror::list(&shared.audit_directory).map_err(|error| unreadable(shared, &error))?;
    let from = files.partition_point(|file| file.first <= after + 1).saturating_sub(1);
    let (mut found, mut bytes) = (vec![], 0);
    for file in &files[from..] {
        let reader = mirror::open_for_reading(&file.path).map_err(|error| unreadable(shared, &error))?;
        let length = reader.metadata().map_err(|error| unreadable(shared, &error))?.len();
        let take = |line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            let seq = Line::parse(&text).ok().and_then(|line| line.event().ok()).map(|(seq, _)| seq);
            if seq.is_some_and(|seq| seq > after) {
                bytes += text.len();
                found.push(text.into_owned());
            }
            found.len() < limit && bytes < BYTES
        };
        each_line(reader, length, take).map_err(|error| unreadable(shared, &error))?;
        if found.len() >= limit || bytes >= BYTES {
            break;
        }
    }
    Ok(found)
}

/// Calls for each line of the first `length` bytes, without its newline, until told to stop.
fn each_line(file: File, length: u64, mut line: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(128 << 10, file.take(length));
    let mut buffer = vec![];
    loop {
        buffer.clear();
        if (&mut reader).take(MAX_LINE).read_until(b'\n', &mut buffer)? == 0 {
            return Ok(());
        }
        if !line(buffer.strip_suffix(b"\n").unwrap_or(&buffer)) {
            return Ok(());
        }
    }
}

fn unreadable(shared: &Shared, error: &io::Error) -> StateError {
    StateError::Unavailable { why: format!("{}: {error}", shared.audit_directory.display()) }
}
