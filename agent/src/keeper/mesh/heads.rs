//! Our audit log's newest signed head, told to the others: a log that is rewritten below it contradicts what they hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_core::audit::SignedHead;
use reverie_core::mesh::collection::{AuditHead, Collection};

use super::writing::{self, Draft};
use super::{Keeper, MeshError, MeshState, collecting, keys};
use crate::keeper::state::Change;

/// How often it is told, at most. Writing is an event of its own accord only for others.
const EVERY: Duration = Duration::from_secs(60);
/// How often is looked whether tombstones can go.
const COLLECT_EVERY: Duration = Duration::from_secs(600);

/// Keeps our own record and audit head up to date. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    let mut collected = Instant::now();
    loop {
        keeper.mesh.settled.wait().await;
        if matches!(keeper.mesh.state(), MeshState::Member | MeshState::Authority)
            && let Err(error) = tell(&keeper).await
        {
            tracing::warn!(%error, "our record and audit head could not be told to the mesh");
        }
        if collected.elapsed() >= COLLECT_EVERY && matches!(keeper.mesh.state(), MeshState::Member | MeshState::Authority) {
            collected = Instant::now();
            match collecting::collect(&keeper).await {
                Ok(0) => {}
                Ok(tombstones) => tracing::info!(tombstones, "tombstones that every host has were collected"),
                Err(error) => tracing::warn!(%error, "tombstones could not be collected"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = keeper.mesh.own_due.notified() => {}
        }
    }
}

pub(super) async fn tell(keeper: &Keeper) -> Result<(), MeshError> {
    let node = keeper.host.node_id.as_str();
    let mut drafts = vec![];
    if let Some(ring) = keeper.mesh.keys() {
        let own = keys::own_record(keeper, &ring.speaking)?;
        let known = keeper.mesh.look(|view| view.get(Collection::Nodes, node).map(|value| value.bytes.to_vec())).flatten();
        if known != own.value {
            drafts.push(own);
        }
    }
    if let Some(signed) = keeper.state.signed_head()
        && is_news(keeper, node, &signed)
        && let Ok(json) = serde_json::to_string(&signed)
    {
        drafts.push(Draft::put(Collection::AuditHeads, node, &AuditHead { signed: json })?);
    }
    if !drafts.is_empty() {
        writing::write(keeper, drafts, Change::default()).await?;
    }
    Ok(())
}

/// Heads are told rarely on a quiet host: each costs everyone a record.
fn is_news(keeper: &Keeper, node: &str, signed: &SignedHead) -> bool {
    let told = keeper.mesh.look(|view| view.read::<AuditHead>(Collection::AuditHeads, node)).flatten();
    let told = told.and_then(|head| serde_json::from_str::<SignedHead>(&head.signed).ok());
    told.is_none_or(|told| told.head != signed.head)
}
