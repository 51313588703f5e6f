//! Hosts that come in: by one-time token, or by Kerberos.

use std::sync::Arc;

use reverie_core::ipc::net::{Digest, JoinRequest, RegisterKem, Reply};

use super::Keeper;

fn not_here() -> Reply {
    Reply::Failed { message: "this version of the agent lets nobody join".to_owned() }
}

/// A host redeems a token.
pub(super) async fn join(_: &Arc<Keeper>, _: JoinRequest) -> Reply {
    not_here()
}

/// A host registers its keys by Kerberos.
pub(super) async fn register(_: &Arc<Keeper>, _: RegisterKem) -> Reply {
    not_here()
}

/// What this host posts to redeem its token over the connection with that exporter.
pub(super) async fn prepare(_: &Arc<Keeper>, _: u64, _: [u8; 32]) -> Reply {
    not_here()
}

/// The same by Kerberos: a token bound to the channel, and the body.
pub(super) async fn prepare_kerberos(_: &Arc<Keeper>, _: u64, _: Digest) -> Reply {
    not_here()
}

/// The server's answer; gives the body of the request to join.
pub(super) async fn finish_kerberos(_: &Arc<Keeper>, _: u64, _: Vec<u8>, _: Vec<u8>) -> Reply {
    not_here()
}
