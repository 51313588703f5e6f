//! Asks for the topology when it is set up, and then again and again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reverie_core::ipc::net::{Request, Topology, TopologySettings};

use super::topology;
use crate::net::clock;
use crate::net::mesh::state::Net;

/// For one look, whatever the servers do.
const LOOK: Duration = Duration::from_secs(30);
const TELL: Duration = Duration::from_secs(30);

/// Looks at once when it is set up, and then again and again. Never ends.
pub async fn run(net: Arc<Net>) {
    let mut known = net.known.clone();
    let mut settings: Option<TopologySettings> = None;
    loop {
        let newest = known.borrow_and_update().as_ref().and_then(|known| known.settings.topology.clone());
        if newest != settings {
            settings = newest;
            if let Some(settings) = &settings {
                look(&net, settings).await;
            }
        }
        let pause = settings.as_ref().map_or(Duration::MAX, |settings| Duration::from_secs(settings.interval_s.max(1).into()));
        // A change of anything else does not put the next look off.
        let due = tokio::time::Instant::now() + pause.min(Duration::from_secs(1 << 30));
        loop {
            tokio::select! {
                changed = known.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let newest = known.borrow_and_update().as_ref().and_then(|known| known.settings.topology.clone());
                    if newest != settings {
                        known.mark_changed();
                        break;
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    if let Some(settings) = &settings {
                        look(&net, settings).await;
                    }
                    break;
                }
            }
        }
    }
}

async fn look(net: &Net, settings: &TopologySettings) {
    let nodes = match tokio::time::timeout(LOOK, topology::look_up(settings)).await {
        Ok(nodes) => nodes,
        Err(_) => Err(format!("no directory server answered within {} s", LOOK.as_secs())),
    };
    if let Ok(nodes) = &nodes {
        net.topology.lock().unwrap_or_else(PoisonError::into_inner).clone_from(nodes);
    }
    if let Err(error) = net.keeper.ask(&Request::Topology(Topology { at: clock::now(), nodes }), TELL).await {
        tracing::warn!(%error, "the keeper was not told of the topology");
    }
}
