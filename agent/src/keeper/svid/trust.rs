//! Whose token keys count: this host's, and those of the hosts that are in.

use std::collections::{BTreeMap, BTreeSet};

use reverie_core::id::{NodeId, TrustDomain};
use reverie_core::jwt::{self, Purpose};
use reverie_core::mesh::crypto::{Kid, SigningPublicKey};

use crate::keeper::Keeper;

/// Bytes of all sets that are handed out together: clients of the Workload API take 4 MiB, and no foreign trust domain must
/// keep them from our own keys.
const MAX_SETS: usize = 3 << 20;

/// A key, and the hosts that have it; none: this one.
pub(super) struct Trusted {
    pub(super) public_key: SigningPublicKey,
    pub(super) nodes: BTreeSet<NodeId>,
}

/// Those that verify tokens of the kind.
pub(super) fn trusted(keeper: &Keeper, purpose: Purpose) -> BTreeMap<Kid, Trusted> {
    let issuers = keeper.issuers();
    let others = issuers.mesh.token_keys.iter().filter(|((_, signs), _)| *signs == purpose);
    let others =
        others.map(|((kid, _), known)| (*kid, Trusted { public_key: known.public_key.clone(), nodes: known.nodes.clone() }));
    let keys = keeper.token_keys.current();
    let own = keys.iter().filter(|key| key.record.purpose == purpose);
    let own = own.map(|key| (key.record.kid, Trusted { public_key: key.public_key.clone(), nodes: BTreeSet::new() }));
    others.chain(own).collect()
}

/// Those of this trust domain, by name.
pub fn public_keys(keeper: &Keeper, purpose: Purpose) -> Vec<SigningPublicKey> {
    trusted(keeper, purpose).into_values().map(|known| known.public_key).collect()
}

/// A JWK set (RFC 7517 §5) for each trust domain that is believed: this one and those it federates with.
pub fn jwk_sets(keeper: &Keeper, purpose: Purpose) -> BTreeMap<TrustDomain, Vec<u8>> {
    let bundles = keeper.federations.bundles();
    let foreign = bundles.iter().map(|(domain, bundle)| {
        let keys = match purpose {
            Purpose::JwtSvid => &bundle.jwt_keys,
            Purpose::WitSvid => &bundle.wit_keys,
        };
        (domain.clone(), serde_json::json!({ "keys": keys }).to_string().into_bytes())
    });
    let own = jwk_set(keeper, purpose);
    let mut room = MAX_SETS.saturating_sub(own.len());
    let within = foreign.filter(|(domain, set)| {
        let fits = set.len() <= room;
        match fits {
            true => room -= set.len(),
            false => {
                tracing::warn!(%domain, "its keys for tokens are too many for a message of the Workload API, and left out of it")
            }
        }
        fits
    });
    let mut sets: BTreeMap<_, _> = within.collect();
    sets.insert(keeper.host.trust_domain.clone(), own);
    sets
}

/// The keys of this trust domain.
fn jwk_set(keeper: &Keeper, purpose: Purpose) -> Vec<u8> {
    jwt::jwk_set(&public_keys(keeper, purpose)).to_string().into_bytes()
}
