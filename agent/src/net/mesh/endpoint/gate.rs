//! Who asks, by the key of its handshake.

use std::sync::Arc;

use reverie_core::ipc::net::Reply;
use reverie_core::mesh::crypto::KemPublicKey;

use super::super::known::{Known, KnownPeer, Who};
use super::super::state::Net;
use crate::net::http::{Caller, Refusal};
use crate::ops::origin::Origin;

/// Strangers have a rate for each address; peers are known, and few.
pub fn limit(net: &Net, caller: &Caller) -> Result<(), Refusal> {
    let known = net.known().ok_or_else(not_ready)?;
    if let Some(key) = &caller.secured.key
        && known.is_welcome(key)
    {
        return Ok(());
    }
    match net.rates.admit(Origin::from(caller.address.ip()), known.settings.rate_per_second) {
        true => Ok(()),
        false => Err(Refusal::too_many("too many requests from this address; slow down")),
    }
}

/// Whose pinned key the handshake proved, if anyone's.
pub fn pinned(known: &Arc<Known>, caller: &Caller) -> Option<KnownPeer> {
    let key = caller.secured.key.as_ref()?;
    match known.who(&key.kid()) {
        Who::Peer(peer) if peer.key(&key.kid()) == Some(key) => Some(peer),
        _ => None,
    }
}

/// The peer that asks: its pinned key, over a post-quantum key exchange.
pub fn peer(net: &Net, caller: &Caller) -> Result<KnownPeer, Refusal> {
    let known = net.known().ok_or_else(not_ready)?;
    known.identity()?;
    let Some(key) = &caller.secured.key else {
        return Err(Refusal::new(401, "no_certificate", "peers show a certificate over their signing key; send one"));
    };
    let peer = match known.who(&key.kid()) {
        Who::Peer(peer) if peer.key(&key.kid()) == Some(key) => peer,
        Who::Refused(why) => return Err(Refusal::new(403, "not_admitted", why)),
        _ => {
            let message = "the key of this connection is not pinned by the mesh; join it, or have the host readmitted";
            return Err(Refusal::new(401, "unpinned", message));
        }
    };
    match caller.secured.hybrid {
        true => Ok(peer),
        false => Err(Refusal::new(
            403,
            "not_post_quantum",
            "peers speak over X25519MLKEM768 only; this connection used another key exchange: upgrade this host's agent",
        )),
    }
}

/// To what an answer to a peer is sealed.
pub fn kem_key(peer: &KnownPeer) -> Result<&KemPublicKey, Refusal> {
    let none = || Refusal::new(403, "no_key", "the mesh knows no KEM key of this host to answer to; register one");
    peer.kem_key.as_ref().ok_or_else(none)
}

/// Before the first situation.
pub fn not_ready() -> Refusal {
    Refusal::new(503, "not_ready", "this host has only just started; try again in a moment")
}

/// What the keeper said in place of an answer.
pub fn otherwise(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused { status: 429, message } => Refusal::too_many(message),
        Reply::Refused { status: 503, message } => Refusal::busy(message),
        Reply::Refused { status, message } => {
            let error = match status {
                400 => "malformed",
                401 => "not_authenticated",
                403 => "not_admitted",
                404 => "not_found",
                409 => "conflict",
                413 => "too_large",
                _ => "refused",
            };
            Refusal::new(status, error, message)
        }
        Reply::Failed { message } => Refusal::unavailable(message),
        other => Refusal::unavailable(format!("the keeper answered something else: {other:?}")),
    }
}
