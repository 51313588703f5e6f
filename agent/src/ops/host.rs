//! This host: its name, and where things are, for the system or for one person.

use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use reverie_core::config::Config;
use reverie_core::id::{NodeId, TrustDomain};

/// For whom the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole machine.
    System,
    /// One person, without privileges.
    User,
}

/// Names and places, settled once at start.
#[derive(Debug, Clone)]
pub struct Host {
    /// For whom.
    pub scope: Scope,
    /// Trust domain.
    pub trust_domain: TrustDomain,
    /// This host.
    pub node_id: NodeId,
    /// Sockets and published files.
    pub run: PathBuf,
    /// Store and audit log.
    pub state: PathBuf,
    /// The sealed root secret.
    pub seal: PathBuf,
    /// For every local process.
    pub agent_socket: PathBuf,
    /// For administrators.
    pub admin_socket: PathBuf,
    /// Where systemd starts wardens; `None`: the keeper starts its own.
    pub warden_socket: Option<PathBuf>,
    /// Where systemd starts probers; `None`: the keeper starts its own.
    pub prober_socket: Option<PathBuf>,
    /// Where systemd starts the role `net`; `None`: the keeper starts its own.
    pub net_socket: Option<PathBuf>,
    /// Where the packaged role `gss` listens.
    pub gss_socket: Option<PathBuf>,
    /// Where systemd starts the role `tunnel`; `None`: the keeper starts its own.
    pub tunnel_socket: Option<PathBuf>,
    /// Where systemd starts the role `view`; `None`: the keeper starts one, if it may mount.
    pub view_socket: Option<PathBuf>,
}

/// Why the host's names or places could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The host's own name is no usable node id.
    #[error("the host's name {name:?} cannot be its node id: {why}\ntry: set `node_id` in the configuration")]
    Name {
        /// What the system says.
        name: String,
        /// Why it will not do.
        why: String,
    },
    /// No home, no runtime directory.
    #[error("${variable} is not set, and `{key}` is not configured\ntry: set `{key}` under [paths], or log in through systemd")]
    NoDirectory {
        /// Environment variable.
        variable: &'static str,
        /// Configuration key.
        key: &'static str,
    },
}

impl Scope {
    /// The default configuration file.
    pub fn default_config(self) -> Result<PathBuf, HostError> {
        match self {
            Self::System => Ok(PathBuf::from("/etc/reverie/agent.toml")),
            Self::User => Ok(xdg("XDG_CONFIG_HOME", ".config", "--config")?.join("agent.toml")),
        }
    }

    fn run(self) -> Result<PathBuf, HostError> {
        match (self, std::env::var_os("XDG_RUNTIME_DIR")) {
            (Self::System, _) => Ok(PathBuf::from("/run/reverie")),
            (Self::User, Some(folder)) => Ok(PathBuf::from(folder).join("reverie")),
            (Self::User, None) => Err(HostError::NoDirectory { variable: "XDG_RUNTIME_DIR", key: "run" }),
        }
    }

    fn state(self) -> Result<PathBuf, HostError> {
        match self {
            Self::System => Ok(PathBuf::from("/var/lib/reverie")),
            Self::User => xdg("XDG_STATE_HOME", ".local/state", "state"),
        }
    }
}

impl Scope {
    /// Where the packaged units listen for a role, if they are installed and started.
    fn role_socket(self, role: &str) -> Option<PathBuf> {
        let path = PathBuf::from(format!("/run/reverie-internal/{role}.sock"));
        (self == Self::System && path.exists()).then_some(path)
    }
}

fn xdg(variable: &'static str, below_home: &str, key: &'static str) -> Result<PathBuf, HostError> {
    let folder = std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(below_home));
    Ok(folder.or_else(home).ok_or(HostError::NoDirectory { variable: "HOME", key })?.join("reverie"))
}

impl Host {
    /// Settles names and places.
    pub fn new(config: &Config, scope: Scope) -> Result<Self, HostError> {
        let paths = &config.paths;
        let given = |path: &Option<String>| path.as_ref().map(PathBuf::from);
        let run = given(&paths.run).map_or_else(|| scope.run(), Ok)?;
        let state = given(&paths.state).map_or_else(|| scope.state(), Ok)?;
        Ok(Self {
            scope,
            trust_domain: config.trust_domain.clone(),
            node_id: config.node_id.clone().map_or_else(own_name, Ok)?,
            seal: given(&paths.seal).unwrap_or_else(|| state.join("seal")),
            agent_socket: given(&paths.agent_socket).unwrap_or_else(|| run.join("agent.sock")),
            admin_socket: given(&paths.admin_socket).unwrap_or_else(|| run.join("admin.sock")),
            warden_socket: given(&paths.warden_socket).or_else(|| scope.role_socket("warden")),
            prober_socket: given(&paths.prober_socket).or_else(|| scope.role_socket("prober")),
            net_socket: given(&paths.net_socket).or_else(|| scope.role_socket("net")),
            gss_socket: scope.role_socket("gss"),
            tunnel_socket: scope.role_socket("tunnel"),
            view_socket: scope.role_socket("view"),
            run,
            state,
        })
    }

    /// True if `other` would need a restart to take effect.
    pub fn differs_from(&self, other: &Self) -> bool {
        (&self.trust_domain, &self.node_id, &self.run, &self.state, &self.seal)
            != (&other.trust_domain, &other.node_id, &other.run, &other.state, &other.seal)
            || (&self.agent_socket, &self.admin_socket) != (&other.agent_socket, &other.admin_socket)
            || (&self.warden_socket, &self.prober_socket, &self.net_socket)
                != (&other.warden_socket, &other.prober_socket, &other.net_socket)
    }
}

/// The fully qualified name if the system knows one (`/etc/hosts`, DNS), else the host name.
fn own_name() -> Result<NodeId, HostError> {
    let short = nix::unistd::gethostname().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = match short.contains('.') {
        true => short,
        false => reverie_sys::hostname::canonical(&short).map_or(short, |name| name.to_lowercase()),
    };
    name.parse().map_err(|why: reverie_core::id::InvalidName| HostError::Name { name: name.clone(), why: why.to_string() })
}

/// The uid this process runs as.
pub fn own_uid() -> u32 {
    Uid::effective().as_raw()
}
