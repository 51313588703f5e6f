//! The file that a path names here, without waiting for file systems that somebody else may hold up.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::facts::Wait;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A handle on it. `EAGAIN` if that cannot be told without waiting.
pub(super) fn open(path: &[u8], wait: Wait) -> Result<OwnedFd, Errno> {
    let cached = if wait == Wait::Allowed { ResolveFlags::empty() } else { ResolveFlags::CACHED };
    match rustix::fs::openat2(CWD, OsStr::from_bytes(path), HANDLE, Mode::empty(), cached | ResolveFlags::NO_MAGICLINKS) {
        // systemd's RestrictSUIDSGID= takes it away, since no filter can see which mode it is given.
        Err(Errno::NOSYS) => open_step_by_step(path, wait),
        other => other,
    }
}

fn open_step_by_step(path: &[u8], wait: Wait) -> Result<OwnedFd, Errno> {
    // Magic links are there alone, and nothing is run from there.
    if path.starts_with(b"/proc/") {
        return Err(Errno::NOENT);
    }
    match (walk(path), wait) {
        (Err(Errno::AGAIN), Wait::Allowed) => rustix::fs::open(OsStr::from_bytes(path), HANDLE, Mode::empty()),
        (walked, _) => walked,
    }
}

/// Through directories on the file systems of `/` and `/usr` alone, which are root's, and through no link: others are left to
/// who may wait.
fn walk(path: &[u8]) -> Result<OwnedFd, Errno> {
    let directory = HANDLE | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut at = rustix::fs::open("/", directory, Mode::empty())?;
    let usr = rustix::fs::open("/usr", directory, Mode::empty()).and_then(|usr| device(&usr));
    let own = [device(&at)?, usr.unwrap_or_default()];
    let names = path.strip_prefix(b"/").ok_or(Errno::INVAL)?;
    let (folders, name) = match names.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&names[..slash], &names[slash + 1..]),
        None => (&b""[..], names),
    };
    for folder in folders.split(|byte| *byte == b'/').filter(|folder| !folder.is_empty()) {
        at = match rustix::fs::openat(&at, OsStr::from_bytes(folder), directory, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(Errno::AGAIN),
            other => other?,
        };
        if !own.contains(&device(&at)?) {
            return Err(Errno::AGAIN);
        }
    }
    let file = rustix::fs::openat(&at, OsStr::from_bytes(name), HANDLE | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    match rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()) {
        rustix::fs::FileType::Symlink => Err(Errno::AGAIN),
        _ => Ok(file),
    }
}

fn device(directory: &OwnedFd) -> Result<(u32, u32), Errno> {
    let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode(file: &OwnedFd) -> u64 {
        rustix::fs::fstat(file).unwrap().st_ino
    }

    #[test]
    fn without_openat2_a_path_names_the_same_file() {
        let program = std::fs::canonicalize("/bin/sh").unwrap();
        let bytes = program.as_os_str().as_bytes();
        for wait in [Wait::Never, Wait::Allowed] {
            assert_eq!(inode(&open_step_by_step(bytes, wait).unwrap()), program.metadata().unwrap().ino());
        }
        assert_eq!(open_step_by_step(b"/usr/bin/no-such-program", Wait::Never).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn without_openat2_links_and_other_file_systems_are_left_to_who_may_wait() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let bytes = path.as_os_str().as_bytes();
            assert_eq!(open_step_by_step(bytes, Wait::Never).unwrap_err(), Errno::AGAIN);
            assert_eq!(inode(&open_step_by_step(bytes, Wait::Allowed).unwrap()), file.metadata().unwrap().ino());
        }
        for path in [&b"/proc/self/exe"[..], b"/proc/1/root/bin/sh"] {
            assert_eq!(open_step_by_step(path, Wait::Allowed).unwrap_err(), Errno::NOENT);
        }
    }
}
