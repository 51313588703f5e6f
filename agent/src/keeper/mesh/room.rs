//! How much of its share of the mesh's records this host has used: no host may say more, and what would not be kept is not said.

use std::collections::BTreeMap;

use reverie_core::mesh::author::{Again, Room};
use reverie_core::mesh::collection::Collection;

use super::{Draft, Keeper};

/// Subject of the alarm.
const SUBJECT: &str = "mesh, room for records";

fn of(keeper: &Keeper) -> Vec<Room> {
    let held = keeper.mesh.read();
    held.core.as_ref().map(|core| Room::of(&core.set, &core.node)).unwrap_or_default()
}

/// Raises an alarm while a share is nearly used up.
pub(super) fn look(keeper: &Keeper) {
    let short = of(keeper).into_iter().filter(Room::is_short);
    let short: Vec<String> =
        short.map(|room| format!("{} of {} records in {}", room.taken, room.share, room.collection.as_str())).collect();
    match short.is_empty() {
        true => keeper.alarms.clear(SUBJECT),
        false => keeper.alarms.raise(
            SUBJECT,
            format!(
                "this host has said nearly as much in the mesh as one host may: {}; remove what is of no use any more, and have \
                 another authority say what else is to be said",
                short.join(", ")
            ),
        ),
    }
}

/// What is to be said again and finds room, and the rest.
pub(super) fn fitting(keeper: &Keeper, estate: Vec<Again>) -> (Vec<Again>, Vec<Again>) {
    let mut left: BTreeMap<Collection, u64> =
        of(keeper).into_iter().map(|room| (room.collection, room.share.saturating_sub(room.taken))).collect();
    estate.into_iter().partition(|again| match left.get_mut(&again.collection) {
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
        None => true,
    })
}

/// Leaves out revocations that there is no room for, and says so: what else is to be said must not wait for them, the lists that
/// name them least of all.
pub(super) fn without_what_is_too_much(keeper: &Keeper, drafts: Vec<Draft>) -> (Vec<Draft>, Option<String>) {
    let is_revocation = |draft: &Draft| draft.collection == Collection::Revocations;
    let room = of(keeper).into_iter().find(|room| room.collection == Collection::Revocations);
    let Some(room) = room else { return (drafts, None) };
    let mut left = room.share.saturating_sub(room.taken);
    let all = drafts.len();
    let keeps = |draft: &Draft| {
        let keep = !is_revocation(draft) || left > 0;
        left = left.saturating_sub(u64::from(is_revocation(draft)));
        keep
    };
    let kept: Vec<Draft> = drafts.into_iter().filter(keeps).collect();
    let missing = all - kept.len();
    let finding = format!(
        "{missing} revocations are named by this host's lists alone: it has said as many in records as one host may ({})",
        room.share
    );
    (kept, (missing > 0).then_some(finding))
}
