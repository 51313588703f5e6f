//! The keeper's side of the other roles: connected at need, again after they end.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::ipc::{gss, prober, warden};
use tokio::sync::{Mutex, Semaphore};

use super::alarms::Alarms;
use crate::ops::channel::{Channel, ChannelError, connect_role, spawn_role};
use crate::ops::host::Host;
use crate::ops::shares::Shares;
use crate::view::mount;

type WardenChannel = Channel<warden::Request, warden::Reply>;
type ProberChannel = Channel<prober::Request, prober::Reply>;
/// To a process of the role `gss`, which lives for one question, or for the two of a handshake.
pub type GssChannel = Channel<gss::Request, gss::Reply>;

/// Deadline for facts: a caller waits for them.
pub const FACTS_DEADLINE: Duration = Duration::from_secs(5);
/// Deadline for files and reloads.
pub const WORK_DEADLINE: Duration = Duration::from_secs(45);

/// Questions for facts with a digest at once: fewer than fit in the channel, so that plain ones never wait for a digest.
const DIGESTS: usize = 64;

/// A warden that leaves so many questions in a row unanswered, and says nothing at all for so long, is replaced.
const MAX_MISSED: u32 = 3;
const MAX_SILENCE: Duration = FACTS_DEADLINE.saturating_mul(2);
/// The alarm's subject.
const WARDEN: &str = "warden";

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
    warden_health: StdMutex<Health>,
    alarms: Arc<Alarms>,
    warden_socket: Option<PathBuf>,
    prober_socket: Option<PathBuf>,
    net_socket: Option<PathBuf>,
    gss_socket: Option<PathBuf>,
    view_socket: Option<PathBuf>,
    tunnel_socket: Option<PathBuf>,
    run: PathBuf,
    exe: PathBuf,
    /// Turns for questions that may take as long as a large file is read.
    pub digests: Semaphore,
    /// Who has how many of them.
    pub digest_shares: Arc<Shares<u32>>,
}

impl Roles {
    /// For this host. Starts nothing yet.
    pub fn new(host: &Host, alarms: Arc<Alarms>) -> io::Result<Self> {
        Ok(Self {
            warden: Mutex::new(None),
            warden_health: StdMutex::new(Health::new(Instant::now())),
            alarms,
            warden_socket: host.warden_socket.clone(),
            prober_socket: host.prober_socket.clone(),
            net_socket: host.net_socket.clone(),
            gss_socket: host.gss_socket.clone(),
            view_socket: host.view_socket.clone(),
            tunnel_socket: host.tunnel_socket.clone(),
            run: host.run.clone(),
            exe: std::env::current_exe()?,
            digests: Semaphore::new(DIGESTS),
            digest_shares: Arc::default(),
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
        let answer = channel.call(request, descriptor, within).await;
        match &answer {
            Ok(_) if self.health(|health| health.answered(Instant::now())) => self.alarms.clear(WARDEN),
            Err(ChannelError::Deadline { .. }) if self.health(|health| health.missed(Instant::now())) => {
                self.replace_warden(&channel).await;
            }
            _ => {}
        }
        match answer? {
            warden::Reply::Failed { message } => Err(RoleError::Failed(message)),
            reply => Ok(reply),
        }
    }

    fn health<T>(&self, look: impl FnOnce(&mut Health) -> T) -> T {
        look(&mut self.warden_health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves a warden that says nothing to itself: the next question starts another.
    async fn replace_warden(&self, wedged: &Arc<WardenChannel>) {
        let mut slot = self.warden.lock().await;
        // Somebody else may have done it meanwhile.
        if slot.as_ref().is_some_and(|channel| Arc::ptr_eq(channel, wedged)) {
            *slot = None;
            let message = "the warden does not answer, another one is started; if this stays, look at what holds the old one up \
                           and end it: systemctl kill -s KILL 'reverie-agent-warden@*'";
            self.alarms.raise(WARDEN, message);
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
        self.health(|health| health.begin(Instant::now()));
        *slot = Some(Arc::clone(&channel));
        Ok(channel)
    }

    /// A new channel to the role `net`, which asks, and is answered.
    pub fn net(&self) -> Result<OwnedFd, RoleError> {
        let socket = match &self.net_socket {
            Some(path) => connect_role(path),
            None => spawn_role::<&str>(&self.exe, "net", &[]),
        };
        socket.map_err(|error| RoleError::Start { role: "net", error })
    }

    /// A new channel to the role `tunnel`, which asks, and is answered.
    pub fn tunnel(&self) -> Result<OwnedFd, RoleError> {
        let socket = match &self.tunnel_socket {
            Some(path) => connect_role(path),
            None => spawn_role::<&str>(&self.exe, "tunnel", &[]),
        };
        socket.map_err(|error| RoleError::Start { role: "tunnel", error })
    }

    /// A new channel to the role `view`, which asks, and is answered. Without the packaged unit `mounter` starts it.
    pub fn view(&self, mounter: Option<&OwnedFd>) -> Result<OwnedFd, RoleError> {
        let socket = match (&self.view_socket, mounter) {
            (Some(path), _) => connect_role(path),
            (None, Some(mounter)) => mount::ask(mounter),
            (None, None) => Err(io::ErrorKind::PermissionDenied.into()),
        };
        socket.map_err(|error| RoleError::Start { role: "view", error })
    }

    /// A new process that speaks Kerberos.
    pub async fn gss(&self) -> Result<GssChannel, RoleError> {
        let socket = match &self.gss_socket {
            Some(path) => connect_role(path),
            None => spawn_role::<&str>(&self.exe, "gss", &[]),
        };
        let socket = socket.map_err(|error| RoleError::Start { role: "gss", error })?;
        Ok(GssChannel::connect(socket, "gss").await?)
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

/// Does the warden still answer?
#[derive(Debug)]
struct Health {
    missed: u32,
    last_answer: Instant,
    replaced: bool,
}

impl Health {
    fn new(now: Instant) -> Self {
        Self { missed: 0, last_answer: now, replaced: false }
    }

    /// A new one has a new chance.
    fn begin(&mut self, now: Instant) {
        (self.missed, self.last_answer) = (0, now);
    }

    /// True if this is the first answer after a replacement.
    fn answered(&mut self, now: Instant) -> bool {
        self.begin(now);
        std::mem::take(&mut self.replaced)
    }

    /// True if it is time for a replacement. Many questions may miss their deadline together, so their number alone says little.
    fn missed(&mut self, now: Instant) -> bool {
        self.missed += 1;
        let wedged = self.missed >= MAX_MISSED && now.duration_since(self.last_answer) >= MAX_SILENCE;
        self.replaced |= wedged;
        wedged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warden_is_wedged_after_several_misses_and_a_long_silence_only() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut health = Health::new(begun);
        assert!(!(0..100).any(|_| health.missed(at(5))), "all at once");
        assert!(health.missed(at(10)));
        health.begin(at(10));
        assert!(!health.missed(at(60)) && !health.missed(at(60)) && health.missed(at(60)));
        health.begin(at(60));
        assert!(health.answered(at(61)), "the alarm is over");
        assert!(!health.answered(at(62)), "said once");
        assert!(!health.missed(at(63)));
    }
}
