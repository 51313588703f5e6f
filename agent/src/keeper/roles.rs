//! The keeper's side of the other roles: connected at need, again after they end.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::{prober, warden};
use tokio::sync::{Mutex, Semaphore};

use crate::ops::channel::{Channel, ChannelError, connect_role, spawn_role};
use crate::ops::host::Host;

type WardenChannel = Channel<warden::Request, warden::Reply>;
type ProberChannel = Channel<prober::Request, prober::Reply>;

/// Deadline for facts: a caller waits for them.
pub const FACTS_DEADLINE: Duration = Duration::from_secs(5);
/// Deadline for files and reloads.
pub const WORK_DEADLINE: Duration = Duration::from_secs(45);

/// Questions for facts with a digest at once: fewer than fit in the channel, so that plain ones never wait for a digest.
const DIGESTS: usize = 64;

/// Why another role could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// It cannot be started or reached.
    #[error("the {role} cannot be started: {error}; `systemctl status reverie-agent-{role}.socket` may say why")]
    Start {
        /// Which.
        role: &'static str,
        /// Why.
        error: io::Error,
    },
    /// It did not answer.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It answered that it could not.
    #[error("{0}")]
    Failed(String),
    /// It answered something else than was asked.
    #[error("the {0} gave an answer to another question; restart the agent")]
    OutOfStep(&'static str),
}

/// How to reach each role.
#[derive(Debug)]
pub struct Roles {
    warden: Mutex<Option<Arc<WardenChannel>>>,
    warden_socket: Option<PathBuf>,
    prober_socket: Option<PathBuf>,
    run: PathBuf,
    exe: PathBuf,
    /// Turns for questions that may take as long as a large file is read.
    pub digests: Semaphore,
}

impl Roles {
    /// For this host. Starts nothing yet.
    pub fn new(host: &Host) -> io::Result<Self> {
        Ok(Self {
            warden: Mutex::new(None),
            warden_socket: host.warden_socket.clone(),
            prober_socket: host.prober_socket.clone(),
            run: host.run.clone(),
            exe: std::env::current_exe()?,
            digests: Semaphore::new(DIGESTS),
        })
    }

    /// Asks the warden.
    pub async fn warden(
        &self,
        request: &warden::Request,
        descriptor: Option<BorrowedFd<'_>>,
        within: Duration,
    ) -> Result<warden::Reply, RoleError> {
        let channel = self.warden_channel().await?;
        match channel.call(request, descriptor, within).await? {
            warden::Reply::Failed { message } => Err(RoleError::Failed(message)),
            reply => Ok(reply),
        }
    }

    async fn warden_channel(&self) -> Result<Arc<WardenChannel>, RoleError> {
        let mut slot = self.warden.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| !channel.is_closed()) {
            return Ok(Arc::clone(channel));
        }
        let socket = match &self.warden_socket {
            Some(path) => connect_role(path),
            None => spawn_role(&self.exe, "warden", &["--run-dir".as_ref(), self.run.as_os_str()]),
        };
        let socket = socket.map_err(|error| RoleError::Start { role: "warden", error })?;
        let channel = Arc::new(WardenChannel::connect(socket, "warden").await?);
        *slot = Some(Arc::clone(&channel));
        Ok(channel)
    }

    /// Asks a prober, which lives for this question.
    pub async fn probe(&self, request: &prober::Request) -> Result<Vec<u8>, RoleError> {
        let socket = match &self.prober_socket {
            Some(path) => connect_role(path),
            None => spawn_role::<&str>(&self.exe, "prober", &[]),
        };
        let socket = socket.map_err(|error| RoleError::Start { role: "prober", error })?;
        let channel = ProberChannel::connect(socket, "prober").await?;
        let within = Duration::from_millis(request.timeout_ms) + Duration::from_secs(2);
        match channel.call(request, None, within).await? {
            prober::Reply::Served { leaf } => Ok(leaf),
            prober::Reply::Failed { message } => Err(RoleError::Failed(message)),
        }
    }
}
