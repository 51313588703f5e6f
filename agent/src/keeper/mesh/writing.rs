//! Saying something ourselves: signed, stored and audited in one durable transaction, and only then known to anyone.

use std::sync::Arc;

use reverie_core::mesh::author::check_room;
use reverie_core::mesh::collection::Collection;
use reverie_core::mesh::crypto::{Kid, Signer};
use reverie_core::mesh::record::{Parsed, Record, Stamp};
use reverie_core::mesh::set::Offered;

use super::keys::Pair;
use super::rows::{Own, Phase};
use super::{Core, Held, MeshError, TurnToWrite, clock, metrics};
use crate::keeper::Keeper;
use crate::keeper::row::RowError;
use crate::keeper::state::{Change, Committed, StateError, Write};

/// What is to be said.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Of which kind.
    pub collection: Collection,
    /// Which one.
    pub key: String,
    /// CBOR; `None` withdraws it.
    pub value: Option<Vec<u8>>,
}

impl Draft {
    /// A value.
    pub fn put<T: minicbor::Encode<()>>(collection: Collection, key: impl Into<String>, value: &T) -> Result<Self, MeshError> {
        let value = minicbor::to_vec(value).map_err(|_| RowError)?;
        Ok(Self { collection, key: key.into(), value: Some(value) })
    }

    /// A tombstone.
    pub fn withdraw(collection: Collection, key: impl Into<String>) -> Self {
        Self { collection, key: key.into(), value: None }
    }
}

/// A draft and the pair that is to sign it.
pub(super) struct Signed {
    pub(super) draft: Draft,
    pub(super) by: Arc<Pair>,
    /// The stamp of what is said again; a new one otherwise.
    pub(super) stamp: Option<Stamp>,
}

impl Signed {
    /// With a stamp of its own.
    pub(super) fn new(draft: Draft, by: &Arc<Pair>) -> Self {
        Self { draft, by: Arc::clone(by), stamp: None }
    }
}

/// Says `drafts`, in that order, together with the caller's own `change`: all of it becomes durable, or nothing.
pub async fn write(keeper: &Keeper, drafts: Vec<Draft>, change: Change) -> Result<Committed, MeshError> {
    let turn = keeper.mesh.turn_to_write().await;
    let pair = {
        let held = keeper.mesh.read();
        Arc::clone(&held.keys.as_ref().ok_or(MeshError::NotIn("none"))?.current)
    };
    let signed = drafts.into_iter().map(|draft| Signed::new(draft, &pair)).collect();
    write_signed(keeper, turn, signed, change, |_| ()).await
}

/// The same, each by its pair. `then` runs with the lock once all is durable.
///
/// It runs to its end even if nobody waits for it any more: what is durable must not be missing in the set, nor a position be
/// taken twice.
pub(super) async fn write_signed(
    keeper: &Keeper,
    turn: TurnToWrite,
    signed: Vec<Signed>,
    change: Change,
    then: impl FnOnce(&mut Held) + Send + 'static,
) -> Result<Committed, MeshError> {
    let keeper = keeper.mesh.keeper()?;
    let task = async move {
        let _turn = turn;
        write_in_turn(&keeper, signed, change, then).await
    };
    tokio::spawn(task).await.unwrap_or(Err(MeshError::State(StateError::Closed)))
}

async fn write_in_turn(
    keeper: &Keeper,
    signed: Vec<Signed>,
    mut change: Change,
    then: impl FnOnce(&mut Held),
) -> Result<Committed, MeshError> {
    let mesh = &keeper.mesh;
    let (author, records, bytes) = {
        let held = mesh.read();
        let core = may_write(&held)?;
        // A next key has the standing of the one before, which signs first.
        let kid = signed.first().map(|first| first.by.signing.public_key().kid()).unwrap_or(Kid([0; 20]));
        check_room(&core.set, &core.node, signed.iter().map(|one| (kid, one.draft.collection, one.draft.key.as_str())))?;
        let mut author = core.author.clone();
        let now = clock::now();
        let records = signed.into_iter().map(|Signed { draft, by, stamp }| {
            let Draft { collection, key, value } = draft;
            Ok(match stamp {
                None => author.write(collection, &key, value, now, &by.signing)?,
                Some(stamp) => author.repeat(collection, &key, value, stamp, &by.signing)?,
            })
        });
        let records = records.collect::<Result<Vec<Record>, MeshError>>()?;
        let bytes: Vec<Vec<u8>> = records.iter().map(Record::to_bytes).collect();
        let parsed: Vec<Parsed> = bytes
            .iter()
            .map(|bytes| Parsed::new(bytes).map_err(|why| MeshError::Refused(why.to_string())))
            .collect::<Result<_, _>>()?;
        (author, parsed, bytes)
    };
    let (file, drop, unsaved) = {
        let mut held = mesh.change();
        let core = held.core.as_mut().ok_or(MeshError::NotIn("none"))?;
        let unsaved = std::mem::take(&mut core.unsaved);
        let numbers = records.iter().map(|record| core.rows.add(&record.hash()));
        let file: Vec<(u64, Vec<u8>)> = numbers.zip(bytes).chain(unsaved.iter().cloned()).collect();
        (file, core.rows.take_stale(), unsaved)
    };
    change.writes.push(Write::Records { file, drop: drop.clone() });
    change.writes.push(Own { position: author.position() }.write()?);
    let committed = keeper.commit(change).await;
    let mut held = mesh.change();
    let core = held.core.as_mut().ok_or(MeshError::NotIn("none"))?;
    match committed {
        Ok(committed) => {
            core.author = author;
            records.into_iter().for_each(|record| core.take_own(record));
            core.settle();
            let position = core.own();
            then(&mut held);
            std::mem::drop(held);
            metrics::note_write(keeper, position);
            mesh.publish();
            Ok(committed)
        }
        Err(error) => {
            core.rows.restore(drop);
            core.unsaved = unsaved;
            records.iter().for_each(|record| core.rows.displace(&record.hash()));
            // Whether these positions are taken is not known: they are left, and a new epoch begun.
            core.author = author;
            core.author.begin(&core.set, clock::now());
            Err(error.into())
        }
    }
}

fn may_write(held: &Held) -> Result<&Core, MeshError> {
    let state = held.state(clock::now());
    match (held.phase, &held.core) {
        (Phase::Cloned, _) => Err(MeshError::Cloned),
        (Phase::In, Some(core)) if state.is_in() => Ok(core),
        _ => Err(MeshError::NotIn(state.as_str())),
    }
}

impl Core {
    fn take_own(&mut self, record: Parsed) {
        let hash = record.hash();
        match self.set.take(record.trusted()) {
            Offered::Taken { displaced, .. } => displaced.iter().for_each(|hash| self.rows.displace(hash)),
            Offered::Known => {}
            // Beyond our own share: others will not keep it either.
            Offered::Superseded | Offered::Fork | Offered::Refused(_) => self.rows.displace(&hash),
        }
    }
}
