//! Which process a request of the kernel's is of. The kernel says the number of a thread, of a caller that waits for our answer.

use std::fs;
use std::io;
use std::path::Path;

use reverie_core::ipc::view::Reader;
use reverie_sys::pidfd::PidFd;

/// A process, pinned, that the thread belongs to.
#[derive(Debug)]
pub struct Pinned {
    /// The kernel's handle on it.
    pub pidfd: PidFd,
    /// Its number.
    process: i32,
    /// That of the thread that asks.
    thread: i32,
    /// Pages of its program's text: of what tells programs apart, what anybody may see of any process.
    text: u64,
}

/// A thread with the ids it acts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asking {
    /// Number of the thread; 0 if it is not in our pid namespace.
    pub thread: i32,
    /// User and group.
    pub reader: Reader,
}

impl Asking {
    /// As a request says.
    pub fn of(request: &fuser::Request) -> Self {
        let thread = i32::try_from(request.pid()).unwrap_or(0);
        Self { thread, reader: Reader { uid: request.uid(), gid: request.gid() } }
    }

    /// Takes hold of the process. The thread waits for us, so it belongs to it still; if it was killed, nobody gets our answer.
    pub fn pin(self) -> io::Result<Pinned> {
        let thread = self.thread;
        // A handle opens by the number of a process, which is that of its first thread.
        let (process, pidfd) = match PidFd::open(thread) {
            Ok(pidfd) => (thread, pidfd),
            Err(_) => {
                let process = process_of(thread)?;
                (process, PidFd::open(process)?)
            }
        };
        let pinned = Pinned { pidfd, process, thread, text: text_of(process)? };
        if pinned.holds() { Ok(pinned) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Pinned {
    /// The process lives, and the thread is one of its.
    pub fn holds(&self) -> bool {
        let is_own =
            || self.thread == self.process || Path::new(&format!("/proc/{}/task/{}", self.process, self.thread)).exists();
        is_own() && self.pidfd.is_alive().unwrap_or(false)
    }

    /// Besides, it seems to run the program it ran then. (Another of the same size passes; that is why this holds for a moment only.)
    pub fn is_as_it_was(&self) -> bool {
        text_of(self.process).is_ok_and(|text| text == self.text) && self.holds()
    }
}

/// `Tgid` of a thread.
fn process_of(thread: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|number| number.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The fourth number of `statm` (proc_pid_statm(5)).
fn text_of(process: i32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    statm.split(' ').nth(3).and_then(|pages| pages.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(thread: i32) -> Asking {
        Asking { thread, reader: Reader { uid: 0, gid: 0 } }
    }

    #[test]
    fn a_thread_is_resolved_to_its_process() {
        let (own, thread) = (std::process::id() as i32, rustix::thread::gettid().as_raw_nonzero().get());
        assert_ne!(own, thread, "tests run in threads");
        let pinned = asking(thread).pin().unwrap();
        assert_eq!((pinned.process, pinned.pidfd.pid().unwrap()), (own, Some(own)));
        assert!(pinned.holds());
        assert_eq!(asking(own).pin().unwrap().process, own);
    }

    #[test]
    fn what_is_no_process_of_ours_is_nobody() {
        for thread in [0, -1, i32::MAX] {
            assert!(asking(thread).pin().is_err(), "{thread}");
        }
        let ended = std::thread::spawn(|| rustix::thread::gettid().as_raw_nonzero().get()).join().unwrap();
        assert!(asking(ended).pin().is_err());
    }
}
