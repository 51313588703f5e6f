//! The keeper: keys, rules, judge, rotation, and the local sockets. It meets no network and has no privileges.
//!
//! [`run`] reads top to bottom: configuration, seal, store, authority, roles, sockets, then the tasks.

mod admin;
mod alarms;
pub mod clock;
mod configuring;
pub mod federation;
mod identity;
mod local;
mod mesh;
mod outlet;
mod roles;
mod row;
mod seal;
mod secrets;
mod sockets;
pub mod state;
mod supervision;
mod svid;
mod tokens;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use reverie_core::api::Surface;
use reverie_core::api::admin::{ConfigStatus, SealStatus};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::moment::Moment;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ops::configuration::{self, LoadError, Loaded};
use crate::ops::host::{Host, HostError, Scope};
use crate::ops::logging;
use crate::ops::policy::Policy;
use identity::issuers::Issuers;
use identity::{lifecycle, pruning, replacement, rotation, schedule, store::Store, told};
use local::listener::Socket;
use state::{Change, Committed, OpenError, State, StateError, Table};
use supervision::Hardening;

/// Subject of the alarm that changes cannot be recorded.
const RECORDING: &str = "recording";

/// How the keeper is started.
#[derive(Debug)]
pub struct Options {
    main_file: PathBuf,
    loaded: Loaded,
    host: Host,
    /// Mounts the file view, which this process gave up.
    mounter: Option<OwnedFd>,
    hardening: Hardening,
}

impl Options {
    /// Reads the configuration, and has this process give up what it does not need. To be called before there are threads.
    pub fn settle(config: PathBuf, scope: Scope) -> Result<Self, KeeperError> {
        // A relative path means something else to `agentctl doctor`.
        let main_file = std::path::absolute(&config).unwrap_or(config);
        let loaded = configuration::load(&main_file)?;
        let host = Host::new(&loaded.config, scope)?;
        let mounter = outlet::view::mounter(&loaded.config, &host)
            .map_err(|error| KeeperError::Io { what: "cannot start what mounts the file view".to_owned(), error })?;
        Ok(Self { main_file, loaded, host, mounter, hardening: supervision::harden() })
    }
}

/// Why the keeper ended.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The host's names or places cannot be settled.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The root secret cannot be had.
    #[error(transparent)]
    Seal(#[from] seal::SealFailure),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed at start.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] row::RowError),
    /// The authority's keys cannot be read.
    #[error(transparent)]
    Authority(#[from] lifecycle::LifecycleError),
    /// The keys that sign tokens cannot be read.
    #[error(transparent)]
    TokenKeys(#[from] svid::TokenKeyError),
    /// What is stored of the mesh cannot be read.
    #[error(transparent)]
    Mesh(#[from] mesh::MeshError),
    /// A directory or socket cannot be made.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: std::io::Error,
    },
}

impl KeeperError {
    /// The exit code (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Host(_) => 78,
            Self::Seal(_) => 77,
            Self::Open(_) | Self::State(_) | Self::Row(_) | Self::Authority(_) | Self::TokenKeys(_) | Self::Mesh(_) => 74,
            Self::Io { .. } => 73,
        }
    }
}

/// Everything the tasks share.
pub struct Keeper {
    host: Host,
    main_file: PathBuf,
    state: State,
    policy: watch::Sender<Arc<Policy>>,
    config_status: Mutex<ConfigStatus>,
    issuers: watch::Sender<Arc<Issuers>>,
    /// Held while roots, intermediates or lists change.
    authority_turn: tokio::sync::Mutex<()>,
    lifecycle_due: Notify,
    /// An authority of the mesh is to be asked for an intermediate.
    intermediate_wanted: watch::Sender<bool>,
    store: Store,
    schedule: schedule::Schedule,
    turns: schedule::Turns,
    told: told::AllTold,
    secrets: secrets::Secrets,
    tokens: tokens::Tokens,
    token_keys: svid::TokenKeys,
    federations: federation::Federations,
    pins: outlet::Pins,
    grpc: outlet::grpc::Outlet,
    tunnels: outlet::tunnel::Tunnels,
    roles: roles::Roles,
    rates: local::limits::Rates,
    bodies: local::Bodies,
    denials: local::denials::Denials,
    alarms: Arc<alarms::Alarms>,
    mesh: mesh::Mesh,
    metrics: PrometheusHandle,
    started_at: Moment,
    seal: SealStatus,
    pidfd_attestation: bool,
    memory_locked: bool,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeper({})", self.host.node_id)
    }
}

impl Keeper {
    /// The configuration in force.
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    fn watch_policy(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.subscribe()
    }

    /// Makes a change durable, with its events; sends them to the journal too if that is configured.
    async fn commit(&self, change: Change) -> Result<Committed, StateError> {
        let copies: Vec<String> = match self.policy.borrow().config.audit.journald {
            true => change.events.iter().filter_map(|event| serde_json::to_string(event).ok()).collect(),
            false => vec![],
        };
        let committed = match self.state.commit(change).await {
            Ok(committed) => {
                self.alarms.clear(RECORDING);
                committed
            }
            Err(error) => {
                // One that asks too much is its own fault; one that had to wait says nothing of the disk.
                if !matches!(error, StateError::TooLarge { .. } | StateError::Busy { .. }) {
                    self.alarms.raise(RECORDING, format!("nothing is issued or changed meanwhile: {error}"));
                }
                return Err(error);
            }
        };
        copies.iter().for_each(|event| tracing::info!(target: "reverie_audit", "{event}"));
        Ok(committed)
    }

    /// The authority as it is now.
    fn issuers(&self) -> Arc<Issuers> {
        Arc::clone(&self.issuers.borrow())
    }

    fn watch_issuers(&self) -> watch::Receiver<Arc<Issuers>> {
        self.issuers.subscribe()
    }

    /// True while an authority of the mesh is to be asked for an intermediate; see `identity::membership`.
    #[allow(dead_code, reason = "whoever speaks with the mesh does")]
    fn watch_intermediate_wanted(&self) -> watch::Receiver<bool> {
        self.intermediate_wanted.subscribe()
    }

    /// Lets a recorded change of the authority take effect.
    fn publish_issuers(&self, issuers: Issuers) {
        self.issuers.send_replace(Arc::new(issuers));
    }

    fn config_status(&self) -> ConfigStatus {
        self.config_status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs the keeper until it is told to stop.
pub async fn run(options: Options) -> Result<(), KeeperError> {
    let started_at = clock::now();
    let signals =
        supervision::Signals::catch().map_err(|error| KeeperError::Io { what: "cannot receive signals".to_owned(), error })?;
    let Options { main_file, loaded, host, mounter, hardening } = options;
    logging::start(&loaded.config.log.level);
    hardening.report();
    let memory_locked = hardening.memory_locked;
    sockets::prepare_directories(&host)?;

    let unsealed = seal::unseal(&host, &loaded.config.seal)?;
    let looked_up = look_up(loaded, host.scope).await;
    let (policy, files) =
        looked_up.map_err(|error| KeeperError::Io { what: "cannot look up users and groups".to_owned(), error })?;
    let state = State::open(
        state::Options {
            directory: host.state.clone(),
            audit: state::AuditOptions {
                rotate_bytes: policy.config.audit.rotate_bytes,
                keep: policy.config.audit.keep as usize,
                admin_gid: policy.admin_gid,
            },
            now: started_at,
        },
        &unsealed.secret,
    )?;
    let keeper = assemble(main_file, host, state, policy, files, unsealed.status, memory_locked, started_at).await?;
    keeper.announce_start().await;
    supervision::raise_standing_alarms(&keeper);

    // A clock that is wrong, or a disk that is full, must not keep the agent from saying so.
    if let Err(error) = lifecycle::bring_up_to_date(&keeper).await {
        keeper.alarms.raise("authority", error.to_string());
    }
    if let Err(error) = svid::bring_up_to_date(&keeper).await {
        tracing::warn!(%error, "no tokens can be signed yet");
    }
    let listeners = sockets::listen(&keeper.host)?;
    let tasks = &keeper.tasks;
    for (listener, socket) in [
        (listeners.agent, Socket::Http(Surface::Local)),
        (listeners.admin, Socket::Http(Surface::Admin)),
        (listeners.workload, Socket::Workload),
    ] {
        tasks.spawn(local::listener::serve(Arc::clone(&keeper), listener, socket));
    }
    if let Some(listener) = listeners.credentials {
        tasks.spawn(outlet::credentials::serve(Arc::clone(&keeper), listener));
    }
    tokio::spawn(lifecycle::run(Arc::clone(&keeper)));
    tokio::spawn(rotation::run(Arc::clone(&keeper)));
    tokio::spawn(svid::run(Arc::clone(&keeper)));
    tokio::spawn(federation::follow(Arc::clone(&keeper)));
    tokio::spawn(configuring::follow(Arc::clone(&keeper)));
    tokio::spawn(replacement::run(Arc::clone(&keeper)));
    tokio::spawn(supervision::housekeeping(Arc::clone(&keeper)));
    tokio::spawn(pruning::run(Arc::clone(&keeper)));
    mesh::start(&keeper).await;
    tokio::spawn(outlet::view::run(Arc::clone(&keeper), mounter));
    tokio::spawn(outlet::tunnel::run(Arc::clone(&keeper)));
    tokio::spawn(supervision::follow_settings(Arc::clone(&keeper)));
    supervision::notify_ready(&keeper);
    tracing::info!(node = %keeper.host.node_id, trust_domain = %keeper.host.trust_domain, "ready");

    signals.obey(&keeper).await;
    stop(keeper).await
}

/// A directory may be asked for names: not on the threads that serve.
async fn look_up(loaded: Loaded, scope: Scope) -> std::io::Result<(Policy, Vec<PathBuf>)> {
    let Loaded { config, files } = loaded;
    let policy = tokio::task::spawn_blocking(move || Policy::new(config, scope)).await;
    Ok((policy.map_err(std::io::Error::other)?, files))
}

#[expect(clippy::too_many_arguments, reason = "each is made once, in `run`")]
async fn assemble(
    main_file: PathBuf,
    host: Host,
    state: State,
    policy: Policy,
    files: Vec<PathBuf>,
    seal: SealStatus,
    memory_locked: bool,
    started_at: Moment,
) -> Result<Arc<Keeper>, KeeperError> {
    let issuers = lifecycle::load(&state, &host.node_id)?;
    let store = Store::default();
    for (_, row) in state.scan(Table::Identities)? {
        store.publish(row::decode(&row)?);
    }
    let alarms = Arc::<alarms::Alarms>::default();
    let roles = roles::Roles::new(&host, Arc::clone(&alarms))
        .map_err(|error| KeeperError::Io { what: "cannot find this program".to_owned(), error })?;
    let config_status = ConfigStatus {
        files: files.iter().map(|file| file.display().to_string()).collect(),
        loaded_at: started_at,
        refused: None,
    };
    let keeper = Arc::new(Keeper {
        mesh: mesh::Mesh::open(&state, &host, started_at).await?,
        tokens: tokens::Tokens::open(&state).await?,
        token_keys: svid::TokenKeys::open(&state)?,
        federations: federation::Federations::open(&state)?,
        told: told::AllTold::open(&state)?,
        host,
        main_file,
        state,
        policy: watch::channel(Arc::new(policy)).0,
        config_status: Mutex::new(config_status),
        issuers: watch::channel(Arc::new(issuers)).0,
        authority_turn: tokio::sync::Mutex::default(),
        lifecycle_due: Notify::new(),
        intermediate_wanted: watch::channel(false).0,
        store,
        schedule: schedule::Schedule::default(),
        turns: schedule::Turns::default(),
        secrets: secrets::Secrets::default(),
        pins: outlet::Pins::default(),
        grpc: outlet::grpc::Outlet::default(),
        tunnels: outlet::tunnel::Tunnels::default(),
        roles,
        rates: local::limits::Rates::default(),
        bodies: local::Bodies::default(),
        denials: local::denials::Denials::default(),
        alarms,
        metrics: supervision::start_metrics(),
        started_at,
        seal,
        pidfd_attestation: reverie_sys::peer::attest_support(),
        memory_locked,
        stopping: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    keeper.mesh.attach(&keeper);
    Ok(keeper)
}

impl Keeper {
    /// On a full disk the agent stays up to say so, and issues nothing.
    async fn announce_start(&self) {
        let event = Event {
            time: clock::now(),
            kind: Kind::AgentStarted,
            outcome: Outcome::Done,
            actor: Actor::Agent,
            subject: Subject { object: Some(self.host.node_id.to_string()), ..Subject::default() },
            reason: Some(format!("version {}, sealed by {}", env!("CARGO_PKG_VERSION"), self.seal.mode)),
        };
        if let Err(error) = self.commit(Change { writes: vec![], events: vec![event] }).await {
            tracing::warn!(%error, "the start could not be recorded");
        }
    }
}

/// Lets open requests finish, then closes the store with a signed head.
async fn stop(keeper: Arc<Keeper>) -> Result<(), KeeperError> {
    supervision::notify_stopping();
    keeper.stopping.cancel();
    keeper.tasks.close();
    if tokio::time::timeout(Duration::from_secs(10), keeper.tasks.wait()).await.is_err() {
        tracing::warn!(open = keeper.tasks.len(), "some requests did not finish in time");
    }
    local::denials::summarise(&keeper).await;
    let event = Event {
        time: clock::now(),
        kind: Kind::AgentStopped,
        outcome: Outcome::Done,
        actor: Actor::Agent,
        subject: Subject::default(),
        reason: None,
    };
    if let Err(error) = keeper.commit(Change { writes: vec![], events: vec![event] }).await {
        tracing::error!(%error, "the stop could not be recorded");
    }
    let state = keeper.state.clone();
    // Closing syncs files.
    let _ = tokio::task::spawn_blocking(move || state.close()).await;
    Ok(())
}
