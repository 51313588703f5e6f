//! Mounting and detaching, for whoever may: the step before the role and the one after it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns};
use reverie_sys::seqpacket::{self, Receiver};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use sd_notify::NotifyState;

use super::FOLDER;
use crate::ops::channel::stdin_channel;

/// What the mount table says of ours.
const KIND: &str = "fuse.reverie";

/// A name that no view has: whether there is none the kernel must ask.
const NOTHING: &str = "-";

/// For an answer of a view that may be dead.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device.
    #[error("/dev/fuse cannot be opened ({0}); load the module: modprobe fuse")]
    Device(io::Error),
    /// The mount point.
    #[error("the directory {0} cannot be used: {1}")]
    Directory(PathBuf, io::Error),
    /// The mount.
    #[error("{0} cannot be mounted: {1}; mounting needs CAP_SYS_ADMIN")]
    Mount(PathBuf, io::Error),
    /// What was there before.
    #[error("what an earlier view left at {0} cannot be detached: {1}; try: umount --lazy {0}")]
    Stale(PathBuf, io::Error),
    /// Where it is asked.
    #[error("standard input is no socket of the keeper's, or failed: {0}")]
    Channel(io::Error),
    /// Where everyone sees the mount.
    #[error(
        "the system's mounts cannot be reached: {0}; this wants CAP_SYS_ADMIN and CAP_SYS_CHROOT, which ExecStartPre=+ gives"
    )]
    Namespace(io::Error),
    /// systemd.
    #[error("systemd does not take the device over: {0}; the unit needs FileDescriptorStoreMax= and NotifyAccess=all")]
    Handed(io::Error),
    /// The role.
    #[error("the role view cannot be started: {0}")]
    Role(io::Error),
    /// The role failed.
    #[error("the role view ended: {0}")]
    Ended(std::process::ExitStatus),
}

/// Mounts at `point`, over whatever an earlier view left there. Whoever holds the device serves it.
pub fn attach(point: &Path) -> Result<OwnedFd, Error> {
    detach(point)?;
    let unusable = |error| Error::Directory(point.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o755).create(point).map_err(unusable)?;
    // Whatever the mask says: where nothing is mounted, everyone is to see that.
    fs::set_permissions(point, fs::Permissions::from_mode(0o755)).map_err(unusable)?;
    if !fs::symlink_metadata(point).map_err(unusable)?.is_dir() {
        return Err(unusable(io::Error::other("it is no directory, or a symbolic link")));
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(Error::Device)?;
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    mount(Some("reverie"), point, Some(KIND), flags, Some(data.as_str()))
        .map_err(|error| Error::Mount(point.to_owned(), error.into()))?;
    Ok(device.into())
}

/// A unit that is kept to itself has mounts of its own, also in the steps before and after it: to mount for everyone is to mount
/// where systemd itself is. Before there are threads.
fn enter_the_systems_mounts() -> Result<(), Error> {
    let namespace = fs::File::open("/proc/1/ns/mnt").map_err(Error::Namespace)?;
    setns(namespace, CloneFlags::CLONE_NEWNS).map_err(|error| Error::Namespace(error.into()))
}

/// The same for the unit: systemd keeps the device, and hands it to the role as `view`.
pub fn attach_for_unit(point: &Path) -> Result<(), Error> {
    enter_the_systems_mounts()?;
    let device = attach(point)?;
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(FOLDER)], &[device.as_fd()]).map_err(Error::Handed)
}

/// Detaches a view that nobody serves any more, and leaves one that somebody does: the next may be there before this one's unit
/// has cleaned up.
pub fn detach_dead(point: &Path) -> Result<(), Error> {
    enter_the_systems_mounts()?;
    let path = point.to_owned();
    let (said, heard) = mpsc::channel();
    // A living one that is busy makes us wait, and is not waited for.
    let look = move || fs::symlink_metadata(path.join(NOTHING)).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN));
    std::thread::spawn(move || said.send(look()));
    match heard.recv_timeout(PATIENCE) {
        Ok(true) => detach(point),
        _ => Ok(()),
    }
}

/// Detaches every view at `point`, dead or alive; who has files open keeps what was read. Not waited for: a dead one would not end.
pub fn detach(point: &Path) -> Result<(), Error> {
    let stale = |error: nix::Error| Error::Stale(point.to_owned(), error.into());
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Error::Stale(point.to_owned(), error))?;
    for _ in table.lines().filter(|line| is_ours(line, point)) {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(stale)?;
    }
    Ok(())
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)): the mount point is its fifth field, the kind follows a lone hyphen.
fn is_ours(line: &str, point: &Path) -> bool {
    let at = line.split(' ').nth(4).map(|at| at.replace("\\040", " "));
    let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
    kind == Some(KIND) && at.as_deref().map(Path::new) == Some(point)
}

/// Whether anything is mounted at `point`: asked of the kernel alone, so that a view that hangs does not have us hang with it.
pub fn is_there(point: &Path) -> io::Result<bool> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW;
    let found = statx(CWD, point, flags, StatxFlags::empty())?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Asks whoever has the other end of `mounter` for a mount with the role on it: the channel to that.
pub fn ask(mounter: impl AsFd) -> io::Result<OwnedFd> {
    let (ours, theirs) = seqpacket::pair()?;
    seqpacket::send(mounter, &[1], &[theirs.as_fd()])?;
    Ok(ours)
}

/// For each channel that comes on standard input: mounts, starts the role on it, and detaches it when the role has ended. The
/// keeper cannot do this itself: it gave up mounting, and so did what it starts since.
pub fn run(point: &Path) -> Result<(), Error> {
    let asked = stdin_channel().map_err(Error::Channel)?;
    let mut receiver = Receiver::new(16);
    while let Some(mut message) = receiver.recv(&asked).map_err(Error::Channel)? {
        if let Some(channel) = message.descriptors.pop() {
            serve(point, channel).unwrap_or_else(|error| tracing::error!(%error, "there is no file view"));
        }
    }
    Ok(())
}

fn serve(point: &Path, channel: OwnedFd) -> Result<(), Error> {
    let device = attach(point)?;
    let ended = (|| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", "view"]).stdin(Stdio::from(channel)).stdout(Stdio::from(device));
        let child = command.spawn();
        // The command has the channel and the device too: whoever waits at their other ends is to notice when the role ends.
        drop(command);
        child?.wait()
    })();
    detach(point)?;
    match ended.map_err(Error::Role)? {
        status if status.success() => Ok(()),
        status => Err(Error::Ended(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_from_a_directory() {
        assert!(is_there(Path::new("/proc")).unwrap() && !is_there(Path::new("/proc/self")).unwrap());
        assert!(is_there(Path::new("/nothing")).is_err());
    }

    #[test]
    fn only_our_mounts_at_that_very_place_are_detached() {
        let ours = "36 35 0:42 / /run/reverie/view ro,nosuid,nodev,noexec,noatime shared:1 - fuse.reverie reverie ro,user_id=0";
        assert!(is_ours(ours, Path::new("/run/reverie/view")));
        assert!(!is_ours(ours, Path::new("/run/reverie")));
        assert!(!is_ours(&ours.replace("fuse.reverie", "tmpfs"), Path::new("/run/reverie/view")));
        assert!(is_ours(&ours.replace("/run/reverie/view", "/a\\040b/view"), Path::new("/a b/view")));
        assert!(!is_ours("", Path::new("/")));
    }
}
