//! This host's part of a handshake, signed by the keeper.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::net::{MeshIdentity, Reply, Request, Side};
use rustls::sign::SingleCertAndKey;

use super::verifier::SCHEME;
use crate::net::keeper::Keeper;
use crate::ops::certificate_verify;

/// The keeper signs in well under a millisecond; a handshake that waits longer is given up.
const DEADLINE: Duration = Duration::from_secs(5);

/// Our certificate with a key that is elsewhere.
pub(super) fn certified(keeper: &Arc<Keeper>, identity: &MeshIdentity, side: Side) -> Arc<SingleCertAndKey> {
    let keeper = Arc::clone(keeper);
    certificate_verify::certified(&identity.certificate_chain, side, SCHEME, move |side, transcript| {
        let request = Request::SignHandshake { side, transcript };
        let ask = keeper.ask(&request, DEADLINE);
        // The worker's other tasks go to another of the runtime's threads meanwhile, of which there are 512. The turns of `listener`
        // (64 of strangers, 64 of peers) and of those who dial (32) keep the handshakes far below: were all threads to wait here, none
        // would be left to read the keeper's answers.
        match tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ask)) {
            Ok(Reply::Signature(signature)) => Ok(signature),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
}
