//! Roots and revocation lists as these APIs say them, rendered once for all streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use reverie_core::api::{Code, Problem};
use reverie_core::federation::ForeignBundle;
use reverie_core::id::TrustDomain;
use sha2::{Digest, Sha256};

use crate::keeper::Keeper;
use crate::keeper::federation::Bundles;
use crate::keeper::identity::issuers::{Issuers, to_pem};
use crate::keeper::local::answer::Failure;
use crate::keeper::outlet::der;

/// Lists that are sent in one message of the Workload API, in bytes: clients take 4 MiB, and more would keep them from their keys.
const MAX_LISTS: usize = 2 * 1024 * 1024;

/// What is trusted in one moment.
#[derive(Debug)]
pub(super) struct Trust {
    /// Changes when anything of it does.
    pub(super) digest: String,
    /// Roots, DER, one after the other.
    pub(super) roots: Vec<u8>,
    /// DER; none if they are too large for a message.
    pub(super) lists: Vec<Bytes>,
    /// Roots of the trust domains that this one federates with, in the same form, by their SPIFFE IDs.
    pub(super) federated: BTreeMap<String, Vec<u8>>,
}

/// The last that was rendered.
#[derive(Debug, Default)]
pub(super) struct Rendered(Mutex<Option<Arc<Trust>>>);

/// The trust of this moment.
pub(super) fn now(keeper: &Keeper) -> Result<Arc<Trust>, Failure> {
    let (issuers, bundles) = (keeper.issuers(), keeper.federations.bundles());
    let digest = digest(&issuers, &bundles);
    let mut rendered = keeper.grpc.trust.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = rendered.as_ref().filter(|known| known.digest == digest) {
        return Ok(Arc::clone(known));
    }
    let trust = Arc::new(render(&issuers, &bundles, digest)?);
    *rendered = Some(Arc::clone(&trust));
    Ok(trust)
}

fn render(issuers: &Issuers, bundles: &Bundles, digest: String) -> Result<Trust, Failure> {
    let unreadable = |error: pem::PemError| Problem::new(Code::Internal, format!("there is no DER of roots or lists: {error}"));
    let roots = der::blocks(&issuers.bundle_pem).map_err(unreadable)?;
    if roots.is_empty() {
        return Err(Problem::new(Code::Unavailable, "there is no root yet")
            .advise("`agentctl doctor` looks at the clock and the issuers")
            .into());
    }
    let lists = der::blocks(&issuers.crl_pem).map_err(unreadable)?;
    let fit = lists.iter().map(Vec::len).sum::<usize>() <= MAX_LISTS;
    if !fit {
        tracing::warn!("the revocation lists are larger than a message of the Workload API may be, and are left out of it");
    }
    Ok(Trust {
        digest,
        federated: bundles.iter().map(|(domain, bundle)| (id_of(domain), bundle.roots.concat())).collect(),
        roots: roots.concat(),
        lists: if fit { lists.into_iter().map(Bytes::from).collect() } else { vec![] },
    })
}

/// Changes when the roots or lists of any trust domain that is believed do.
pub(super) fn digest(issuers: &Issuers, bundles: &Bundles) -> String {
    let mut hash = Sha256::new().chain_update(&issuers.digest);
    for (domain, bundle) in bundles {
        hash.update(domain.as_str());
        bundle.roots.iter().for_each(|root| hash.update(Sha256::digest(root)));
    }
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

/// Roots of a trust domain that this one federates with, PEM.
pub(super) fn roots_pem(bundle: &ForeignBundle) -> String {
    bundle.roots.iter().map(|root| to_pem("CERTIFICATE", root)).collect()
}

/// The SPIFFE ID of our own trust domain.
pub(super) fn own_id(keeper: &Keeper) -> String {
    id_of(&keeper.host.trust_domain)
}

/// The SPIFFE ID of a trust domain.
pub(super) fn id_of(domain: &TrustDomain) -> String {
    format!("spiffe://{domain}")
}
