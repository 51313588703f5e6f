//! SHA-256 of running files, once for each version of a file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use rustix::fs::{Mode, OFlags, Statx};

use super::jobs::{self, Place, Slots};

/// A larger file is not digested, and matches no `sha256` selector. In bytes.
const MAX_EXECUTABLE: u64 = 256 * 1024 * 1024;

/// Files that may wait to be digested. Each is held open.
const MAX_QUEUED: usize = 256;
/// And of one uid.
const MAX_QUEUED_PER_UID: usize = 16;

/// Digests that are remembered.
const MAX_KNOWN: usize = 1024;

/// `statfs` type of FUSE, whose server may show each reader another content.
const FUSE_MAGIC: u64 = 0x6573_5546;

/// One content of one file: whatever changes it changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) device: u64,
    pub(super) inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Version {
    pub(super) fn of(stat: &Statx) -> Self {
        Self {
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    /// The same file, whatever its content.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A digest in lower-case hex; `None` for a file that is not digested, or not now.
type Digest = Option<String>;
type Waiter = Box<dyn FnOnce(Digest) + Send>;

/// Finds digests: from memory, or on a thread, one for each file however many ask.
#[derive(Clone)]
pub(super) struct Digests {
    state: Arc<Mutex<State>>,
    slots: Slots,
}

#[derive(Default)]
struct State {
    known: BTreeMap<Version, String>,
    /// In the order of `known`'s insertion; the first is forgotten first.
    order: VecDeque<Version>,
    /// Who waits for a digest that is being made or queued. The keeper bounds how many questions are on their way.
    waiting: BTreeMap<Version, Vec<Waiter>>,
    /// What is to be digested once there is a place, and on whose behalf.
    queue: VecDeque<(u32, Version, OwnedFd)>,
}

impl Digests {
    /// As many files are digested at once as there are `slots`.
    pub(super) fn new(slots: Slots) -> Self {
        Self { state: Arc::default(), slots }
    }

    /// Calls `then` with the digest of `file`, which is of `version` and run by `uid`, now or from another thread.
    ///
    /// It waits its turn among those of `uid`, not among those of others.
    pub(super) fn find(&self, version: Version, file: OwnedFd, uid: u32, then: impl FnOnce(Digest) + Send + 'static) {
        let mut state = self.state();
        if let Some(digest) = state.known.get(&version).cloned() {
            drop(state);
            return then(Some(digest));
        }
        let queued = |state: &State, whose: u32| state.queue.iter().filter(|(uid, ..)| *uid == whose).count();
        if state.queue.len() >= MAX_QUEUED || queued(&state, uid) >= MAX_QUEUED_PER_UID {
            drop(state);
            tracing::warn!(uid, "an executable is not digested: too many are waiting");
            return then(None);
        }
        let in_line = state.queue.iter().any(|(whose, of, _)| *whose == uid && *of == version);
        let at_work = state.waiting.contains_key(&version) && !state.queue.iter().any(|(_, of, _)| *of == version);
        state.waiting.entry(version).or_default().push(Box::new(then));
        // Behind another uid's files it would wait that one's turn.
        if !in_line && !at_work {
            state.queue.push_back((uid, version, file));
        }
        drop(state);
        self.start_queued();
    }

    /// Gives every free place to the first in the queue that may have it.
    fn start_queued(&self) {
        while let Some((place, version, file)) = self.next() {
            let digests = self.clone();
            let started = jobs::spawn("digest", move || {
                digests.finish(version, read_digest(file, version));
                drop(place);
                digests.start_queued();
            });
            if let Err(error) = started {
                tracing::warn!(?error, "an executable is not digested");
                self.finish(version, None);
            }
        }
    }

    fn next(&self) -> Option<(Place, Version, OwnedFd)> {
        let mut state = self.state();
        let State { queue, waiting, .. } = &mut *state;
        // Another has asked for the same and was first.
        queue.retain(|(_, version, _)| waiting.contains_key(version));
        let (at, place) = state.queue.iter().enumerate().find_map(|(at, (uid, ..))| Some((at, self.slots.take(*uid).ok()?)))?;
        let (_, version, file) = state.queue.remove(at)?;
        Some((place, version, file))
    }

    fn finish(&self, version: Version, digest: Digest) {
        let mut state = self.state();
        // Only success is remembered: a failure may have been of the moment.
        if let Some(digest) = &digest {
            state.remember(version, digest.clone());
        }
        let waiters = state.waiting.remove(&version).unwrap_or_default();
        drop(state);
        for waiter in waiters {
            waiter(digest.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, version: Version, digest: String) {
        if self.known.insert(version, digest).is_none() {
            self.order.push_back(version);
        }
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Without a digest no `sha256` selector matches; every other selector still may, so it is no failure.
fn read_digest(file: OwnedFd, version: Version) -> Digest {
    match digest_pinned(&file, version) {
        Ok(digest) => Some(digest),
        Err(error) => {
            tracing::warn!(%error, device = version.device, inode = version.inode, "an executable is not digested");
            None
        }
    }
}

fn digest_pinned(file: &OwnedFd, version: Version) -> io::Result<String> {
    if version.size > MAX_EXECUTABLE {
        return Err(io::Error::other("it is larger than 256 MiB"));
    }
    // Opened through the handle, so that it is the pinned file; a device or FIFO cannot be executed.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut file = File::from(rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty())?);
    if rustix::fs::fstatfs(&file)?.f_type as u64 == FUSE_MAGIC {
        return Err(io::Error::other("it is on a FUSE file system, which can show its content differently to each reader"));
    }
    check_version(&file, version)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 128 * 1024];
    let mut left = version.size;
    while left > 0 {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        context.update(&buffer[..read]);
        left = left.saturating_sub(read as u64);
    }
    // The kernel does not let a running file be written to, but not every file system obeys.
    check_version(&file, version)?;
    Ok(HEXLOWER.encode(context.finish().as_ref()))
}

fn check_version(file: &File, version: Version) -> io::Result<()> {
    let now = rustix::fs::statx(file, "", rustix::fs::AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::BASIC_STATS)?;
    if Version::of(&now) != version {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok(())
}
