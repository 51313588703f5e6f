//! The mesh as the keeper has it: keys, the durable set, what it merges, what it writes, and what the role `net` works from.
//!
//! ```text
//! net ──Request──► answering ─► merging ──verified──► store ──durable──► set ─► view ─► situation ──Watch──► net
//! administrators, rotation ─► writing ──signed───────► store ──durable──► set
//! ```
//! Nothing is in the set of ours that is not durable: [`writing`] commits first, with the caller's own changes and events in
//! one transaction. What others wrote is taken first and then made durable; the vector that peers are told advances after.
//!
//! Doors for other rooms: [`Mesh::look`] (the view), [`Mesh::watch`] (it changed), [`writing::write`], [`founding::found`],
//! [`founding::prepare`] and [`founding::adopt`], [`keys::rotate`], [`Mesh::task`] (have net do something). Who holds
//! `authority_turn` may write; who writes never takes `authority_turn`.

mod admission;
mod affairs;
mod answering;
mod arriving;
mod budget;
mod certificate;
pub mod clients;
mod collecting;
mod ending;
mod evidence;
pub mod founding;
mod heads;
pub mod initiation;
pub mod inviting;
pub mod joining;
mod kerberos;
pub mod keys;
mod link;
pub mod membership;
mod merging;
mod metrics;
mod network;
mod noticing;
mod overlap;
pub mod renewal;
mod room;
mod rows;
mod settling;
mod situation;
mod statements;
pub mod status;
mod succession;
mod tasks;
#[cfg(test)]
pub(in crate::keeper) mod tests;
mod topology;
mod trouble;
mod trust;
pub mod wrapping;
pub mod writing;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Digest, PeerState, Situation, TaskKind};
use reverie_core::mesh::author::Author;
use reverie_core::mesh::collection::Standing;
use reverie_core::mesh::crypto::Kid;
use reverie_core::mesh::set::{Anchor, Set};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;
use tokio::sync::{Notify, Semaphore, watch};

use super::identity::lifecycle::LifecycleError;
use super::row::RowError;
use super::state::{State, StateError, Write};
use super::{Keeper, clock};
use crate::ops::host::Host;
pub use metrics::look as look_at_metrics;
pub use rows::Phase;
pub use writing::Draft;

/// Nobody else writes or merges.
type Turn = tokio::sync::OwnedMutexGuard<()>;

/// A turn to say something, which comes only once the start is over: see [`settling`].
struct TurnToWrite(#[expect(dead_code, reason = "held, not looked at")] Turn);

/// Subject of the alarm that this host was copied or restored.
const CLONED: &str = "mesh, this host's records";

/// Everything the keeper has of the mesh.
pub struct Mesh {
    /// For work that goes on when nobody waits for it.
    keeper: OnceLock<Weak<Keeper>>,
    /// Held while something is written or merged: one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    held: RwLock<Held>,
    /// Counts up with every change of the view.
    changes: watch::Sender<u64>,
    situation: watch::Sender<Arc<Situation>>,
    /// The situation may be another.
    due: Notify,
    /// Net is wanted, or wanted no more.
    wanted: Notify,
    /// Our own record or audit head may be another.
    own_due: Notify,
    /// Whether this start is over: what others have of our records shows whether this host was restored, and what is written
    /// before that is known could hide it.
    settled: settling::Settled,
    tasks: tasks::Tasks,
    affairs: affairs::Affairs,
    unacknowledged: Mutex<metrics::Unacknowledged>,
    /// Peers that the metrics show.
    shown: Mutex<std::collections::BTreeSet<NodeId>>,
    /// Turns for verifying what others said.
    verifying: Semaphore,
    peers: Mutex<BTreeMap<NodeId, PeerState>>,
    topology: Mutex<topology::Known>,
    certificate: Mutex<Option<certificate::HostCertificate>>,
    noticed: Mutex<noticing::Noticed>,
    budgets: Mutex<budget::Budgets>,
    merged: AtomicU64,
    refused: AtomicU64,
    persist_errors: AtomicU64,
    /// Failures to pull the wrapping key, for `stats`.
    pub wrapping_key_pull_errors: AtomicU64,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mesh({})", self.state().as_str())
    }
}

/// What lies behind the lock.
#[derive(Default)]
struct Held {
    phase: Phase,
    /// Made when a mesh is founded or joined.
    keys: Option<Arc<keys::Ring>>,
    core: Option<Core>,
}

/// The set and our place in it.
struct Core {
    mesh: [u8; 16],
    node: NodeId,
    set: Set,
    author: Author,
    rows: rows::Index,
    /// Taken, and not durable: the store failed. Goes with the next change.
    unsaved: Vec<(u64, Vec<u8>)>,
    /// The same of other rows.
    unsaved_rows: Vec<Write>,
    /// After a join: up to where each author's records came, until all have.
    arriving: Option<VersionVector>,
    /// What is durable: peers are told of nothing else.
    durable: (Digest, VersionVector),
}

/// Begins the tasks of the mesh.
pub async fn start(keeper: &Arc<Keeper>) {
    if keeper.mesh.read().is_cloned() {
        merging::raise_cloned(keeper);
    }
    show_suspects(keeper);
    topology::read_files(keeper).await;
    tokio::spawn(situation::follow(Arc::clone(keeper)));
    tokio::spawn(link::run(Arc::clone(keeper)));
    tokio::spawn(heads::run(Arc::clone(keeper)));
    tokio::spawn(trust::follow(Arc::clone(keeper)));
    tokio::spawn(overlap::follow(Arc::clone(keeper)));
    tokio::spawn(succession::follow(Arc::clone(keeper)));
    tokio::spawn(renewal::follow(Arc::clone(keeper)));
    tokio::spawn(wrapping::follow(Arc::clone(keeper)));
}

/// Alarms on other hosts, as they stand now.
fn show_suspects(keeper: &Keeper) {
    let noticed = || keeper.mesh.noticed.lock().unwrap_or_else(PoisonError::into_inner);
    let mut alarms = keeper.mesh.look(|view| noticed().alarms(view)).unwrap_or_default();
    alarms.extend(keeper.mesh.budgets().alarms(Instant::now()));
    let standing: Vec<String> = alarms.iter().map(|(subject, _)| subject.clone()).collect();
    alarms.into_iter().for_each(|(subject, why)| keeper.alarms.raise(subject, why));
    let subjects = noticing::SUBJECTS.iter().chain([&budget::SUBJECT]);
    subjects.for_each(|subject| keeper.alarms.clear_except(subject, &standing));
}

/// Where this host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeshState {
    /// No mesh.
    None,
    /// Keys are made, and a mesh is being joined.
    Joining,
    /// In, issuing under an intermediate.
    Member,
    /// In, with a root of its own.
    Authority,
    /// Others put it out.
    Evicted,
    /// It left.
    Left,
    /// It was copied or restored, and writes no more.
    Cloned,
}

impl MeshState {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Joining, Self::Member, Self::Authority, Self::Evicted, Self::Left, Self::Cloned];

    /// As `GET /api/admin/mesh` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Authority => "authority",
            Self::Evicted => "evicted",
            Self::Left => "left",
            Self::Cloned => "cloned",
        }
    }

    /// Part of a mesh: neither before nor after.
    pub const fn is_in(self) -> bool {
        matches!(self, Self::Member | Self::Authority | Self::Cloned)
    }
}

/// Why something of the mesh could not be done.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// No mesh, or no longer.
    #[error("this host is in no mesh (it is {0:?}); `agentctl mesh init` founds one, `agentctl mesh join` joins one")]
    NotIn(&'static str),
    /// Already there.
    #[error("this host is already in a mesh; `agentctl mesh leave` leaves it")]
    AlreadyIn,
    /// Others know more of our records than we do.
    #[error(
        "this host was copied or restored from a snapshot: others know records of it that it does not, so it writes none; make \
         sure that the other copy is gone, then `agentctl mesh resume`"
    )]
    Cloned,
    /// A record that may not be.
    #[error(transparent)]
    Record(#[from] reverie_core::mesh::author::CannotWrite),
    /// A record of another that was to be adopted is not good.
    #[error("the mesh's records cannot be taken: {0}")]
    Refused(String),
    /// Not recorded, so not done.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row cannot be read or made.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A primitive failed.
    #[error(transparent)]
    Crypto(#[from] reverie_core::mesh::crypto::CryptoFailure),
    /// The host's certificate could not be made.
    #[error(transparent)]
    Lifecycle(#[from] Box<LifecycleError>),
}

impl Mesh {
    /// What the store has. Signatures were verified before anything was stored, and are not verified again.
    pub async fn open(state: &State, host: &Host, now: Moment) -> Result<Self, MeshError> {
        let held = rows::load(state, &host.node_id, now).await?;
        let topology = topology::Known::load(state)?;
        let settled = settling::Settled::at_start(held.core.as_ref().map(|core| View::of(&core.set, now)).as_ref());
        let noticed = held.core.as_ref().map(|core| noticing::Noticed::at_start(&View::of(&core.set, now))).unwrap_or_default();
        Ok(Self {
            keeper: OnceLock::new(),
            turn: Arc::default(),
            held: RwLock::new(held),
            changes: watch::channel(1).0,
            situation: watch::channel(Arc::new(situation::none())).0,
            due: Notify::new(),
            wanted: Notify::new(),
            own_due: Notify::new(),
            settled,
            tasks: tasks::Tasks::default(),
            affairs: affairs::Affairs::default(),
            unacknowledged: Mutex::default(),
            shown: Mutex::default(),
            verifying: Semaphore::new(4),
            peers: Mutex::default(),
            topology: Mutex::new(topology),
            certificate: Mutex::default(),
            noticed: Mutex::new(noticed),
            budgets: Mutex::default(),
            merged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            persist_errors: AtomicU64::new(0),
            wrapping_key_pull_errors: AtomicU64::new(0),
        })
    }

    /// To be called once, before anything else.
    pub fn attach(&self, keeper: &Arc<Keeper>) {
        let _ = self.keeper.set(Arc::downgrade(keeper));
    }

    fn keeper(&self) -> Result<Arc<Keeper>, StateError> {
        self.keeper.get().and_then(Weak::upgrade).ok_or(StateError::Closed)
    }

    fn budgets(&self) -> MutexGuard<'_, budget::Budgets> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// A turn to say something.
    async fn turn_to_write(&self) -> TurnToWrite {
        self.settled.wait().await;
        TurnToWrite(self.turn().await)
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, PeerState>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the view as it is now; `None` where there is no mesh. Nothing waits inside: the set is locked meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> Option<T> {
        let held = self.read();
        held.core.as_ref().map(|core| look(&View::of(&core.set, clock::now())))
    }

    /// Changes whenever the view may have: a record was taken, or one that was held back no longer is.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Where this host stands.
    pub fn state(&self) -> MeshState {
        self.read().state(clock::now())
    }

    /// Names the mesh: inside every envelope.
    pub fn id(&self) -> Option<[u8; 16]> {
        self.read().core.as_ref().map(|core| core.mesh)
    }

    /// Where trust begins.
    pub fn anchor(&self) -> Option<Anchor> {
        self.read().core.as_ref().map(|core| core.set.anchor().clone())
    }

    /// This host's keys in the mesh.
    pub fn keys(&self) -> Option<Arc<keys::Ring>> {
        self.read().keys.clone()
    }

    /// What we have durable.
    pub fn vector(&self) -> VersionVector {
        self.read().core.as_ref().map(|core| core.durable.1.clone()).unwrap_or_default()
    }

    /// Up to `limit` bytes of the records that a host with that vector lacks, each CBOR; the vector after them; and whether
    /// there are more.
    pub fn records(&self, since: &VersionVector, limit: usize) -> (Vec<Vec<u8>>, VersionVector, bool) {
        let held = self.read();
        let Some(core) = &held.core else { return (vec![], since.clone(), false) };
        if core.arriving.is_some() {
            return (vec![], since.clone(), true);
        }
        let page = core.set.since(since, limit);
        (page.records.into_iter().map(Vec::from).collect(), page.vector, page.more)
    }

    /// Two records of a host that cannot both be in one history, if there are: it is to know.
    fn evidence_for(&self, node: &NodeId) -> Vec<Vec<u8>> {
        let held = self.read();
        let evidence = held.core.as_ref().and_then(|core| core.set.evidence().get(node));
        evidence.map(|two| vec![two.first.to_vec(), two.second.to_vec()]).unwrap_or_default()
    }

    /// Has net do something, and waits for its report until `deadline` has passed.
    pub async fn task(&self, what: TaskKind, deadline: Duration) -> Result<Vec<u8>, String> {
        let waiting = self.tasks.add(what);
        self.due.notify_one();
        self.wanted.notify_one();
        let outcome = tokio::time::timeout(deadline, waiting.report).await;
        self.tasks.remove(waiting.number);
        self.due.notify_one();
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the agent is stopping".to_owned()),
            Err(_) => Err(format!("no answer within {} s", deadline.as_secs())),
        }
    }

    /// Has net drop every connection to whoever uses these keys. Returns at once.
    pub fn disconnect(keeper: &Arc<Keeper>, kids: Vec<Kid>) {
        let keeper = Arc::clone(keeper);
        tokio::spawn(async move {
            if let Err(why) = keeper.mesh.task(TaskKind::Disconnect { kids }, Duration::from_secs(30)).await {
                tracing::warn!(why, "connections could not be dropped");
            }
        });
    }

    /// Has whoever looks at the view look again.
    fn publish(&self) {
        self.changes.send_modify(|number| *number += 1);
        self.due.notify_one();
    }
}

impl Held {
    fn state(&self, now: Moment) -> MeshState {
        match (self.phase, &self.core) {
            (Phase::None, _) => MeshState::None,
            (Phase::Joining, _) => MeshState::Joining,
            (Phase::Left, _) => MeshState::Left,
            (Phase::In, None) => MeshState::None,
            (phase, Some(core)) => match View::of(&core.set, now).members().get(&core.node).and_then(|member| member.standing) {
                None => MeshState::Evicted,
                Some(_) if phase == Phase::Cloned => MeshState::Cloned,
                Some(Standing::Member) => MeshState::Member,
                Some(Standing::Authority) => MeshState::Authority,
            },
            (Phase::Cloned, None) => MeshState::Cloned,
        }
    }
}

impl Core {
    /// Once everything in the set is durable, if it is.
    fn settle(&mut self) {
        if self.unsaved.is_empty() {
            self.durable = (self.set.digest(), self.complete());
        }
    }

    /// Our newest durable position.
    fn own(&self) -> Position {
        self.set.heard(&self.node)
    }
}
