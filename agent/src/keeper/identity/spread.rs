//! What this host says in the mesh of its own issuers: roots, intermediates, revocation lists, revocations, token keys. What it should say
//! is worked out from what is stored, and compared with what it said; so it can be repeated, and nothing is lost to a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reverie_core::ca::Role;
use reverie_core::id::NodeId;
use reverie_core::mesh::collection::{Collection, Revocation, RevocationList, TokenKey};
use reverie_core::moment::Moment;

use super::issuers::Issuers;
use super::mesh_list::MAX_LIST;
use super::{delegation, membership};
use crate::keeper::state::{State, StateError};
use crate::keeper::svid;

/// Records of single revocations for one issuer. Of more, the list alone tells; `agentctl cert revoke --intermediate` is the
/// better way then.
const MAX_REVOCATIONS: usize = 1000;

/// Collection, key and value (CBOR) of a record.
pub type Said = BTreeMap<(Collection, String), Vec<u8>>;

/// What this host should say, and what is wrong with that, for people.
#[derive(Debug, Default)]
pub struct Spread {
    /// Records that should stand.
    pub said: Said,
    /// What could not be said.
    pub findings: Vec<String>,
}

/// Works it out. Reads the store.
pub fn own_records(
    state: &State,
    issuers: &Issuers,
    token_keys: &[Arc<svid::TokenKey>],
    node: &NodeId,
    now: Moment,
) -> Result<Spread, StateError> {
    let mut spread = Spread::default();
    let record = &issuers.stored.record;
    let signs_for_itself = record.membership.role == Role::Own;
    for (fingerprint, root) in membership::own_root_records(issuers) {
        spread.put(Collection::Bundles, fingerprint, &root);
    }
    if signs_for_itself {
        for (fingerprint, known) in delegation::signed_intermediates(issuers, node, now) {
            spread.put(Collection::Intermediates, fingerprint, &known);
        }
    }
    // Roots from before a member joined, and what they signed, are nobody else's matter.
    let is_shared = |issuer: &str| signs_for_itself || record.foreign_intermediate(issuer).is_some();
    for issuer in issuers.stored.issuers.iter().filter(|known| is_shared(&known.fingerprint)) {
        let name = &issuer.fingerprint;
        if record.is_published(name) && !issuer.crl.is_empty() {
            spread.put_list(name, &issuer.crl, issuer.crl_number);
        }
        let revoked = state.revoked_of(name, now)?;
        for entry in revoked.iter().take(MAX_REVOCATIONS) {
            let value = Revocation { at: entry.revoked_at, not_after: entry.not_after };
            spread.put(Collection::Revocations, format!("{name}/{}", entry.serial), &value);
        }
    }
    for key in token_keys {
        let (public_key, purpose, until) = (key.public_key.clone(), key.record.purpose, key.record.trusted_until());
        spread.put(Collection::SigningKeys, key.record.kid.to_string(), &TokenKey { public_key, purpose, until });
    }
    Ok(spread)
}

impl Spread {
    fn put(&mut self, collection: Collection, key: String, value: &impl minicbor::Encode<()>) {
        match minicbor::to_vec(value) {
            Ok(value) => drop(self.said.insert((collection, key), value)),
            Err(_) => self.findings.push(format!("{}/{key} cannot be written", collection.as_str())),
        }
    }

    fn put_list(&mut self, issuer: &str, list: &[u8], number: u64) {
        if list.len() > MAX_LIST {
            self.findings.push(format!(
                "the revocation list of {issuer} has {} KiB, more than the {} KiB that other hosts take: they do not learn what it \
                 names; revoke the intermediate instead: agentctl cert revoke --intermediate {issuer}",
                list.len() >> 10,
                MAX_LIST >> 10
            ));
            return;
        }
        self.put(Collection::Crls, issuer.to_owned(), &RevocationList { list: list.to_vec(), number });
    }

    /// What is to be written (`None`: withdrawn), given what this host has said before of these collections.
    pub fn differences(&self, before: &Said) -> Vec<(Collection, String, Option<Vec<u8>>)> {
        // Of what only grows the first stands: it is not said twice.
        let fresh = self.said.iter().filter(|(name, value)| match before.get(*name) {
            Some(known) => known != *value && !name.0.only_grows(),
            None => true,
        });
        let fresh = fresh.map(|((collection, key), value)| (*collection, key.clone(), Some(value.clone())));
        let kept: BTreeSet<_> = self.said.keys().collect();
        let gone = before.keys().filter(|name| !kept.contains(name) && !name.0.only_grows());
        // Roots and intermediates first: lists count only from who holds their issuer.
        fresh.chain(gone.map(|(collection, key)| (*collection, key.clone(), None))).collect()
    }
}
