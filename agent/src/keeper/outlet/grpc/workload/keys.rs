//! The keys that tokens are verified with, of every trust domain that is believed.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use reverie_core::jwt::Purpose;
use reverie_proto::workload::{JwtBundlesResponse, WitBundlesResponse};
use sha2::{Digest, Sha256};

use super::super::feed::State;
use super::super::{holdings, trust};
use crate::keeper::identity::issuers::Issuers;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;
use crate::keeper::svid::{self, TokenKey};
use crate::keeper::{Keeper, federation};

/// The last that were rendered of each kind, for all streams.
#[derive(Debug, Default)]
pub(in super::super) struct Rendered(Mutex<BTreeMap<Purpose, (Sources, Arc<KeySets>)>>);

/// What they are rendered from.
#[derive(Debug)]
struct Sources(Arc<Issuers>, Arc<federation::Bundles>, Arc<Vec<Arc<TokenKey>>>);

impl Sources {
    fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) && Arc::ptr_eq(&self.1, &other.1) && Arc::ptr_eq(&self.2, &other.2)
    }
}

/// JWK sets by the SPIFFE IDs of their trust domains.
#[derive(Debug)]
struct KeySets {
    sets: BTreeMap<String, Vec<u8>>,
    digest: [u8; 32],
}

fn now(keeper: &Keeper, purpose: Purpose) -> Arc<KeySets> {
    let mut rendered = keeper.grpc.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = Sources(keeper.issuers(), keeper.federations.bundles(), keeper.token_keys.current());
    if let Some((_, known)) = rendered.get(&purpose).filter(|(from, _)| from.are(&sources)) {
        return Arc::clone(known);
    }
    let (mut sets, mut hash) = (BTreeMap::new(), Sha256::new());
    for (domain, set) in svid::jwk_sets(keeper, purpose) {
        hash.update(domain.as_str());
        hash.update(Sha256::digest(&set));
        sets.insert(trust::id_of(&domain), set);
    }
    let sets = Arc::new(KeySets { sets, digest: hash.finalize().into() });
    rendered.insert(purpose, (sources, Arc::clone(&sets)));
    sets
}

/// What is sent of one kind.
pub(super) trait Message: Send + 'static {
    const PURPOSE: Purpose;

    fn of(sets: BTreeMap<String, Vec<u8>>) -> Self;
}

impl Message for JwtBundlesResponse {
    const PURPOSE: Purpose = Purpose::JwtSvid;

    fn of(sets: BTreeMap<String, Vec<u8>>) -> Self {
        Self { bundles: sets.into_iter().collect() }
    }
}

impl Message for WitBundlesResponse {
    const PURPOSE: Purpose = Purpose::WitSvid;

    fn of(sets: BTreeMap<String, Vec<u8>>) -> Self {
        let text = |set: Vec<u8>| String::from_utf8_lossy(&set).into_owned();
        Self { bundles: sets.into_iter().map(|(id, set)| (id, text(set))).collect(), more: false }
    }
}

/// All that are believed. A stream keeps no copy of what it said.
pub(super) struct Bundles<M>(Option<[u8; 32]>, PhantomData<fn() -> M>);

impl<M> Default for Bundles<M> {
    fn default() -> Self {
        Self(None, PhantomData)
    }
}

impl<M: Message> State for Bundles<M> {
    type Message = M;

    async fn now(&mut self, keeper: &Arc<Keeper>, peer: &Peer) -> Result<Option<M>, Failure> {
        holdings::identities(keeper, peer).await?;
        let known = now(keeper, M::PURPOSE);
        let is_new = self.0.replace(known.digest) != Some(known.digest);
        Ok(is_new.then(|| M::of(known.sets.clone())))
    }
}
