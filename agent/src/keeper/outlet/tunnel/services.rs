//! Unix sockets of services that tunnels lead to. The keeper opens them: the role reaches no local socket, this agent's least of all.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use reverie_core::config::Connect;
use reverie_core::id::TunnelName;
use reverie_core::ipc::tunnel::Reply;
use tokio::net::UnixStream;

use super::{declared, unknown};
use crate::keeper::Keeper;
use crate::ops::channel::Answer;

/// A service whose backlog is full is waited for.
const DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Opens the service's socket.
pub(super) async fn connect(keeper: &Keeper, name: &TunnelName) -> Answer<Reply> {
    let Some(Connect::Unix(path)) = declared(keeper, name).map(|declared| declared.connect) else {
        return unknown(name).into();
    };
    match tokio::time::timeout(DEADLINE, open(keeper, Path::new(&path))).await {
        Ok(Ok(stream)) => match stream.into_std() {
            Ok(stream) => Answer::with(Reply::Connection { uid: 0 }, stream.into()),
            Err(error) => Reply::Failed(error.to_string()).into(),
        },
        Ok(Err(error)) => Reply::Failed(format!("{path}: {error}")).into(),
        Err(_) => Reply::Failed(format!("{path}: it does not accept; is the service overloaded or stopped?")).into(),
    }
}

async fn open(keeper: &Keeper, path: &Path) -> std::io::Result<UnixStream> {
    // The agent's own sockets take the keeper's user for an administrator.
    let real = std::fs::canonicalize(path)?;
    let run = std::fs::canonicalize(&keeper.host.run).unwrap_or_else(|_| keeper.host.run.clone());
    let own = [&keeper.host.agent_socket, &keeper.host.admin_socket];
    let is_own = real.starts_with(run)
        || real.starts_with("/run/reverie-internal")
        || own.iter().any(|own| std::fs::canonicalize(own).is_ok_and(|own| own == real));
    if is_own {
        return Err(std::io::Error::other("a tunnel does not lead to a socket of this agent"));
    }
    loop {
        match UnixStream::connect(&real).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
            Ok(stream) => {
                let who = reverie_sys::peer::peer_credentials(stream.as_fd())?;
                return match u32::try_from(who.pid) == Ok(std::process::id()) {
                    true => Err(std::io::Error::other("a tunnel does not lead to a socket of this agent")),
                    false => Ok(stream),
                };
            }
        }
    }
}
