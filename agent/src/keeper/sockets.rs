//! Directories and listening sockets: systemd's if it hands them over, else our own.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use listenfd::ListenFd;
use tokio::net::UnixListener;

use super::KeeperError;
use super::local::listener::bind;
use crate::ops::host::{Host, Scope, own_uid};

/// The sockets.
#[derive(Debug)]
pub struct Listeners {
    /// For every local process.
    pub agent: UnixListener,
    /// For administrators.
    pub admin: UnixListener,
    /// For SPIFFE libraries and Envoy.
    pub workload: UnixListener,
    /// For the service manager; none for one person, whose units cannot be told apart.
    pub credentials: Option<UnixListener>,
}

/// Makes the directories that are missing. The state is ours alone; the run directory is for all to enter.
pub fn prepare_directories(host: &Host) -> Result<(), KeeperError> {
    make(&host.state, 0o700)?;
    make(&host.run, 0o755)
}

fn make(path: &Path, mode: u32) -> Result<(), KeeperError> {
    let failed = |error| KeeperError::Io { what: format!("cannot use the directory {}", path.display()), error };
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    }
    let meta = std::fs::symlink_metadata(path).map_err(failed)?;
    if !meta.is_dir() {
        return Err(failed(std::io::Error::other("it is not a directory, or a symbolic link: name the real one")));
    }
    let ours = meta.uid() == own_uid() || meta.uid() == 0;
    if !ours || meta.mode() & 0o022 != 0 {
        let why =
            format!("others could write to it (owner {}, mode {:04o}): chown and chmod it", meta.uid(), meta.mode() & 0o7777);
        return Err(failed(std::io::Error::other(why)));
    }
    Ok(())
}

/// The sockets, by the names systemd gives them (`FileDescriptorName=agent`, `admin`, `workload`, `credentials`), or bound by ourselves.
pub fn listen(host: &Host) -> Result<Listeners, KeeperError> {
    let (mut agent, mut admin, mut workload, mut credentials) = (None, None, None, None);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut handed = ListenFd::from_env();
    for (index, name) in names.split(':').enumerate().take(handed.len()) {
        let slot = match name {
            "agent" => &mut agent,
            "admin" => &mut admin,
            "workload" => &mut workload,
            "credentials" => &mut credentials,
            _ => continue,
        };
        *slot = handed.take_unix_listener(index).ok().flatten();
    }
    Ok(Listeners {
        agent: adopt(agent, &host.agent_socket, 0o666)?,
        admin: adopt(admin, &host.admin_socket, 0o660)?,
        workload: adopt(workload, &host.run.join("workload.sock"), 0o666)?,
        credentials: match host.scope {
            // Only root connects, to whom a mode is nothing.
            Scope::System => Some(adopt(credentials, &host.run.join("credentials.sock"), 0o600)?),
            Scope::User => None,
        },
    })
}

fn adopt(handed: Option<StdListener>, path: &Path, mode: u32) -> Result<UnixListener, KeeperError> {
    let failed = |error| KeeperError::Io { what: format!("cannot listen on {}", path.display()), error };
    let listener = handed.map_or_else(|| bind(path, mode), Ok).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}
