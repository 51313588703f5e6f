//! The two files `root.cred` and `root.cred.json`, replaced so that a crash at any point leaves one matching pair.
//!
//! Order of a write: the new record, the new secret (each under `.new`, synced); the present pair linked to `.old`; the
//! new secret renamed into place, then the new record. A record names the digest of its secret, so at each point
//! exactly one record fits `root.cred`: its own or the one under `.new`, whose rename is then still due.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::error::RootError;
use super::record::{NAME, Record, VERSION};
use crate::SealError;
use crate::durable::{read_bounded, rename, sync_dir, write_fresh};
use crate::seal::MAX_SEALED;

const SECRET: &str = "root.cred";
const RECORD: &str = "root.cred.json";
const MAX_RECORD: usize = 64 * 1024;
const LOCK_DEADLINE: Duration = Duration::from_secs(60);

/// The directory, locked against other processes of ours.
pub(super) struct Pair {
    dir: PathBuf,
    _lock: Flock<File>,
}

/// A sealed secret and the record that fits it.
pub(super) struct Whole {
    pub(super) blob: Vec<u8>,
    pub(super) record: Record,
    due: Due,
}

/// What an interrupted write still has to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    RenameRecord,
    RenameBoth,
}

/// The durable steps of a write, for the crash tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    NewRecord,
    NewSecret,
    OldLinked,
    SecretRenamed,
    RecordRenamed,
}

impl Pair {
    pub(super) fn lock(dir: &Path) -> Result<Self, RootError> {
        let facts = fs::metadata(dir).map_err(SealError::io("look into", dir))?;
        if facts.mode() & 0o022 != 0 {
            return Err(RootError::UnsafeDirectory { dir: dir.to_owned(), mode: facts.mode() & 0o7777 });
        }
        let mut file = File::open(dir).map_err(SealError::io("open", dir))?;
        let until = Instant::now() + LOCK_DEADLINE;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { dir: dir.to_owned(), _lock: lock }),
                Err((_, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() >= until => {
                    return Err(RootError::Busy { dir: dir.to_owned() });
                }
                Err((back, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(SealError::io("lock", dir)(errno.into()).into()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn secret_path(&self) -> PathBuf {
        self.dir.join(SECRET)
    }

    pub(super) fn read_secret(&self) -> Result<Option<Vec<u8>>, RootError> {
        self.read_blob("")
    }

    /// Finds the pair that fits; `None` if no root secret was ever committed here. Changes nothing.
    pub(super) fn load(&self) -> Result<Option<Whole>, RootError> {
        let fits = |record: &Option<Result<Record, String>>, blob: &[u8]| match record {
            Some(Ok(record)) if record.evidence.belongs_to(blob) => Some(record.clone()),
            _ => None,
        };
        let (record, new_record) = (self.read_record("")?, self.read_record(".new")?);
        let Some(blob) = self.read_blob("")? else {
            let old = self.dir.join(format!("{SECRET}.old"));
            if old.exists() {
                let there = "root.cred.old (the same secret, sealed as before: put it and root.cred.json.old back)";
                return Err(RootError::SecretMissing { path: self.secret_path(), there });
            }
            if record.is_some() {
                return Err(RootError::SecretMissing { path: self.secret_path(), there: "root.cred.json" });
            }
            let Some(blob) = self.read_blob(".new")? else { return Ok(None) };
            // Torn: the first write never got as far as handing the secret to anybody.
            let Some(record) = fits(&new_record, &blob) else { return Ok(None) };
            return Ok(Some(Whole { blob, record, due: Due::RenameBoth }));
        };
        if let Some(record) = fits(&record, &blob) {
            return Ok(Some(Whole { blob, record, due: Due::Nothing }));
        }
        if let Some(record) = fits(&new_record, &blob) {
            return Ok(Some(Whole { blob, record, due: Due::RenameRecord }));
        }
        let path = self.dir.join(RECORD);
        Err(match record {
            None => RootError::RecordLost { path, state: "missing though root.cred is there".to_owned() },
            Some(Err(why)) => RootError::RecordLost { path, state: why },
            Some(Ok(_)) => RootError::SecretDamaged { path: self.secret_path() },
        })
    }

    /// Does what an interrupted write left undone. True if there was something.
    pub(super) fn complete(&self, whole: &Whole) -> Result<bool, SealError> {
        if whole.due == Due::RenameBoth {
            self.install(SECRET)?;
        }
        if whole.due != Due::Nothing {
            self.install(RECORD)?;
        }
        Ok(whole.due != Due::Nothing)
    }

    /// Replaces the pair; the present one, if any, stays as `.old` until [`Pair::drop_old`]. `after` is told of each
    /// durable step, and ends the write there by an error, as a crash would.
    pub(super) fn replace(
        &self,
        blob: &[u8],
        record: &Record,
        mut after: impl FnMut(Step) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        let json = serde_json::to_vec_pretty(record).map_err(|error| SealError::io("write", RECORD)(error.into()))?;
        write_fresh(&self.dir.join(format!("{RECORD}.new")), &json)?;
        after(Step::NewRecord)?;
        write_fresh(&self.dir.join(format!("{SECRET}.new")), blob)?;
        sync_dir(&self.dir)?;
        after(Step::NewSecret)?;
        for name in [SECRET, RECORD] {
            self.link_old(name)?;
        }
        sync_dir(&self.dir)?;
        after(Step::OldLinked)?;
        self.install(SECRET)?;
        after(Step::SecretRenamed)?;
        self.install(RECORD)?;
        after(Step::RecordRenamed)
    }

    /// Puts the `.old` pair back, in the order of a write.
    pub(super) fn restore_old(&self) -> Result<(), SealError> {
        for (from, to) in [(RECORD, RECORD), (SECRET, SECRET)] {
            rename(&self.dir.join(format!("{from}.old")), &self.dir.join(format!("{to}.new")))?;
        }
        self.install(SECRET)?;
        self.install(RECORD)
    }

    /// Removes what a finished write leaves behind. Only once the pair in place has been unsealed.
    pub(super) fn drop_leftovers(&self) -> Result<(), SealError> {
        let mut removed = false;
        for name in [SECRET, RECORD] {
            for suffix in [".old", ".new"] {
                let path = self.dir.join(format!("{name}{suffix}"));
                match fs::remove_file(&path) {
                    Ok(()) => removed = true,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(SealError::io("remove", path)(error)),
                }
            }
        }
        if removed { sync_dir(&self.dir) } else { Ok(()) }
    }

    fn install(&self, name: &str) -> Result<(), SealError> {
        rename(&self.dir.join(format!("{name}.new")), &self.dir.join(name))?;
        sync_dir(&self.dir)
    }

    fn link_old(&self, name: &str) -> Result<(), SealError> {
        let (path, old) = (self.dir.join(name), self.dir.join(format!("{name}.old")));
        match fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SealError::io("remove", old)(error)),
            _ => {}
        }
        match fs::hard_link(&path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SealError::io("link", path)(error)),
            _ => Ok(()),
        }
    }

    fn read_blob(&self, suffix: &str) -> Result<Option<Vec<u8>>, RootError> {
        let blob = read_bounded(&self.dir.join(format!("{SECRET}{suffix}")), "the sealed root secret", MAX_SEALED)?;
        Ok(blob.map(|blob| blob.to_vec()))
    }

    /// The record, or what is wrong with it; `None` if there is none.
    fn read_record(&self, suffix: &str) -> Result<Option<Result<Record, String>>, RootError> {
        let json = read_bounded(&self.dir.join(format!("{RECORD}{suffix}")), "the record", MAX_RECORD);
        let json = match json {
            Ok(None) => return Ok(None),
            Ok(Some(json)) => json,
            Err(error @ SealError::TooLong { .. }) => return Ok(Some(Err(format!("unreadable ({error})")))),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(match serde_json::from_slice::<Record>(&json) {
            Ok(record) if record.version != VERSION => {
                Err(format!("of version {}, which this version of the agent cannot read", record.version))
            }
            Ok(record) if record.name != NAME => Err("about something else than the root secret".to_owned()),
            Ok(record) => Ok(record),
            Err(error) => Err(format!("unreadable ({error})")),
        }))
    }
}
