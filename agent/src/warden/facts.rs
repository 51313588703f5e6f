//! Facts about a process, read through its pid and believed because the pidfd is still alive afterwards.
//!
//! The file a caller runs may lie on a file system that the caller itself serves (FUSE). So nothing on the main
//! loop may wait for a foreign file system: attributes are asked for without synchronisation, and paths are
//! resolved from the cache alone; whatever needs more is done on a thread.

use std::os::fd::OwnedFd;

use reverie_core::caller::Executable;
use reverie_core::ipc::warden::Facts;
use reverie_sys::pidfd::PidFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::digest::Version;
use super::failure::{Doing, Failure};
use super::{cgroup, credentials, path};

/// The longest path the kernel shows (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// The process a request is about.
#[derive(Debug)]
pub(super) struct Subject {
    pidfd: PidFd,
    pid: i32,
}

impl Subject {
    /// From the one descriptor that came with the request.
    pub(super) fn new(descriptors: Vec<OwnedFd>) -> Result<Self, Failure> {
        let descriptor = <[OwnedFd; 1]>::try_from(descriptors)
            .map_err(|_| Failure::from("a question about a process came without exactly one pidfd"))?;
        let [descriptor] = descriptor;
        let pidfd = PidFd::from_received(descriptor).doing(|| "use what came as a pidfd".into())?;
        // Reaped, or in a pid namespace that is none of ours.
        let pid = pidfd.pid().doing(|| "read the pid of a pidfd".into())?.ok_or(Failure::Gone)?;
        Ok(Self { pidfd, pid })
    }

    /// Must hold after anything was read through the pid: only then it was this process that was read.
    pub(super) fn check_alive(&self) -> Result<(), Failure> {
        match self.pidfd.is_alive() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::Gone),
            Err(error) => Err(format!("could not ask whether process {} is alive: {error}", self.pid).into()),
        }
    }

    fn exe_link(&self) -> String {
        format!("/proc/{}/exe", self.pid)
    }

    /// A handle on the running file that neither opens it nor waits for its file system; refused if it is no longer
    /// `version`, so that nobody can put his file's digest, or the lack of one, in the place of another's.
    pub(super) fn pin_exe(&self, version: &Version) -> Result<OwnedFd, Failure> {
        let doing = || format!("reach the file that process {} runs", self.pid);
        let file = rustix::fs::open(self.exe_link(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let pinned = rustix::fs::statx(&file, "", flags, StatxFlags::BASIC_STATS).doing(doing)?;
        if Version::of(&pinned) != *version {
            return Err(format!("process {} began to run another file while it was looked at", self.pid).into());
        }
        Ok(file)
    }
}

/// May the resolution of a path wait for a file system?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// On the main loop.
    Never,
    /// On a thread.
    Allowed,
    /// Where no thread is to be had: a path that is not in the cache then names no file.
    GiveUp,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Look {
    /// All of it, and the version of the running file if there is one, for its digest.
    Complete(Facts, Option<Version>),
    /// Not without waiting: look again on a thread, on behalf of this uid.
    WouldWait {
        /// Whose process it is.
        uid: u32,
    },
}

/// Reads everything but the digest. The process was alive when the last of it had been read.
pub(super) fn look(subject: &Subject, wait: Wait) -> Result<Look, Failure> {
    // A process that has ended has no files any more, so being gone is told from each error.
    let read = read(subject, wait);
    subject.check_alive()?;
    read
}

fn read(subject: &Subject, wait: Wait) -> Result<Look, Failure> {
    let cgroup = cgroup::read(subject.pid).doing(|| format!("read the cgroup of process {}", subject.pid))?;
    let credentials = credentials::read(subject.pid).doing(|| format!("read the ids of process {}", subject.pid))?;
    let link = subject.exe_link();
    let shown = match rustix::fs::readlink(&link, Vec::with_capacity(256)) {
        Ok(shown) => shown.into_bytes(),
        // A kernel thread runs no file.
        Err(Errno::NOENT) => return Ok(Look::Complete(Facts { exe: None, cgroup, credentials }, None)),
        Err(error) => return Err(unreadable(subject.pid, error)),
    };
    let running = stat_without_waiting(&link).map_err(|error| unreadable(subject.pid, error))?;
    let Some(is_that_file) = names_the_file(&shown, &running, wait) else { return Ok(Look::WouldWait { uid: credentials.uid }) };
    let version = Version::of(&running);
    let exe = Executable {
        device: version.device,
        inode: version.inode,
        shown_path: String::from_utf8_lossy(&shown).into_owned(),
        is_that_file,
        sha256: None,
    };
    Ok(Look::Complete(Facts { exe: Some(exe), cgroup, credentials }, Some(version)))
}

fn unreadable(pid: i32, error: Errno) -> Failure {
    format!(
        "could not see which file process {pid} runs: {error}; the warden needs CAP_SYS_PTRACE for processes of other users \
         and for those that protect themselves"
    )
    .into()
}

/// Device and inode do not change, so what is cached is right; asking a server for news could take for ever.
fn stat_without_waiting(path: &str) -> Result<Statx, Errno> {
    rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)
}

/// True if `shown` names the running file in our own mount namespace too. `None` if that cannot be told without waiting.
fn names_the_file(shown: &[u8], running: &Statx, wait: Wait) -> Option<bool> {
    // What rules name is UTF-8 and absolute; and what was deleted is named by nothing.
    let nameable = shown.starts_with(b"/") && shown.len() <= MAX_PATH && std::str::from_utf8(shown).is_ok();
    if !nameable || shown.ends_with(b" (deleted)") {
        return Some(false);
    }
    match path::open(shown, wait) {
        Ok(found) => {
            let found = rustix::fs::statx(&found, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS);
            Some(found.is_ok_and(|found| Version::of(&found).is_same_file(&Version::of(running))))
        }
        Err(Errno::AGAIN) if wait == Wait::Never => None,
        Err(_) => Some(false),
    }
}

/// Is the process alive and still running that very file? What cannot be seen is not that file.
pub(super) fn still_runs(descriptors: Vec<OwnedFd>, device: u64, inode: u64) -> Result<bool, Failure> {
    let subject = Subject::new(descriptors)?;
    let running = stat_without_waiting(&subject.exe_link());
    subject.check_alive()?;
    Ok(running.is_ok_and(|running| {
        let version = Version::of(&running);
        (version.device, version.inode) == (device, inode)
    }))
}
