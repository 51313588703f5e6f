//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::SealError;

/// Writes `bytes` to a fresh file `path` (0600, replacing what a crash left there), synced to the disk.
pub(crate) fn write_fresh(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SealError::io("remove", path)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(SealError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(SealError::io("write", path))
}

/// Syncs the names in `dir`.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), SealError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(SealError::io("sync", dir))
}

/// Renames within one directory; durable only after [`sync_dir`].
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), SealError> {
    fs::rename(from, to).map_err(SealError::io("rename", from))
}

/// Opens a plain file: no link is followed, and a FIFO does not block.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
    }
    Ok(file)
}

/// Reads `path` to its end, if that comes within `max` bytes; `None` if there is no such file.
pub(crate) fn read_bounded(path: &Path, what: &'static str, max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, SealError> {
    match open_plain(path) {
        Ok(file) => read_open(file, path, what, max).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SealError::io("open", path)(error)),
    }
}

/// Reads an open file to its end, if that comes within `max` bytes.
pub(crate) fn read_open(file: File, path: &Path, what: &'static str, max: usize) -> Result<Zeroizing<Vec<u8>>, SealError> {
    // One byte of room over the bound, so that the vector never grows and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(SealError::io("read", path))?;
    if bytes.len() > max {
        return Err(SealError::TooLong { what, len: bytes.len(), max });
    }
    Ok(bytes)
}
