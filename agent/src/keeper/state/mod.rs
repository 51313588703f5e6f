//! The keeper's durable state: keys, certificates, secrets and the audit chain in one encrypted store.
//!
//! ```text
//! callers ──queue──► writer ──one durable transaction──► store.redb ──follower──► audit/audit-….jsonl, heads.jsonl
//! ```
//! A [`Change`] becomes durable as a whole, with its events in the audit chain, or not at all. The one writer takes
//! everything that is queued into a transaction. The store is the truth; the follower carries the events on to files.
//!
//! The directory holds `store.redb`, `store.id` (that a store belongs here) and `audit/`. Values and names are encrypted
//! under a key wrapped by the root secret; see [`cipher`]. What stays readable in `store.redb`: how many rows there are,
//! serials and ends of certificates, which of them belong together, the sizes of mesh records and the order in which they
//! came, and when changes were made.

mod alarms;
mod change;
mod cipher;
mod damage;
mod directory;
mod error;
mod file;
mod follower;
mod founding;
mod heads;
mod issued;
mod migration;
mod mirror;
mod progress;
mod reconcile;
mod records;
mod register;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod trail;
mod transaction;
mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reverie_core::api::admin::Alarm;
use reverie_core::audit::{ChainHead, Report, SignedHead};
use reverie_core::ca::Serial;
use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use zeroize::Zeroizing;

pub use change::{Change, Committed, MAX_CRL, MAX_EVENT, MAX_KEY, MAX_PARTS, MAX_RECORDS, MAX_VALUE, Table, Write};
pub use error::{OpenError, StateError};
pub use issued::{CertificateKind, IssuedRecord, RevokedRecord};

use change::{Prepared, Step};
use cipher::{Cipher, CipherError, WrappedKey};
use directory::Directory;
use file::Faults;
use follower::Follower;
use founding::structural;
use mirror::Mirror;
use progress::{Progress, Stand};
use reconcile::ReconcileError;
use store::Store;
use writer::{Job, Queued, Writer};

/// Places in the queue; a change takes one for each 4 KiB.
const PLACES: usize = 4096;
/// How long a change waits for its places.
const PATIENCE: Duration = Duration::from_secs(5);
/// Certificates taken out of the register in one transaction: a few milliseconds of the writer's time.
pub const PRUNED_AT_ONCE: usize = 256;

/// How the state is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory; made, with mode 0700, if it is not there.
    pub directory: PathBuf,
    /// The audit log.
    pub audit: AuditOptions,
    /// The time.
    pub now: Moment,
}

/// How the files of the audit log are kept.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// A file is closed when it reaches so many bytes.
    pub rotate_bytes: u64,
    /// So many closed files are kept, the newest; 0 for all.
    pub keep: usize,
    /// The group that may read them.
    pub admin_gid: Option<u32>,
}

/// What the threads share.
struct Shared {
    store: Store,
    store_id: [u8; 16],
    cipher: Cipher,
    head_key: heads::HeadKey,
    audit: AuditOptions,
    audit_directory: PathBuf,
    progress: Progress,
    alarms: alarms::Alarms,
    /// Long work is to end.
    stopping: AtomicBool,
    /// Held while files are appended to, listed or removed.
    files: Mutex<()>,
    /// Locked as long as anything uses the store.
    directory: Directory,
}

impl Shared {
    fn lock_files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Handle {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<Writer>,
    follower: JoinHandle<()>,
    /// Checks the log once after the start.
    checker: JoinHandle<()>,
}

/// The open state. Cheap to clone. Reading blocks for microseconds; searches and [`State::audit_verify`] read much, so
/// call those where blocking is allowed.
#[derive(Clone)]
pub struct State(Arc<Handle>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl State {
    /// Opens the state in that directory, or founds it if there never was one. Blocks.
    pub fn open(options: Options, root_secret: &Zeroizing<[u8; 32]>) -> Result<Self, OpenError> {
        Self::open_with(options, root_secret, &Faults::default())
    }

    fn open_with(options: Options, root_secret: &Zeroizing<[u8; 32]>, faults: &Faults) -> Result<Self, OpenError> {
        let directory = Directory::open(&options.directory)?;
        let opened = founding::open(&directory, root_secret, faults, options.now)?;
        let audit_directory = directory.audit();
        let alarms = alarms::Alarms::default();
        let mut mirror = Mirror::new(audit_directory.clone(), options.audit.clone(), faults.clone());
        let remark = mirror::make_directory(&audit_directory, options.audit.admin_gid)
            .map_err(directory::io_error("create", &audit_directory))?;
        remark.into_iter().for_each(|remark| alarms.raise(reconcile::SUBJECT, &remark));
        directory::check_directory(&audit_directory)?;
        let (store, head, extent) = (&opened.store, opened.head, opened.extent);
        let reconciled = reconcile::reconcile(&audit_directory, &mut mirror, store, &opened.cipher, (&extent, head), &alarms);
        let written = reconciled.map_err(|error| cannot_reconcile(&audit_directory, error))?.written;
        let stand = Stand {
            committed: head,
            written,
            signed: opened.signed,
            files_start: extent.files_start,
            extent,
            ..Stand::default()
        };
        let shared = Arc::new(Shared {
            store: opened.store,
            store_id: opened.store_id,
            cipher: opened.cipher,
            head_key: opened.head_key,
            audit: options.audit,
            audit_directory,
            progress: Progress::new(stand),
            alarms,
            stopping: AtomicBool::new(false),
            files: Mutex::default(),
            directory,
        });
        Self::start(shared, mirror, opened.transaction)
    }

    fn start(shared: Arc<Shared>, mirror: Mirror, transaction: u64) -> Result<Self, OpenError> {
        let (jobs, queue) = channel();
        let (head, extent, written) = shared.progress.look(|stand| (stand.committed, stand.extent, stand.written));
        let writer = Writer::new(shared.clone(), queue, head, transaction, extent);
        let follower = Follower::new(shared.clone(), mirror, jobs.clone(), written);
        let failed = |source| OpenError::Io { doing: "start threads for", path: shared.audit_directory.clone(), source };
        let named = |name: &str| std::thread::Builder::new().name(name.into()).stack_size(512 << 10);
        let checked = shared.clone();
        let threads = Threads {
            writer: named("state-writer").spawn(move || writer.run()).map_err(failed)?,
            follower: named("state-follower").spawn(move || follower.run()).map_err(failed)?,
            checker: named("state-checker").spawn(move || verify::check(&checked)).map_err(failed)?,
        };
        let threads = Mutex::new(Some(threads));
        Ok(Self(Arc::new(Handle { shared, jobs, places: Arc::new(Semaphore::new(PLACES)), threads })))
    }

    /// Makes a change durable. Waits at most 5 s for a place in the queue, then for the disk.
    pub async fn commit(&self, change: Change) -> Result<Committed, StateError> {
        self.submit(Prepared::new(change, &self.0.shared.cipher)?).await
    }

    async fn submit(&self, prepared: Prepared) -> Result<Committed, StateError> {
        let places = self.0.places.clone().acquire_many_owned(places_for(&prepared));
        let permit = tokio::time::timeout(PATIENCE, places).await.map_err(|_| busy())?.map_err(|_| StateError::Closed)?;
        self.enqueue(prepared, permit)?.await.unwrap_or(Err(StateError::Closed))
    }

    /// The same outside of a runtime, e.g. at the start.
    pub fn commit_blocking(&self, change: Change) -> Result<Committed, StateError> {
        self.submit_blocking(Prepared::new(change, &self.0.shared.cipher)?)
    }

    fn submit_blocking(&self, prepared: Prepared) -> Result<Committed, StateError> {
        let until = Instant::now() + PATIENCE;
        let permit = loop {
            match self.0.places.clone().try_acquire_many_owned(places_for(&prepared)) {
                Ok(permit) => break permit,
                Err(tokio::sync::TryAcquireError::Closed) => return Err(StateError::Closed),
                Err(_) if Instant::now() >= until => return Err(busy()),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        self.enqueue(prepared, permit)?.blocking_recv().unwrap_or(Err(StateError::Closed))
    }

    fn enqueue(
        &self,
        prepared: Prepared,
        permit: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Result<Committed, StateError>>, StateError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Commit(Queued { prepared, reply, _permit: permit });
        self.0.jobs.send(job).map_err(|_| StateError::Closed)?;
        Ok(answer)
    }

    /// One value.
    pub fn get(&self, table: Table, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let shared = &self.0.shared;
        let hidden = schema::named_key(&shared.cipher, table.id(), key);
        shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::NAMED).map_err(structural)?;
            let row = redb::ReadableTable::get(&rows, &hidden)?;
            row.map(|row| schema::open_row(&shared.cipher, &hidden, row.value()).map(|(_, value)| value)).transpose()
        })
    }

    /// All values of a table, by name.
    pub fn scan(&self, table: Table) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, StateError> {
        let shared = &self.0.shared;
        let (mut first, mut last) = ([0; 17], [0xff; 17]);
        (first[0], last[0]) = (table.id(), table.id());
        let mut found = shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::NAMED).map_err(structural)?;
            let rows = redb::ReadableTable::range::<&schema::NamedKey>(&rows, &first..=&last)?;
            rows.map(|row| {
                let (key, sealed) = row?;
                schema::open_row(&shared.cipher, key.value(), sealed.value())
            })
            .collect::<Result<Vec<_>, _>>()
        })?;
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// Records of the mesh from that number on: at most about `bytes`, at least one, with their numbers.
    pub fn records(&self, from: u64, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        let shared = &self.0.shared;
        shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::RECORDS).map_err(structural)?;
            records::read(&rows, &shared.cipher, from, bytes)
        })
    }

    /// One certificate on record.
    pub fn issued(&self, serial: Serial) -> Result<Option<IssuedRecord>, StateError> {
        let shared = &self.0.shared;
        shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::ISSUED).map_err(structural)?;
            register::find(&rows, &shared.cipher, serial)
        })
    }

    /// Certificates that have not ended, newest first, and whether there are more than `limit`.
    pub fn issued_newest(&self, now: Moment, limit: usize) -> Result<(Vec<IssuedRecord>, bool), StateError> {
        let shared = &self.0.shared;
        shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::ISSUED).map_err(structural)?;
            let ending = transaction.open_table(schema::ENDING).map_err(structural)?;
            register::newest(&rows, &ending, &shared.cipher, now, limit)
        })
    }

    /// An identity's leaves that are neither ended nor revoked, newest first, and whether there are more than `limit`.
    pub fn in_force(&self, identity: &IdentityName, now: Moment, limit: usize) -> Result<(Vec<IssuedRecord>, bool), StateError> {
        let shared = &self.0.shared;
        shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::ISSUED).map_err(structural)?;
            let holder = transaction.open_table(schema::HOLDER).map_err(structural)?;
            register::in_force(&rows, &holder, &shared.cipher, identity, now, limit)
        })
    }

    /// Certificates in the register, ended ones included.
    pub fn issued_count(&self) -> Result<u64, StateError> {
        self.0.shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::ISSUED).map_err(structural)?;
            Ok(redb::ReadableTableMetadata::len(&rows)?)
        })
    }

    /// What belongs into an issuer's revocation list: revoked and not ended.
    pub fn revoked_of(&self, issuer: &str, now: Moment) -> Result<Vec<RevokedRecord>, StateError> {
        let shared = &self.0.shared;
        shared.store.read(|transaction| {
            let rows = transaction.open_table(schema::REVOKED).map_err(structural)?;
            register::list_revoked(&rows, &shared.cipher, issuer, now)
        })
    }

    /// Takes certificates that ended before `before` out of the register, at most [`PRUNED_AT_ONCE`] of them, so that
    /// others get their turn; says how many. Leave a margin for a clock that was wrong.
    pub async fn prune_issued(&self, before: Moment) -> Result<usize, StateError> {
        let steps = vec![Step::Prune { before, limit: PRUNED_AT_ONCE }];
        Ok(self.submit(Prepared { steps, ..Prepared::default() }).await?.pruned)
    }

    /// Bytes of the store's file.
    pub fn store_bytes(&self) -> std::io::Result<u64> {
        Ok(std::fs::metadata(self.0.shared.directory.store())?.len())
    }

    /// Wraps the data key under a new root secret, together with the events of `change`; the old secret opens nothing
    /// any more once this returns.
    pub async fn change_root_secret(&self, root_secret: &Zeroizing<[u8; 32]>, change: Change) -> Result<Committed, StateError> {
        let shared = &self.0.shared;
        let wrapped = WrappedKey::wrap(root_secret, shared.cipher.data_key(), &shared.store_id)
            .map_err(|CipherError| StateError::Unavailable { why: "the cipher refused".into() })?;
        let mut prepared = Prepared::new(change, &shared.cipher)?;
        prepared.steps.push(Step::Plain { key: schema::KEY_ROW, value: founding::encode_key(&wrapped) });
        self.submit(prepared).await
    }

    /// The durable head of the audit chain.
    pub fn audit_head(&self) -> ChainHead {
        self.0.shared.progress.look(|stand| stand.committed)
    }

    /// Lines of the audit log after that event, oldest first; at most `limit` and about 4 MiB.
    pub fn audit_lines(&self, after: u64, limit: usize) -> Result<Vec<String>, StateError> {
        verify::lines(&self.0.shared, after, limit)
    }

    /// The last signed head of the audit log.
    pub fn signed_head(&self) -> Option<SignedHead> {
        self.0.shared.progress.look(|stand| stand.signed.clone())
    }

    /// When the audit log's head was signed last, by the clock of that time.
    pub fn last_signed_at(&self) -> Option<Moment> {
        self.0.shared.progress.look(|stand| stand.signed.as_ref().map(|signed| signed.time))
    }

    /// Checks the files of the audit log against themselves, the store and the signed heads. Reads all of them.
    pub fn audit_verify(&self) -> Result<(Report, Option<SignedHead>), StateError> {
        verify::verify(&self.0.shared)
    }

    /// The key that signs heads: SPKI, PEM.
    pub fn audit_public_key_pem(&self) -> String {
        self.0.shared.head_key.public_pem().to_owned()
    }

    /// What is wrong with the state; empty if nothing is.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.0.shared.alarms.list()
    }

    /// Finishes what is queued, brings the files up to date, signs the head and closes the store. Other clones then get
    /// [`StateError::Closed`]. Blocks.
    pub fn close(self) {
        self.0.close();
    }
}

fn places_for(prepared: &Prepared) -> u32 {
    u32::try_from((1 + prepared.weight / 4096).min(PLACES)).unwrap_or(1)
}

fn busy() -> StateError {
    StateError::Busy { waited_ms: PATIENCE.as_millis().try_into().unwrap_or(u64::MAX) }
}

fn cannot_reconcile(path: &std::path::Path, error: ReconcileError) -> OpenError {
    match error {
        ReconcileError::Files(source) => OpenError::Io { doing: "read", path: path.to_owned(), source },
        ReconcileError::Store(error) => {
            OpenError::Io { doing: "compare", path: path.to_owned(), source: std::io::Error::other(error.to_string()) }
        }
    }
}

impl Handle {
    fn close(&self) {
        self.places.close();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, follower, checker }) = threads else { return };
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = self.jobs.send(Job::Stop);
        let writer = writer.join();
        self.shared.progress.update(|stand| stand.stop = true);
        let _ = follower.join();
        let _ = checker.join();
        match writer {
            Ok(mut writer) => writer.finish(),
            Err(_) => self.shared.store.close(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
