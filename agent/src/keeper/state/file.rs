//! The store's file below redb.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// A regular file, never a symbolic link, readable by its owner alone. Space is reserved before it is written, so
/// that a full disk shows as an error while the file grows and not as lost pages at the next sync.
#[derive(Debug)]
pub(super) struct StoreFile {
    file: File,
    inner: FileBackend,
    faults: Faults,
}

impl StoreFile {
    /// Opens, or with `create` makes a new one.
    pub(super) fn open(path: &Path, create: bool, faults: Faults) -> io::Result<Self> {
        faults.check_write()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
        }
        let inner = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Ok(Self { file, inner, faults })
    }
}

fn reserve(file: &File, length: u64) -> io::Result<()> {
    let present = file.metadata()?.len();
    let Some(more) = length.checked_sub(present).filter(|more| *more > 0) else { return Ok(()) };
    let (Ok(present), Ok(more)) = (i64::try_from(present), i64::try_from(more)) else {
        return Err(io::ErrorKind::FileTooLarge.into());
    };
    match fallocate(file, FallocateFlags::empty(), present, more) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => {
            // Part of it may have been taken: give it back.
            file.set_len(present.unsigned_abs())?;
            Err(errno.into())
        }
    }
}

type Range = Bound<u64>;

impl StorageBackend for StoreFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.faults.check_read()?;
        self.inner.read(offset, out)
    }
    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.faults.check_write()?;
        reserve(&self.file, length)?;
        self.inner.set_len(length)
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.faults.check_sync()?;
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.faults.check_write()?;
        self.inner.write(offset, data)
    }
    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }
    fn try_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }
    fn try_lock_shared_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// Failures that tests ask for; nothing outside them.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    pub(super) injected: std::sync::Arc<Injected>,
}

/// What is to fail, as an errno; 0 for nothing.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Injected {
    pub(super) read: std::sync::atomic::AtomicI32,
    pub(super) write: std::sync::atomic::AtomicI32,
    pub(super) sync: std::sync::atomic::AtomicI32,
    pub(super) mirror: std::sync::atomic::AtomicI32,
}

#[cfg(test)]
impl Faults {
    fn check(errno: &std::sync::atomic::AtomicI32) -> io::Result<()> {
        match errno.load(std::sync::atomic::Ordering::SeqCst) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
    fn check_read(&self) -> io::Result<()> {
        Self::check(&self.injected.read)
    }
    fn check_write(&self) -> io::Result<()> {
        Self::check(&self.injected.write)
    }
    fn check_sync(&self) -> io::Result<()> {
        Self::check(&self.injected.sync)
    }
    pub(super) fn check_mirror(&self) -> io::Result<()> {
        Self::check(&self.injected.mirror)
    }
}

#[cfg(not(test))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the same calls as in tests")]
impl Faults {
    const fn check_read(&self) -> io::Result<()> {
        Ok(())
    }
    const fn check_write(&self) -> io::Result<()> {
        Ok(())
    }
    const fn check_sync(&self) -> io::Result<()> {
        Ok(())
    }
    pub(super) const fn check_mirror(&self) -> io::Result<()> {
        Ok(())
    }
}
