//! The cluster wrapping key.

use std::sync::Arc;

use reverie_core::id::NodeId;
use reverie_core::ipc::net::Reply;

use super::Keeper;

/// The newest version that this host holds.
pub(super) fn held_version(_: &Keeper) -> Option<u64> {
    None
}

/// A host wants the key, sealed to it.
pub(super) async fn serve(_: &Arc<Keeper>, _: NodeId, _: Option<[u8; 16]>) -> Reply {
    Reply::Failed { message: "this version of the agent has no wrapping key".to_owned() }
}
