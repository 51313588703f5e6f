//! `POST /api/mesh/join`: by token (JSON), or, for a host whose key is pinned already, by an envelope. Certificates do not
//! matter here, so a host whose certificates have all ended comes back by itself.

use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Reply, Request as Ask};
use reverie_core::mesh::crypto::KemPublicKey;
use reverie_core::mesh::envelope;
use reverie_core::mesh::join::request::{self, MAX_BODY};
use reverie_core::mesh::message::{Content, Expected, Message, Nonce, WIRE};
use zeroize::Zeroizing;

use super::super::known::Who;
use super::super::sealing::{self, SealingError};
use super::super::state::Net;
use super::{CMS, gate};
use crate::net::clock;
use crate::net::http::{Answer, Caller, Refusal, content_type, read};

/// An envelope around a renewal request.
const MAX_RENEWAL: usize = 64 * 1024;
const BODY: Duration = Duration::from_secs(10);
/// An intermediate is signed and recorded on the way.
const DEADLINE: Duration = Duration::from_secs(30);

pub async fn answer(net: &Net, caller: &Caller, request: Request<Incoming>) -> Result<Answer, Refusal> {
    net.known().ok_or_else(gate::not_ready)?.identity()?;
    match &*content_type(request.headers()) {
        "application/json" => {
            let body = read(request.into_body(), MAX_BODY, BODY).await?;
            by_token(net, caller, &body).await
        }
        CMS => {
            let body = read(request.into_body(), MAX_RENEWAL, BODY).await?;
            by_key(net, &body).await
        }
        _ => Err(Refusal::media("application/json or application/pkcs7-mime")),
    }
}

async fn by_token(net: &Net, caller: &Caller, body: &[u8]) -> Result<Answer, Refusal> {
    if !caller.secured.hybrid {
        let message = "hosts join over X25519MLKEM768 only; this connection used another key exchange: upgrade the agent there";
        return Err(Refusal::new(403, "not_post_quantum", message));
    }
    let request = request::from_body(body, caller.secured.exporter).map_err(|error| Refusal::malformed(error.to_string()))?;
    let node = request.node.clone();
    let reply = net.keeper.ask(&Ask::Join(request), DEADLINE).await.map_err(Refusal::unavailable)?;
    // What it speaks is not known before it is a member.
    sealed(net, &node, *WIRE.start(), None, reply, Content::Join).await
}

async fn by_key(net: &Net, body: &[u8]) -> Result<Answer, Refusal> {
    let known = net.known().ok_or_else(gate::not_ready)?;
    let identity = known.identity()?;
    let kid = envelope::parse(body, MAX_RENEWAL).map_err(SealingError::from)?.signer();
    let peer = match known.who(&kid) {
        Who::Peer(peer) => peer,
        Who::Refused(why) => return Err(Refusal::new(403, "not_admitted", why)),
        Who::Stranger => {
            let message = "the key that signed is not pinned by the mesh; join by a token, or register by Kerberos first";
            return Err(Refusal::new(401, "unpinned", message));
        }
    };
    let Some(key) = peer.key(&kid) else { return Err(gate::not_ready()) };
    let plaintext = sealing::open(net, body, MAX_RENEWAL, key).await?;
    // A host that registered by Kerberos does not know the mesh's name yet.
    let expected = Expected {
        mesh: None,
        sender: Some(&peer.node),
        recipient: &identity.node,
        in_reply_to: None,
        newest_wire: known.settings.newest_wire,
    };
    let message = Message::unpack(&plaintext, &expected, clock::now()).map_err(SealingError::from)?;
    if message.mesh != identity.mesh && message.mesh != [0; 16] {
        return Err(Refusal::malformed("the message is for another mesh; ask a host of that one"));
    }
    net.take(&message).map_err(SealingError::from)?;
    let (nonce, wire) = (message.nonce, message.version);
    let Content::Renewal(payload) = message.content else {
        return Err(Refusal::malformed("the message asks for no certificate; POST records to /api/gossip/sync"));
    };
    gate::kem_key(&peer)?;
    let request = Ask::Renew { node: peer.node.clone(), kid, payload: payload.to_vec() };
    let reply = net.keeper.ask(&request, DEADLINE).await.map_err(Refusal::unavailable)?;
    sealed(net, &peer.node, wire, Some(nonce), reply, Content::Renewal).await
}

async fn sealed(
    net: &Net,
    node: &NodeId,
    wire: u16,
    in_reply_to: Option<Nonce>,
    reply: Reply,
    content: fn(Zeroizing<Vec<u8>>) -> Content,
) -> Result<Answer, Refusal> {
    let (recipient, payload): (KemPublicKey, _) = match reply {
        Reply::Sealable { recipient, payload } => (recipient, Zeroizing::new(payload)),
        other => return Err(gate::otherwise(other)),
    };
    // Anew: a join changes the situation, and may well have changed it already.
    let known = net.known().ok_or_else(gate::not_ready)?;
    let identity = known.identity()?;
    let message = sealing::message(net, identity, node, wire, in_reply_to, content(payload))?;
    Ok(Answer::bytes(CMS, sealing::seal(net, &message, &identity.signing_key.kid(), &recipient).await?))
}
