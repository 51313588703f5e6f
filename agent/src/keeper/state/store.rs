//! The redb database, and opening it anew after a failure of the disk.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use redb::{Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};

use super::error::{Fault, StateError};
use super::file::{Faults, StoreFile};
use super::schema::{PLAIN, TRANSACTION_ROW};

/// Pages redb keeps in memory, in bytes.
const CACHE: usize = 6 << 20;
/// Up to this size every page is checked at each start; a larger file only after a crash.
const CHECKED: u64 = 64 << 20;
/// Pause between attempts to open it anew.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// The store while the agent runs.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    faults: Faults,
    /// `None` while the disk keeps it from being open.
    database: RwLock<Option<Database>>,
    /// Counts up with every opening.
    generation: AtomicU64,
    failed: Mutex<Option<(Instant, String)>>,
    /// For good.
    closed: AtomicBool,
}

/// Why a store could not be opened.
#[derive(Debug)]
pub(super) enum OpenFault {
    InUse,
    Damaged(String),
    Io(io::Error),
}

/// A transaction that was not known to be made.
pub(super) struct WriteFault {
    pub(super) fault: Fault,
    /// It failed while it was being made durable: whether it is must be looked up.
    pub(super) in_doubt: bool,
}

impl Store {
    /// Makes a new, empty store.
    pub(super) fn create(path: &Path, faults: &Faults) -> Result<Self, OpenFault> {
        let backend = StoreFile::open(path, true, faults.clone()).map_err(OpenFault::Io)?;
        Ok(Self::with(path, faults, build(backend, false)?))
    }

    /// Opens an existing one.
    pub(super) fn open(path: &Path, faults: &Faults) -> Result<Self, OpenFault> {
        let length = path.symlink_metadata().map_err(OpenFault::Io)?.len();
        Ok(Self::with(path, faults, open_existing(path, faults, length <= CHECKED)?))
    }

    fn with(path: &Path, faults: &Faults, database: Database) -> Self {
        Self {
            path: path.to_owned(),
            faults: faults.clone(),
            database: RwLock::new(Some(database)),
            generation: AtomicU64::new(0),
            failed: Mutex::new(None),
            closed: AtomicBool::new(false),
        }
    }

    /// Reads. After a failure of the disk the store is opened anew and asked once more.
    pub(super) fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StateError> {
        let generation = self.generation.load(Ordering::Acquire);
        let attempt = || self.database().as_ref().map(|database| guarded(|| read(&database.begin_read()?)));
        match attempt() {
            Some(Ok(value)) => return Ok(value),
            Some(Err(fault)) if !needs_reopening(&fault) => return Err(fault.into()),
            Some(Err(_)) | None => self.reopen(generation)?,
        }
        match attempt() {
            Some(result) => result.map_err(StateError::from),
            None => Err(StateError::Closed),
        }
    }

    /// Writes, and makes it durable under that transaction number.
    pub(super) fn write<T>(
        &self,
        number: u64,
        write: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, WriteFault> {
        let database = self.database();
        let Some(database) = &*database else {
            let why = "it is not open".to_owned();
            return Err(WriteFault { fault: Fault::Refused(StateError::Unavailable { why }), in_doubt: false });
        };
        let mut in_doubt = false;
        guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let value = write(&transaction)?;
            transaction.open_table(PLAIN)?.insert(TRANSACTION_ROW, &number.to_be_bytes()[..])?;
            in_doubt = true;
            transaction.commit()?;
            Ok(value)
        })
        .map_err(|fault| WriteFault { fault, in_doubt })
    }

    /// The number of the last durable transaction.
    pub(super) fn transaction_number(&self) -> Result<u64, StateError> {
        self.read(|transaction| {
            let plain = transaction.open_table(PLAIN)?;
            let row = redb::ReadableTable::get(&plain, TRANSACTION_ROW)?;
            let number = row.and_then(|row| row.value().try_into().ok().map(u64::from_be_bytes));
            number.ok_or_else(|| Fault::Content("the transaction number is missing".into()))
        })
    }

    /// Counts up with every opening.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Closes and opens it, unless someone else did since that generation. Tries no oftener than every 200 ms.
    pub(super) fn reopen(&self, generation: u64) -> Result<(), StateError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(StateError::Closed);
        }
        if self.generation() != generation && database.is_some() {
            return Ok(());
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, why)) = &*failed
            && at.elapsed() < REOPEN_PAUSE
        {
            return Err(StateError::Unavailable { why: why.clone() });
        }
        // Closing writes too, and may fail for the same reason; what is durable stays so.
        *database = None;
        match open_existing(&self.path, &self.faults, false) {
            Ok(opened) => {
                *database = Some(opened);
                *failed = None;
                self.generation.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            Err(OpenFault::Damaged(what)) => Err(StateError::Damaged { what }),
            Err(OpenFault::InUse) => Err(StateError::Unavailable { why: "another process holds it".into() }),
            Err(OpenFault::Io(error)) => {
                let why = error.to_string();
                *failed = Some((Instant::now(), why.clone()));
                Err(StateError::Unavailable { why })
            }
        }
    }

    /// Closes it for good.
    pub(super) fn close(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        let closed = database.take().map(Database::close);
        if let Some(Err(error)) = closed {
            tracing::warn!(%error, "the store was not closed cleanly; it is checked at the next start");
        }
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_existing(path: &Path, faults: &Faults, check: bool) -> Result<Database, OpenFault> {
    let backend = StoreFile::open(path, false, faults.clone()).map_err(OpenFault::Io)?;
    // redb takes an empty file for a new database.
    if redb::StorageBackend::len(&backend).map_err(OpenFault::Io)? == 0 {
        return Err(OpenFault::Damaged("it is empty".into()));
    }
    build(backend, check)
}

fn build(backend: StoreFile, check: bool) -> Result<Database, OpenFault> {
    let build = move || {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(check);
        builder.create_with_backend(backend)
    };
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(OpenFault::InUse),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) => match error.kind() {
            io::ErrorKind::InvalidData => Err(OpenFault::Damaged("it is not a store".into())),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => Err(OpenFault::Damaged("it was cut off".into())),
            _ => Err(OpenFault::Io(error)),
        },
        Ok(Err(DatabaseError::Storage(StorageError::PreviousIo))) => Err(OpenFault::Io(io::Error::other("an earlier error"))),
        Ok(Err(DatabaseError::Storage(StorageError::Corrupted(what)))) => Err(OpenFault::Damaged(what)),
        Ok(Err(error)) => Err(OpenFault::Damaged(error.to_string())),
        Err(_) => Err(OpenFault::Damaged("its structure contradicts itself".into())),
    }
}

/// redb panics on some damage; that must not take the agent down.
fn guarded<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(Fault::Content("its structure contradicts itself".into())))
}

/// True if only opening the store anew can help.
pub(super) fn needs_reopening(fault: &Fault) -> bool {
    matches!(fault, Fault::Storage(error) if !matches!(error, redb::Error::Corrupted(_)))
}
