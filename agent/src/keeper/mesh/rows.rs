//! What is stored of the mesh: membership, our own position, and the records, which are numbered in the order they came.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use reverie_core::id::NodeId;
use reverie_core::mesh::author::Author;
use reverie_core::mesh::crypto::SigningPublicKey;
use reverie_core::mesh::record::{Hash, Parsed};
use reverie_core::mesh::set::{Anchor, Limits, Set};
use reverie_core::mesh::vector::Position;
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Core, Held, MeshError, keys};
use crate::keeper::row;
use crate::keeper::state::{Change, State, Table, Write};

/// Row of [`Membership`].
const MEMBERSHIP: &str = "membership";
/// Row of [`Own`].
const OWN: &str = "own";
/// Bytes read from the store at once.
const PAGE: usize = 1 << 20;

/// How far this host has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No mesh.
    #[default]
    None,
    /// Keys are made.
    Joining,
    /// In a mesh, or put out of it: the records say which.
    In,
    /// It left.
    Left,
    /// It was copied or restored, and waits for a word.
    Cloned,
}

/// Of which mesh this host is.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Membership {
    pub(super) phase: Phase,
    pub(super) anchor: Option<(NodeId, SigningPublicKey)>,
    pub(super) mesh: [u8; 16],
    /// As which node it joined.
    pub(super) node: NodeId,
}

impl Membership {
    pub(super) fn write(&self) -> Result<Write, MeshError> {
        Ok(Write::Put { table: Table::Mesh, key: MEMBERSHIP.to_owned(), value: row::encode(self)? })
    }
}

/// Where our own history ends. Beside the records, since an epoch is announced before anything is written in it, and since a
/// floor or a limit may take our newest record out of the set.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) position: Position,
}

impl Own {
    pub(super) fn write(self) -> Result<Write, MeshError> {
        Ok(Write::Put { table: Table::Mesh, key: OWN.to_owned(), value: row::encode(&self)? })
    }
}

/// `SHA-256("reverie-mesh-v1" ‖ trust domain ‖ 0 ‖ founding key)`, its first 16 bytes.
pub(super) fn mesh_id(trust_domain: &str, anchor: &Anchor) -> [u8; 16] {
    let digest = Sha256::new().chain_update(b"reverie-mesh-v1").chain_update(trust_domain).chain_update([0]);
    let digest = digest.chain_update(anchor.key.0).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

/// Under which number each record that stands is stored.
#[derive(Default)]
pub(super) struct Index {
    /// By 64 bits that nobody outside can choose.
    numbers: BTreeMap<u64, u64>,
    next: u64,
    /// No longer wanted; dropped with the next change.
    stale: Vec<u64>,
    hasher: RandomState,
}

impl Index {
    fn short(&self, hash: &Hash) -> u64 {
        self.hasher.hash_one(hash)
    }

    fn note(&mut self, number: u64, hash: &Hash) {
        self.next = self.next.max(number + 1);
        if let Some(before) = self.numbers.insert(self.short(hash), number) {
            self.stale.push(before);
        }
    }

    /// The number of a new record.
    pub(super) fn add(&mut self, hash: &Hash) -> u64 {
        let number = self.next;
        self.note(number, hash);
        number
    }

    /// A record that stands no more.
    pub(super) fn displace(&mut self, hash: &Hash) {
        if let Some(number) = self.numbers.remove(&self.short(hash)) {
            self.stale.push(number);
        }
    }

    /// What is to be dropped now. Put back with [`Index::restore`] if that fails.
    pub(super) fn take_stale(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.stale)
    }

    pub(super) fn restore(&mut self, stale: Vec<u64>) {
        self.stale.extend(stale);
    }

    /// The number that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Numbers from there on.
    pub(super) fn begin_at(&mut self, next: u64) {
        self.next = next;
    }

    /// Every number in use: to drop them all.
    pub(super) fn all(&self) -> Vec<u64> {
        self.numbers.values().copied().chain(self.stale.iter().copied()).collect()
    }
}

fn stored<T: serde::de::DeserializeOwned>(state: &State, key: &str) -> Result<Option<T>, MeshError> {
    let row = state.get(Table::Mesh, key)?;
    Ok(row.map(|row| row::decode(&row)).transpose()?)
}

/// Everything, and a new epoch, durable before it is announced.
pub(super) async fn load(state: &State, node: &NodeId, now: Moment) -> Result<Held, MeshError> {
    let keys = keys::load(state)?;
    let Some(membership) = stored::<Membership>(state, MEMBERSHIP)? else {
        return Ok(Held { keys, ..Held::default() });
    };
    let mut held = Held { phase: membership.phase, keys, core: None };
    let Some((founder, key)) = membership.anchor else { return Ok(held) };
    if membership.node != *node {
        let message =
            format!("the store is that of {:?} in the mesh, and this host is {node:?}: set `node_id` back", membership.node);
        return Err(MeshError::Refused(message));
    }
    let mut set = Set::new(Anchor { node: founder, key }, Limits::default());
    let rows = read_records(state, &mut set)?;
    super::evidence::recall(state, &mut set)?;
    let own: Own = stored(state, OWN)?.unwrap_or_default();
    let author = Author::start_after(node.clone(), &set, own.position, now);
    state.commit(Change { writes: vec![Own { position: author.position() }.write()?], events: vec![] }).await?;
    let mut core = Core {
        mesh: membership.mesh,
        node: node.clone(),
        set,
        author,
        rows,
        unsaved: vec![],
        unsaved_rows: vec![],
        arriving: super::arriving::load(state)?,
        durable: Default::default(),
    };
    core.settle();
    held.core = Some(core);
    Ok(held)
}

fn read_records(state: &State, set: &mut Set) -> Result<Index, MeshError> {
    let (mut index, mut from) = (Index::default(), 0);
    loop {
        let page = state.records(from, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(index) };
        from = last + 1;
        for (number, record) in &page {
            match Parsed::new(record) {
                Ok(parsed) => index.note(*number, &parsed.hash()),
                // Of a kind that this version does not know: kept for the one that does.
                Err(_) => index.next = index.next.max(number + 1),
            }
        }
        let merge = set.load(page.iter().map(|(_, record)| record));
        // A crash came between a record and the removal of what it displaced.
        merge.displaced.iter().for_each(|hash| index.displace(hash));
    }
}
