//! What of a host is to outlive its keys: what an end upholds by hash, and what another authority says again.

use std::cmp::Reverse;

use super::{View, rules};
use crate::id::NodeId;
use crate::mesh::author::Again;
use crate::mesh::collection::{Collection, Revocation};
use crate::mesh::crypto::Kid;
use crate::mesh::record::Hash;
use crate::mesh::set::Entry;

/// What speaks for the mesh, whichever authority says it. Roots, and what hangs on them, go with their holder.
const POLICY: [Collection; 9] = [
    Collection::IssuingLimits,
    Collection::WrappingKeys,
    Collection::Clients,
    Collection::Scopes,
    Collection::Hbac,
    Collection::Identities,
    Collection::Roles,
    Collection::Users,
    Collection::Invalidations,
];

impl View<'_> {
    /// Records of `author` that count and that nothing replaces, by hash, those that decide on others first: what an
    /// eviction upholds. The newest head of its audit log is among them, as evidence.
    pub fn lasting_of(&self, author: &NodeId) -> Vec<Hash> {
        self.hashes(author, |entry| entry.collection.only_grows() || entry.collection == Collection::AuditHeads)
    }

    /// The same of one key alone: what going on to the next upholds.
    pub fn lasting_of_key(&self, author: &NodeId, kid: Kid) -> Vec<Hash> {
        self.hashes(author, |entry| entry.collection.only_grows() && entry.fields().kid == kid)
    }

    /// Everything of `author` that counts: what it upholds itself when it leaves.
    pub fn all_of(&self, author: &NodeId) -> Vec<Hash> {
        self.hashes(author, |entry| entry.collection != Collection::Nodes)
    }

    /// Everything of `author` that another record can replace, its own `nodes` record aside: what it says again with its next
    /// key.
    pub fn replaceable_of(&self, author: &NodeId) -> Vec<Again> {
        let ones = self.set.entries_of(author).filter(|entry| !entry.collection.only_grows());
        let ones = ones.filter(|entry| entry.collection != Collection::Nodes || entry.key() != author.as_str());
        ones.filter(|entry| rules::counts(self.set, self.members, entry)).map(again).collect()
    }

    fn hashes(&self, author: &NodeId, is_one: impl Fn(&Entry) -> bool) -> Vec<Hash> {
        // Lists say nothing themselves, and are found by their content.
        let ones = self.set.entries_of(author).filter(|entry| entry.collection != Collection::Upheld && is_one(entry));
        let mut ones: Vec<&Entry> = ones.filter(|entry| self.stands(entry)).collect();
        ones.sort_by_cached_key(|entry| (rank(entry.collection), Reverse(ends(entry)), Reverse(entry.position)));
        ones.into_iter().map(Entry::hash).collect()
    }

    /// Values and deletions of `author` that stand for the whole mesh: another authority says them again, with their
    /// stamps, before `author` is put out.
    pub fn estate_of(&self, author: &NodeId) -> Vec<Again> {
        let own = self.set.entries_of(author).filter(|entry| POLICY.contains(&entry.collection) && self.stands(entry));
        let open = own.filter(|entry| {
            let all = || self.set.under(entry.collection, entry.key()).filter(|other| self.stands(other));
            let said_again = |other: &Entry| {
                let same = other.stamp == entry.stamp && other.fields().value == entry.fields().value;
                other.author != entry.author && same && self.members.is_authority(self.set.node(other.author))
            };
            let wins = all().max_by(|a, b| self.order(a, b)).is_some_and(|winner| winner.author == entry.author);
            wins && !all().any(said_again)
        });
        open.map(again).collect()
    }
}

fn again(entry: &Entry) -> Again {
    let fields = entry.fields();
    let value = fields.value.map(<[u8]>::to_vec);
    Again { collection: fields.collection, key: fields.key.to_owned(), value, stamp: entry.stamp, hash: entry.hash() }
}

/// Who is in comes first, what is revoked last: of that there may be very much.
fn rank(collection: Collection) -> u8 {
    match collection {
        Collection::Admissions => 0,
        Collection::HostKeys => 1,
        Collection::Evictions => 2,
        Collection::Confirmations => 3,
        Collection::Revocations => 5,
        _ => 4,
    }
}

/// When what it revokes ends, milliseconds.
fn ends(entry: &Entry) -> i64 {
    let value = entry.fields().value.filter(|_| entry.collection == Collection::Revocations);
    value.and_then(|value| minicbor::decode::<Revocation>(value).ok()).map_or(0, |revocation| revocation.not_after.as_millis())
}
