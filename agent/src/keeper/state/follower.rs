//! The thread that carries events from the store to the files, and signs heads.
//!
//! It follows the store: what it writes it reads from there, so a failure, a restart or a full disk only makes it late.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use reverie_core::audit::{ChainHead, Line};

use super::alarms::now;
use super::error::StateError;
use super::mirror::{self, Mirror};
use super::reconcile::SUBJECT;
use super::schema::TRAIL;
use super::writer::Job;
use super::{Shared, trail};

/// Events read at once, and bytes of them.
const CHUNK: (usize, usize) = (1024, 1 << 20);
/// The files are synced after so many events or so much time.
const SYNC: (u64, Duration) = (1000, Duration::from_secs(1));
/// A head is signed after so many events or so much time.
const SIGN: (u64, Duration) = (10_000, Duration::from_secs(60));
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(250);

/// Alarm for as long as the files cannot be written.
const FAULT: &str = "audit files";

/// What keeps it from going on.
enum Trouble {
    Store,
    Files(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Files(error)
    }
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    mirror: Mirror,
    jobs: Sender<Job>,
    written: ChainHead,
    synced: u64,
    unsynced_since: Option<Instant>,
    signed: u64,
    signed_at: Instant,
    /// A file was closed since a head was signed.
    rotated: bool,
    /// A file was closed since old ones were looked for.
    crowded: bool,
    /// The store's `files_start` when old ones were last removed.
    cleared: u64,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, mirror: Mirror, jobs: Sender<Job>, written: ChainHead) -> Self {
        let signed = shared.progress.look(|stand| stand.signed.as_ref().map_or(0, |signed| signed.head.seq));
        // What was found at the start was not synced by this run: do it before relying on it.
        let unsynced_since = (written.seq > 0).then(Instant::now);
        Self {
            shared,
            mirror,
            jobs,
            written,
            synced: 0,
            unsynced_since,
            signed,
            signed_at: Instant::now(),
            rotated: false,
            crowded: true,
            cleared: 0,
        }
    }

    /// Until told to stop; then everything is in the files, synced and signed, if the disk allows.
    pub(super) fn run(mut self) {
        let mut pause = None;
        loop {
            let wake = self.next_wake().into_iter().chain(pause).min();
            let failing = pause.is_some();
            self.shared.progress.wait(pause.or(wake), |stand| stand.stop || (!failing && stand.committed.seq > self.written.seq));
            let stop = self.shared.progress.look(|stand| stand.stop);
            match self.follow(stop) {
                Ok(()) => {
                    if self.shared.progress.look(|stand| stand.fault.is_some()) {
                        self.shared.alarms.clear(FAULT);
                        self.shared.progress.update(|stand| stand.fault = None);
                    }
                    pause = None;
                }
                // The writer meets it too, and says so.
                Err(Trouble::Store) => pause = Some(Instant::now() + RETRY),
                Err(Trouble::Files(error)) => {
                    let why = format!("{}: {error}", self.shared.audit_directory.display());
                    self.shared.alarms.raise(FAULT, &StateError::AuditUnwritable { why: why.clone() }.to_string());
                    self.shared.progress.update(|stand| stand.fault = Some(why));
                    pause = Some(Instant::now() + RETRY);
                }
            }
            if stop {
                return;
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let sync = self.unsynced_since.map(|since| since + SYNC.1);
        let sign = (self.signed < self.written.seq).then(|| self.signed_at + SIGN.1);
        sync.into_iter().chain(sign).min()
    }

    /// One round: write, sync, sign, clear away.
    fn follow(&mut self, stop: bool) -> Result<(), Trouble> {
        while self.copy()? {
            self.sync_if_due(false)?;
        }
        self.sync_if_due(stop)?;
        self.sign_if_due(stop)?;
        Ok(self.clear_away()?)
    }

    /// Copies a chunk; false if there was nothing more.
    fn copy(&mut self) -> Result<bool, Trouble> {
        let after = self.written.seq;
        if self.shared.progress.look(|stand| stand.committed.seq) <= after {
            return Ok(false);
        }
        let lines = self.shared.store.read(|transaction| {
            let rows = transaction.open_table(TRAIL)?;
            trail::read(&rows, &self.shared.cipher, after, CHUNK.0, CHUNK.1)
        });
        let mut lines = lines.map_err(|_| Trouble::Store)?.into_iter().peekable();
        while let Some((first, _)) = lines.peek() {
            // One that was full when the agent stopped.
            if self.mirror.room() == 0 {
                self.close_file()?;
            }
            let (first, room) = (*first, self.mirror.room());
            let (mut bytes, mut last) = (Vec::new(), None);
            while let Some((seq, line)) = lines.next_if(|_| (bytes.len() as u64) < room) {
                bytes.extend_from_slice(line.as_bytes());
                bytes.push(b'\n');
                last = Some((seq, line));
            }
            let Some((seq, line)) = last else { break };
            let hash = Line::parse(&line).map_err(io::Error::other)?.hash;
            self.append(first, &bytes)?;
            self.written = ChainHead { seq, hash };
            self.unsynced_since.get_or_insert_with(Instant::now);
            self.shared.progress.update(|stand| stand.written = self.written);
        }
        if self.mirror.room() == 0 {
            self.close_file()?;
        }
        Ok(true)
    }

    fn close_file(&mut self) -> io::Result<()> {
        self.sync_if_due(true)?;
        self.mirror.rotate();
        (self.rotated, self.crowded) = (true, true);
        Ok(())
    }

    fn append(&mut self, first: u64, bytes: &[u8]) -> io::Result<()> {
        let _files = self.shared.lock_files();
        if let Some(found) = self.mirror.inspect()? {
            self.shared
                .alarms
                .raise(SUBJECT, &format!("{found}; new events follow in another file; find out who can write there"));
        }
        if let Some(remark) = self.mirror.append(first, bytes)? {
            self.shared.alarms.raise(SUBJECT, &remark);
        }
        Ok(())
    }

    fn sync_if_due(&mut self, now: bool) -> io::Result<()> {
        let Some(since) = self.unsynced_since else { return Ok(()) };
        if !now && self.written.seq - self.synced < SYNC.0 && since.elapsed() < SYNC.1 {
            return Ok(());
        }
        self.mirror.sync()?;
        self.synced = self.written.seq;
        self.unsynced_since = None;
        self.shared.progress.update(|stand| stand.synced = self.synced);
        Ok(())
    }

    fn sign_if_due(&mut self, stop: bool) -> io::Result<()> {
        let new = self.synced.saturating_sub(self.signed);
        let due = new >= SIGN.0 || self.signed_at.elapsed() >= SIGN.1 || self.rotated || stop;
        if new == 0 || !due || self.written.seq != self.synced {
            return Ok(());
        }
        let signed = self.shared.head_key.sign(self.written, now());
        let signed = signed.map_err(|_| io::Error::other("the signing key does not work"))?;
        self.mirror.append_head(&signed)?;
        (self.signed, self.signed_at, self.rotated) = (signed.head.seq, Instant::now(), false);
        self.shared.progress.update(|stand| {
            stand.unsaved.push(signed.clone());
            stand.signed = Some(signed);
        });
        self.wake_writer();
        Ok(())
    }

    /// Removes files that are too old: the store learns first, so that nobody takes it for tampering.
    fn clear_away(&mut self) -> io::Result<()> {
        let keep = self.shared.audit.keep;
        if keep == 0 {
            return Ok(());
        }
        let known = self.shared.progress.look(|stand| stand.extent.files_start.seq);
        if !self.crowded && known == self.cleared {
            return Ok(());
        }
        let _files = self.shared.lock_files();
        let mut files = mirror::list(&self.shared.audit_directory)?;
        while files.len() > 1 && files[0].first <= known && files[1].first <= known + 1 {
            std::fs::remove_file(files.remove(0).path)?;
        }
        // The last one is being written.
        let excess = files.len().saturating_sub(keep + 1);
        if let Some(last) = excess.checked_sub(1).and_then(|at| files.get(at)) {
            let start = last_head(last)?;
            if self.shared.progress.look(|stand| stand.files_start.seq) < start.seq {
                self.shared.progress.update(|stand| stand.files_start = start);
                self.wake_writer();
            }
        }
        (self.crowded, self.cleared) = (false, known);
        Ok(())
    }

    fn wake_writer(&self) {
        // It may be stopping; then the rest is saved when the store is closed.
        let _ = self.jobs.send(Job::Save);
    }
}

fn last_head(file: &mirror::LogFile) -> io::Result<ChainHead> {
    use std::io::{Read, Seek, SeekFrom};
    let mut reader = mirror::open_for_reading(&file.path)?;
    let length = reader.metadata()?.len();
    let tail = length.min(super::change::MAX_EVENT as u64 + 1024);
    reader.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = vec![];
    reader.take(tail).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let parse = |line: &[u8]| {
        let line = Line::parse(std::str::from_utf8(line).ok()?).ok()?;
        Some(ChainHead { seq: line.event().ok()?.0, hash: line.hash })
    };
    line.and_then(parse).ok_or_else(|| {
        io::Error::other(format!("the last line of {} cannot be read, so the file is not removed", file.path.display()))
    })
}
