//! What was published, so that the same again can be told from something new.
//!
//! The warden may not read files that it has given to others (0600 of another user, and it has no
//! `CAP_DAC_READ_SEARCH`), so it keeps their digests beside them, and compares what `stat` shows. An owner who
//! forges the times of his own file only keeps his own forgery.

use std::fs::File;
use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use reverie_core::ipc;
use reverie_core::ipc::warden::{self, Publication};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use super::room::Room;
use super::write::{Access, write_new};

/// Longer than the manifest of the most files that are allowed.
const MAX_MANIFEST: u64 = 64 * 1024;

/// Only for the warden: a digest would tell a weak secret to whoever guesses.
const MODE: u32 = 0o600;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    content: [u8; 32],
    seen: Seen,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    size: i64,
    modified: (i64, u64),
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Seen {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
        }
    }

    fn allows(&self, access: Access) -> bool {
        let regular = FileType::from_raw_mode(self.mode) == FileType::RegularFile;
        regular && (self.uid, self.gid, self.mode & 0o7777) == (access.uid, access.gid, access.mode)
    }
}

impl Manifest {
    /// The manifest of that name; empty if it is missing or damaged, and then everything counts as changed.
    pub(super) fn read(room: &Room, name: &str) -> Self {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(room, name, flags, Mode::empty()) else { return Self::default() };
        let mut bytes = Vec::new();
        match File::from(file).take(MAX_MANIFEST).read_to_end(&mut bytes) {
            Ok(_) => ipc::decode(&bytes).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Notes the files of `publication` as they now are in `room`, each under the name that `at` gives.
    pub(super) fn note(room: &Room, publication: &Publication, at: impl Fn(&warden::File) -> String) -> Result<Self, Failure> {
        let mut entries = Vec::with_capacity(publication.files.len());
        for file in &publication.files {
            let at = at(file);
            let stat = room.stat(&at)?.ok_or_else(|| format!("{} vanished while it was published", room.show(&at)))?;
            entries.push(Entry { name: file.name.clone(), content: content_of(file), seen: Seen::of(&stat) });
        }
        Ok(Self { entries })
    }

    pub(super) fn write(&self, room: &Room, name: &str) -> Result<(), Failure> {
        let bytes = ipc::encode(self).map_err(|error| error.to_string())?;
        write_new(room, name, &bytes, Access::new(None, None, MODE))
    }

    /// True if `file` is in `room` under `at`, with that access, just as it was noted.
    pub(super) fn has(&self, room: &Room, at: &str, file: &warden::File, access: Access) -> bool {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == file.name) else { return false };
        let untouched = matches!(room.stat(at), Ok(Some(stat)) if Seen::of(&stat) == entry.seen);
        untouched && entry.seen.allows(access) && entry.content == content_of(file)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What the same again is told by.
fn content_of(file: &warden::File) -> [u8; 32] {
    if let Some(made_from) = file.made_from {
        return made_from;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &file.content).as_ref());
    hash
}
