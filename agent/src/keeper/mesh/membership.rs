//! Who goes, who rises, and what a host may issue: done by an administrator on an authority, or by a host that leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::PeerState;
use reverie_core::mesh::collection::{Collection, Eviction, IssuingLimits, Revocation, Standing, Upheld, key};
use reverie_core::mesh::membership::{self, Refusal};
use reverie_core::mesh::record::Hash;
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::trouble::Trouble;
use super::writing::{self, Draft, Signed};
use super::{Mesh, MeshError, MeshState, ending, founding, inviting, keys, room, status, wrapping};
use crate::keeper::identity::{delegation, membership as issuing};
use crate::keeper::state::{Change, Write};
use crate::keeper::{Keeper, clock};

/// Bytes of a reason.
const MAX_REASON: usize = 200;
/// So long a host that leaves waits for someone to hear its last word.
const LAST_WORD: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn look<T>(keeper: &Keeper, look: impl FnOnce(&View<'_>) -> Result<T, Refusal>) -> Result<T, Trouble> {
    let looked = keeper.mesh.look(look).ok_or_else(|| MeshError::NotIn(keeper.mesh.state().as_str()))?;
    Ok(looked?)
}

fn event(kind: Kind, actor: Actor, node: &NodeId, reason: Option<String>) -> Event {
    let subject = Subject { object: Some(node.to_string()), ..Subject::default() };
    Event { time: clock::now(), kind, outcome: Outcome::Done, actor, subject, reason }
}

fn checked(reason: Option<String>, otherwise: &str) -> Result<String, Refusal> {
    match reason {
        Some(reason) if reason.len() > MAX_REASON => {
            Err(Refusal::new(422, format!("the reason is longer than {MAX_REASON} bytes"), "say it in fewer words"))
        }
        Some(reason) => Ok(reason),
        None => Ok(otherwise.to_owned()),
    }
}

/// Puts a host out because an administrator asked.
pub async fn evict(keeper: &Arc<Keeper>, node: NodeId, reason: Option<String>, actor: Actor) -> Result<(), Trouble> {
    let reason = checked(reason, "put out by an administrator")?;
    let task = Arc::clone(keeper);
    let evicting = async move {
        let _turn = task.mesh.affairs.membership_turn().await?;
        let us = &task.host.node_id;
        look(&task, |view| membership::evict(view, us, &node))?;
        put_out(&task, &node, reason, actor).await
    };
    keeper.tasks.spawn(evicting).await.map_err(|_| stopping())?
}

fn stopping() -> Trouble {
    Trouble::unavailable("the agent is stopping", "start it, then try again")
}

/// Ends a host's keys, revokes its intermediates, takes back its tokens and makes a new version of the wrapping key, in one
/// transaction; then drops its connections and lists what we signed for it. What nothing replaces of its records is upheld
/// by name, and what it said for the mesh we say again, or uphold too where we have no room. The caller has the turn of membership.
pub(super) async fn put_out(keeper: &Arc<Keeper>, node: &NodeId, reason: String, actor: Actor) -> Result<(), Trouble> {
    let now = clock::now();
    let wrapping = keeper.mesh.affairs.wrapping_turn().await?;
    let (version, write, number) = wrapping::next(keeper, now)?;
    // Nothing is taken between the look and the word.
    let turn = keeper.mesh.turn_to_write().await;
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let said = look(keeper, |view| {
        let member = view.members().get(node);
        let member = member.ok_or_else(|| Refusal::new(404, format!("{node} was never in this mesh"), "agentctl mesh peers"))?;
        Ok((member.kids.clone(), view.lasting_of(node), view.estate_of(node), revocations(view, node, now)))
    });
    let (kids, lasting, estate, revoked) = said?;
    let (estate, rest) = room::fitting(keeper, wrapping::that_may_be_repeated(keeper, estate)?);
    let heard = keeper.mesh.vector().get(node);
    // What there is no room for stays its own, and counts as what is upheld.
    let upheld: Vec<Hash> = lasting.into_iter().chain(rest.iter().map(|again| again.hash)).collect();
    let left_out = upheld.len().saturating_sub(Upheld::MOST);
    let (upheld, mut drafts) = ending::upheld(&upheld)?;
    let eviction = Eviction { node: node.clone(), keys: vec![], reason: reason.clone(), left: false, upheld, heard };
    drafts.push(Draft::put(Collection::Evictions, key::eviction(node, &keeper.host.node_id), &eviction)?);
    for (key, revocation) in &revoked {
        drafts.push(Draft::put(Collection::Revocations, key.clone(), revocation)?);
    }
    drafts.push(version);
    let mut writes = inviting::take_back(&keeper.state, node)?;
    writes.push(write);
    let mut reason = format!("{reason}; {} intermediates revoked", revoked.len());
    match rest.len() {
        0 => {}
        1 => reason.push_str("; 1 of its records is upheld, since there is no room to say it again"),
        more => reason.push_str(&format!("; {more} of its records are upheld, since there is no room to say them again")),
    }
    if left_out > 0 {
        reason.push_str(&format!("; {left_out} of its records are more than can be upheld, and count no more"));
    }
    let events = vec![
        event(Kind::HostEvicted, actor.clone(), node, Some(reason)),
        event(
            Kind::WrappingKeyRotated,
            actor.clone(),
            &keeper.host.node_id,
            Some(format!("version {number}, for {node} is out")),
        ),
    ];
    let mut signed: Vec<Signed> = ending::again(estate, &ring).collect();
    signed.extend(drafts.into_iter().map(|draft| Signed::new(draft, &ring.current)));
    writing::write_signed(keeper, turn, signed, Change { writes, events }, |_| ()).await?;
    wrapping::say_version(keeper);
    drop(wrapping);
    Mesh::disconnect(keeper, kids);
    if let Err(error) = delegation::revoke_host(keeper, node, actor).await {
        // It is out of the mesh all the same; the lists are tried again.
        keeper
            .alarms
            .raise("mesh, revocation", format!("{node} is out, but its intermediates are not all in a list yet: {error}"));
    }
    Ok(())
}

/// What revokes a host's intermediates for verifiers of ours, at once.
fn revocations(view: &View<'_>, node: &NodeId, now: Moment) -> Vec<(String, Revocation)> {
    let of_node = view.intermediates().into_iter().filter(|known| known.intermediate.node == *node);
    let revocation = |known: reverie_core::mesh::view::Intermediate<'_>| {
        let (_, certificate) = X509Certificate::from_der(&known.intermediate.certificate).ok()?;
        let serial = data_encoding::HEXLOWER.encode(certificate.raw_serial());
        let not_after = Moment::from_secs(certificate.validity().not_after.timestamp());
        let key = key::revocation(&known.intermediate.root, &serial);
        (not_after > now).then_some((key, Revocation { at: now, not_after }))
    };
    of_node.filter_map(revocation).collect()
}

/// Makes a member an authority: its admission is said again, with the greater standing. It makes its root itself, once it
/// hears of it.
pub async fn promote(keeper: &Arc<Keeper>, node: &NodeId, actor: Actor) -> Result<(), Trouble> {
    let _turn = keeper.mesh.affairs.membership_turn().await?;
    let us = &keeper.host.node_id;
    let host = look(keeper, |view| {
        membership::promote(view, us, node)?;
        view.host(node)
            .ok_or_else(|| Refusal::new(404, format!("{node} is not in this mesh"), "agentctl mesh peers lists who is"))
    })?;
    let no_keys = || Refusal::new(409, format!("{node} has no KEM key in the mesh"), "have it join again: agentctl mesh readmit");
    let current = host.keys.into_iter().find_map(|key| key.kem_key.map(|kem| (key.signing_key, kem)));
    let (signing, kem) = current.ok_or_else(no_keys)?;
    let drafts =
        inviting::admission(node, &signing, &kem, Standing::Authority, "promotion", inviting::despite(keeper, node), None)?;
    let event = event(Kind::HostPromoted, actor, node, None);
    writing::write(keeper, drafts, Change { writes: vec![], events: vec![event] }).await?;
    Ok(())
}

/// Says what a host may issue. Its intermediate follows when it is renewed; its own judge, and ours, at once.
pub async fn set_limits(keeper: &Keeper, node: &NodeId, limits: IssuingLimits, actor: Actor) -> Result<(), Trouble> {
    ca::check_limits(&limits).map_err(|error| Refusal::new(422, error.to_string(), "set other limits"))?;
    let us = &keeper.host.node_id;
    look(keeper, |view| {
        membership::lead(view, us, "say what a host may issue")?;
        match view.members().is_in(node) {
            true => Ok(()),
            false => Err(Refusal::new(404, format!("{node} is not in this mesh"), "agentctl mesh peers lists who is")),
        }
    })?;
    let reason = serde_json::to_string(&limits).ok().map(|text| text.chars().take(1000).collect());
    let event = event(Kind::IssuingLimitsChanged, actor, node, reason);
    let draft = Draft::put(Collection::IssuingLimits, node.as_str(), &limits)?;
    writing::write(keeper, vec![draft], Change { writes: vec![], events: vec![event] }).await?;
    Ok(())
}

/// Goes on to this host's next keys, if it may once more.
pub async fn rotate_keys(keeper: &Keeper, change: Change) -> Result<(), Trouble> {
    let us = &keeper.host.node_id;
    look(keeper, |view| membership::rotate(view, us))?;
    keys::rotate(keeper, change).await?;
    Ok(())
}

/// This host leaves: it says so, waits until somebody heard, and is its own root again. Asked once more after nobody heard,
/// it goes on waiting.
pub async fn leave(keeper: &Arc<Keeper>, actor: Actor) -> Result<(), Trouble> {
    let _turn = keeper.mesh.affairs.joining_turn().await?;
    let (us, state) = (&keeper.host.node_id, keeper.mesh.state());
    if matches!(state, MeshState::None | MeshState::Joining | MeshState::Left) {
        return Err(MeshError::NotIn(state.as_str()).into());
    }
    let said_before = keeper.mesh.look(|view| status::has_left(view, us));
    if state == MeshState::Evicted && said_before != Some(true) {
        // Others know already: there is nothing to say.
        return stay_out(keeper, actor).await;
    }
    let leaving = Leaving::begin(keeper);
    if said_before != Some(true) {
        look(keeper, |view| membership::leave(view, us))?;
        say_goodbye(keeper, actor.clone()).await?;
    }
    let heard = was_heard(keeper).await;
    drop(leaving);
    if !heard {
        return Err(Trouble::unavailable(
            "this host has left, but nobody could be told yet",
            "try again when a peer can be reached; agentctl mesh evict on an authority does the same",
        ));
    }
    stay_out(keeper, actor).await
}

/// While it lives, net goes on though this host is out: somebody is to hear it.
struct Leaving(Arc<Keeper>);

impl Leaving {
    fn begin(keeper: &Arc<Keeper>) -> Self {
        keeper.mesh.affairs.leaving.store(true, Ordering::Relaxed);
        Self(Arc::clone(keeper))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.mesh.affairs.leaving.store(false, Ordering::Relaxed);
        self.0.mesh.wanted.notify_one();
    }
}

async fn say_goodbye(keeper: &Arc<Keeper>, actor: Actor) -> Result<(), Trouble> {
    let us = &keeper.host.node_id;
    let said = look(keeper, |view| {
        let keys = view.members().get(us).map(|member| member.keys.iter().map(|key| key.signing_key.kid()).collect());
        // What an authority said for the mesh counts until another says it again.
        let authority = view.members().is_authority(us);
        Ok((keys.unwrap_or_default(), if authority { view.all_of(us) } else { view.lasting_of(us) }))
    });
    let (keys, hashes) = said?;
    let (upheld, mut drafts) = ending::upheld(&hashes)?;
    let heard = keeper.mesh.vector().get(us);
    let eviction = Eviction { node: us.clone(), keys, reason: "left".to_owned(), left: true, upheld, heard };
    drafts.push(Draft::put(Collection::Evictions, key::eviction(us, us), &eviction)?);
    let event = event(Kind::MeshLeft, actor, us, None);
    founding::leave(keeper, drafts, Change { writes: vec![], events: vec![event] }).await?;
    Ok(())
}

/// Waits until a peer has our last record, by its word, or refuses us as one that is out: it heard, and dropped the
/// connection with its answer. Who refuses us for another reason has heard nothing. With nobody else in the mesh there is
/// nobody to tell.
async fn was_heard(keeper: &Keeper) -> bool {
    let us = &keeper.host.node_id;
    let own = keeper.mesh.vector().get(us);
    let alone = keeper.mesh.look(|view| !view.hosts().any(|host| host.node != *us && host.standing.is_some()));
    if alone != Some(false) {
        return true;
    }
    let heard = async {
        loop {
            let heard = |peer: &PeerState| {
                peer.refuses.as_deref().is_some_and(membership::says_out) || peer.acknowledged.is_some_and(|has| has >= own)
            };
            if keeper.mesh.peers().values().any(heard) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(LAST_WORD, heard).await.is_ok()
}

/// Nothing of the mesh is held any more; certificates come from a root of our own again.
async fn stay_out(keeper: &Arc<Keeper>, actor: Actor) -> Result<(), Trouble> {
    let writes: Vec<Write> = vec![wrapping::forget()];
    founding::left(keeper, Change { writes, events: vec![] }).await?;
    issuing::leave(keeper, actor).await?;
    Ok(())
}
