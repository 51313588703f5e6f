//! Under whose ids a process runs.

use std::fs::File;
use std::io::{self, Read};

use reverie_core::ipc::warden::Credentials;

/// A process may be in 65,536 groups of ten digits.
const MAX_STATUS_FILE: u64 = 1024 * 1024;

/// Reads `/proc/PID/status`.
pub(super) fn read(pid: i32) -> io::Result<Credentials> {
    let mut text = Vec::with_capacity(4096);
    File::open(format!("/proc/{pid}/status"))?.take(MAX_STATUS_FILE).read_to_end(&mut text)?;
    // The process may have named itself anything.
    parse(&String::from_utf8_lossy(&text)).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its ids are not shown"))
}

/// The kernel escapes line ends in the process's name, so no line here is its own.
fn parse(status: &str) -> Option<Credentials> {
    let numbers = |key: &str| -> Option<Vec<u32>> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().map(|word| word.parse().ok()).collect()
    };
    // Real, effective, saved, file system: the effective one is what SO_PEERCRED reports.
    let effective = |key: &str| numbers(key)?.get(1).copied();
    Some(Credentials { uid: effective("Uid:")?, gid: effective("Gid:")?, groups: numbers("Groups:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_ids_count() {
        let status = "Name:\tx Uid:\\n0\nUid:\t1000\t33\t1000\t1000\nGid:\t1000\t34\t1000\t1000\nGroups:\t4 24 \n";
        assert_eq!(parse(status), Some(Credentials { uid: 33, gid: 34, groups: vec![4, 24] }));
        assert_eq!(parse("Name:\tx\n"), None);
    }

    #[test]
    fn our_own_are_read() {
        assert_eq!(read(std::process::id() as i32).unwrap().uid, nix::unistd::geteuid().as_raw());
    }
}
