//! Credentials for systemd units (`LoadCredential=ID:/run/reverie/credentials.sock`).
//!
//! The service manager asks nothing and reads to the end, so each connection is answered or refused by its address alone. What
//! ends early it takes for the credential: a refusal is therefore more than it takes (1 MiB), and the unit fails with
//! 243/CREDENTIALS; nobody is sent away with nothing.

mod answer;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use reverie_core::caller::Caller;
use reverie_core::credential::{Address, NoAddress};
use rustix::net::SocketAddrUnix;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::denials;
use crate::keeper::local::peer::Peer;
use crate::ops::shares::{Share, Shares};

/// Connections of root at once; more wait to be accepted, as the service manager does.
const MANAGERS: usize = 64;
/// Connections of all others at once, who are refused anyway: the socket's mode keeps them out where it is as it should be.
const STRANGERS: u32 = 16;
/// The same for one uid.
const STRANGERS_PER_UID: u32 = 4;
/// From the connection to the first byte: attested, judged, recorded.
const DEADLINE: Duration = Duration::from_secs(30);
/// For the bytes of a refusal.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);
/// For those of an answer. Longer, since what is cut off would count as whole.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// More than the service manager takes for one credential (1 MiB).
const REFUSAL_BYTES: usize = (1 << 20) + (1 << 16);

/// Serves the socket until the agent stops.
pub async fn serve(keeper: Arc<Keeper>, listener: UnixListener) {
    let (managers, strangers) = (Arc::new(Semaphore::new(MANAGERS)), Arc::<Shares<u32>>::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = keeper.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => admit(&keeper, &managers, &strangers, stream).await,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for a credential");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn admit(keeper: &Arc<Keeper>, managers: &Arc<Semaphore>, strangers: &Arc<Shares<u32>>, stream: UnixStream) {
    // Without a word of who it is: nobody to answer, and nothing that the service manager could mistake for a credential.
    let Ok(credentials) = reverie_sys::peer::peer_credentials(stream.as_fd()) else {
        return drop(keeper.tasks.spawn(refuse(stream)));
    };
    if credentials.uid == 0 {
        let Ok(turn) = Arc::clone(managers).acquire_owned().await else { return };
        let own = Arc::clone(keeper);
        keeper.tasks.spawn(async move {
            serve_connection(&own, stream).await;
            drop(turn);
        });
    } else if let Some(share) = strangers.take(credentials.uid, 1, STRANGERS, STRANGERS_PER_UID) {
        keeper.tasks.spawn(serve_stranger(Arc::clone(keeper), stream, share));
    } else {
        // No service manager that is given credentials runs as this user.
        metrics::counter!("reverie_connections_shed_total").increment(1);
        let _ = stream.try_write(&[b'\n'; 4096]);
    }
}

async fn serve_stranger(keeper: Arc<Keeper>, stream: UnixStream, _share: Share<u32>) {
    serve_connection(&keeper, stream).await;
}

async fn serve_connection(keeper: &Arc<Keeper>, mut stream: UnixStream) {
    // What `accept` gives is not it: mio leaves out abstract names.
    let address = rustix::net::getpeername(&stream).ok().flatten().and_then(|address| SocketAddrUnix::try_from(address).ok());
    let parsed = address.as_ref().and_then(SocketAddrUnix::abstract_name).ok_or(NoAddress).and_then(Address::parse);
    let attested = tokio::time::timeout(DEADLINE, Peer::attest(keeper, stream.as_fd())).await;
    let attested = attested.unwrap_or_else(|_| Err(late()));
    let answered = match (&attested, &parsed) {
        (Ok(peer), Ok(address)) => {
            let answer = tokio::time::timeout(DEADLINE, answer::answer(keeper, peer, address)).await;
            answer.unwrap_or_else(|_| Err(late()))
        }
        (Ok(_), Err(error)) => Err(Problem::new(Code::NotPermitted, error.to_string())
            .advise("ask by LoadCredential= in a unit; programs ask on agent.sock")
            .into()),
        (Err(failure), _) => Err(Failure(failure.0.clone())),
    };
    match answered {
        Ok(bytes) => give(&mut stream, &bytes).await,
        Err(Failure(problem)) => {
            let caller = attested.map(|peer| peer.caller).ok().or_else(|| by_credentials(&stream));
            record(keeper, caller.as_ref(), parsed.ok(), &problem).await;
            refuse(stream).await;
        }
    }
}

fn late() -> Failure {
    Problem::new(Code::Unavailable, "the credential was not ready in time")
        .advise("`agentctl status` may show what holds it up")
        .into()
}

fn by_credentials(stream: &UnixStream) -> Option<Caller> {
    let credentials = reverie_sys::peer::peer_credentials(stream.as_fd()).ok()?;
    Some(Caller::by_credentials(credentials.pid, credentials.uid, credentials.gid, vec![]))
}

/// One write, mostly: it fits into the socket's buffer, so that the reader has all of it whatever becomes of this process.
async fn give(stream: &mut UnixStream, bytes: &Zeroizing<Vec<u8>>) {
    match tokio::time::timeout(ANSWER_DEADLINE, stream.write_all(bytes)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a credential was not read to its end"),
        Err(_) => tracing::warn!("a credential was not read to its end within a minute"),
    }
}

async fn refuse(mut stream: UnixStream) {
    let text = b"refused by reverie-agent, whose log says why\n";
    let chunk: Vec<u8> = text.iter().copied().cycle().take(1 << 16).collect();
    let all = async {
        for _ in 0..REFUSAL_BYTES / chunk.len() {
            // The reader may have had enough.
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(REFUSAL_DEADLINE, all).await;
}

/// In the journal and in the audit log: the unit itself can only say that it failed.
async fn record(keeper: &Keeper, caller: Option<&Caller>, address: Option<Address<'_>>, problem: &Problem) {
    let what = match &address {
        Some(Address { unit, id }) => format!("credential {id:?} for {unit}"),
        None => "connection to credentials.sock".to_owned(),
    };
    let pid = caller.map_or(0, |caller| caller.pid);
    let advice = problem.advice.as_deref().unwrap_or("`agentctl status` may show what is wrong");
    tracing::warn!(pid, "{what} is refused: {}; try: {advice}", problem.detail);
    if let Some(caller) = caller {
        denials::record(keeper, caller, what, problem).await;
    }
}
