//! Bytes in a memfd that nobody can change any more, so that its reader need not trust who made it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use zeroize::Zeroizing;

pub(crate) const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// A memfd with these bytes.
pub fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match rustix::fs::memfd_create(c"reverie-message", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know NOEXEC_SEAL.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(c"reverie-message", flags)?,
        other => other?,
    };
    let mut file = std::fs::File::from(memfd);
    io::Write::write_all(&mut file, bytes)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// What is in one, wiped when dropped: it may be keys. `InvalidData` for more than `limit` bytes, and for what could still change.
pub fn read(memfd: impl AsFd, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let refuse = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
    // Only a memfd has seals; without them its content could still change under the reader.
    let seals = rustix::fs::fcntl_get_seals(&memfd).map_err(|_| refuse("a long message did not come in a memfd"))?;
    if !seals.contains(SEALS) {
        return Err(refuse("a long message came in a memfd that is not sealed"));
    }
    let size = rustix::fs::fstat(&memfd)?.st_size;
    let size = usize::try_from(size).ok().filter(|size| *size <= limit).ok_or(refuse("a message was longer than the limit"))?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    let mut filled = 0;
    while filled < size {
        match rustix::io::pread(&memfd, &mut bytes[filled..], filled as u64) {
            Ok(0) => return Err(refuse("a memfd ended before its size")),
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
