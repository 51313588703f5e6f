//! `GET /api/gossip/wrapping-key`: the cluster wrapping key, sealed to whoever is said to ask.

use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Reply, Request as Ask};
use reverie_core::mesh::message::{Content, WIRE};
use zeroize::Zeroizing;

use super::super::sealing;
use super::super::state::Net;
use super::{CMS, gate};
use crate::net::http::{Answer, Caller, Refusal};

const DEADLINE: Duration = Duration::from_secs(10);
/// Both names of the header: the seed's, and ours.
pub const NODE_ID: [&str; 2] = ["x-ahdapa-node-id", "x-reverie-node-id"];
/// 32 hexadecimal digits, found again in the answer.
pub const NONCE: &str = "x-reverie-nonce";

pub async fn answer(net: &Net, caller: &Caller, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    let known = net.known().ok_or_else(gate::not_ready)?;
    let identity = known.identity()?;
    let (node, nonce) = (asker(request)?, nonce(request)?);
    let peer = known.peer(&node);
    peer.as_ref().map(gate::kem_key).transpose()?;
    let caller = gate::pinned(&known, caller).map(|peer| peer.node.clone());
    let asked = net.keeper.ask(&Ask::WrappingKey { node: node.clone(), caller, nonce }, DEADLINE).await;
    let (recipient, payload) = match asked.map_err(Refusal::unavailable)? {
        Reply::Sealable { recipient, payload } => (recipient, Zeroizing::new(payload)),
        other => return Err(gate::otherwise(other)),
    };
    let wire = peer.map_or(*WIRE.start(), |peer| peer.wire);
    let message = sealing::message(net, identity, &node, wire, nonce, Content::WrappingKey(payload))?;
    Ok(Answer::bytes(CMS, sealing::seal(net, &message, &identity.signing_key.kid(), &recipient).await?))
}

fn asker(request: &Request<Incoming>) -> Result<NodeId, Refusal> {
    let values: Vec<_> = NODE_ID.iter().flat_map(|name| request.headers().get_all(*name)).collect();
    let Some(first) = values.first() else {
        return Err(Refusal::malformed("who asks is missing; send X-Ahdapa-Node-Id or X-Reverie-Node-Id"));
    };
    if values.iter().any(|value| value != first) {
        return Err(Refusal::malformed("two headers name two hosts; send one"));
    }
    let node = first.to_str().ok().and_then(|text| text.parse().ok());
    node.ok_or_else(|| Refusal::malformed("the header that says who asks holds no node id"))
}

fn nonce(request: &Request<Incoming>) -> Result<Option<[u8; 16]>, Refusal> {
    let Some(value) = request.headers().get(NONCE) else { return Ok(None) };
    let nonce = data_encoding::HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    nonce.map(Some).ok_or_else(|| Refusal::malformed("X-Reverie-Nonce must be 32 hexadecimal digits"))
}
