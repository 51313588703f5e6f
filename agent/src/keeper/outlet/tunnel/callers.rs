//! Local callers of tunnels: accepted here, attested, judged, and only then handed to the role. It never has the listening socket.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use reverie_core::caller::Caller;
use reverie_core::config::Accept;
use reverie_core::id::{IdentityName, TunnelName};
use reverie_core::ipc::tunnel::Reply;
use reverie_sys::peer::peer_credentials;
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
use crate::ops::shares::{Share, Shares};

/// Callers of one user that are looked at together: others wait for the warden, too, and a digest of a program is made for eight of
/// a user's at once.
const AT_ONCE: usize = 4;

/// One who was permitted, and whom the role has not fetched yet.
#[derive(Debug)]
struct Ready {
    peer: Peer,
    stream: UnixStream,
    _counted: Share<u32>,
}

type Queue = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Ready>>>;

#[derive(Debug)]
struct Listening {
    ready: Queue,
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
pub(super) struct Callers {
    listening: Mutex<BTreeMap<TunnelName, Listening>>,
    /// Of each user: those that are looked at, or wait for the role.
    waiting: Arc<Shares<u32>>,
    turns: Mutex<BTreeMap<u32, Weak<Semaphore>>>,
}

impl Callers {
    fn turns_of(&self, uid: u32) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = turns.get(&uid).and_then(Weak::upgrade) {
            return own;
        }
        turns.retain(|_, held| held.strong_count() > 0);
        let own = Arc::new(Semaphore::new(AT_ONCE));
        turns.insert(uid, Arc::downgrade(&own));
        own
    }

    fn ready(&self, name: &TunnelName) -> Option<Queue> {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
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
    let mut listening = keeper.tunnels.callers.listening.lock().unwrap_or_else(PoisonError::into_inner);
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
    let (sender, receiver) = mpsc::unbounded_channel();
    let task = tokio::spawn(serve(Arc::clone(keeper), name.clone(), listener, sender)).abort_handle();
    Ok(Listening { ready: Arc::new(tokio::sync::Mutex::new(receiver)), task, path })
}

async fn serve(keeper: Arc<Keeper>, name: TunnelName, listener: UnixListener, ready: mpsc::UnboundedSender<Ready>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(credentials) = peer_credentials(stream.as_fd()) else { continue };
                let Some(counted) = count(&keeper, credentials.uid) else { continue };
                let turns = keeper.tunnels.callers.turns_of(credentials.uid);
                let (keeper, name, ready) = (Arc::clone(&keeper), name.clone(), ready.clone());
                tokio::spawn(async move {
                    let Ok(_turn) = turns.acquire().await else { return };
                    if let Some(peer) = admit(&keeper, &name, &stream).await {
                        let _ = ready.send(Ready { peer, stream, _counted: counted });
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, tunnel = %name, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// By what is known before it is attested, so that nobody waits for whoever has too many.
fn count(keeper: &Keeper, uid: u32) -> Option<Share<u32>> {
    let (all, each) = {
        let limits = &keeper.policy().config.limits;
        (limits.connections, limits.connections_per_uid)
    };
    let share = keeper.tunnels.callers.waiting.take(uid, 1, all, each);
    if share.is_none() {
        metrics::counter!("reverie_connections_shed_total").increment(1);
    }
    share
}

/// Who made the connection, if it has the tunnel's identity.
async fn admit(keeper: &Arc<Keeper>, name: &TunnelName, stream: &UnixStream) -> Option<Peer> {
    let identity = declared(keeper, name)?.identity;
    match Peer::attest(keeper, stream.as_fd()).await {
        Ok(peer) => is_permitted(keeper, name, &identity, &peer).await.then_some(peer),
        Err(Failure(problem)) => {
            let credentials = peer_credentials(stream.as_fd()).ok()?;
            let caller = Caller::by_credentials(credentials.pid, credentials.uid, credentials.gid, vec![]);
            denials::record(keeper, &caller, subject(name), &problem).await;
            None
        }
    }
}

/// Whether it has that identity, by what is configured now. Who has not is in the audit log.
async fn is_permitted(keeper: &Arc<Keeper>, name: &TunnelName, identity: &IdentityName, peer: &Peer) -> bool {
    let permitted = match judged(keeper, peer, &keeper.policy()).await {
        Ok(own) if own.iter().any(|rule| rule.name == *identity) => peer.check_alive(),
        Ok(_) => {
            let why = format!("this process does not have the identity {identity:?}, whose tunnel it is");
            Err(Problem::new(Code::NotPermitted, why).into())
        }
        Err(failure) => Err(failure),
    };
    if let Err(Failure(problem)) = &permitted {
        denials::record(keeper, &peer.caller, subject(name), problem).await;
    }
    permitted.is_ok()
}

/// The next one for the role, which shows `identity`. Judged once more: it may have waited while much changed.
pub(super) async fn next(keeper: &Arc<Keeper>, name: &TunnelName, identity: &IdentityName) -> Answer<Reply> {
    let mut policies = keeper.watch_policy();
    let shows = |identity: &IdentityName| declared(keeper, name).is_some_and(|declared| declared.identity == *identity);
    let ready = keeper.tunnels.callers.ready(name).filter(|_| shows(identity));
    let Some(ready) = ready else { return unknown(name).into() };
    let next = tokio::select! {
        next = async { ready.lock().await.recv().await } => next,
        // Whoever asks may be of a tunnel that is no more: let it ask again.
        _ = policies.changed() => return Reply::Nothing.into(),
        () = tokio::time::sleep(WATCH) => return Reply::Nothing.into(),
    };
    let Some(Ready { peer, stream, .. }) = next else { return unknown(name).into() };
    if !is_permitted(keeper, name, identity, &peer).await || !shows(identity) {
        return Reply::Nothing.into();
    }
    match stream.into_std() {
        Ok(stream) => Answer::with(Reply::Connection { uid: peer.caller.uid }, stream.into()),
        Err(error) => Reply::Failed(error.to_string()).into(),
    }
}
