//! After this host's keys were rotated: records are signed with the newest at once, but connections and envelopes go on with
//! those before until every host knows the newest. One that did not could refuse this host for good, where no third tells it.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::mesh::collection::{Collection, key};

use super::{Keeper, MeshError, MeshState, keys};
use crate::keeper::clock;
use crate::keeper::state::Change;

/// A host that has been away for longer learns of it from a third, or is readmitted.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// How often peers are asked after while it lasts, and whether it lasts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Ends the overlap when its time has come. Never ends.
pub(super) async fn follow(keeper: Arc<Keeper>) {
    loop {
        if let Err(error) = end_if_known(&keeper).await {
            tracing::warn!(%error, "this host goes on with its keys from before the rotation");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Goes on to the newest keys if everyone knows them, by their word; `true` if so.
pub(super) async fn end_if_known(keeper: &Keeper) -> Result<bool, MeshError> {
    let Some(ring) = keeper.mesh.keys().filter(|ring| ring.is_rotating()) else { return Ok(false) };
    // A host that is out, or was copied, goes on to nothing.
    if !matches!(keeper.mesh.state(), MeshState::Member | MeshState::Authority) {
        return Ok(false);
    }
    let late = clock::now() >= ring.current.made_at.after(LONGEST);
    if !late && !is_known(keeper, &ring) {
        return Ok(false);
    }
    let subject = Subject { object: Some(keeper.host.node_id.to_string()), ..Subject::default() };
    let reason = Some(format!("{} is the key this host speaks with now", ring.current.kid()));
    let (time, kind) = (clock::now(), Kind::KeysRotated);
    let event = Event { time, kind, outcome: Outcome::Done, actor: Actor::Agent, subject, reason };
    keys::speak_with_newest(keeper, Change { writes: vec![], events: vec![event] }).await?;
    Ok(true)
}

fn is_known(keeper: &Keeper, ring: &keys::Ring) -> bool {
    let us = &keeper.host.node_id;
    let name = key::host_key(us, &ring.current.kid());
    let peers = keeper.mesh.peers().clone();
    let known = keeper.mesh.look(|view| {
        let said = view.get(Collection::HostKeys, &name)?.position;
        let others = view.members().hosts().iter().filter(|(node, member)| *node != us && member.standing.is_some());
        let has = |node| peers.get(node).and_then(|peer| peer.acknowledged).is_some_and(|has| has >= said);
        Some(others.map(|(node, _)| node).all(has))
    });
    known.flatten().unwrap_or_default()
}
