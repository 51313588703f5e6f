//! What an authority does for others unasked: it confirms that a host went on to its next key, and says again what an
//! authority that is out had said for the mesh. The most senior does it at once, others if it stays undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::id::NodeId;
use reverie_core::mesh::author::Again;
use reverie_core::mesh::collection::{Collection, Confirmation, key};
use reverie_core::mesh::crypto::Kid;
use reverie_core::mesh::view::View;

use super::writing::{self, Draft, Signed};
use super::{Keeper, MeshError, MeshState, ending, room, wrapping};
use crate::keeper::clock;
use crate::keeper::state::Change;

/// So much longer waits each authority than the one senior to it.
const EACH_WAITS: Duration = Duration::from_secs(30);
/// How often it is looked whether others did it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is to be done, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Confirm(NodeId, Kid),
    SayAgain(NodeId),
}

/// Duties, and since when each is known.
#[derive(Default)]
pub(super) struct Duties(BTreeMap<Duty, Instant>);

/// Does what is due. Never ends.
pub(super) async fn follow(keeper: Arc<Keeper>) {
    let (mut duties, mut changes) = (Duties::default(), keeper.mesh.watch());
    loop {
        changes.mark_unchanged();
        if let Err(error) = duties.once(&keeper).await {
            tracing::warn!(%error, "what an authority does for others could not be done; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

impl Duties {
    pub(super) async fn once(&mut self, keeper: &Arc<Keeper>) -> Result<(), MeshError> {
        if keeper.mesh.state() != MeshState::Authority {
            self.0.clear();
            return Ok(());
        }
        let us = &keeper.host.node_id;
        let open = keeper.mesh.look(|view| open(view, us)).unwrap_or_default();
        self.0.retain(|duty, _| open.contains_key(duty));
        let mut done = Ok(());
        for (duty, rank) in open {
            let since = *self.0.entry(duty.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= EACH_WAITS * rank {
                // One that cannot be done holds up no other.
                done = done.and(perform(keeper, &duty).await);
            }
        }
        done
    }
}

/// What is left to be done, and how many authorities are to do it before us.
fn open(view: &View<'_>, us: &NodeId) -> BTreeMap<Duty, u32> {
    let members = view.members();
    let rank = |of: &NodeId| {
        let before = members.seniors().iter().filter(|node| *node != of).position(|node| node == us);
        before.and_then(|before| u32::try_from(before).ok())
    };
    let rotations = members.rotations().iter().filter(|rotation| !rotation.confirmed && rotation.record.is_some());
    let confirm = rotations.map(|rotation| (&rotation.node, Duty::Confirm(rotation.node.clone(), rotation.previous)));
    let left = members.hosts().iter().filter(|(_, member)| member.standing.is_none());
    // Of one that was put out, what is upheld since its evictor had no room.
    let left = left.filter(|(node, _)| !view.estate_of(node).is_empty());
    let again = left.map(|(node, _)| (node, Duty::SayAgain(node.clone())));
    confirm.chain(again).filter(|(node, _)| *node != us).filter_map(|(node, duty)| Some((duty, rank(node)?))).collect()
}

async fn perform(keeper: &Arc<Keeper>, duty: &Duty) -> Result<(), MeshError> {
    let turn = keeper.mesh.turn_to_write().await;
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let (drafts, again, node, reason) = match duty {
        Duty::Confirm(node, previous) => {
            let record = keeper.mesh.look(|view| {
                let mut rotations = view.members().rotations().iter();
                rotations.find(|one| one.node == *node && one.previous == *previous && !one.confirmed)?.record
            });
            let Some(record) = record.flatten() else { return Ok(()) };
            let confirmation = Confirmation { node: node.clone(), previous: *previous, record };
            let draft = Draft::put(Collection::Confirmations, key::confirmation(node, previous), &confirmation)?;
            (vec![draft], vec![], node, format!("the key that followed {previous} is confirmed"))
        }
        Duty::SayAgain(node) => {
            let estate: Vec<Again> = keeper.mesh.look(|view| view.estate_of(node)).unwrap_or_default();
            // The rest is upheld, and waits for an authority that has room.
            let (again, _) = room::fitting(keeper, wrapping::that_may_be_repeated(keeper, estate)?);
            if again.is_empty() {
                return Ok(());
            }
            let reason = format!("{} records that it had said for the mesh before it was out are said again", again.len());
            (vec![], again, node, reason)
        }
    };
    let kind = if again.is_empty() { Kind::KeysRotated } else { Kind::HostEvicted };
    let subject = Subject { object: Some(node.to_string()), ..Subject::default() };
    let event = Event { time: clock::now(), kind, outcome: Outcome::Done, actor: Actor::Agent, subject, reason: Some(reason) };
    let mut signed: Vec<Signed> = ending::again(again, &ring).collect();
    signed.extend(drafts.into_iter().map(|draft| Signed::new(draft, &ring.current)));
    writing::write_signed(keeper, turn, signed, Change { writes: vec![], events: vec![event] }, |_| ()).await?;
    Ok(())
}
