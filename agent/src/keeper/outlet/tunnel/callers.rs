//! Local callers of tunnels: accepted here, attested, judged, and only then handed to the role. It never has the listening socket.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use reverie_core::caller::Caller;
use reverie_core::config::Accept;
use reverie_core::id::TunnelName;
use reverie_core::ipc::tunnel::Reply;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::{WATCH, declared, unknown};
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::denials;
use crate::keeper::local::identities::judged;
use crate::keeper::local::listener::bind;
use crate::keeper::local::peer::Peer;
use crate::ops::channel::Answer;

/// Callers looked at together, for one tunnel; further ones wait in the kernel.
const AT_ONCE: usize = 64;
/// Permitted callers that the role has not fetched yet.
const READY: usize = 64;

type Ready = (u32, StdStream);

#[derive(Debug)]
struct Listening {
    ready: Arc<tokio::sync::Mutex<mpsc::Receiver<Ready>>>,
    task: AbortHandle,
    path: PathBuf,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The sockets of tunnels.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<BTreeMap<TunnelName, Listening>>);

impl Callers {
    fn ready(&self, name: &TunnelName) -> Option<Arc<tokio::sync::Mutex<mpsc::Receiver<Ready>>>> {
        let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listening.get(name).map(|one| Arc::clone(&one.ready))
    }
}

/// The alarm about one tunnel.
pub(super) fn subject(name: &TunnelName) -> String {
    format!("tunnel {name}")
}

/// Where its callers connect.
pub(super) fn socket(keeper: &Keeper, name: &TunnelName) -> PathBuf {
    keeper.host.run.join("tunnels").join(format!("{name}.sock"))
}

/// Listens for the tunnels that want it, and for no other. What stays is not touched.
pub(super) fn follow(keeper: &Arc<Keeper>) {
    let policy = keeper.policy();
    let wanted =
        |name: &TunnelName| policy.config.tunnels.iter().any(|tunnel| tunnel.name == *name && tunnel.accept == Accept::Unix);
    let mut listening = keeper.tunnels.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
    listening.retain(|name, _| wanted(name));
    for tunnel in policy.config.tunnels.iter().filter(|tunnel| tunnel.accept == Accept::Unix) {
        let name = &tunnel.name;
        if listening.contains_key(name) {
            continue;
        }
        match listen(keeper, name) {
            Ok(one) => {
                keeper.alarms.clear(&subject(name));
                listening.insert(name.clone(), one);
            }
            Err(error) => keeper.alarms.raise(subject(name), format!("it does not listen: {error}; it is tried again")),
        }
    }
}

fn listen(keeper: &Arc<Keeper>, name: &TunnelName) -> std::io::Result<Listening> {
    let path = socket(keeper, name);
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new().mode(0o755).create(folder)?;
    }
    let listener = UnixListener::from_std(bind(&path, 0o666)?)?;
    let (sender, receiver) = mpsc::channel(READY);
    let task = tokio::spawn(serve(Arc::clone(keeper), name.clone(), listener, sender)).abort_handle();
    Ok(Listening { ready: Arc::new(tokio::sync::Mutex::new(receiver)), task, path })
}

async fn serve(keeper: Arc<Keeper>, name: TunnelName, listener: UnixListener, ready: mpsc::Sender<Ready>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (keeper, name, ready) = (Arc::clone(&keeper), name.clone(), ready.clone());
                tokio::spawn(async move {
                    if let Some(permitted) = admit(&keeper, &name, stream).await {
                        // The role is away, or has all it wants: whoever waits here holds a turn, and the kernel keeps the others.
                        let _ = ready.send(permitted).await;
                    }
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, tunnel = %name, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The connection, if whoever made it has the tunnel's identity.
async fn admit(keeper: &Arc<Keeper>, name: &TunnelName, stream: UnixStream) -> Option<Ready> {
    let declared = declared(keeper, name)?;
    let object = || subject(name);
    let peer = match Peer::attest(keeper, stream.as_fd()).await {
        Ok(peer) => peer,
        Err(Failure(problem)) => {
            let credentials = reverie_sys::peer::peer_credentials(stream.as_fd()).ok()?;
            let caller = Caller::by_credentials(credentials.pid, credentials.uid, credentials.gid, vec![]);
            denials::record(keeper, &caller, object(), &problem).await;
            return None;
        }
    };
    let permitted = match judged(keeper, &peer, &keeper.policy()).await {
        Ok(own) if own.iter().any(|rule| rule.name == declared.identity) => peer.check_alive(),
        Ok(_) => {
            let why = format!("this process does not have the identity {:?}, whose tunnel it is", declared.identity);
            Err(Problem::new(Code::NotPermitted, why).into())
        }
        Err(failure) => Err(failure),
    };
    match permitted {
        Ok(()) => Some((peer.caller.uid, stream.into_std().ok()?)),
        Err(Failure(problem)) => {
            denials::record(keeper, &peer.caller, object(), &problem).await;
            None
        }
    }
}

/// The next one for the role.
pub(super) async fn next(keeper: &Keeper, name: &TunnelName) -> Answer<Reply> {
    let ready = keeper.tunnels.callers.ready(name);
    let Some(ready) = ready else { return unknown(name).into() };
    let next = async { ready.lock().await.recv().await };
    match tokio::time::timeout(WATCH, next).await {
        Ok(Some((uid, stream))) => Answer::with(Reply::Connection { uid }, stream.into()),
        Ok(None) => unknown(name).into(),
        Err(_) => Reply::Nothing.into(),
    }
}
