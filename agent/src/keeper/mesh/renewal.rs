//! Intermediates of members: signed on an authority at their request, asked for on a member when half of its life is over.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, Role};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Reply, TaskKind};
use reverie_core::mesh::crypto::{Kid, PublicOperations};
use reverie_core::mesh::join::answer::{Answer, Expected};
use reverie_core::mesh::membership::{Refusal, lead};
use reverie_core::mesh::renewal::{Attempts, Plan, RenewalRequest, Statement, Wanted, is_alarming, plan};
use reverie_core::mesh::round::Liveness;
use reverie_core::mesh::view::Host;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use reverie_crypto::aws::Aws;

use super::inviting::{self, Share};
use super::trouble::Trouble;
use super::writing;
use super::{MeshError, MeshState};
use crate::keeper::identity::chain::Chain;
use crate::keeper::identity::{delegation, issuers, membership as issuing};
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// For an authority to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// At least so often is looked: the clock may jump.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Subject of the alarm that no authority renews.
const SUBJECT: &str = "mesh, renewal";

/// A member's request. It is known by its pinned key alone: its certificates may have ended long ago.
pub(super) async fn renew(keeper: &Arc<Keeper>, node: NodeId, kid: Kid, payload: Vec<u8>) -> Reply {
    let (task, who) = (Arc::clone(keeper), node.clone());
    let renewing = tokio::spawn(async move { renew_in_turn(&task, &who, kid, &payload).await });
    match renewing.await {
        Ok(Ok(reply)) => reply,
        Ok(Err(trouble)) => {
            inviting::refused(keeper, &node, &trouble).await;
            trouble.into_reply()
        }
        Err(_) => Reply::Failed { message: "the agent is stopping".to_owned() },
    }
}

async fn renew_in_turn(keeper: &Arc<Keeper>, node: &NodeId, kid: Kid, payload: &[u8]) -> Result<Reply, Trouble> {
    let now = clock::now();
    let request = RenewalRequest::decode(payload)
        .map_err(|error| Refusal::new(400, error.to_string(), "use the same version of Reverie on both hosts"))?;
    let asked = &request.statement;
    let us = &keeper.host.node_id;
    let admission = keeper.mesh.admission(&keeper.policy().config.gossip);
    let host = keeper.mesh.look(|view| member(view.host(node), node, admission.admits(node)));
    let host = host.ok_or(MeshError::NotIn(keeper.mesh.state().as_str()))??;
    let unknown = || {
        let advice = "join again: agentctl mesh readmit on an authority makes a token";
        Refusal::new(401, format!("the key {kid} is not in force for {node}"), advice)
    };
    if asked.node != *node || asked.kid != kid {
        return Err(unknown().into());
    }
    let key = host.keys.iter().find(|key| key.signing_key.kid() == kid).ok_or_else(unknown)?;
    let mesh = keeper.mesh.id().unwrap_or_default();
    request.judge(&Aws, &key.signing_key, us, &mesh, now)?;
    if let Err(refusal) = keeper.mesh.look(|view| lead(view, us, "renew intermediates")).unwrap_or(Ok(())) {
        return Err(Refusal::new(503, refusal.message, refusal.advice).into());
    }
    let _renewal = keeper.mesh.affairs.renewal_of(node, RenewalRequest::binding(payload), now)?;
    let _turn = keeper.mesh.affairs.membership_turn().await?;
    // It may have been put out meanwhile.
    keeper.mesh.look(|view| member(view.host(node), node, true)).ok_or(MeshError::NotIn(keeper.mesh.state().as_str()))??;
    let kem = key
        .kem_key
        .clone()
        .ok_or_else(|| Refusal::new(409, format!("{node} has no KEM key to answer to"), "register one: agentctl mesh join"))?;
    let limits = host.limits.unwrap_or_else(|| ca::default_limits(node));
    let chain = delegation::issue_intermediate(keeper, &asked.csr, node, &limits, Actor::Agent).await?;
    let subject = Subject { object: Some(node.to_string()), ..Subject::default() };
    let reason = Some(format!("intermediate {}", chain.fingerprint));
    let kind = Kind::IntermediateRenewed;
    let event = Event { time: now, kind, outcome: Outcome::Done, actor: Actor::Agent, subject, reason };
    let change = Change { writes: vec![], events: vec![event] };
    writing::write(keeper, vec![inviting::intermediate(node, &chain)?], change).await?;
    let share = match asked.wanted {
        Wanted::Intermediate => Share::Certificates,
        Wanted::Membership => Share::Everything,
    };
    let chain = vec![chain.intermediate, chain.root];
    let payload = inviting::compose(keeper, node, &kem, RenewalRequest::binding(payload), chain, share)?;
    Ok(Reply::Sealable { recipient: kem, payload })
}

fn member(host: Option<Host>, node: &NodeId, allowed: bool) -> Result<Host, Refusal> {
    match host {
        None => Err(Refusal::new(401, format!("{node} is not known here"), "join the mesh first: agentctl mesh join")),
        Some(host) if host.standing.is_none() || !allowed => Err(Refusal::new(
            403,
            format!("{node} may not take part in this mesh"),
            format!("if it should: agentctl mesh readmit {node} on an authority"),
        )),
        Some(host) => Ok(host),
    }
}

/// A request for the intermediate, or for everything, signed by our own key.
pub(super) fn request(
    keeper: &Keeper,
    authority: &NodeId,
    mesh: Option<[u8; 16]>,
    wanted: Wanted,
    csr: Vec<u8>,
) -> Result<Vec<u8>, Trouble> {
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let mut nonce = [0; 16];
    Aws.random(&mut nonce)?;
    let node = keeper.host.node_id.clone();
    let statement =
        Statement { mesh, node, kid: ring.speaking.kid(), authority: authority.clone(), nonce, at: clock::now(), wanted, csr };
    Ok(RenewalRequest::sign(statement, &ring.speaking.signing)?.encode())
}

/// Life of the newest intermediate that an authority signed for this host; `None` if it has none.
fn own_life(keeper: &Keeper, now: Moment) -> Option<Validity> {
    let issuers = keeper.issuers();
    let record = &issuers.stored.record;
    if record.membership.role != Role::Member {
        return None;
    }
    ca::issuing_intermediate(record, now).map(|known| known.validity)
}

/// Asks authorities in turn when it is due. Never ends.
pub async fn follow(keeper: Arc<Keeper>) {
    let (mut wanted, mut changes) = (keeper.watch_intermediate_wanted(), keeper.mesh.watch());
    let mut jitter = [0; 2];
    let _ = Aws.random(&mut jitter);
    let jitter = u16::from_be_bytes(jitter);
    loop {
        let now = clock::now();
        let wait = match keeper.mesh.state() {
            MeshState::Member => {
                let life = own_life(&keeper, now);
                // The issuers may want one earlier: it was revoked, or its root ends.
                let due = life.filter(|_| !*wanted.borrow_and_update());
                let attempts = *keeper.mesh.affairs.renewal();
                // One that came otherwise, with the answer to joining, does as well.
                if !is_alarming(life, attempts, now) {
                    keeper.alarms.clear(SUBJECT);
                }
                match plan(due, attempts, jitter, now) {
                    Plan::Wait(until) => until.since(now).clamp(Duration::from_millis(50), LOOK_EVERY),
                    Plan::Ask(turn) => {
                        ask_and_note(&keeper, turn, life).await;
                        Duration::ZERO
                    }
                }
            }
            _ => {
                *keeper.mesh.affairs.renewal() = Attempts::default();
                keeper.alarms.clear(SUBJECT);
                LOOK_EVERY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = wanted.changed() => if changed.is_err() { return },
            // A mesh was joined or left.
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn ask_and_note(keeper: &Arc<Keeper>, turn: usize, life: Option<Validity>) {
    let outcome = ask(keeper, turn).await;
    let now = clock::now();
    let attempts = match &outcome {
        Ok(()) => Attempts::default(),
        Err(_) => {
            let before = *keeper.mesh.affairs.renewal();
            Attempts { failed: before.failed.saturating_add(1), last: Some(now) }
        }
    };
    *keeper.mesh.affairs.renewal() = attempts;
    match outcome {
        Ok(()) => keeper.alarms.clear(SUBJECT),
        Err(why) => {
            tracing::warn!(why, attempts = attempts.failed, "this host's intermediate could not be renewed");
            if is_alarming(life, attempts, now) {
                let end = life.map_or_else(|| "there is none".to_owned(), |life| format!("it ends at {}", life.not_after));
                let advice = "look at the authorities: agentctl mesh peers; without one nothing is issued after that";
                keeper.alarms.raise(SUBJECT, format!("no authority renews this host's intermediate ({end}): {why}; {advice}"));
            }
        }
    }
}

#[cfg(test)]
pub(super) async fn ask_once(keeper: &Arc<Keeper>) -> Result<(), String> {
    ask(keeper, 0).await
}

async fn ask(keeper: &Arc<Keeper>, turn: usize) -> Result<(), String> {
    let us = &keeper.host.node_id;
    let mut authorities: Vec<NodeId> =
        keeper.mesh.look(|view| view.authorities().into_iter().filter(|node| *node != us).cloned().collect()).unwrap_or_default();
    // Those that are down come last.
    authorities.sort_by_key(|node| keeper.mesh.peers().get(node).is_some_and(|peer| peer.state == Liveness::Down));
    if authorities.is_empty() {
        return Err("the mesh has no other authority".to_owned());
    }
    let authority = authorities.swap_remove(turn % authorities.len());
    let mesh = keeper.mesh.id().ok_or("this host is in no mesh any more")?;
    let csr = issuing::certificate_request(keeper).await.map_err(|error| error.to_string())?;
    let payload = request(keeper, &authority, Some(mesh), Wanted::Intermediate, csr).map_err(|trouble| trouble.to_string())?;
    let binding = RenewalRequest::binding(&payload);
    let task = TaskKind::Renew { authority: authority.clone(), payload };
    let answer = keeper.mesh.task(task, DEADLINE).await.map_err(|why| format!("{authority}: {why}"))?;
    install(keeper, &authority, &answer, mesh, binding).await.map_err(|why| format!("{authority}: {why}"))
}

async fn install(
    keeper: &Arc<Keeper>,
    authority: &NodeId,
    answer: &[u8],
    mesh: [u8; 16],
    binding: [u8; 32],
) -> Result<(), String> {
    let expected = Expected {
        binding,
        node: keeper.host.node_id.clone(),
        trust_domain: keeper.host.trust_domain.clone(),
        mesh: Some(mesh),
        issuer: None,
    };
    let answer = Answer::check(answer, &expected).map_err(|error| error.to_string())?;
    if answer.issuer != *authority {
        return Err("the answer is by another host".to_owned());
    }
    let [intermediate, root] = &answer.chain[..] else { return Err("the answer holds no intermediate".to_owned()) };
    let fingerprint = issuers::fingerprint(intermediate);
    let chain = Chain { intermediate: intermediate.to_vec(), root: root.to_vec(), fingerprint };
    // Roots are taken from the records, never from the answer.
    let roots = keeper.mesh.look(|view| view.bundle().into_iter().map(|root| root.root.certificate).collect::<Vec<_>>());
    let roots = roots.unwrap_or_default();
    if !roots.contains(&chain.root) {
        return Err("the intermediate is under a root that the mesh does not trust".to_owned());
    }
    let renewed = chain.fingerprint.clone();
    match keeper.issuers().stored.record.membership.role {
        Role::Member => issuing::install_intermediate(keeper, &chain, Actor::Agent).await,
        _ => issuing::become_member(keeper, &chain, &roots, Actor::Agent).await,
    }
    .map_err(|error| error.to_string())?;
    let subject = Subject { object: Some(authority.to_string()), ..Subject::default() };
    let reason = Some(format!("intermediate {renewed} obtained"));
    let (time, kind) = (clock::now(), Kind::IntermediateRenewed);
    let event = Event { time, kind, outcome: Outcome::Done, actor: Actor::Agent, subject, reason };
    keeper.commit(Change { writes: vec![], events: vec![event] }).await.map(drop).map_err(|error| error.to_string())
}
