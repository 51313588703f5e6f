//! Whom to wait on, and waiting.

use std::time::Instant;

use reverie_core::api::mesh::{HostStatus, MeshStatus};
use tokio::sync::mpsc;

use super::PATIENCE;
use crate::failure::Failure;
use crate::mesh_client::{Connection, Target};

/// Everyone but ourselves that is alive.
pub(super) fn targets(status: &MeshStatus) -> Vec<Target> {
    let others = status.hosts.iter().filter(|host| host.standing.is_some() && host.state != "self" && host.state != "down");
    let one = |host: &HostStatus| Some(Target { node: host.node_id.to_string(), address: host.addresses.first()?.clone() });
    others.filter_map(one).collect()
}

/// A host has what it was asked for.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) host: usize,
    pub(super) at: Result<Instant, Failure>,
}

/// Waits for one client after the other.
pub(super) async fn serve(mut connection: Connection, host: usize, mut asked: mpsc::Receiver<String>, tell: mpsc::Sender<Seen>) {
    while let Some(id) = asked.recv().await {
        let at = connection.wait(&id, PATIENCE).await;
        let goes_on = at.is_ok();
        if tell.send(Seen { host, at }).await.is_err() || !goes_on {
            return;
        }
    }
}
