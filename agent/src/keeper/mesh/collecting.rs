//! Our tombstones go once everyone has them: what lives below is said again with its stamps, then our floor rises above them.
//! Whoever was away and lies below the floor takes our records anew, and resurrects nothing.

use reverie_core::mesh::collection::{Collection, Floor};
use reverie_core::mesh::record::{Parsed, Stamp};
use reverie_core::mesh::vector::Position;
use reverie_core::mesh::view::View;

use super::writing::{self, Draft, Signed};
use super::{Core, Keeper, MeshError, clock};
use crate::keeper::state::Change;

/// Fewer are not worth a floor: it costs everyone a record, and one more for each of ours that lives.
const WORTH: usize = 256;

/// What a floor would take and cost.
struct Plan {
    floor: Position,
    tombstones: usize,
    repeated: Vec<(Stamp, Draft)>,
}

/// Raises our floor if that is worth it; says how many tombstones went.
pub(super) async fn collect(keeper: &Keeper) -> Result<usize, MeshError> {
    let mesh = &keeper.mesh;
    // Nothing of ours may change between the look and the floor.
    let turn = mesh.turn().await;
    let plan = {
        let held = mesh.read();
        let acknowledged = held.core.as_ref().and_then(|core| acknowledged(keeper, core));
        held.core.as_ref().zip(acknowledged).and_then(|(core, position)| plan(core, position))
    };
    let Some(Plan { floor, tombstones, repeated }) = plan else { return Ok(0) };
    let Some(ring) = mesh.keys() else { return Ok(0) };
    let again = |(stamp, draft)| Signed { stamp: Some(stamp), ..Signed::new(draft, &ring.current) };
    let mut signed: Vec<Signed> = repeated.into_iter().map(again).collect();
    let floor = Draft::put(Collection::Floors, keeper.host.node_id.as_str(), &Floor { collected: floor })?;
    signed.push(Signed::new(floor, &ring.current));
    writing::write_signed(keeper, turn, signed, Change::default(), |_| ()).await?;
    Ok(tombstones)
}

/// Up to where everyone who is in has our records, by their word; `None` if someone has said nothing.
fn acknowledged(keeper: &Keeper, core: &Core) -> Option<Position> {
    let peers = keeper.mesh.peers();
    let view = View::of(&core.set, clock::now());
    let others = view.members().hosts().iter().filter(|(node, member)| member.standing.is_some() && **node != core.node);
    let heard = others.map(|(node, _)| peers.get(node)?.vector.as_ref().map(|vector| vector.get(&core.node)));
    heard.collect::<Option<Vec<Position>>>()?.into_iter().min()
}

fn plan(core: &Core, acknowledged: Position) -> Option<Plan> {
    let (mut floor, mut tombstones, mut repeated) = (Position::default(), 0, vec![]);
    for record in core.set.history(&core.node) {
        let Ok(parsed) = Parsed::new(record) else { continue };
        let Ok(fields) = parsed.fields() else { continue };
        if fields.position > acknowledged || fields.collection.only_grows() || fields.collection == Collection::Floors {
            continue;
        }
        match fields.value {
            None => {
                tombstones += 1;
                floor = floor.max(fields.position);
            }
            Some(value) => {
                let (collection, key) = (fields.collection, fields.key.to_owned());
                repeated.push((fields.position, (fields.stamp, Draft { collection, key, value: Some(value.to_vec()) })));
            }
        }
    }
    // What lies above the last tombstone stays as it is.
    let repeated: Vec<(Stamp, Draft)> = repeated.into_iter().filter(|(at, _)| *at <= floor).map(|(_, draft)| draft).collect();
    (tombstones >= WORTH && tombstones >= repeated.len()).then_some(Plan { floor, tombstones, repeated })
}
