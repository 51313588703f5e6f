//! Credentials for systemd units (`LoadCredential=ID:/run/reverie/credentials.sock`).
//!
//! The service manager asks nothing and reads to the end, so each connection is answered or refused by its address alone. What
//! ends early it takes for the credential: a refusal is therefore more than it takes (1 MiB), and the unit fails with
//! 243/CREDENTIALS; nobody is sent away with nothing.

mod answer;

use std::os::fd::AsFd;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
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
use crate::ops::shares::Shares;

/// Connections of root at once; more wait to be accepted, as the service manager does.
const MANAGERS: usize = 64;
/// Of them, those that are refused and have not read it yet, besides.
const REFUSALS: usize = 1024;
/// Connections of all others at once, who are refused anyway: the socket's mode keeps them out where it is as it should be.
const STRANGERS: u32 = 16;
/// The same for one uid.
const STRANGERS_PER_UID: u32 = 4;
/// Attested, judged, recorded. Well below the watchdog's: who waits is to be refused before an agent that hangs is killed.
const DEADLINE: Duration = Duration::from_secs(10);
/// For the bytes of an answer or of a refusal. Longer than a unit may take to start (`TimeoutStartSec=`, 90 s), since what is cut off
/// counts as whole.
const READ_DEADLINE: Duration = Duration::from_secs(100);
/// A part of what is more than the service manager takes for one credential (1 MiB).
static REFUSAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = b"refused by reverie-agent, whose log says why\n";
    text.iter().copied().cycle().take(1 << 16).collect()
});
const REFUSAL_PARTS: usize = 17;

/// Serves the socket until the agent stops.
pub async fn serve(keeper: Arc<Keeper>, listener: UnixListener) {
    let places = Places {
        managers: Arc::new(Semaphore::new(MANAGERS)),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        strangers: Arc::default(),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = keeper.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => places.admit(&keeper, stream).await,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for a credential");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Places {
    managers: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    strangers: Arc<Shares<u32>>,
}

impl Places {
    async fn admit(&self, keeper: &Arc<Keeper>, stream: UnixStream) {
        // Without a word of who it is: nobody to answer, and nothing that the service manager could mistake for a credential.
        let Ok(credentials) = reverie_sys::peer::peer_credentials(stream.as_fd()) else {
            return drop(keeper.tasks.spawn(refuse(stream)));
        };
        let own = Arc::clone(keeper);
        if credentials.uid == 0 {
            let Ok(turn) = Arc::clone(&self.managers).acquire_owned().await else { return };
            let refusals = Arc::clone(&self.refusals);
            keeper.tasks.spawn(async move {
                let Some((stream, refused)) = serve_connection(&own, stream).await else { return };
                // Who does not read it keeps nobody from being answered.
                let place = refusals.acquire_owned().await;
                drop(turn);
                tokio::join!(refuse(stream), refused.record(&own));
                drop(place);
            });
        } else if let Some(share) = self.strangers.take(credentials.uid, 1, STRANGERS, STRANGERS_PER_UID) {
            keeper.tasks.spawn(async move {
                if let Some((stream, refused)) = serve_connection(&own, stream).await {
                    tokio::join!(refuse(stream), refused.record(&own));
                }
                drop(share);
            });
        } else {
            // No service manager that is given credentials runs as this user.
            metrics::counter!("reverie_connections_shed_total").increment(1);
            let _ = stream.try_write(&[b'\n'; 4096]);
        }
    }
}

/// Answers, or gives the connection back with why not.
async fn serve_connection(keeper: &Arc<Keeper>, mut stream: UnixStream) -> Option<(UnixStream, Refused)> {
    // What `accept` gives is not it: mio leaves out abstract names.
    let address = rustix::net::getpeername(&stream).ok().flatten().and_then(|address| SocketAddrUnix::try_from(address).ok());
    let parsed = address.as_ref().and_then(SocketAddrUnix::abstract_name).ok_or(NoAddress).and_then(Address::parse);
    let mut caller = by_credentials(&stream);
    // Whatever becomes of it, the connection must not just close: that would be a credential with nothing in it.
    let answer = AssertUnwindSafe(answer(keeper, &stream, &parsed, &mut caller)).catch_unwind();
    let answered = tokio::select! {
        biased;
        answered = tokio::time::timeout(DEADLINE, answer) => answered.unwrap_or_else(|_| Ok(Err(late()))),
        () = keeper.stopping.cancelled() => Ok(Err(stopping())),
    };
    match answered.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "the agent failed; its log says how").into())) {
        Ok(bytes) => {
            give(&mut stream, &bytes).await;
            None
        }
        Err(Failure(problem)) => {
            let what = match &parsed {
                Ok(Address { unit, id }) => format!("credential {id:?} for {unit}"),
                Err(_) => "connection to credentials.sock".to_owned(),
            };
            Some((stream, Refused { caller, what, problem }))
        }
    }
}

async fn answer(
    keeper: &Arc<Keeper>,
    stream: &UnixStream,
    address: &Result<Address<'_>, NoAddress>,
    caller: &mut Option<Caller>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let peer = Peer::attest(keeper, stream.as_fd()).await?;
    *caller = Some(peer.caller.clone());
    match address {
        Ok(address) => answer::answer(keeper, &peer, address).await,
        Err(error) => Err(Problem::new(Code::NotPermitted, error.to_string())
            .advise("ask by LoadCredential= in a unit; programs ask on agent.sock")
            .into()),
    }
}

fn late() -> Failure {
    Problem::new(Code::Unavailable, "the credential was not ready in time")
        .advise("`agentctl status` may show what holds it up")
        .into()
}

fn stopping() -> Failure {
    Problem::new(Code::Unavailable, "the agent is stopping").advise("start the unit again once the agent runs").into()
}

fn by_credentials(stream: &UnixStream) -> Option<Caller> {
    let credentials = reverie_sys::peer::peer_credentials(stream.as_fd()).ok()?;
    Some(Caller::by_credentials(credentials.pid, credentials.uid, credentials.gid, vec![]))
}

/// One write, mostly: it fits into the socket's buffer, so that the reader has all of it whatever becomes of this process.
async fn give(stream: &mut UnixStream, bytes: &Zeroizing<Vec<u8>>) {
    match tokio::time::timeout(READ_DEADLINE, stream.write_all(bytes)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a credential was not read to its end"),
        Err(_) => tracing::warn!("a credential was not read to its end in time"),
    }
}

async fn refuse(mut stream: UnixStream) {
    let all = async {
        for _ in 0..REFUSAL_PARTS {
            // The reader may have had enough.
            if stream.write_all(&REFUSAL).await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(READ_DEADLINE, all).await.is_err() {
        tracing::warn!("a refusal was not read to its end in time");
    }
}

/// Who is refused what, and why.
struct Refused {
    caller: Option<Caller>,
    what: String,
    problem: Box<Problem>,
}

impl Refused {
    /// In the journal and in the audit log: the unit itself can only say that it failed.
    async fn record(self, keeper: &Keeper) {
        let Self { caller, what, problem } = self;
        let pid = caller.as_ref().map_or(0, |caller| caller.pid);
        let advice = problem.advice.as_deref().unwrap_or("`agentctl status` may show what is wrong");
        tracing::warn!(pid, "{what} is refused: {}; try: {advice}", problem.detail);
        if let Some(caller) = caller {
            denials::record(keeper, &caller, what, &problem).await;
        }
    }
}
