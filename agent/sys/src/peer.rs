//! Who is at the other end of a unix socket, as the kernel recorded it when the connection was made.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use crate::pidfd::PidFd;

/// The most supplementary groups Linux allows a process (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

/// `SO_PEERCRED`: the peer's ids at connect time, mapped into our namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id; 0 for a peer in an outer pid namespace. It can be recycled: never decide by it.
    pub pid: i32,
    /// Effective user id; 65534 for one that has no mapping here.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Reads `SO_PEERCRED`. On a socketpair it names the process that made the pair, whoever holds the other end now.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}

/// The kernel's own handle on the peer (`SO_PEERPIDFD`, Linux 6.5).
///
/// `None` where the kernel is too old: then nothing read through the pid may be believed, since `pidfd_open` after
/// the fact opens whoever has the number now. A peer that is gone already is an error (`ESRCH`) on kernels that
/// cannot make a handle for it, and a handle that is not alive on those that can.
pub fn peer_pidfd(socket: impl AsFd) -> io::Result<Option<PidFd>> {
    match getsockopt(&socket, sockopt::PeerPidfd) {
        Ok(fd) => Ok(Some(PidFd::from_kernel(fd))),
        Err(Errno::ENOPROTOOPT) => Ok(None),
        // Before 6.16 a reaped peer was EINVAL.
        Err(Errno::EINVAL | Errno::ESRCH) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        Err(errno) => Err(errno.into()),
    }
}

/// True if this kernel can attest more about a caller than its uid and gids, that is, has `SO_PEERPIDFD`.
///
/// On Linux before 6.5 it is false, and a listener must build every caller by credentials only.
pub fn attest_support() -> bool {
    let pair = crate::seqpacket::pair();
    pair.is_ok_and(|(one, _other)| matches!(peer_pidfd(&one), Ok(Some(_))))
}

/// The peer's supplementary groups at connect time (`SO_PEERGROUPS`), ascending.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut capacity = 32;
    loop {
        match read_groups(socket.as_fd().as_raw_fd(), capacity) {
            // The kernel says how many it wanted to write, but a bound of our own decides.
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && capacity < MAX_GROUPS => {
                capacity = (capacity * 8).min(MAX_GROUPS);
            }
            Err(error) => return Err(error),
            Ok(mut groups) => {
                groups.sort_unstable();
                groups.dedup();
                return Ok(groups);
            }
        }
    }
}

fn read_groups(socket: i32, capacity: usize) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; capacity];
    let mut bytes = (capacity * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: `groups` is writable for `bytes` bytes, `bytes` is a live socklen_t, and the kernel writes at most
    // `bytes` bytes of gid_t (u32), for which every bit pattern is valid.
    let result =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), &mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(bytes as usize / size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_is_named_with_its_ids_and_groups() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let credentials = peer_credentials(&ours).unwrap();
        assert_eq!(credentials.pid, std::process::id() as i32);
        assert_eq!(credentials.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(credentials.gid, nix::unistd::getegid().as_raw());
        let mut expected: Vec<u32> = nix::unistd::getgroups().unwrap().into_iter().map(|gid| gid.as_raw()).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(peer_groups(&ours).unwrap(), expected);
    }

    #[test]
    fn the_peers_pidfd_is_the_peer() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(attest_support(), "Linux 6.5 or later is needed to run these tests");
        let pidfd = peer_pidfd(&ours).unwrap().unwrap();
        assert_eq!(pidfd.pid().unwrap(), Some(std::process::id() as i32));
        assert!(pidfd.is_alive().unwrap());
    }
}
