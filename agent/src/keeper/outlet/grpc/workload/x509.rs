//! X.509-SVIDs with their keys, and the bundles to verify others with.

use std::sync::Arc;

use reverie_core::api::{Code, Problem};
use reverie_core::ca::Serial;
use reverie_core::config::Identity;
use reverie_proto::workload::{X509BundlesResponse, X509svid, X509svidResponse};

use super::super::feed::State;
use super::super::{holdings, trust};
use crate::keeper::Keeper;
use crate::keeper::identity::store::Generation;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;
use crate::keeper::outlet::der;

/// What tells one state from another: each certificate with its hint, and the trust.
#[derive(PartialEq, Eq)]
struct Said {
    svids: Vec<(Serial, Option<String>)>,
    trust: String,
}

/// All identities of the caller.
#[derive(Default)]
pub(super) struct Svids(Option<Said>);

impl State for Svids {
    type Message = X509svidResponse;

    async fn now(&mut self, keeper: &Arc<Keeper>, peer: &Peer) -> Result<Option<X509svidResponse>, Failure> {
        loop {
            let identities = holdings::identities(keeper, peer).await?;
            let mut svids = Vec::with_capacity(identities.len());
            for identity in &identities {
                svids.push((identity, holdings::generation(keeper, peer, identity).await?));
            }
            let trust = trust::now(keeper)?;
            let said = Said {
                svids: svids.iter().map(|(identity, kept)| (kept.serial, identity.hint.clone())).collect(),
                trust: trust.digest.clone(),
            };
            if self.0.as_ref() == Some(&said) {
                return Ok(None);
            }
            // A key that it has already is not handed out again.
            let before = self.0.as_ref().map_or(&[][..], |before| &before.svids);
            let handed = svids.iter().filter(|(_, kept)| before.iter().all(|(serial, _)| *serial != kept.serial));
            let handed: Vec<_> = handed.map(|(identity, kept)| (*identity, &**kept)).collect();
            holdings::record(keeper, peer, &handed, "by the Workload API").await?;
            let stands = holdings::identities(keeper, peer).await? == identities;
            if stands && svids.iter().all(|(_, kept)| holdings::is_current(keeper, kept)) {
                self.0 = Some(said);
                return Ok(Some(X509svidResponse {
                    svids: svids.iter().map(|(identity, kept)| svid(identity, kept, &trust)).collect::<Result<_, _>>()?,
                    crl: trust.lists.clone(),
                    federated_bundles: trust.federated.clone().into_iter().collect(),
                }));
            }
        }
    }
}

fn svid(identity: &Identity, generation: &Generation, trust: &trust::Trust) -> Result<X509svid, Failure> {
    let unreadable =
        |error: pem::PemError| Problem::new(Code::Internal, format!("there is no DER of {}: {error}", identity.name));
    Ok(X509svid {
        spiffe_id: generation.spiffe_id.to_string(),
        x509_svid: der::blocks(&generation.chain_pem).map_err(unreadable)?.concat(),
        x509_svid_key: std::mem::take(&mut *der::private_key(&generation.key_pem).map_err(unreadable)?),
        bundle: trust.roots.clone(),
        hint: identity.hint.clone().unwrap_or_default(),
    })
}

/// Roots and lists alone, for who has an identity.
#[derive(Default)]
pub(super) struct Bundles(Option<String>);

impl State for Bundles {
    type Message = X509BundlesResponse;

    async fn now(&mut self, keeper: &Arc<Keeper>, peer: &Peer) -> Result<Option<X509BundlesResponse>, Failure> {
        holdings::identities(keeper, peer).await?;
        let trust = trust::now(keeper)?;
        if self.0.as_ref() == Some(&trust.digest) {
            return Ok(None);
        }
        let own = (trust::own_id(keeper), trust.roots.clone());
        self.0 = Some(trust.digest.clone());
        Ok(Some(X509BundlesResponse {
            crl: trust.lists.clone(),
            bundles: std::iter::once(own).chain(trust.federated.clone()).collect(),
        }))
    }
}
