//! What was said of members, decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::NodeId;
use crate::mesh::collection::{self, Admission, Collection, Confirmation, Eviction, HostKey, Upheld};
use crate::mesh::crypto::Kid;
use crate::mesh::record::{Hash, Stamp};
use crate::mesh::set::{Entry, Set};
use crate::mesh::vector::Position;

/// One record.
pub(super) struct Said<T> {
    pub(super) by: NodeId,
    pub(super) kid: Kid,
    pub(super) position: Position,
    pub(super) stamp: Stamp,
    pub(super) hash: Hash,
    pub(super) what: T,
    /// What it upholds of the keys that it ends.
    pub(super) upheld: Arc<Upheld>,
}

/// All of them, in an order that does not show which came first.
pub(super) struct Statements {
    pub(super) admissions: BTreeMap<(NodeId, Kid), Vec<Said<Admission>>>,
    pub(super) next_keys: BTreeMap<(NodeId, Kid), Vec<Said<HostKey>>>,
    pub(super) evictions: Vec<Said<Eviction>>,
    pub(super) confirmations: Vec<Said<Confirmation>>,
}

impl Statements {
    pub(super) fn of(set: &Set) -> Self {
        let mut all =
            Self { admissions: BTreeMap::new(), next_keys: BTreeMap::new(), evictions: Vec::new(), confirmations: Vec::new() };
        for (key, said) in decoded::<Admission>(set, Collection::Admissions, |_| Upheld::default()) {
            if key == collection::key::admission(&said.what.node, &said.what.signing_key.kid()) {
                all.admissions.entry((said.by.clone(), said.kid)).or_default().push(said);
            }
        }
        for (key, said) in decoded::<HostKey>(set, Collection::HostKeys, |next| std::mem::take(&mut next.upheld)) {
            if key == collection::key::host_key(&said.by, &said.what.signing_key.kid()) && said.what.previous == said.kid {
                all.next_keys.entry((said.by.clone(), said.kid)).or_default().push(said);
            }
        }
        for (key, said) in decoded::<Eviction>(set, Collection::Evictions, |eviction| std::mem::take(&mut eviction.upheld)) {
            if key == collection::key::eviction(&said.what.node, &said.by) {
                all.evictions.push(said);
            }
        }
        for (key, said) in decoded::<Confirmation>(set, Collection::Confirmations, |_| Upheld::default()) {
            if key == collection::key::confirmation(&said.what.node, &said.what.previous) {
                all.confirmations.push(said);
            }
        }
        all
    }

    /// What a host said of the key that follows one, the lowest position first.
    pub(super) fn next_of(&self, node: &NodeId, kid: Kid) -> &[Said<HostKey>] {
        self.next_keys.get(&(node.clone(), kid)).map_or(&[], Vec::as_slice)
    }
}

/// Records of a collection that decode, with their keys.
fn decoded<T: for<'b> minicbor::Decode<'b, ()>>(
    set: &Set,
    collection: Collection,
    upheld: impl Fn(&mut T) -> Upheld,
) -> Vec<(String, Said<T>)> {
    let decode = |entry: &Entry| {
        let fields = entry.fields();
        let mut what: T = minicbor::decode(fields.value?).ok()?;
        let said = Said {
            by: set.node(entry.author).clone(),
            kid: fields.kid,
            position: entry.position,
            stamp: entry.stamp,
            hash: fields.hash(),
            upheld: Arc::new(upheld(&mut what)),
            what,
        };
        Some((fields.key.to_owned(), said))
    };
    let mut all: Vec<(String, Said<T>)> = set.chains(collection).flatten().filter_map(decode).collect();
    // As they are chained they show the order of arrival.
    all.sort_by(|(_, a), (_, b)| (&a.by, a.position, a.hash).cmp(&(&b.by, b.position, b.hash)));
    all
}
