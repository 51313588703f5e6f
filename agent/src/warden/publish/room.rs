//! A directory of ours below the run directory, reached without following anything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::failure::{Doing, Failure};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// As `tmpfiles.d/reverie.conf` has it: names of secrets are nobody's business, so they can be opened but not listed.
fn mode_of(room: &str) -> u32 {
    if room == "secrets" { 0o711 } else { 0o755 }
}

/// `certs`, `secrets` or `stamps`: owned by us or root, writable by nobody else.
#[derive(Debug)]
pub(super) struct Room {
    handle: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

impl Room {
    /// Opens it, makes it if it is missing, and refuses it if somebody else could change what is in it.
    pub(super) fn open(run_dir: &Path, name: &str) -> Result<Self, Failure> {
        let path = run_dir.join(name);
        let parent = rustix::fs::openat(CWD, run_dir, DIRECTORY, Mode::empty())
            .doing(|| format!("open the run directory {}", run_dir.display()))?;
        let stat = rustix::fs::fstat(&parent).doing(|| format!("check {}", run_dir.display()))?;
        if stat.st_mode & 0o002 != 0 {
            return Err(format!("{} can be written by everybody; run: chmod o-w {0}", run_dir.display()).into());
        }
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(format!("could not make {}: {error}", path.display()).into()),
        }
        let handle = match rustix::fs::openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let path = path.display();
                return Err(
                    format!("{path} is not a directory (a symbolic link?); find out who put it there, then remove it").into()
                );
            }
            Err(error) => return Err(format!("could not open {}: {error}", path.display()).into()),
        };
        let room = Self { handle, path };
        room.check_owner(mode_of(name))?;
        Ok(room)
    }

    fn check_owner(&self, mode: u32) -> Result<(), Failure> {
        let path = self.path.display();
        let stat = rustix::fs::fstat(&self.handle).doing(|| format!("check {path}"))?;
        let own = rustix::process::geteuid().as_raw();
        if stat.st_uid != own && stat.st_uid != 0 {
            let owner = stat.st_uid;
            return Err(
                format!("{path} belongs to uid {owner}, who could change what is in it; it must be uid {own} or root").into()
            );
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(format!("{path} can be written by others than its owner; run: chmod go-w {path}").into());
        }
        // The umask may have closed it to the services that read in it.
        if stat.st_uid == own && stat.st_mode & 0o777 != mode {
            rustix::fs::fchmod(&self.handle, Mode::from_raw_mode(mode)).doing(|| format!("set the mode of {path}"))?;
        }
        Ok(())
    }

    /// Makes a new directory in it, closed to others until it is complete.
    pub(super) fn make_directory(&self, name: &str) -> Result<Self, Failure> {
        rustix::fs::mkdirat(&self.handle, name, Mode::RWXU).doing(|| format!("make {}", self.show(name)))?;
        self.open_directory(name)
    }

    pub(super) fn open_directory(&self, name: &str) -> Result<Self, Failure> {
        let handle = rustix::fs::openat(&self.handle, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .doing(|| format!("open {}", self.show(name)))?;
        Ok(Self { handle, path: self.path.join(name) })
    }

    /// Every name in it but `.` and `..`; what is not UTF-8 is none of ours.
    pub(super) fn entries(&self) -> Result<Vec<String>, Failure> {
        let doing = || format!("list {}", self.path.display());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle).doing(doing)? {
            if let Ok(name) = entry.doing(doing)?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Of the entry itself, if there is one.
    pub(super) fn stat(&self, name: &str) -> Result<Option<Stat>, Failure> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(format!("could not look at {}: {error}", self.show(name)).into()),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to).doing(|| format!("put {} in place", self.show(to)))
    }

    /// Removes a file or link, which may be gone already.
    pub(super) fn remove(&self, name: &str) -> Result<(), Failure> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(format!("could not remove {}: {error}", self.show(name)).into()),
        }
    }

    /// Removes a directory of files, which may be gone already. What is not a directory is removed alike.
    pub(super) fn remove_directory(&self, name: &str) -> Result<(), Failure> {
        match self.stat(name)? {
            None => Ok(()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => self.remove(name),
            Some(_) => {
                let directory = self.open_directory(name)?;
                for entry in directory.entries()? {
                    directory.remove(&entry)?;
                }
                rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR).doing(|| format!("remove {}", self.show(name)))
            }
        }
    }

    /// The path of an entry, for messages.
    pub(super) fn show(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl AsFd for Room {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}
