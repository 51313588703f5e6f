//! The audit log as files: one JSON line per event, only ever appended to.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use reverie_core::audit::SignedHead;

use super::AuditOptions;
use super::directory::sync_directory;
use super::file::Faults;

/// Name of the file of signed heads.
pub(super) const HEADS_FILE: &str = "heads.jsonl";

/// One file of the log, by the number of its first event. A later part with the same number exists only when the store
/// was put back from a backup or a file was changed by others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogFile {
    pub(super) first: u64,
    part: u32,
    pub(super) path: PathBuf,
}

/// The files of the log, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = vec![];
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((first, part)) = name.to_str().and_then(parse_name) {
            files.push(LogFile { first, part, path: entry.path() });
        }
    }
    files.sort();
    Ok(files)
}

fn parse_name(name: &str) -> Option<(u64, u32)> {
    let number = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let (first, part) = number.split_once('-').unwrap_or((number, "0"));
    if first.len() != 20 { None } else { Some((first.parse().ok()?, part.parse().ok()?)) }
}

/// Opens for reading; never through a symbolic link.
pub(super) fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits()).open(path)
}

/// Makes the directory, readable by the admin group if there is one; says what could not be done.
pub(super) fn make_directory(path: &Path, admin_gid: Option<u32>) -> io::Result<Option<String>> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    let Some(gid) = admin_gid else { return Ok(None) };
    let shared =
        std::os::unix::fs::chown(path, None, Some(gid)).and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o750)));
    Ok(shared.err().map(|error| not_shared(path, gid, &error)))
}

fn not_shared(path: &Path, gid: u32, error: &io::Error) -> String {
    format!(
        "{} cannot be given to group {gid} ({error}), so only root and the agent can read it; make the agent's user a member",
        path.display()
    )
}

/// The file being appended to.
#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    /// Bytes that are ours and whole.
    length: u64,
    /// An append failed: what lies beyond `length` is a part of ours, to be cut off.
    torn: bool,
}

/// Appends to the log.
#[derive(Debug)]
pub(super) struct Mirror {
    directory: PathBuf,
    options: AuditOptions,
    faults: Faults,
    current: Option<Current>,
}

impl Mirror {
    pub(super) fn new(directory: PathBuf, options: AuditOptions, faults: Faults) -> Self {
        Self { directory, options, faults, current: None }
    }

    /// Goes on with a file whose content up to `length` is right, and cuts off the rest of it.
    pub(super) fn resume(&mut self, path: PathBuf, length: u64) -> io::Result<()> {
        let file = append_options().open(&path)?;
        if file.metadata()?.len() > length {
            file.set_len(length)?;
            file.sync_data()?;
        }
        self.current = Some(Current { file, path, length, torn: false });
        Ok(())
    }

    /// Bytes until the current file is to be closed.
    pub(super) fn room(&self) -> u64 {
        let limit = self.options.rotate_bytes.max(1);
        self.current.as_ref().map_or(limit, |current| limit.saturating_sub(current.length))
    }

    /// Looks whether anyone else touched the current file. If so it is left as it is, and the next append begins
    /// another; the answer says what was found.
    pub(super) fn inspect(&mut self) -> io::Result<Option<String>> {
        self.faults.check_mirror()?;
        let Some(current) = &self.current else { return Ok(None) };
        let ours = current.file.metadata()?;
        let path = current.path.display();
        let found = match fs::symlink_metadata(&current.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!("{path} was removed or renamed")),
            Err(error) => return Err(error),
            Ok(there) if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) => {
                Some(format!("{path} was replaced by another file"))
            }
            Ok(_) if ours.len() < current.length => Some(format!("{path} was cut off")),
            Ok(_) if ours.len() > current.length && !current.torn => Some(format!("{path} was written to by another process")),
            Ok(_) => None,
        };
        if found.is_some() {
            self.current = None;
        }
        Ok(found)
    }

    /// Appends lines, each with its newline; `first` is the number of the first event. On an error nothing counts as
    /// written. A remark says what could not be done beside.
    pub(super) fn append(&mut self, first: u64, lines: &[u8]) -> io::Result<Option<String>> {
        self.faults.check_mirror()?;
        let mut remark = None;
        if self.current.is_none() {
            let (current, said) = self.begin(first)?;
            (self.current, remark) = (Some(current), said);
        }
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        if current.torn {
            current.file.set_len(current.length)?;
            current.torn = false;
        }
        if let Err(error) = current.file.write_all(lines) {
            current.torn = current.file.set_len(current.length).is_err();
            return Err(error);
        }
        current.length += lines.len() as u64;
        Ok(remark)
    }

    /// Makes what was appended durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.faults.check_mirror()?;
        self.current.as_ref().map_or(Ok(()), |current| current.file.sync_data())
    }

    /// Closes the current file; sync it before.
    pub(super) fn rotate(&mut self) {
        self.current = None;
    }

    fn begin(&self, first: u64) -> io::Result<(Current, Option<String>)> {
        for part in 0..1000 {
            let part = if part == 0 { String::new() } else { format!("-{part}") };
            let path = self.directory.join(format!("audit-{first:020}{part}.jsonl"));
            let file = match append_options().create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            let remark = share(&file, &path, self.options.admin_gid)?;
            sync_directory(&self.directory)?;
            return Ok((Current { file, path, length: 0, torn: false }, remark));
        }
        Err(io::Error::other(format!("there are a thousand files that begin at event {first}: move them away")))
    }

    /// Appends a signed head to its file, durably.
    pub(super) fn append_head(&self, signed: &SignedHead) -> io::Result<()> {
        self.faults.check_mirror()?;
        let path = self.directory.join(HEADS_FILE);
        let mut file = append_options().read(true).create(true).open(&path)?;
        let length = file.metadata()?.len();
        if length == 0 {
            share(&file, &path, self.options.admin_gid)?;
        }
        let mut line = serde_json::to_vec(signed).map_err(io::Error::other)?;
        line.push(b'\n');
        // A line torn by a crash stays, as a line of its own.
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                line.insert(0, b'\n');
            }
        }
        file.write_all(&line)?;
        file.sync_data()
    }
}

fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits());
    options
}

fn share(file: &File, path: &Path, admin_gid: Option<u32>) -> io::Result<Option<String>> {
    let Some(gid) = admin_gid else { return Ok(None) };
    match fchown(file, None, Some(gid)) {
        Ok(()) => file.set_permissions(Permissions::from_mode(0o640)).map(|()| None),
        Err(error) => Ok(Some(not_shared(path, gid, &error))),
    }
}
