//! Coming into a mesh: founding one, or adopting the one that let us in; and going out of it.

use std::sync::Arc;

use reverie_core::id::NodeId;
use reverie_core::mesh::author::Author;
use reverie_core::mesh::collection::{Admission, Collection, Eviction, Standing, key};
use reverie_core::mesh::record::Parsed;
use reverie_core::mesh::set::{Anchor, Limits, Set};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;

use super::keys::{self, Ring};
use super::rows::{self, Index, Membership, Own, Phase};
use super::writing::{self, Draft};
use super::{Core, Keeper, MeshError, MeshState, Turn, arriving, clock};
use crate::keeper::state::{Change, Committed, StateError, Write};

/// Founds a mesh: new keys, the founding admission, our own record and `drafts` (the roots of the bundle, say), with
/// `change`, in one transaction.
pub async fn found(keeper: &Keeper, drafts: Vec<Draft>, change: Change) -> Result<Committed, MeshError> {
    let turn = keeper.mesh.turn().await;
    refuse_if_in(keeper)?;
    let ring = Ring::generate(clock::now())?;
    let (signing_key, kem_key) = ring.current.public();
    let node = keeper.host.node_id.clone();
    let anchor = Anchor { node: node.clone(), key: signing_key.clone() };
    let name = key::admission(&node, &signing_key.kid());
    let admission = Admission {
        node,
        signing_key,
        kem_key: Some(kem_key),
        standing: Standing::Authority,
        by: "founding".to_owned(),
        despite: Default::default(),
    };
    let mut all = vec![Draft::put(Collection::Admissions, name, &admission)?, keys::own_record(keeper, &ring.current)?];
    all.extend(drafts);
    enter(keeper, turn, Given { anchor, records: vec![], more: false }, ring, all, change).await
}

/// Before joining: keys, stored with `change`. Made anew each time: what an attempt that failed has shown to others is not
/// used again.
pub async fn prepare(keeper: &Keeper, mut change: Change) -> Result<Arc<Ring>, MeshError> {
    let _turn = keeper.mesh.turn().await;
    refuse_if_in(keeper)?;
    let ring = Arc::new(Ring::generate(clock::now())?);
    change.writes.push(ring.write()?);
    let mut membership = Membership { phase: Phase::Joining, anchor: None, mesh: [0; 16], node: keeper.host.node_id.clone() };
    // Our own history goes on where it ended, whatever mesh it was in.
    if let Some(core) = &keeper.mesh.read().core {
        membership.anchor = Some((core.set.anchor().node.clone(), core.set.anchor().key.clone()));
        membership.mesh = core.mesh;
    }
    change.writes.push(membership.write()?);
    keeper.commit(change).await?;
    let mut held = keeper.mesh.change();
    held.keys = Some(Arc::clone(&ring));
    held.phase = Phase::Joining;
    drop(held);
    keeper.mesh.due.notify_one();
    keeper.mesh.wanted.notify_one();
    Ok(ring)
}

/// An attempt to join came to nothing: as before it.
pub async fn give_up(keeper: &Keeper, change: Change) -> Result<(), MeshError> {
    set_phase(keeper, Phase::None, change).await
}

/// After joining: the mesh of `anchor`, with the records that we were given, each of which is verified; `more`: they are not
/// all. Then we say our own record. What we knew of an earlier mesh is dropped.
pub async fn adopt(
    keeper: &Keeper,
    anchor: Anchor,
    records: Vec<Vec<u8>>,
    more: bool,
    change: Change,
) -> Result<Committed, MeshError> {
    let turn = keeper.mesh.turn().await;
    refuse_if_in(keeper)?;
    let ring = keeper.mesh.keys().ok_or(MeshError::NotIn("none"))?;
    let ring = Ring::clone(&ring);
    let own = vec![keys::own_record(keeper, &ring.current)?];
    enter(keeper, turn, Given { anchor, records, more }, ring, own, change).await
}

/// We leave, with what is to be said last (our own eviction) and `change`.
pub async fn leave(keeper: &Keeper, drafts: Vec<Draft>, change: Change) -> Result<Committed, MeshError> {
    writing::write(keeper, drafts, change).await
}

/// After the last word was heard by others, or could not be: net is wanted no more.
pub async fn left(keeper: &Keeper, change: Change) -> Result<(), MeshError> {
    set_phase(keeper, Phase::Left, change).await
}

/// This host was cloned and goes on, by an administrator's word: a new epoch, after all that is known of ours.
pub async fn resume(keeper: &Keeper, mut change: Change) -> Result<(), MeshError> {
    let _turn = keeper.mesh.turn().await;
    let (membership, author) = {
        let held = keeper.mesh.read();
        let core = held.core.as_ref().ok_or(MeshError::NotIn("none"))?;
        let mut author = core.author.clone();
        author.resume(&core.set, clock::now());
        (membership_of(core, Phase::In), author)
    };
    change.writes.push(membership.write()?);
    change.writes.push(Own { position: author.position() }.write()?);
    keeper.commit(change).await?;
    let mut held = keeper.mesh.change();
    held.phase = Phase::In;
    if let Some(core) = &mut held.core {
        core.author = author;
        core.settle();
    }
    drop(held);
    keeper.alarms.clear(super::CLONED);
    keeper.mesh.publish();
    Ok(())
}

pub(super) fn membership_of(core: &Core, phase: Phase) -> Membership {
    let anchor = core.set.anchor();
    Membership { phase, anchor: Some((anchor.node.clone(), anchor.key.clone())), mesh: core.mesh, node: core.node.clone() }
}

/// Makes a phase durable and puts it in force.
pub(super) async fn set_phase(keeper: &Keeper, phase: Phase, mut change: Change) -> Result<(), MeshError> {
    let _turn = keeper.mesh.turn().await;
    let membership = match &keeper.mesh.read().core {
        Some(core) => membership_of(core, phase),
        None => Membership { phase, anchor: None, mesh: [0; 16], node: keeper.host.node_id.clone() },
    };
    change.writes.push(membership.write()?);
    keeper.commit(change).await?;
    keeper.mesh.change().phase = phase;
    keeper.mesh.publish();
    keeper.mesh.wanted.notify_one();
    Ok(())
}

fn refuse_if_in(keeper: &Keeper) -> Result<(), MeshError> {
    match keeper.mesh.state() {
        MeshState::Member | MeshState::Authority | MeshState::Cloned => Err(MeshError::AlreadyIn),
        MeshState::None | MeshState::Joining | MeshState::Evicted | MeshState::Left => Ok(()),
    }
}

/// What we come in with.
struct Given {
    anchor: Anchor,
    records: Vec<Vec<u8>>,
    /// These are not all.
    more: bool,
}

/// In one transaction: membership, keys, the records of others, and ours.
async fn enter(
    keeper: &Keeper,
    turn: Turn,
    given: Given,
    ring: Ring,
    drafts: Vec<Draft>,
    change: Change,
) -> Result<Committed, MeshError> {
    let keeper = keeper.mesh.keeper()?;
    let task = async move {
        let _turn = turn;
        enter_in_turn(&keeper, given, ring, drafts, change).await
    };
    // To its end, whoever waits for it.
    tokio::spawn(task).await.unwrap_or(Err(MeshError::State(StateError::Closed)))
}

async fn enter_in_turn(
    keeper: &Keeper,
    Given { anchor, records, more }: Given,
    ring: Ring,
    drafts: Vec<Draft>,
    mut change: Change,
) -> Result<Committed, MeshError> {
    let (now, node) = (clock::now(), keeper.host.node_id.clone());
    let mut set = Set::new(anchor, Limits::default());
    let mut rows = Index::default();
    let merge = set.merge(&records, &reverie_crypto::aws::Aws);
    if let Some((author, why)) = merge.refused.first() {
        let author = author.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(MeshError::Refused(format!("{author}: {why}")));
    }
    let known = keeper.mesh.read().core.as_ref().map_or(Position::default(), |core| core.author.position());
    let known = known.max(heard_before(&set, &node, now));
    let mut author = Author::start_after(node.clone(), &set, known, now);
    // Whatever a host of this name said before came from one that is no more.
    author.resume(&set, now);
    let ours = drafts.into_iter().map(|draft| {
        let record = author.write(draft.collection, &draft.key, draft.value, now, &ring.current.signing)?;
        Parsed::new(&record.to_bytes()).map_err(|why| MeshError::Refused(why.to_string()))
    });
    let ours = ours.collect::<Result<Vec<Parsed>, _>>()?;
    for record in &ours {
        set.take(record.clone().trusted());
    }
    let mesh = rows::mesh_id(keeper.host.trust_domain.as_str(), set.anchor());
    let mut core = Core {
        mesh,
        node,
        set,
        author,
        rows: Index::default(),
        unsaved: vec![],
        unsaved_rows: vec![],
        arriving: more.then(VersionVector::default),
        durable: Default::default(),
    };
    let (drop, first) = match &keeper.mesh.read().core {
        Some(old) => (old.rows.all(), old.rows.next()),
        None => (vec![], 0),
    };
    // An attempt before may have left rows behind; theirs are overwritten or dropped.
    rows.begin_at(first);
    let mut file = vec![];
    for record in core.set.records() {
        let parsed = Parsed::new(record).map_err(|why| MeshError::Refused(why.to_string()))?;
        file.push((rows.add(&parsed.hash()), record.to_vec()));
    }
    core.rows = rows;
    change.writes.push(Write::Records { file, drop });
    change.writes.push(membership_of(&core, Phase::In).write()?);
    change.writes.push(ring.write()?);
    change.writes.push(Own { position: core.author.position() }.write()?);
    change.writes.push(arriving::write(core.arriving.as_ref())?);
    let committed = keeper.commit(change).await?;
    core.settle();
    let mut held = keeper.mesh.change();
    held.phase = Phase::In;
    held.keys = Some(Arc::new(ring));
    held.core = Some(core);
    std::mem::drop(held);
    keeper.alarms.clear(super::noticing::EVICTED);
    keeper.alarms.clear(super::CLONED);
    keeper.mesh.settled.end();
    keeper.mesh.publish();
    keeper.mesh.wanted.notify_one();
    Ok(committed)
}

/// Up to where an earlier life of this host is known: evictions say how far it was heard. Its records themselves may come
/// later.
fn heard_before(set: &Set, node: &NodeId, now: Moment) -> Position {
    let view = View::of(set, now);
    let of_ours = view.entries(Collection::Evictions).filter(|value| value.key.split('/').next() == Some(node.as_str()));
    let evictions = of_ours.filter_map(|value| minicbor::decode::<Eviction>(value.bytes).ok());
    evictions.map(|eviction| eviction.heard).max().unwrap_or_default()
}
