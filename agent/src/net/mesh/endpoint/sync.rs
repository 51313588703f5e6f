//! `POST /api/gossip/sync`: a peer's page of records comes, ours goes back.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use reverie_core::ipc::net::{Merged, Page, Reply, Request as Ask};
use reverie_core::mesh::envelope;
use reverie_core::mesh::message::{Content, Expected, Message, Sync};
use reverie_core::mesh::round::Inbound;

use super::super::conduct;
use super::super::known::KnownPeer;
use super::super::rounds::Event;
use super::super::sealing::{self, SealingError};
use super::super::state::Net;
use super::super::{MERGE, RECORDS, page_limit};
use super::{CMS, gate};
use crate::net::http::{Answer, Caller, Refusal, content_type, read};
use crate::net::{clock, counters};

/// Exchanges in work: all together, and of one peer. Each may be a message of megabytes and its records; a healthy peer begins
/// the next when the last has ended, or was given up.
const AT_ONCE: (u32, u32) = (64, 2);
/// For the whole body.
const BODY: Duration = Duration::from_secs(30);

pub async fn answer(net: &Arc<Net>, caller: &Caller, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let peer = gate::peer(net, caller)?;
    if content_type(request.headers()) != CMS {
        return Err(Refusal::media(CMS));
    }
    if net.conduct.is_shunned(&peer.node) {
        return Err(Refusal::too_many("this host handed over forged records; it is left alone for a minute"));
    }
    let turn = net.syncs.take(peer.node.clone(), 1, AT_ONCE.0, AT_ONCE.1);
    let _turn =
        turn.ok_or_else(|| Refusal::busy("too many exchanges are in work; wait for their answers, then send the next"))?;
    let limit = peer.known().settings.max_message as usize;
    let body = read(request.into_body(), limit, BODY).await?;
    counters::add(&net.counters.bytes_received, body.len() as u64);
    let message = open(net, &peer, &body, limit).await?;
    net.take(&message).map_err(SealingError::from)?;
    let Content::Sync(sync) = message.content else {
        return Err(Refusal::malformed("the message is no exchange of records; POST it to /api/mesh/join"));
    };
    let offset = message.issued_at.as_millis().saturating_sub(clock::now().as_millis());
    net.book.heard(&peer.node, sync.vector.clone(), offset, peer.known());

    let theirs = sync.vector.clone();
    let merged = merge(net, &peer, sync.records, sync.vector).await?;
    let since = sync.request_delta_since;
    let page = match net.keeper.ask(&Ask::Records { to: peer.node.clone(), since, limit: page_limit(limit) }, RECORDS).await {
        Ok(Reply::Page(page)) => page,
        Ok(other) => return Err(gate::otherwise(other)),
        Err(error) => return Err(Refusal::unavailable(error)),
    };
    let Page { records, more } = page;
    counters::add(&net.counters.records_sent, records.len() as u64);
    let asked_before = net.book.anew(&peer.node);
    let asks = merged.wanted_anew.iter().any(|author| !asked_before.contains_key(author));
    net.book.want_anew(&peer.node, merged.wanted_anew.iter().cloned());
    let inbound = Inbound { taken: merged.taken, equal: !more && !sync.more && merged.vector.covers(&theirs), asks };
    let reply = Sync { request_delta_since: Some(merged.vector.clone()), vector: merged.vector, more, records };
    let envelope = seal(net, &peer, message.version, message.nonce, reply).await?;
    net.book.synced_inbound(&peer.node);
    let _ = net.rounds.try_send(Event::Merged { from: peer.node.clone(), inbound });
    counters::add(&net.counters.bytes_sent, envelope.len() as u64);
    Ok(Answer::bytes(CMS, envelope))
}

/// By the very peer whose connection it is.
async fn open(net: &Net, peer: &KnownPeer, body: &[u8], limit: usize) -> Result<Message, Refusal> {
    let signer = envelope::parse(body, limit).map_err(SealingError::from)?.signer();
    let Some(key) = peer.key(&signer) else {
        let message =
            "the message is signed by a key that is not pinned for the host whose connection this is; sign with its own";
        return Err(Refusal::new(401, "unpinned", message));
    };
    let plaintext = sealing::open(net, body, limit, key).await?;
    let identity = peer.known().identity()?;
    let expected = Expected {
        mesh: Some(&identity.mesh),
        sender: Some(&peer.node),
        recipient: &identity.node,
        in_reply_to: None,
        newest_wire: peer.known().settings.newest_wire,
    };
    Ok(Message::unpack(&plaintext, &expected, clock::now()).map_err(SealingError::from)?)
}

async fn merge(
    net: &Net,
    peer: &KnownPeer,
    records: Vec<Vec<u8>>,
    vector: reverie_core::mesh::vector::VersionVector,
) -> Result<Merged, Refusal> {
    let request = Ask::Merge { from: peer.node.clone(), records, vector, more: None };
    match net.keeper.ask(&request, MERGE).await {
        Ok(Reply::Merged(merged)) if merged.forged => {
            conduct::shun(net, peer);
            Err(Refusal::malformed("a record's signature does not hold; look at the audit logs of both hosts"))
        }
        Ok(Reply::Merged(merged)) => {
            counters::add(&net.counters.records_taken, merged.taken.into());
            Ok(merged)
        }
        Ok(other) => Err(gate::otherwise(other)),
        Err(error) => Err(Refusal::unavailable(error)),
    }
}

/// In the version of the question.
async fn seal(net: &Net, peer: &KnownPeer, wire: u16, nonce: [u8; 16], reply: Sync) -> Result<Vec<u8>, Refusal> {
    let identity = peer.known().identity()?;
    let kem = gate::kem_key(peer)?;
    let message = sealing::message(net, identity, &peer.node, wire, Some(nonce), Content::Sync(reply))?;
    Ok(sealing::seal(net, &message, &identity.signing_key.kid(), kem).await?)
}
