//! The role `net`: reached by the packaged unit's socket or started, as long as there is a mesh or one to join; again, with
//! growing pauses, when it ends.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_core::ipc::ProtocolError;
use reverie_core::ipc::net::{Reply, Request};

use super::{Keeper, MeshState, answering};
use crate::keeper::roles::RoleError;
use crate::ops::channel::Answering;

/// Subject of the alarm while it is down.
const SUBJECT: &str = "net";
/// Questions answered at once, beside those that wait for a client.
const AT_ONCE: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that ran so long ended for another reason than the one before.
const HEALTHY: Duration = Duration::from_secs(60);

/// Is there anything to do on the network?
fn is_wanted(keeper: &Keeper) -> bool {
    if keeper.mesh.affairs.leaving.load(std::sync::atomic::Ordering::Relaxed) {
        return true;
    }
    if !keeper.policy().config.federation.is_empty() {
        return true;
    }
    match keeper.mesh.state() {
        MeshState::Joining | MeshState::Member | MeshState::Authority | MeshState::Cloned => true,
        // Whoever was put out still answers to nobody, and asks nobody.
        MeshState::None | MeshState::Evicted | MeshState::Left => !keeper.mesh.tasks.is_empty(),
    }
}

/// Keeps it up. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    let mut pause = FIRST_PAUSE;
    loop {
        while !is_wanted(&keeper) {
            keeper.alarms.clear(SUBJECT);
            let _ = tokio::time::timeout(Duration::from_secs(5), keeper.mesh.wanted.notified()).await;
        }
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = serve(&keeper) => ended,
            () = until_unwanted(&keeper) => continue,
            () = keeper.stopping.cancelled() => return,
        };
        if begun.elapsed() >= HEALTHY {
            pause = FIRST_PAUSE;
        }
        ::metrics::counter!("reverie_mesh_net_restarts_total").increment(1);
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        let message = format!("the role net is down, and no other host is heard: {why}; it is started again");
        keeper.alarms.raise(SUBJECT, message);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn until_unwanted(keeper: &Keeper) {
    while is_wanted(keeper) {
        let _ = tokio::time::timeout(Duration::from_secs(5), keeper.mesh.wanted.notified()).await;
    }
}

async fn serve(keeper: &Arc<Keeper>) -> Result<(), RoleError> {
    serve_on(keeper, keeper.roles.net()?).await
}

/// Answers until the other end closes.
pub(super) async fn serve_on(keeper: &Arc<Keeper>, socket: OwnedFd) -> Result<(), RoleError> {
    let channel: Answering<Request, Reply> = Answering::accept(socket, "net").await?;
    keeper.alarms.clear(SUBJECT);
    let at_once = AT_ONCE + keeper.policy().config.gossip.max_waiters as usize;
    let answer = |request: Result<Request, ProtocolError>, _| {
        let keeper = Arc::clone(keeper);
        async move {
            match request {
                Ok(request) => answering::answer(&keeper, request).await,
                Err(error) => Reply::Failed { message: error.to_string() },
            }
        }
    };
    Ok(channel.serve(at_once, answer).await?)
}
