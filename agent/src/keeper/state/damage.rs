//! Keeping what is damaged, for whoever has to find out what happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use reverie_core::moment::Moment;
use sha2::{Digest, Sha256};

use super::error::OpenError;

/// No more copies than this are kept.
const MAX_COPIES: usize = 8;

/// The error for a damaged store, after a copy of it was kept. The same content is copied once.
pub(super) fn report(path: &Path, what: String, now: Moment) -> OpenError {
    let kept = match keep(path, now) {
        Ok(Some(copy)) => format!("a copy was kept as {}; ", copy.display()),
        Ok(None) => String::new(),
        Err(error) => format!("no copy could be kept ({error}); "),
    };
    OpenError::Damaged { path: path.to_owned(), what, kept }
}

fn keep(path: &Path, now: Moment) -> io::Result<Option<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let length = fs::symlink_metadata(path)?.len();
    if length == 0 {
        return Ok(None);
    }
    let (prefix, content) = (format!("{name}.damaged-"), digest(path)?);
    let mut copies = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        copies += 1;
        if entry.metadata()?.len() == length && digest(&entry.path())? == content {
            return Ok(Some(entry.path()));
        }
    }
    if copies >= MAX_COPIES {
        return Err(io::Error::other(format!("there are {copies} already: move some away")));
    }
    let copy = directory.join(format!("{prefix}{}", now.to_string().replace(':', "")));
    let write = || -> io::Result<()> {
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
        io::copy(&mut open(path)?, &mut to)?;
        to.sync_all()
    };
    if let Err(error) = write() {
        // Half a copy helps nobody; that it may not exist at all is no second error.
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&copy);
        }
        return Err(error);
    }
    Ok(Some(copy))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits()).open(path)
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hash, mut buffer) = (open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}
