//! The directory that holds everything, and who may touch it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::error::OpenError;

/// The state directory, locked against a second agent for as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// What lies where the store should.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, and nothing ever did.
    Nothing,
    /// A file that may be a store.
    Store,
}

impl Directory {
    /// Makes it if need be, checks it, locks it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))?;
        }
        check_directory(path)?;
        let lock = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
            .open(path)
            .map_err(io_error("open", path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(fs::TryLockError::Error(source)) => Err(OpenError::Io { doing: "lock", path: path.to_owned(), source }),
        }
    }

    /// The store.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// Where a store is made before it gets its name.
    pub(super) fn new_store(&self) -> PathBuf {
        self.path.join("store.redb.new")
    }

    /// Says that there is a store, and which.
    pub(super) fn marker(&self) -> PathBuf {
        self.path.join("store.id")
    }

    /// The audit log.
    pub(super) fn audit(&self) -> PathBuf {
        self.path.join("audit")
    }

    /// Looks for the store. A store that vanished is never silently replaced.
    pub(super) fn find_store(&self) -> Result<Found, OpenError> {
        let path = self.store();
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.find_traces(path),
            Err(error) => return Err(io_error("look at", &path)(error)),
        };
        if !metadata.is_file() {
            let what = if metadata.is_symlink() { "is a symbolic link" } else { "is not a regular file" };
            return Err(unfit(&path, what.into(), "put the store itself in its place".into()));
        }
        check_owner(&path, &metadata)?;
        if metadata.mode() & 0o077 != 0 {
            let what = format!("may be opened by others (mode {:04o})", metadata.mode() & 0o7777);
            let remedy = format!("find out who read it, then `chmod 600 {}`", path.display());
            return Err(unfit(&path, what, remedy));
        }
        Ok(Found::Store)
    }

    fn find_traces(&self, store: PathBuf) -> Result<Found, OpenError> {
        for trace in [self.marker(), self.audit()] {
            let present = match fs::symlink_metadata(&trace) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(io_error("look at", &trace)(error)),
                Ok(metadata) if metadata.is_dir() => fs::read_dir(&trace).map_err(io_error("list", &trace))?.next().is_some(),
                Ok(_) => true,
            };
            if present {
                return Err(OpenError::Missing { path: store, trace });
            }
        }
        Ok(Found::Nothing)
    }

    /// Writes the marker, or compares it with the store's id.
    pub(super) fn mark(&self, id: &[u8; 16]) -> Result<(), OpenError> {
        let (path, text) = (self.marker(), format!("{}\n", data_encoding::HEXLOWER.encode(id)));
        match fs::read(&path) {
            Ok(present) if present == text.as_bytes() => return Ok(()),
            // A crash while it was written leaves a part of it.
            Ok(present) if text.as_bytes().starts_with(&present) => {}
            Ok(_) => {
                let remedy = format!(
                    "put back the store that belongs here; if this one is meant to be here, remove {} and start again",
                    path.display()
                );
                return Err(unfit(&self.store(), format!("is not the store that {} names", path.display()), remedy));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &path)(error)),
        }
        let write = || {
            let options = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(options.bits())
                .open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            sync_directory(&self.path)
        };
        write().map_err(io_error("write", &path))
    }

    /// Gives a freshly made store its name.
    pub(super) fn name_new_store(&self) -> Result<(), OpenError> {
        let (from, to) = (self.new_store(), self.store());
        fs::rename(&from, &to).and_then(|()| sync_directory(&self.path)).map_err(io_error("rename", &from))
    }

    /// Clears away what a crash during the making of a store left.
    pub(super) fn clear_new_store(&self) -> Result<(), OpenError> {
        let path = self.new_store();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

/// Checks that only the agent's own user can write it.
pub(super) fn check_directory(path: &Path) -> Result<(), OpenError> {
    let metadata = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    if !metadata.is_dir() {
        let what = if metadata.is_symlink() { "is a symbolic link" } else { "is not a directory" };
        return Err(unfit(path, what.into(), "name the directory itself in the configuration".into()));
    }
    check_owner(path, &metadata)?;
    let mode = metadata.permissions().mode();
    if mode & 0o022 != 0 {
        let what = format!("may be written by others (mode {:04o})", mode & 0o7777);
        return Err(unfit(path, what, format!("check what lies in it, then `chmod 700 {}`", path.display())));
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), OpenError> {
    let own = nix::unistd::geteuid().as_raw();
    if metadata.uid() == own {
        return Ok(());
    }
    let what = format!("belongs to uid {}, but the agent runs as uid {own}", metadata.uid());
    Err(unfit(path, what, format!("run the agent as that user, or `chown -R {own} {}`", path.display())))
}

/// Makes a rename or a new file in it durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { doing, path, source }
}

fn unfit(path: &Path, what: String, remedy: String) -> OpenError {
    OpenError::Unfit { path: path.to_owned(), what, remedy }
}
