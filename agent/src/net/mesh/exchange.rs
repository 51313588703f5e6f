//! One exchange with a peer: a push of records with theirs in return, or a look whether there is anything to exchange.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Merged, Page, Reply, Request as Ask};
use reverie_core::mesh::envelope;
use reverie_core::mesh::message::{Content, Expected, Message, Nonce, Sync};
use reverie_core::mesh::record::Fields;
use reverie_core::mesh::round::{Outcome, Synced};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::moment::Moment;

use super::book::Histories;
use super::conduct;
use super::endpoint::{CMS, Digests, written};
use super::known::KnownPeer;
use super::peers::Asking;
use super::state::Net;
use super::{MERGE, RECORDS, page_limit, sealing};
use crate::net::http::{message_of, not_admitted};
use crate::net::{clock, counters};

/// Bytes of an answer to a probe, the summary of some thousand authors included.
const MAX_DIGESTS: usize = 1 << 20;

/// Pushes a page, merges what comes back, and says how it went.
pub async fn push(net: &Arc<Net>, to: &NodeId) -> Outcome {
    let started = Instant::now();
    match try_push(net, to).await {
        Ok(synced) => {
            counters::add(&net.counters.exchanges, 1);
            done(net, to, started);
            Outcome::Synced(synced)
        }
        Err(error) => failed(net, to, &error),
    }
}

/// Compares digests, and says whether they are equal.
pub async fn probe(net: &Arc<Net>, to: &NodeId) -> Outcome {
    let started = Instant::now();
    match try_probe(net, to).await {
        Ok(equal) => {
            counters::add(&net.counters.probes, 1);
            done(net, to, started);
            if equal { Outcome::Equal } else { Outcome::Differs }
        }
        Err(error) => failed(net, to, &error),
    }
}

fn done(net: &Net, to: &NodeId, started: Instant) {
    net.counters.last_round.store(clock::now().as_secs().unsigned_abs(), Ordering::Relaxed);
    net.book.synced(to, started.elapsed(), net.peers.address(to));
}

fn failed(net: &Net, to: &NodeId, error: &str) -> Outcome {
    counters::add(&net.counters.exchanges_failed, 1);
    tracing::debug!(peer = %to, error, "an exchange failed");
    net.book.failed(to, error);
    Outcome::Failed
}

fn peer(net: &Net, node: &NodeId) -> Result<KnownPeer, String> {
    if net.conduct.is_shunned(node) {
        return Err("it handed over forged records lately; see the audit log".to_owned());
    }
    net.known().and_then(|known| known.peer(node)).ok_or_else(|| "it is no peer any more".to_owned())
}

/// What a refusal says.
pub fn refused(status: u16, body: &[u8]) -> String {
    match message_of(body) {
        Some(message) => format!("it answered {status}: {message}"),
        None => format!("it answered {status}"),
    }
}

async fn try_push(net: &Arc<Net>, to: &NodeId) -> Result<Synced, String> {
    let peer = peer(net, to)?;
    let limit = peer.known().settings.max_message as usize;
    let before = net.book.vector(to);
    let page = match &before {
        Some(vector) => records(net, to, vector.clone(), limit).await?,
        // The answer tells what it has.
        None => Page::default(),
    };
    let vector = net.known().map(|known| known.vector.clone()).unwrap_or_default();
    let anew = net.book.anew(to);
    let (records_sent, more) = (page.records.len(), page.more);
    let sync = Sync { request_delta_since: Some(since(&vector, &anew)), vector, more, records: page.records };
    let (message, nonce) = seal(net, &peer, sync).await?;
    counters::add(&net.counters.bytes_sent, message.len() as u64);
    let sent_at = clock::now();
    let (status, body) = net.peers.ask(net, &peer, Asking::post("/api/gossip/sync", CMS, message, limit)).await?;
    if status != 200 {
        net.book.refuses(to, not_admitted(status, &body));
        return Err(refused(status, &body));
    }
    counters::add(&net.counters.records_sent, records_sent as u64);
    counters::add(&net.counters.bytes_received, body.len() as u64);
    let answer = open(net, &peer, &body, limit, &nonce).await?;
    let middle = middle_since(sent_at);
    let Content::Sync(theirs) = answer.content else { return Err("it answered with another kind of message".to_owned()) };
    net.book.heard(to, theirs.vector.clone(), answer.issued_at.as_millis().saturating_sub(middle), peer.known());
    let their_vector = theirs.vector.clone();
    let they_have_more = theirs.more;
    let came = came(&anew, &theirs.records);
    let merged = merge(net, &peer, theirs).await?;
    counters::add(&net.counters.records_taken, merged.taken.into());
    let came_further = came != anew;
    net.book.came_anew(to, &anew, if they_have_more { came } else { Histories::new() });
    // What was just asked for would only bring the same; if it is still wanted, it comes with the next look.
    let wanted: Vec<NodeId> = merged.wanted_anew.iter().filter(|author| !anew.contains_key(author)).cloned().collect();
    let asks_again = !wanted.is_empty();
    net.book.want_anew(to, wanted);
    let moved = before.as_ref().is_none_or(|before| !before.covers(&their_vector));
    Ok(Synced {
        taken: merged.taken,
        more: more || they_have_more || before.is_none() && !their_vector.covers(&merged.vector) || asks_again,
        progressed: merged.taken > 0 || moved || came_further || asks_again,
        equal: !more && !they_have_more && their_vector == merged.vector,
    })
}

/// What we have, but of those whose whole history is wanted only what came of it.
fn since(vector: &VersionVector, anew: &Histories) -> VersionVector {
    let mut since = vector.clone();
    since.0.extend(anew.iter().map(|(author, came)| (author.clone(), *came)));
    since.0.retain(|_, position| *position > Position::default());
    since
}

/// Up to where the histories that were asked for have come with these records. Each author's ascend, evidence before them.
fn came(asked: &Histories, records: &[Vec<u8>]) -> Histories {
    let mut came = asked.clone();
    for fields in records.iter().filter_map(|record| Fields::read(record).ok()) {
        let author = fields.author.parse::<NodeId>().ok().filter(|author| asked.contains_key(author));
        if let Some(author) = author {
            came.insert(author, fields.position);
        }
    }
    for (author, before) in asked {
        if let Some(position) = came.get_mut(author) {
            *position = (*before).max(*position);
        }
    }
    came
}

async fn records(net: &Net, to: &NodeId, since: VersionVector, max: usize) -> Result<Page, String> {
    match net.keeper.ask(&Ask::Records { to: to.clone(), since: Some(since), limit: page_limit(max) }, RECORDS).await {
        Ok(Reply::Page(page)) => Ok(page),
        Ok(other) => Err(format!("the keeper gave no records: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn seal(net: &Net, peer: &KnownPeer, sync: Sync) -> Result<(Vec<u8>, Nonce), String> {
    let identity = peer.known().identity().map_err(|refusal| refusal.message)?;
    let kem = peer.kem_key.as_ref().ok_or("it has not registered a KEM key yet")?;
    let message = sealing::message(net, identity, &peer.node, peer.wire, None, Content::Sync(sync));
    let message = message.map_err(|error| error.to_string())?;
    let sealed = sealing::seal(net, &message, &identity.signing_key.kid(), kem).await.map_err(|error| error.to_string())?;
    Ok((sealed, message.nonce))
}

/// Halfway between then and now, as the other side is taken to have answered; milliseconds.
fn middle_since(sent_at: Moment) -> i64 {
    sent_at.as_millis().saturating_add(clock::now().as_millis()) / 2
}

/// An answer, by one of the peer's keys, to the message with that nonce.
pub async fn open(net: &Net, peer: &KnownPeer, body: &[u8], limit: usize, nonce: &Nonce) -> Result<Message, String> {
    let text = |error: &dyn std::fmt::Display| format!("its answer is no good: {error}");
    let signer = envelope::parse(body, limit).map_err(|error| text(&error))?.signer();
    let key = peer.key(&signer).ok_or_else(|| text(&"it is signed by a key that is not pinned for it"))?;
    let plaintext = sealing::open(net, body, limit, key).await.map_err(|error| text(&error))?;
    let identity = peer.known().identity().map_err(|refusal| refusal.message)?;
    let expected = Expected {
        mesh: Some(&identity.mesh),
        sender: Some(&peer.node),
        recipient: &identity.node,
        in_reply_to: Some(nonce),
        newest_wire: peer.known().settings.newest_wire,
    };
    Message::unpack(&plaintext, &expected, clock::now()).map_err(|error| text(&error))
}

async fn merge(net: &Net, peer: &KnownPeer, theirs: Sync) -> Result<Merged, String> {
    let request = Ask::Merge { from: peer.node.clone(), records: theirs.records, vector: theirs.vector, more: Some(theirs.more) };
    match net.keeper.ask(&request, MERGE).await {
        Ok(Reply::Merged(merged)) if merged.forged => {
            conduct::shun(net, peer);
            Err("it handed over forged records; see the audit log, and that host's".to_owned())
        }
        Ok(Reply::Merged(merged)) => Ok(merged),
        Ok(other) => Err(format!("the keeper did not merge: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn try_probe(net: &Arc<Net>, to: &NodeId) -> Result<bool, String> {
    let peer = peer(net, to)?;
    let sent_at = clock::now();
    let digests = digests(net, &peer, "/api/gossip/digest").await?;
    if let Some(now) = digests.now {
        net.book.clock_differs(to, now.saturating_sub(middle_since(sent_at)));
    }
    let ours = net.known().ok_or("not ready")?;
    if digests.digest == data_encoding::HEXLOWER.encode(&ours.digest) {
        net.book.has(to, &ours.vector, ours.mesh.as_ref().map(|mesh| mesh.epoch));
        return Ok(true);
    }
    // Equal vectors over different records: somebody wrote two histories, or a record was lost. Found author by author.
    if net.book.vector(to).is_some_and(|theirs| theirs == ours.vector) {
        let theirs = digests_by_author(net, &peer).await?;
        let Ok(Reply::Summary(summary)) = net.keeper.ask(&Ask::Summary, RECORDS).await else { return Ok(false) };
        let differing = summary.into_iter().filter(|(author, entry)| {
            let (epoch, seq, digest) = written(*entry);
            theirs.get(author.as_str()).is_some_and(|theirs| (theirs.0, theirs.1) == (epoch, seq) && theirs.2 != digest)
        });
        net.book.want_anew(to, differing.map(|(author, _)| author));
    }
    Ok(false)
}

async fn digests(net: &Net, peer: &KnownPeer, path: &str) -> Result<Digests, String> {
    let (status, body) = net.peers.ask(net, peer, Asking::get(path, MAX_DIGESTS)).await?;
    if status != 200 {
        net.book.refuses(&peer.node, not_admitted(status, &body));
        return Err(refused(status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| format!("its digest cannot be read ({error})"))
}

async fn digests_by_author(
    net: &Net,
    peer: &KnownPeer,
) -> Result<std::collections::BTreeMap<String, (u64, u64, String)>, String> {
    Ok(digests(net, peer, "/api/gossip/digest?summary").await?.authors.unwrap_or_default())
}
