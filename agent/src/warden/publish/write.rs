//! One new file, closed to everybody until it is complete.

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::super::failure::{Doing, Failure};
use super::room::Room;

/// Who owns a file and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Access {
    /// `None` stands for the warden's own id.
    pub(super) fn new(uid: Option<u32>, gid: Option<u32>, mode: u32) -> Self {
        let uid = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let gid = gid.unwrap_or_else(|| rustix::process::getegid().as_raw());
        Self { uid, gid, mode }
    }
}

/// Writes `name`, which must not exist; on failure it does not exist afterwards either.
pub(super) fn write_new(room: &Room, name: &str, content: &[u8], access: Access) -> Result<(), Failure> {
    let written = try_write(room, name, content, access);
    if let Err(error) = written
        && error != Errno::EXIST
    {
        room.remove(name)?;
    }
    written.map_err(|error| format!("{error}{}", advice(error))).doing(|| format!("write {}", room.show(name)))
}

fn try_write(room: &Room, name: &str, content: &[u8], access: Access) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(room, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut left = content;
    while !left.is_empty() {
        match rustix::io::write(&file, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    let stat = rustix::fs::fstat(&file)?;
    // The owner first: once the mode lets somebody read, it must be the right one.
    if (stat.st_uid, stat.st_gid) != (access.uid, access.gid) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(access.mode))
}

fn advice(error: Errno) -> &'static str {
    match error {
        Errno::NOSPC | Errno::DQUOT => "; the old files stay in place, make room on that file system",
        Errno::PERM => "; to give files to another user the warden needs CAP_CHOWN and CAP_FOWNER",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_exists_is_never_written_to_and_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::open(directory.path(), "secrets").unwrap();
        let at = |name: &str| directory.path().join("secrets").join(name);
        fs::write(at("file"), "precious").unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        symlink(at("file"), at("soft")).unwrap();
        symlink(at("absent"), at("dangling")).unwrap();
        for name in ["file", "hard", "soft", "dangling"] {
            let Err(Failure::Refused(message)) = write_new(&room, name, b"new", Access::new(None, None, 0o600)) else {
                panic!("{name}")
            };
            assert!(message.contains("File exists"), "{message}");
        }
        assert_eq!(fs::read_to_string(at("soft")).unwrap(), "precious");
        assert!(!at("absent").exists());
    }
}
