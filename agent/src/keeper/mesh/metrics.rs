//! `reverie_mesh_*`, as `/metrics` shows them; `docs/reference/metrics.md` lists them.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use reverie_core::mesh::round::Liveness;
use reverie_core::mesh::vector::Position;
use reverie_core::moment::Moment;

use super::{Keeper, MeshState, clock};

/// Our newest writes that not every living peer has by its word.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged(BTreeMap<Position, Moment>);

/// More are not timed one by one.
const MAX_TIMED: usize = 256;

/// A write of ours is durable; from now on it is timed.
pub(super) fn note_write(keeper: &Keeper, position: Position) {
    let mut open = keeper.mesh.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    if open.0.len() < MAX_TIMED {
        open.0.insert(position, clock::now());
    }
}

/// What every living peer has is over.
pub(super) fn note_lag(keeper: &Keeper) {
    let least = {
        let peers = keeper.mesh.peers();
        let alive = peers.values().filter(|peer| peer.state == Liveness::Alive);
        alive.map(|peer| peer.acknowledged.unwrap_or_default()).min()
    };
    let now = clock::now();
    let mut open = keeper.mesh.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(least) = least else {
        // Nobody is there to have it.
        open.0.clear();
        return;
    };
    while let Some(first) = open.0.first_entry().filter(|first| *first.key() <= least) {
        ::metrics::histogram!("reverie_mesh_acknowledged_seconds").record(now.since(*first.get()).as_secs_f64());
        first.remove();
    }
}

/// Gauges, when they are asked for.
pub fn look(keeper: &Keeper) {
    let mesh = &keeper.mesh;
    let state = mesh.state();
    for known in MeshState::ALL {
        ::metrics::gauge!("reverie_mesh_state", "state" => known.as_str()).set(f64::from(u8::from(known == state)));
    }
    if state == MeshState::None {
        return;
    }
    let (records, bytes, held_back, unsaved) = {
        let held = mesh.read();
        let Some(core) = &held.core else { return };
        let view = reverie_core::mesh::view::View::of(&core.set, clock::now());
        (core.set.len(), core.set.bytes(), view.held_back().values().sum::<u64>(), core.unsaved.len())
    };
    ::metrics::gauge!("reverie_mesh_records").set(records as f64);
    ::metrics::gauge!("reverie_mesh_record_bytes").set(bytes as f64);
    ::metrics::gauge!("reverie_mesh_records_held_back").set(held_back as f64);
    ::metrics::gauge!("reverie_mesh_records_unsaved").set(unsaved as f64);
    let peers = mesh.peers();
    for known in Liveness::ALL {
        let count = peers.values().filter(|peer| peer.state == known).count();
        ::metrics::gauge!("reverie_mesh_peers", "state" => known.as_str()).set(count as f64);
    }
    let now = clock::now();
    for peer in peers.values() {
        let name = peer.node.to_string();
        if let Some(offset) = peer.offset_ms {
            ::metrics::gauge!("reverie_mesh_clock_offset_seconds", "peer" => name.clone()).set(offset as f64 / 1000.0);
        }
        if let Some(at) = peer.last_sync {
            ::metrics::gauge!("reverie_mesh_last_sync_seconds", "peer" => name).set(now.since(at).as_secs_f64());
        }
    }
    let mut shown = mesh.shown.lock().unwrap_or_else(PoisonError::into_inner);
    for gone in shown.iter().filter(|node| !peers.contains_key(*node)) {
        // The exporter keeps what was set once: not a number is not drawn, and raises no alarm.
        for gauge in ["reverie_mesh_clock_offset_seconds", "reverie_mesh_last_sync_seconds"] {
            ::metrics::gauge!(gauge, "peer" => gone.to_string()).set(f64::NAN);
        }
    }
    *shown = peers.keys().cloned().collect();
    drop((shown, peers));
    note_lag(keeper);
    let oldest = {
        let open = mesh.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        open.0.first_key_value().map_or(0.0, |(_, at)| now.since(*at).as_secs_f64())
    };
    ::metrics::gauge!("reverie_mesh_lag_seconds").set(oldest);
    if let Some(at) = mesh.topology().at {
        ::metrics::gauge!("reverie_mesh_topology_age_seconds").set(now.since(at).as_secs_f64());
    }
}
