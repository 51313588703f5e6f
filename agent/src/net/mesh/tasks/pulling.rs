//! What a member asks of a peer: its intermediate, the cluster wrapping key.

use hyper::header::{HeaderName, HeaderValue};
use reverie_core::id::NodeId;
use reverie_core::mesh::message::Content;
use zeroize::Zeroizing;

use super::super::endpoint::{CMS, NODE_ID, NONCE};
use super::super::exchange::{open, refused};
use super::super::known::KnownPeer;
use super::super::peers::Asking;
use super::super::sealing;
use super::super::state::Net;

/// Bytes of an answer.
pub(super) const MAX_ANSWER: usize = 4 << 20;

fn peer(net: &Net, node: &NodeId) -> Result<KnownPeer, String> {
    let peer = net.known().and_then(|known| known.peer(node));
    peer.ok_or_else(|| format!("{node} is no peer of this host; see `agentctl mesh peers`"))
}

/// Asks an authority for an intermediate. The connection is not what it goes by: the request is signed by the pinned key.
pub async fn renew(net: &Net, authority: &NodeId, payload: Vec<u8>) -> Result<Vec<u8>, String> {
    let peer = peer(net, authority)?;
    let text = |error: sealing::SealingError| error.to_string();
    let identity = peer.known().identity().map_err(|refusal| refusal.message)?;
    let kem = peer.kem_key.as_ref().ok_or_else(|| format!("{authority} has not registered a KEM key yet"))?;
    let content = Content::Renewal(Zeroizing::new(payload));
    let message = sealing::message(net, identity, authority, peer.wire, None, content).map_err(text)?;
    let sealed = sealing::seal(net, &message, &identity.signing_key.kid(), kem).await.map_err(text)?;
    let (status, body) = net.peers.ask(net, &peer, Asking::post("/api/mesh/join", CMS, sealed, MAX_ANSWER)).await?;
    if status != 200 {
        return Err(refused(status, &body));
    }
    match open(net, &peer, &body, MAX_ANSWER, &message.nonce).await?.content {
        Content::Renewal(payload) => Ok(payload.to_vec()),
        _ => Err("it answered with another kind of message".to_owned()),
    }
}

/// Asks a peer for the cluster wrapping key.
pub async fn wrapping_key(net: &Net, from: &NodeId, nonce: [u8; 16]) -> Result<Vec<u8>, String> {
    let peer = peer(net, from)?;
    let identity = peer.known().identity().map_err(|refusal| refusal.message)?;
    let mut asking = Asking::get("/api/gossip/wrapping-key", MAX_ANSWER);
    let node = HeaderValue::from_str(identity.node.as_str()).map_err(|error| error.to_string())?;
    for name in NODE_ID {
        asking.headers.insert(HeaderName::from_static(name), node.clone());
    }
    let written = HeaderValue::from_str(&data_encoding::HEXLOWER.encode(&nonce)).map_err(|error| error.to_string())?;
    asking.headers.insert(HeaderName::from_static(NONCE), written);
    let (status, body) = net.peers.ask(net, &peer, asking).await?;
    if status != 200 {
        return Err(refused(status, &body));
    }
    match open(net, &peer, &body, MAX_ANSWER, &nonce).await?.content {
        Content::WrappingKey(payload) => Ok(payload.to_vec()),
        _ => Err("it answered with another kind of message".to_owned()),
    }
}
