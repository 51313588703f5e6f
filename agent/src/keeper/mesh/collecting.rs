//! Our tombstones go once everyone has them: what lives below is said again with its stamps, then our floor rises above them.
//! Whoever was away and lies below the floor takes our records anew, and resurrects nothing.

use std::collections::BTreeMap;

use reverie_core::id::NodeId;
use reverie_core::mesh::author::{Again, Sweep};
use reverie_core::mesh::collection::Collection;
use reverie_core::mesh::vector::VersionVector;
use reverie_core::mesh::view::View;

use super::writing::{self, Draft, Signed};
use super::{Core, Keeper, MeshError, clock};
use crate::keeper::state::Change;

/// Fewer are not worth a floor: it costs everyone a record, and one more for each of ours that lives.
const WORTH: usize = 256;

/// Raises our floor if that is worth it; says how many tombstones went.
pub(super) async fn collect(keeper: &Keeper) -> Result<usize, MeshError> {
    let mesh = &keeper.mesh;
    // Nothing of ours may change between the look and the floor.
    let turn = mesh.turn_to_write().await;
    let plan = {
        let held = mesh.read();
        let plan = |core: &Core| Sweep::plan(&core.set, &core.node, &acknowledged(keeper, core)?, WORTH);
        held.core.as_ref().and_then(plan)
    };
    let Some(Sweep { again, floor, collected }) = plan else { return Ok(0) };
    let Some(ring) = mesh.keys() else { return Ok(0) };
    let repeat = |Again { collection, key, value, stamp, .. }| Signed {
        stamp: Some(stamp),
        ..Signed::new(Draft { collection, key, value }, &ring.current)
    };
    let mut signed: Vec<Signed> = again.into_iter().map(repeat).collect();
    let floor = Draft::put(Collection::Floors, keeper.host.node_id.as_str(), &floor)?;
    signed.push(Signed::new(floor, &ring.current));
    writing::write_signed(keeper, turn, signed, Change::default(), |_| ()).await?;
    Ok(collected)
}

/// What everyone else who is in has, by their word. `None` if someone has said nothing, or was not found to have the same as
/// we in this epoch: after a restore it may have records of ours that live, and that we do not know of.
fn acknowledged(keeper: &Keeper, core: &Core) -> Option<BTreeMap<NodeId, VersionVector>> {
    let (peers, epoch) = (keeper.mesh.peers(), core.author.position().epoch);
    let view = View::of(&core.set, clock::now());
    let others = view.members().hosts().iter().filter(|(node, member)| member.standing.is_some() && **node != core.node);
    let heard = others.map(|(node, _)| {
        let peer = peers.get(node).filter(|peer| peer.agreed_in == Some(epoch) && !peer.is_ahead)?;
        Some((node.clone(), VersionVector([(core.node.clone(), peer.acknowledged?)].into())))
    });
    heard.collect()
}
