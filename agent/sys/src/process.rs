//! Hardening of the own process, each a call away from `main`.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use rustix::mm::{MlockAllFlags, mlockall};

/// A limit of locked memory from which `MCL_FUTURE` is safe: several times what the agent may ever map.
const AMPLE_LOCKED_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// No core dump of this process, and no `ptrace` by others of the same uid.
///
/// `/proc/self` then belongs to root, but the process itself may still read what is its own there.
pub fn set_nondumpable() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// Keeps all memory of this process, present and future, out of swap, each page from its first use
/// (`MCL_ONFAULT`: thread stacks would cost megabytes otherwise).
///
/// Returns false, having done nothing, where the limit of locked memory (`LimitMEMLOCK=`) is small: under such a
/// limit `MCL_FUTURE` would make later allocations fail.
pub fn lock_memory() -> io::Result<bool> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if soft != RLIM_INFINITY && soft < AMPLE_LOCKED_BYTES {
        return Ok(false);
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    Ok(true)
}

/// Raises the limit of open files to what is allowed, and returns it.
pub fn raise_nofile_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// No program started from here on gains a privilege by setuid or file capabilities. Holds for the calling thread
/// and what it starts, so call it before any other thread exists.
pub fn set_no_new_privs() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// Has the kernel send `signal` to this process when the **thread** that started it ends.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    Ok(prctl::set_pdeathsig(signal)?)
}

/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const LISTEN_FDS_START: RawFd = 3;
/// Which of the first so many were taken: each is there once.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The descriptor that systemd handed over under that name, if any. Others that came with it stay open. The second time it is not
/// there any more.
pub fn handed_over(name: &str) -> io::Result<Option<OwnedFd>> {
    let variable = |key: &str| std::env::var(key).unwrap_or_default();
    if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Ok(None);
    }
    let count = variable("LISTEN_FDS").parse().unwrap_or(0).min(u32::BITS);
    let names = variable("LISTEN_FDNAMES");
    let Some((index, _)) = (0..count).zip(names.split(':')).find(|(_, known)| *known == name) else { return Ok(None) };
    if TAKEN.fetch_or(1 << index, Ordering::SeqCst) & 1 << index != 0 {
        return Ok(None);
    }
    // SAFETY: by the protocol this descriptor is ours from the start of the process, nothing else here knows its number, and
    // `TAKEN` lets one caller have it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(LISTEN_FDS_START + index as RawFd) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Some(descriptor))
}
