//! What a host that comes in must have to see that it is in. The rest comes by gossip.

use std::collections::BTreeSet;

use super::View;
use crate::id::NodeId;
use crate::mesh::collection::{Admission, Collection, HostIntermediate, Standing};
use crate::mesh::set::{Entry, Set};

impl<'a> View<'a> {
    /// Records that count, `limit` bytes of them at most, what matters most first: how the newcomer and every authority came
    /// in; the roots of the bundle, the newcomer's intermediates, the versions of the wrapping key, where authorities are
    /// reached; evictions of any of these. No other record crowds out one of them.
    pub fn introduction(&self, newcomer: &NodeId, limit: usize) -> Vec<&'a [u8]> {
        let set: &'a Set = self.set;
        let authorities = self.ever_authorities();
        let roots: BTreeSet<&str> = self.bundle().iter().map(|root| root.fingerprint).collect();
        let subject = |entry: &Entry| entry.key().split('/').next().unwrap_or_default().to_owned();
        let is_authority = |entry: &Entry| authorities.contains(&subject(entry));
        let matters = |entry: &Entry| is_authority(entry) || subject(entry) == newcomer.as_str();
        let is_issued = |entry: &Entry| {
            let value = entry.fields().value.and_then(|value| minicbor::decode::<HostIntermediate>(value).ok());
            value.is_some_and(|value| value.node == *newcomer)
        };
        let wanted: [(Collection, &dyn Fn(&Entry) -> bool); 9] = [
            (Collection::Admissions, &matters),
            (Collection::HostKeys, &is_authority),
            (Collection::Confirmations, &is_authority),
            (Collection::Bundles, &|entry| roots.contains(entry.key())),
            (Collection::Intermediates, &is_issued),
            (Collection::WrappingKeys, &|_| true),
            (Collection::Nodes, &is_authority),
            (Collection::Evictions, &matters),
            (Collection::Upheld, &|entry| authorities.contains(set.node(entry.author).as_str())),
        ];
        let (mut chosen, mut left) = (Vec::new(), limit);
        for (collection, is_wanted) in wanted {
            let entries = set.chains(collection).flatten();
            for entry in entries.filter(|entry| !entry.tombstone && is_wanted(entry) && self.stands(entry)) {
                if entry.raw.len() <= left {
                    left -= entry.raw.len();
                    chosen.push(&*entry.raw);
                }
            }
        }
        chosen
    }

    /// Whoever was let in as an authority, also if it is out by now: what it signed before may be what others rest on.
    fn ever_authorities(&self) -> BTreeSet<String> {
        let entries = self.set.chains(Collection::Admissions).flatten().filter(|entry| self.stands(entry));
        let admissions = entries.filter_map(|entry| minicbor::decode::<Admission>(entry.fields().value?).ok());
        admissions.filter(|said| said.standing == Standing::Authority).map(|said| said.node.to_string()).collect()
    }
}
