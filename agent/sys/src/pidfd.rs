//! A handle on one process: it stays on that process, dead or alive, whoever is given its pid afterwards.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// `/proc/self/fdinfo/N` of a pidfd is about 100 bytes; nested pid namespaces add a number each.
const MAX_FDINFO: u64 = 4096;

/// A pidfd.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    pub(crate) fn from_kernel(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens whatever process has `pid` now. The caller must then check that it is the one that was meant.
    pub fn open(pid: i32) -> io::Result<Self> {
        // 0 and below mean groups of processes elsewhere in the kernel's interface, and rustix panics on the latter.
        let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Takes a descriptor that came from elsewhere, and refuses what is not a pidfd.
    pub fn from_received(fd: OwnedFd) -> io::Result<Self> {
        let pidfd = Self(fd);
        pidfd.pid()?;
        Ok(pidfd)
    }

    /// False once the process has ended, reaped or not. While it is true, its pid is not given to another.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(!self.wait_exit(std::time::Duration::ZERO)?)
    }

    /// Waits until the process ends; false if it did not within `timeout`.
    pub fn wait_exit(&self, timeout: std::time::Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        loop {
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Another handle on the same process.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends `signal` to exactly this process; `ESRCH` if it has ended.
    pub fn send_signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.0, signal)?)
    }

    /// The pid in our namespace: `None` once the process has been reaped, or if it is in an outer pid namespace.
    ///
    /// Whatever is then read under this pid belongs to the process only if [`is_alive`](Self::is_alive) still
    /// holds afterwards.
    pub fn pid(&self) -> io::Result<Option<i32>> {
        // With room to begin with it is one read; the standard library would feel its way.
        let mut text = String::with_capacity(1024);
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        File::open(path)?.take(MAX_FDINFO).read_to_string(&mut text)?;
        let number = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        let not_a_pidfd = || io::Error::new(io::ErrorKind::InvalidData, "the descriptor is not a pidfd");
        let pid: i32 = number.and_then(|number| number.trim().parse().ok()).ok_or_else(not_a_pidfd)?;
        Ok((pid > 0).then_some(pid))
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> OwnedFd {
        pidfd.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_process_that_ended_is_not_alive_and_has_no_pid_once_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = PidFd::open(child.id() as i32).unwrap();
        assert!(pidfd.is_alive().unwrap());
        assert_eq!(pidfd.pid().unwrap(), Some(child.id() as i32));
        pidfd.send_signal(Signal::KILL).unwrap();
        assert!(pidfd.wait_exit(Duration::from_secs(10)).unwrap());
        assert!(!pidfd.is_alive().unwrap(), "a zombie is not alive");
        child.wait().unwrap();
        assert_eq!(pidfd.pid().unwrap(), None);
        assert_eq!(pidfd.send_signal(Signal::HUP).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_descriptor_that_is_no_pidfd_is_refused() {
        let error = PidFd::from_received(File::open("/dev/null").unwrap().into()).unwrap_err();
        assert!(error.to_string().contains("not a pidfd"), "{error}");
    }

    #[test]
    fn pids_that_mean_a_group_are_refused() {
        for pid in [0, -1, i32::MIN] {
            assert!(PidFd::open(pid).is_err(), "{pid}");
        }
    }
}
