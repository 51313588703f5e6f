//! What follows from the configuration and from what is known: which bundles count, and what net is to fetch, believing whom.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use reverie_core::config::{Config, Federation, Profile};
use reverie_core::federation::{ForeignBundle, MAX_DOCUMENT};
use reverie_core::id::SpiffeId;
use reverie_core::ipc::net::{BundleEndpoint, FederationEndpoints, Reply, Verification};

use super::{Bundles, Federations, alarm_of};
use crate::keeper::Keeper;
use crate::ops::named_file;

/// The authorities that Debian and others put together.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Bytes of a file of authorities.
const MAX_AUTHORITIES: u64 = 1 << 20;
/// How long net waits for a change, at most.
const WATCH: Duration = Duration::from_secs(25);

/// Follows the configuration and the trusted roots. Never ends.
pub async fn follow(keeper: Arc<Keeper>) {
    let (mut policies, mut issuers, mut bundles) = (keeper.watch_policy(), keeper.watch_issuers(), keeper.federations.watch());
    loop {
        policies.mark_unchanged();
        issuers.mark_unchanged();
        bundles.mark_unchanged();
        let own = Arc::clone(&keeper);
        // Files are read: not on the threads that serve.
        let planned = tokio::task::spawn_blocking(move || settle(&own)).await;
        if let Err(error) = planned {
            tracing::error!(%error, "the bundles of other trust domains are not followed now");
        }
        tokio::select! {
            changed = policies.changed() => if changed.is_err() { return },
            changed = issuers.changed() => if changed.is_err() { return },
            changed = bundles.changed() => if changed.is_err() { return },
        }
    }
}

fn settle(keeper: &Keeper) {
    let policy = keeper.policy();
    let (config, known) = (&policy.config, &keeper.federations);
    let declared: Vec<String> = config.federation.iter().map(|federation| alarm_of(&federation.trust_domain)).collect();
    keeper.alarms.clear_except("federation ", &declared);
    let bundles: Bundles = config
        .federation
        .iter()
        .filter_map(|federation| Some((federation.trust_domain.clone(), Arc::new(known_bundle(keeper, federation)?))))
        .collect();
    known.bundles.send_if_modified(|current| {
        let changed = **current != bundles;
        if changed {
            *current = Arc::new(bundles.clone());
        }
        changed
    });
    let endpoints: Vec<BundleEndpoint> =
        config.federation.iter().filter_map(|federation| endpoint(keeper, config, federation, &bundles)).collect();
    known.endpoints.send_if_modified(|current| {
        let changed = current.endpoints != endpoints;
        if changed {
            *current = Arc::new(FederationEndpoints { number: current.number + 1, endpoints });
        }
        changed
    });
}

/// What was fetched last, else what the operator gave.
fn known_bundle(keeper: &Keeper, federation: &Federation) -> Option<ForeignBundle> {
    let stored = keeper.federations.stored.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bundle) = stored.get(&federation.trust_domain).and_then(|stored| ForeignBundle::read(&stored.document).ok()) {
        return Some(bundle);
    }
    drop(stored);
    let path = federation.bundle_file.as_ref()?;
    let read = named_file::read(path, MAX_DOCUMENT as u64);
    match read.and_then(|text| ForeignBundle::read(text.as_bytes()).map_err(|error| format!("{path}: {error}"))) {
        Ok(bundle) => Some(bundle),
        Err(why) => {
            keeper.alarms.raise(alarm_of(&federation.trust_domain), format!("its `bundle_file` cannot be used: {why}"));
            None
        }
    }
}

fn endpoint(keeper: &Keeper, config: &Config, federation: &Federation, bundles: &Bundles) -> Option<BundleEndpoint> {
    let verification = match (&federation.profile, &federation.spiffe_id) {
        (Profile::HttpsSpiffe, Some(spiffe_id)) => spiffe_server(keeper, config, spiffe_id, bundles),
        _ => {
            let path = federation.ca_file.as_deref().unwrap_or(SYSTEM_AUTHORITIES);
            named_file::read(path, MAX_AUTHORITIES).map(|authorities| Verification::Web { authorities })
        }
    };
    match verification {
        Ok(verification) => {
            let (trust_domain, url) = (federation.trust_domain.clone(), federation.url.clone());
            Some(BundleEndpoint { trust_domain, url, verification })
        }
        Err(why) => {
            keeper.alarms.raise(alarm_of(&federation.trust_domain), format!("its bundle is not fetched: {why}"));
            None
        }
    }
}

/// The server is of our trust domain, of the one whose bundle it serves, or of a third.
fn spiffe_server(keeper: &Keeper, config: &Config, spiffe_id: &SpiffeId, bundles: &Bundles) -> Result<Verification, String> {
    let domain = spiffe_id.trust_domain();
    let roots = match domain == config.trust_domain.as_str() {
        true => {
            let issuers = keeper.issuers();
            let blocks = pem::parse_many(&issuers.bundle_pem).map_err(|error| error.to_string())?;
            blocks.into_iter().map(pem::Pem::into_contents).collect()
        }
        false => {
            let known = bundles.iter().find(|(known, _)| known.as_str() == domain).map(|(_, bundle)| bundle.roots.clone());
            known.ok_or_else(|| {
                format!("its server is {spiffe_id}, and no bundle of {domain} is known: declare it as [[federation]], with `bundle_file`")
            })?
        }
    };
    Ok(Verification::Spiffe { spiffe_id: spiffe_id.clone(), roots })
}

/// For net, which waits.
pub async fn watch_endpoints(known: &Federations, seen: u64) -> Reply {
    let mut endpoints = known.endpoints.subscribe();
    match tokio::time::timeout(WATCH, endpoints.wait_for(|endpoints| endpoints.number != seen)).await {
        Ok(Ok(endpoints)) => Reply::Federation(Some((**endpoints).clone())),
        Ok(Err(_)) => Reply::Failed { message: "the agent is stopping".to_owned() },
        Err(_) => Reply::Federation(None),
    }
}
