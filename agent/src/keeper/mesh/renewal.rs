//! Intermediates of members, signed by an authority at their request.

use std::sync::Arc;

use reverie_core::id::NodeId;
use reverie_core::ipc::net::Reply;
use reverie_core::mesh::crypto::Kid;

use super::Keeper;

/// A member's request.
pub(super) async fn renew(_: &Arc<Keeper>, _: NodeId, _: Kid, _: Vec<u8>) -> Reply {
    Reply::Failed { message: "this version of the agent renews no intermediates".to_owned() }
}
