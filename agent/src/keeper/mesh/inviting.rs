//! Tokens, and what becomes of a host that shows one: the authority's side of joining.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minicbor::bytes::ByteVec;
use reverie_core::api::mesh::{InviteRequest, Invited};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::Reply;
use reverie_core::mesh::collection::{Admission, Collection, HostIntermediate, IssuingLimits, Standing, key};
use reverie_core::mesh::crypto::{Decapsulator, KemPublicKey, PublicOperations, Signer, SigningPublicKey};
use reverie_core::mesh::join::answer::{Answer, MAX_RECORDS};
use reverie_core::mesh::join::invite::{self, Invite, MAX_TTL, Redeemed, Redemption};
use reverie_core::mesh::join::request::{JoinRequest, applicant, binding};
use reverie_core::mesh::join::token::Token;
use reverie_core::mesh::membership::{self, Refusal};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::mesh::view::View;
use reverie_core::mesh::wrapping::Occasion;
use reverie_core::moment::Moment;
use reverie_crypto::aws::Aws;
use zeroize::Zeroizing;

use super::membership as comings;
use super::trouble::Trouble;
use super::writing::{self, Draft};
use super::{MeshError, wrapping};
use crate::keeper::identity::chain::Chain;
use crate::keeper::identity::{delegation, issuers};
use crate::keeper::state::{Change, State, StateError, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// Rows of tokens begin with it.
const ROWS: &str = "invite/";
/// Bytes of an admission left for which other authorities evicted the host before: some eight.
const MAX_DESPITE: usize = 400;
/// Bytes of one of them beside the name.
const BYTES_EACH: usize = 24;
/// Tokens that are open at once.
const MAX_TOKENS: usize = 1024;
/// Tokens that were redeemed or ended, remembered so that whoever comes late is told why.
const MAX_CLOSED: usize = 4096;

pub(super) fn row_of(invite: &Invite) -> Result<Write, Trouble> {
    let key = format!("{ROWS}{}", data_encoding::HEXLOWER.encode(&invite.id));
    Ok(Write::Put { table: Table::Mesh, key, value: row::encode(invite)? })
}

fn remembered(state: &State, id: &[u8; 16]) -> Result<Option<Invite>, StateError> {
    let row = state.get(Table::Mesh, &format!("{ROWS}{}", data_encoding::HEXLOWER.encode(id)))?;
    Ok(row.map(|row| row::decode(&row)).transpose()?)
}

fn all_remembered(state: &State) -> Result<Vec<Invite>, StateError> {
    let rows = state.scan(Table::Mesh)?.into_iter().filter(|(key, _)| key.starts_with(ROWS));
    rows.map(|(_, row)| Ok(row::decode(&row)?)).collect()
}

/// A token that is open for a host: its invitation, for one that comes by Kerberos and needs a word.
pub(super) fn open_for(state: &State, node: &NodeId, now: Moment) -> Result<Option<Invite>, StateError> {
    let open = |invite: &Invite| invite.node == *node && invite.redeemed.is_none() && now < invite.expires_at;
    Ok(all_remembered(state)?.into_iter().find(open))
}

/// Takes back every token of a host that was not redeemed.
pub(super) fn take_back(state: &State, node: &NodeId) -> Result<Vec<Write>, StateError> {
    let of_node = all_remembered(state)?.into_iter().filter(|invite| invite.node == *node && invite.redeemed.is_none());
    Ok(of_node.map(|invite| forget(&invite)).collect())
}

fn forget(invite: &Invite) -> Write {
    Write::Delete { table: Table::Mesh, key: format!("{ROWS}{}", data_encoding::HEXLOWER.encode(&invite.id)) }
}

/// Makes a token for a host; `again`: for one that was a member before, whose keys end now. An earlier token for the same
/// host that was not redeemed is void.
pub async fn invite(keeper: &Arc<Keeper>, request: InviteRequest, again: bool, actor: Actor) -> Result<Invited, Trouble> {
    let ttl = Duration::from_secs(request.ttl_seconds);
    if ttl.is_zero() || ttl > MAX_TTL {
        let message = format!("a token lives from 1 to {} seconds, not {}", MAX_TTL.as_secs(), request.ttl_seconds);
        return Err(Refusal::new(422, message, "ten minutes (600) are enough for most").into());
    }
    let node = &request.node_id;
    let limits = request.limits.unwrap_or_else(|| ca::default_limits(node));
    ca::check_limits(&limits).map_err(|error| Refusal::new(422, error.to_string(), "set other limits"))?;
    let _turn = keeper.mesh.affairs.membership_turn().await?;
    let us = &keeper.host.node_id;
    let allowed = keeper.mesh.admission(&keeper.policy().config.gossip).admits(node);
    let is_in = keeper.mesh.look(|view| {
        membership::invite(view, us, node, again, allowed)?;
        Ok::<_, Refusal>(view.members().is_in(node))
    });
    let is_in = is_in.ok_or(MeshError::NotIn(keeper.mesh.state().as_str()))??;
    let now = clock::now();
    let is_over = |known: &Invite| invite::is_forgotten(known, now) || (known.node == *node && known.redeemed.is_none());
    let (over, kept): (Vec<_>, Vec<_>) = all_remembered(&keeper.state)?.into_iter().partition(is_over);
    let is_open = |known: &Invite| known.redeemed.is_none() && now < known.expires_at;
    let (open, mut closed): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_open);
    closed.sort_by_key(|known| known.expires_at);
    let too_many = closed.len().saturating_sub(MAX_CLOSED);
    let mut writes: Vec<Write> = over.iter().chain(&closed[..too_many]).map(forget).collect();
    if open.len() >= MAX_TOKENS {
        let message = format!("{MAX_TOKENS} tokens are open already");
        return Err(Refusal::new(409, message, "wait until some have ended; give tokens a shorter life").into());
    }
    // Last, when nothing can refuse the token any more.
    if is_in {
        comings::put_out(keeper, node, "readmitted: the keys it had end".to_owned(), actor.clone()).await?;
    }
    let (mut id, mut secret) = ([0; 16], Zeroizing::new([0; 32]));
    Aws.random(&mut id)?;
    Aws.random(&mut *secret)?;
    let expires_at = now.after(ttl).truncated_to_secs();
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let (issuer_key, issuer_kem) = ring.speaking.public();
    let token = Token {
        id,
        secret: secret.clone(),
        mesh: keeper.mesh.id().unwrap_or_default(),
        trust_domain: keeper.host.trust_domain.clone(),
        node: node.clone(),
        issuer: us.clone(),
        issuer_key,
        issuer_kem: issuer_kem.kid(),
        expires_at,
    };
    let made = Invite { id, secret, node: node.clone(), made_at: now, expires_at, limits, readmission: again, redeemed: None };
    writes.push(row_of(&made)?);
    let reason = format!("token {}, until {expires_at}", data_encoding::HEXLOWER.encode(&id));
    let event = event(Kind::InvitationMade, Outcome::Done, actor, node, Some(reason));
    keeper.commit(Change { writes, events: vec![event] }).await?;
    let addresses = keeper.policy().config.gossip.advertised(us);
    Ok(Invited { token: token.to_line().to_string(), expires_at, addresses })
}

fn event(kind: Kind, outcome: Outcome, actor: Actor, node: &NodeId, reason: Option<String>) -> Event {
    let subject = Subject { object: Some(node.to_string()), ..Subject::default() };
    Event { time: clock::now(), kind, outcome, actor, subject, reason }
}

/// A host shows a token: it is admitted, once. Two that come at once are judged one after the other, and the first one's
/// admission is durable before the second is looked at.
pub(super) async fn redeem(keeper: &Arc<Keeper>, request: JoinRequest) -> Reply {
    let (task, node) = (Arc::clone(keeper), request.node.clone());
    // To its end, whether or not the connection holds.
    let redeeming = tokio::spawn(async move { redeem_in_turn(&task, request).await });
    match redeeming.await {
        Ok(Ok(reply)) => reply,
        Ok(Err(trouble)) => {
            refused(keeper, &node, &trouble).await;
            trouble.into_reply()
        }
        Err(_) => Reply::Failed { message: "the agent is stopping".to_owned() },
    }
}

/// Records that a host was refused, within a budget: strangers may ask as often as they like.
pub(super) async fn refused(keeper: &Keeper, node: &NodeId, trouble: &Trouble) {
    let now = clock::now();
    if !keeper.mesh.affairs.may_record_refusal(now) {
        tracing::info!(%node, why = %trouble, "a host was refused; too many to record each");
        return;
    }
    let event = event(Kind::HostRefused, Outcome::Denied, Actor::Agent, node, Some(trouble.to_string()));
    if let Err(error) = keeper.commit(Change { writes: vec![], events: vec![event] }).await {
        tracing::warn!(%error, "a refusal could not be recorded");
    }
}

async fn redeem_in_turn(keeper: &Arc<Keeper>, request: JoinRequest) -> Result<Reply, Trouble> {
    let _turn = keeper.mesh.affairs.membership_turn().await?;
    let now = clock::now();
    let known = remembered(&keeper.state, &request.token_id)?;
    let redemption = invite::judge(known.as_ref(), &request, now)?;
    let Some(mut known) = known else { return Err(Trouble::unavailable("the token is gone", "have another made")) };
    let chain = match redemption {
        Redemption::Again(redeemed) => {
            let still_in = keeper.mesh.look(|view| is_held_by(view, &request.node, &request.signing_key)).unwrap_or_default();
            if !still_in {
                let advice = format!("agentctl mesh readmit {} on an authority", request.node);
                return Err(Refusal::new(403, format!("{} was put out of the mesh", request.node), advice).into());
            }
            redeemed.chain
        }
        Redemption::First => {
            let chain = admit(keeper, &mut known, &request, now).await?;
            vec![chain.intermediate, chain.root]
        }
    };
    let bound = binding(&request);
    let payload = compose(keeper, &request.node, &request.kem_key, bound, chain, Share::Everything)?;
    Ok(Reply::Sealable { recipient: request.kem_key, payload })
}

fn is_held_by(view: &View<'_>, node: &NodeId, signing: &SigningPublicKey) -> bool {
    view.members().get(node).is_some_and(|member| member.keys.iter().any(|key| key.signing_key == *signing))
}

/// Admits a host: its intermediate is signed first (asked again with the same key, the same one comes), then admission,
/// limits, and that the token is redeemed, become durable together.
async fn admit(keeper: &Arc<Keeper>, known: &mut Invite, request: &JoinRequest, now: Moment) -> Result<Chain, Trouble> {
    let (us, node) = (&keeper.host.node_id, &request.node);
    let allowed = keeper.mesh.admission(&keeper.policy().config.gossip).admits(node);
    let judged = keeper.mesh.look(|view| {
        membership::lead(view, us, "admit a host")?;
        membership::admit(view, node, &request.signing_key, &request.kem_key, known.readmission, allowed)
    });
    judged.ok_or(MeshError::NotIn(keeper.mesh.state().as_str()))??;
    if known.readmission && keeper.mesh.look(|view| view.members().is_in(node)).unwrap_or_default() {
        comings::put_out(keeper, node, "readmitted: the keys it had end".to_owned(), Actor::Agent).await?;
    }
    let chain = delegation::issue_intermediate(keeper, &request.csr, node, &known.limits, Actor::Agent).await?;
    let by = if known.readmission { "readmission" } else { "token" };
    let drafts = admission(
        node,
        &request.signing_key,
        &request.kem_key,
        Standing::Member,
        by,
        despite(keeper, node),
        Some((&chain, &known.limits)),
    )?;
    known.redeemed =
        Some(Redeemed { applicant: applicant(request), at: now, chain: vec![chain.intermediate.clone(), chain.root.clone()] });
    let reason = format!("by token {}, with the key {}", data_encoding::HEXLOWER.encode(&known.id), request.signing_key.kid());
    let event = event(Kind::HostAdmitted, Outcome::Done, Actor::Agent, node, Some(reason));
    writing::write(keeper, drafts, Change { writes: vec![row_of(known)?], events: vec![event] }).await?;
    Ok(chain)
}

/// Evictions of a host that an admission by us is to hold despite. Our own need no word: who admits knows them.
pub(super) fn despite(keeper: &Keeper, node: &NodeId) -> BTreeMap<NodeId, Position> {
    let known = keeper.mesh.look(|view| view.members().get(node).map(|member| member.evictions.clone())).flatten();
    let mut room = MAX_DESPITE;
    let mut fits = |by: &NodeId| {
        let taken = by.as_str().len() + BYTES_EACH;
        room = room.saturating_sub(taken);
        room > 0
    };
    known.unwrap_or_default().into_iter().filter(|(by, _)| *by != keeper.host.node_id && fits(by)).collect()
}

/// What is said of a host that comes in.
pub(super) fn admission(
    node: &NodeId,
    signing: &SigningPublicKey,
    kem: &KemPublicKey,
    standing: Standing,
    by: &str,
    despite: BTreeMap<NodeId, Position>,
    issuing: Option<(&Chain, &IssuingLimits)>,
) -> Result<Vec<Draft>, MeshError> {
    let (signing_key, kem_key, by) = (signing.clone(), Some(kem.clone()), by.to_owned());
    let value = Admission { node: node.clone(), signing_key, kem_key, standing, by, despite };
    let mut drafts = vec![Draft::put(Collection::Admissions, key::admission(node, &signing.kid()), &value)?];
    if let Some((chain, limits)) = issuing {
        drafts.push(Draft::put(Collection::IssuingLimits, node.as_str(), limits)?);
        drafts.push(intermediate(node, chain)?);
    }
    Ok(drafts)
}

/// What is said of an intermediate that we signed.
pub(super) fn intermediate(node: &NodeId, chain: &Chain) -> Result<Draft, MeshError> {
    let root = issuers::fingerprint(&chain.root);
    let value = HostIntermediate { node: node.clone(), root, certificate: chain.intermediate.clone() };
    Draft::put(Collection::Intermediates, chain.fingerprint.clone(), &value)
}

/// How much goes into an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// For a host that comes in: records too.
    Everything,
    /// For one that is in.
    Certificates,
}

/// The answer for a host, to be sealed to it.
pub(super) fn compose(
    keeper: &Keeper,
    node: &NodeId,
    kem: &KemPublicKey,
    binding: [u8; 32],
    chain: Vec<Vec<u8>>,
    share: Share,
) -> Result<Vec<u8>, Trouble> {
    let gone = || MeshError::NotIn(keeper.mesh.state().as_str());
    let (mesh, anchor, ring) = (keeper.mesh.id(), keeper.mesh.anchor(), keeper.mesh.keys());
    let (mesh, anchor, ring) = (mesh.ok_or_else(gone)?, anchor.ok_or_else(gone)?, ring.ok_or_else(gone)?);
    let roots = keeper.mesh.look(|view| view.bundle().into_iter().map(|root| root.root.certificate).collect::<Vec<_>>());
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&binding[..16]);
    let wrapping_keys = wrapping::sealed(keeper, kem, Occasion { mesh: &mesh, recipient: node, nonce })?;
    let (records, more) = match share {
        Share::Everything => first_records(keeper, node),
        Share::Certificates => (vec![], false),
    };
    let us = &keeper.host.node_id;
    let bytes = |all: Vec<Vec<u8>>| all.into_iter().map(ByteVec::from).collect::<Vec<_>>();
    let answer = Answer {
        binding,
        mesh,
        trust_domain: keeper.host.trust_domain.clone(),
        node: node.clone(),
        founder: anchor.node,
        founder_key: anchor.key,
        issuer: us.clone(),
        issuer_key: ring.speaking.signing.public_key().clone(),
        issuer_kem: ring.speaking.kem.public_key().clone(),
        chain: bytes(chain),
        roots: bytes(roots.unwrap_or_default()),
        wrapping_keys,
        records: bytes(records),
        more,
    };
    Ok(answer.encode())
}

/// All records if they fit; else those by which the newcomer sees that it is in. The rest comes by gossip.
fn first_records(keeper: &Keeper, newcomer: &NodeId) -> (Vec<Vec<u8>>, bool) {
    let (all, _, more) = keeper.mesh.records(&VersionVector::default(), MAX_RECORDS);
    if !more {
        return (all, false);
    }
    let chosen = |view: &View<'_>| view.introduction(newcomer, MAX_RECORDS).into_iter().map(<[u8]>::to_vec).collect();
    (keeper.mesh.look(chosen).unwrap_or_default(), true)
}
