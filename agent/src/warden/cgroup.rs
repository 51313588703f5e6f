//! The cgroup v2 path of a process.

use std::fs::File;
use std::io::{self, Read};

/// `/proc/PID/cgroup` is a line for each hierarchy; a path is at most 4096 bytes.
const MAX_CGROUP_FILE: u64 = 64 * 1024;

/// Reads the `0::` line of `/proc/PID/cgroup`; `None` without cgroup v2.
pub(super) fn read(pid: i32) -> io::Result<Option<String>> {
    let mut text = Vec::with_capacity(4096);
    File::open(format!("/proc/{pid}/cgroup"))?.take(MAX_CGROUP_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CGROUP_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its list of cgroups is too long"));
    }
    Ok(find_unified(&text))
}

/// A path that is not UTF-8 is no unit's, so it may be lost.
fn find_unified(text: &[u8]) -> Option<String> {
    let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    String::from_utf8(path.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unified_hierarchy_counts() {
        let text = b"9:name=systemd:/system.slice/fake.service\n1:cpu:/0::/x\n0::/system.slice/real.service\n0::/second\n";
        assert_eq!(find_unified(text).as_deref(), Some("/system.slice/real.service"));
        assert_eq!(find_unified(b"9:name=systemd:/system.slice/fake.service\n"), None);
        assert_eq!(find_unified(b"0::/\xff\n"), None);
    }
}
