//! The cluster wrapping key: made and rotated on an authority, sealed to whoever asks and may, pulled where it is lacking.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Reply, TaskKind};
use reverie_core::mesh::author::Again;
use reverie_core::mesh::collection::{Collection, WrappingKeyVersion};
use reverie_core::mesh::crypto::{Decapsulator, KemPublicKey, PublicOperations};
use reverie_core::mesh::membership::{Refusal, lead};
use reverie_core::mesh::round::Liveness;
use reverie_core::mesh::view::View;
use reverie_core::mesh::wrapping::{MAX_KEYS, Occasion, SealedKey, WrappingKey, WrappingKeys, open, seal, to_drop};
use reverie_core::moment::Moment;
use reverie_crypto::aws::Aws;
use zeroize::Zeroizing;

use super::MeshState;
use super::affairs::Asker;
use super::trouble::Trouble;
use super::writing::{self, Draft};
use crate::keeper::state::{Change, State, StateError, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// Row of every version held, the newest first.
const ROW: &str = "wrapping";
/// For a peer to answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// Pauses between attempts to pull it: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// At least so often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Versions from here on are nobody's: each is one more than the last, so that only a thief says such. They are passed over, and
/// end with their author.
const BEYOND: u64 = 1 << 62;
/// Subject of the alarm that this host lacks it.
const SUBJECT: &str = "mesh, wrapping key";

/// Every version held, the newest first.
pub fn held(state: &State) -> Result<Vec<WrappingKey>, StateError> {
    Ok(state.get(Table::Mesh, ROW)?.map(|row| row::decode(&row)).transpose()?.unwrap_or_default())
}

/// The newest version held, of those that the mesh names or named; for `nodes/<this host>`.
pub(super) fn held_version(keeper: &Keeper) -> Option<u64> {
    let newest = keeper.mesh.look(|view| view.wrapping_key()).flatten().map_or(u64::MAX, |newest| newest.version);
    held(&keeper.state).ok()?.iter().map(|key| key.version).find(|version| *version <= newest)
}

/// Of what an authority that is out had said for the mesh, leaves out versions that this host does not hold itself: whoever
/// stole it may name any, and a key that nobody has.
pub(super) fn that_may_be_repeated(keeper: &Keeper, mut estate: Vec<Again>) -> Result<Vec<Again>, StateError> {
    let held = held(&keeper.state)?;
    estate.retain(|again| match &again.value {
        Some(value) if again.collection == Collection::WrappingKeys => {
            minicbor::decode::<WrappingKeyVersion>(value).is_ok_and(|said| {
                said.version < BEYOND && held.iter().any(|key| key.version == said.version && key.digest() == said.digest)
            })
        }
        _ => true,
    });
    Ok(estate)
}

/// Forgets every version: this host left.
pub(super) fn forget() -> Write {
    Write::Delete { table: Table::Mesh, key: ROW.to_owned() }
}

fn row_of(keys: &[WrappingKey]) -> Result<Write, Trouble> {
    Ok(Write::Put { table: Table::Mesh, key: ROW.to_owned(), value: row::encode(&keys)? })
}

/// The first version of a new mesh.
pub(super) fn first(now: Moment) -> Result<(Draft, Write), Trouble> {
    let (draft, key) = fresh(1, now)?;
    Ok((draft, row_of(&[key])?))
}

fn fresh(version: u64, now: Moment) -> Result<(Draft, WrappingKey), Trouble> {
    let mut random = Zeroizing::new([0; 32]);
    Aws.random(&mut *random)?;
    let key = WrappingKey { version, key: *random };
    let said = WrappingKeyVersion { version, digest: key.digest(), made_at: now };
    Ok((Draft::put(Collection::WrappingKeys, version.to_string(), &said)?, key))
}

/// The next version: what to say of it, and what to store. The caller has the wrapping key's turn, and commits both together.
pub(super) fn next(keeper: &Keeper, now: Moment) -> Result<(Draft, Write, u64), Trouble> {
    let mut all = held(&keeper.state)?;
    let named = |view: &View<'_>| view.entries(Collection::WrappingKeys).filter_map(|said| said.key.parse().ok()).collect();
    let named: Vec<u64> = keeper.mesh.look(named).unwrap_or_default();
    let before = named.into_iter().chain(all.iter().map(|key| key.version)).filter(|version| *version < BEYOND).max();
    let version = before.unwrap_or_default() + 1;
    let (draft, key) = fresh(version, now)?;
    all.push(key);
    all.sort_by_key(|key| std::cmp::Reverse(key.version));
    Ok((draft, row_of(&all)?, version))
}

/// Makes a new version because an administrator asked. Old ones stay until every live host has it.
pub async fn rotate(keeper: &Keeper, actor: Actor) -> Result<u64, Trouble> {
    let us = &keeper.host.node_id;
    look(keeper, |view| lead(view, us, "rotate the wrapping key"))??;
    let _turn = keeper.mesh.affairs.wrapping_turn().await?;
    let (draft, write, version) = next(keeper, clock::now())?;
    let event = event(Kind::WrappingKeyRotated, Outcome::Done, actor, format!("version {version}"), None);
    writing::write(keeper, vec![draft], Change { writes: vec![write], events: vec![event] }).await?;
    say_version(keeper);
    Ok(version)
}

/// Has our own record say which version we hold.
pub(super) fn say_version(keeper: &Keeper) {
    keeper.mesh.own_due.notify_one();
}

fn look<T>(keeper: &Keeper, look: impl FnOnce(&View<'_>) -> T) -> Result<T, Trouble> {
    keeper.mesh.look(look).ok_or_else(|| super::MeshError::NotIn(keeper.mesh.state().as_str()).into())
}

fn event(kind: Kind, outcome: Outcome, actor: Actor, object: String, reason: Option<String>) -> Event {
    let subject = Subject { object: Some(object), ..Subject::default() };
    Event { time: clock::now(), kind, outcome, actor, subject, reason }
}

/// Versions that the mesh still names, the newest first, sealed to a host.
pub(super) fn sealed(keeper: &Keeper, to: &KemPublicKey, occasion: Occasion<'_>) -> Result<Vec<SealedKey>, Trouble> {
    let held = held(&keeper.state)?;
    let mut named = vec![];
    for key in &held {
        if named.len() < MAX_KEYS
            && look(keeper, |view| digest_of(view, key.version))?.is_some_and(|digest| digest == key.digest())
        {
            named.push(seal(&Aws, key, to, occasion)?);
        }
    }
    Ok(named)
}

fn digest_of(view: &View<'_>, version: u64) -> Option<[u8; 32]> {
    view.read::<WrappingKeyVersion>(Collection::WrappingKeys, &version.to_string()).map(|said| said.digest)
}

/// `GET /api/gossip/wrapping-key`: anyone may ask, in anyone's name; what comes back opens with that host's key alone.
pub(super) async fn serve(keeper: &Arc<Keeper>, node: &NodeId, caller: Option<&NodeId>, nonce: Option<[u8; 16]>) -> Reply {
    let asker = if caller == Some(node) { Asker::Itself } else { Asker::Stranger };
    match answer(keeper, node, asker, nonce.unwrap_or_default()).await {
        Ok(reply) => reply,
        Err(trouble) => trouble.into_reply(),
    }
}

async fn answer(keeper: &Keeper, node: &NodeId, asker: Asker, nonce: [u8; 16]) -> Result<Reply, Trouble> {
    let admission = keeper.mesh.admission(&keeper.policy().config.gossip);
    let recipient = look(keeper, |view| recipient(view, node, admission.admits(node)))??;
    let now = clock::now();
    if !keeper.mesh.affairs.may_serve(node, asker, now) {
        return Err(Refusal::new(
            429,
            format!("{node} asked for the wrapping key too often"),
            "wait ten seconds; over a connection with its own key it has a share of its own",
        )
        .into());
    }
    let mesh = keeper.mesh.id().unwrap_or_default();
    let keys = sealed(keeper, &recipient, Occasion { mesh: &mesh, recipient: node, nonce })?;
    if keys.is_empty() {
        return Err(Trouble::unavailable("this host has no version of the wrapping key that the mesh names", "ask another host"));
    }
    let versions: Vec<String> = keys.iter().map(|key| key.version.to_string()).collect();
    ::metrics::counter!("reverie_mesh_wrapping_keys_served_total", "asker" => asker.as_str()).increment(1);
    if let Some(unrecorded) = keeper.mesh.affairs.may_record_served(node, asker, now) {
        let mut reason = format!("versions {}, {}", versions.join(", "), asker.as_str());
        if unrecorded > 0 {
            reason.push_str(&format!("; {unrecorded} more such answers before it are not recorded one by one"));
        }
        let event = event(Kind::WrappingKeyServed, Outcome::Done, Actor::Agent, node.to_string(), Some(reason));
        keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    }
    let payload = WrappingKeys { mesh, recipient: node.clone(), nonce, keys }.encode();
    Ok(Reply::Sealable { recipient, payload })
}

/// To which key it is sealed, if the host may have it.
fn recipient(view: &View<'_>, node: &NodeId, allowed: bool) -> Result<KemPublicKey, Refusal> {
    let unknown = || Refusal::new(404, format!("{node} is not known here"), "join the mesh first: agentctl mesh join");
    let host = view.host(node).ok_or_else(unknown)?;
    if host.standing.is_none() || !allowed {
        return Err(Refusal::new(
            403,
            format!("{node} may not take part in this mesh"),
            "agentctl mesh peers on another host says why",
        ));
    }
    let kem = host.keys.into_iter().find_map(|key| key.kem_key);
    kem.ok_or_else(|| Refusal::new(404, format!("{node} has no KEM key"), "register one: agentctl mesh join"))
}

/// Opens what came, against what the mesh says of each version. One that is not named here, yet or any more, or does not
/// open, is passed over, and asked for again if it is wanted.
pub(super) fn opened(keeper: &Keeper, sealed: &[SealedKey], occasion: Occasion<'_>) -> Result<Vec<WrappingKey>, String> {
    let ring = keeper.mesh.keys().ok_or("this host has no keys in a mesh")?;
    let mut keys: Vec<WrappingKey> = vec![];
    for sealed in sealed {
        let digest = keeper.mesh.look(|view| digest_of(view, sealed.version)).flatten();
        let Some(digest) = digest else { continue };
        let pair = std::iter::once(&ring.current).chain(&ring.earlier).find(|pair| pair.kem.public_key().kid() == sealed.kem);
        match pair.map(|pair| open(&Aws, &pair.kem, sealed, occasion, &digest)) {
            Some(Ok(key)) => keys.push(key),
            Some(Err(error)) => tracing::warn!(version = sealed.version, %error, "a version of the wrapping key is not taken"),
            None => tracing::warn!(version = sealed.version, "the wrapping key is sealed to a key that this host does not have"),
        }
    }
    Ok(keys)
}

/// Stores versions that came from another, beside those held. The caller has the wrapping key's turn.
pub(super) async fn keep(keeper: &Keeper, new: Vec<WrappingKey>, event: Option<Event>) -> Result<(), Trouble> {
    let mut all = held(&keeper.state)?;
    for key in new {
        all.retain(|known| known.version != key.version);
        all.push(key);
    }
    all.sort_by_key(|key| std::cmp::Reverse(key.version));
    let change = Change { writes: vec![row_of(&all)?], events: event.into_iter().collect() };
    keeper.commit(change).await?;
    say_version(keeper);
    Ok(())
}

/// Pulls what is lacking and drops what nobody needs. Never ends.
pub async fn follow(keeper: Arc<Keeper>) {
    let mut changes = keeper.mesh.watch();
    let mut failed = 0;
    loop {
        changes.mark_unchanged();
        let wait = match lacking(&keeper) {
            Some(version) => match pull(&keeper, version, failed).await {
                Ok(()) => {
                    failed = 0;
                    keeper.alarms.clear(SUBJECT);
                    Duration::ZERO
                }
                Err(why) => {
                    failed += 1;
                    keeper.mesh.wrapping_key_pull_errors.fetch_add(1, Ordering::Relaxed);
                    if failed == 3 {
                        let advice = "agentctl mesh peers shows who can be reached";
                        keeper.alarms.raise(SUBJECT, format!("version {version} cannot be obtained: {why}; {advice}"));
                    }
                    tracing::warn!(version, why, "the wrapping key could not be pulled");
                    PAUSES.0.saturating_mul(1 << (failed - 1).min(16)).min(PAUSES.1)
                }
            },
            None => {
                failed = 0;
                keeper.alarms.clear(SUBJECT);
                if let Err(trouble) = drop_old(&keeper).await {
                    tracing::warn!(%trouble, "old versions of the wrapping key could not be dropped");
                }
                LOOK_EVERY
            }
        };
        // A change while it failed is no reason to try sooner: the round brings many.
        let may_change = failed == 0;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = changes.changed(), if may_change => if changed.is_err() { return },
        }
    }
}

/// The newest version the mesh names, if we lack it, or hold another key of that name.
pub(super) fn lacking(keeper: &Keeper) -> Option<u64> {
    if !matches!(keeper.mesh.state(), MeshState::Member | MeshState::Authority) {
        return None;
    }
    let newest = keeper.mesh.look(|view| view.wrapping_key()).flatten()?;
    let held = held(&keeper.state).ok()?;
    let have = held.iter().any(|key| key.version == newest.version && key.digest() == newest.digest);
    (!have).then_some(newest.version)
}

/// From the hosts that say they have it, one after the other; a host that is down comes last.
pub(super) async fn pull(keeper: &Arc<Keeper>, version: u64, attempt: u32) -> Result<(), String> {
    let us = &keeper.host.node_id;
    let candidates = keeper.mesh.look(|view| {
        let has = |host: &reverie_core::mesh::view::Host| {
            let held = host.record.as_ref().and_then(|record| record.wrapping_key);
            host.node != *us && host.standing.is_some() && held.is_some_and(|held| held >= version)
        };
        view.hosts().filter(has).map(|host| host.node).collect::<Vec<_>>()
    });
    let mut candidates = candidates.unwrap_or_default();
    candidates.sort_by_key(|node| is_down(keeper, node));
    let live = candidates.iter().filter(|node| !is_down(keeper, node)).count();
    let among = if live > 0 { live } else { candidates.len() };
    if among == 0 {
        return Err(format!("no host says that it has version {version}"));
    }
    let from = candidates.swap_remove(attempt as usize % among);
    let outcome = pull_from(keeper, &from).await;
    if let Err(why) = &outcome {
        let event = event(Kind::WrappingKeyPulled, Outcome::Failed, Actor::Agent, from.to_string(), Some(why.clone()));
        // The first of a row of failures is enough.
        if attempt == 0 && keeper.commit(Change { writes: vec![], events: vec![event] }).await.is_err() {
            tracing::warn!("a failure to pull the wrapping key could not be recorded");
        }
    }
    outcome
}

fn is_down(keeper: &Keeper, node: &NodeId) -> bool {
    keeper.mesh.peers().get(node).is_some_and(|peer| peer.state == Liveness::Down)
}

pub(super) async fn pull_from(keeper: &Arc<Keeper>, from: &NodeId) -> Result<(), String> {
    let mut nonce = [0; 16];
    Aws.random(&mut nonce).map_err(|error| error.to_string())?;
    let task = TaskKind::PullWrappingKey { from: from.clone(), nonce };
    let payload = keeper.mesh.task(task, DEADLINE).await?;
    let mesh = keeper.mesh.id().ok_or("this host is in no mesh any more")?;
    let occasion = Occasion { mesh: &mesh, recipient: &keeper.host.node_id, nonce };
    let answer = WrappingKeys::check(&payload, occasion).map_err(|error| error.to_string())?;
    let _turn = keeper.mesh.affairs.wrapping_turn().await.map_err(|trouble| trouble.to_string())?;
    let keys = opened(keeper, &answer.keys, occasion)?;
    if lacking(keeper).is_some_and(|wanted| !keys.iter().any(|key| key.version == wanted)) {
        return Err("its answer does not hold the version that is wanted".to_owned());
    }
    let versions: Vec<String> = keys.iter().map(|key| key.version.to_string()).collect();
    let reason = Some(format!("versions {} from {from}", versions.join(", ")));
    let event = event(Kind::WrappingKeyPulled, Outcome::Done, Actor::Agent, from.to_string(), reason);
    keep(keeper, keys, Some(event)).await.map_err(|trouble| trouble.to_string())
}

/// Drops versions below the one that every live host has; whoever made one withdraws it.
pub(super) async fn drop_old(keeper: &Keeper) -> Result<(), Trouble> {
    if !matches!(keeper.mesh.state(), MeshState::Member | MeshState::Authority) {
        return Ok(());
    }
    let _turn = keeper.mesh.affairs.wrapping_turn().await?;
    let mut all = held(&keeper.state)?;
    let versions: Vec<u64> = all.iter().map(|key| key.version).collect();
    let us = &keeper.host.node_id;
    let (theirs, ours) = look(keeper, |view| {
        let live = view.hosts().filter(|host| host.standing.is_some() && (host.node == *us || !is_down(keeper, &host.node)));
        let theirs: Vec<Option<u64>> = live.map(|host| host.record.and_then(|record| record.wrapping_key)).collect();
        let said = view.entries(Collection::WrappingKeys).filter(|value| value.author == us);
        (theirs, said.map(|value| value.key.to_owned()).collect::<Vec<String>>())
    })?;
    let old = to_drop(&versions, theirs);
    if old.is_empty() {
        return Ok(());
    }
    all.retain(|key| !old.contains(&key.version));
    let withdrawn = ours.into_iter().filter(|key| key.parse().is_ok_and(|version| old.contains(&version)));
    let drafts: Vec<Draft> = withdrawn.map(|key| Draft::withdraw(Collection::WrappingKeys, key)).collect();
    let change = Change { writes: vec![row_of(&all)?], events: vec![] };
    match drafts.is_empty() {
        true => drop(keeper.commit(change).await?),
        false => drop(writing::write(keeper, drafts, change).await?),
    }
    Ok(())
}
