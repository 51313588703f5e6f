//! The role `tunnel`: reached by the packaged unit's socket or started, as long as a tunnel is declared; again, with growing
//! pauses, when it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_core::ipc::ProtocolError;
use reverie_core::ipc::tunnel::{Reply, Request};

use super::{SUBJECT, answer, report, situation, trust};
use crate::keeper::Keeper;
use crate::keeper::roles::RoleError;
use crate::ops::channel::Answering;

/// Questions answered at once: a few for each tunnel wait for callers.
const AT_ONCE: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that ran so long ended for another reason than the one before.
const HEALTHY: Duration = Duration::from_secs(60);

/// Keeps it up. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    tokio::spawn(situation::follow(Arc::clone(&keeper)));
    let mut situations = keeper.tunnels.situation.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        let wanted = tokio::select! {
            wanted = situations.wait_for(|situation| !situation.tunnels.is_empty()) => wanted.is_ok(),
            () = keeper.stopping.cancelled() => false,
        };
        if !wanted {
            return;
        }
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = serve(&keeper) => ended,
            _ = situations.wait_for(|situation| situation.tunnels.is_empty()) => {
                report::forget(&keeper);
                keeper.alarms.clear(SUBJECT);
                keeper.alarms.clear(trust::SUBJECT);
                continue;
            }
            () = keeper.stopping.cancelled() => return,
        };
        if begun.elapsed() >= HEALTHY {
            pause = FIRST_PAUSE;
        }
        ::metrics::counter!("reverie_tunnel_restarts_total").increment(1);
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        report::forget(&keeper);
        keeper.alarms.raise(SUBJECT, format!("the role tunnel is down, and with it every tunnel: {why}; it is started again"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Answers until the other end closes.
async fn serve(keeper: &Arc<Keeper>) -> Result<(), RoleError> {
    let channel: Answering<Request, Reply> = Answering::accept(keeper.roles.tunnel()?, "tunnel").await?;
    keeper.alarms.clear(SUBJECT);
    let answer = |request: Result<Request, ProtocolError>, _| {
        let keeper = Arc::clone(keeper);
        async move {
            match request {
                Ok(request) => answer(&keeper, request).await,
                Err(error) => Reply::Failed(error.to_string()).into(),
            }
        }
    };
    Ok(channel.serve(AT_ONCE, answer).await?)
}
