//! What follows from the configuration and from what is known: which bundles count, and what net is to fetch, believing whom.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use reverie_core::config::{Federation, Profile};
use reverie_core::federation::{ForeignBundle, MAX_DOCUMENT};
use reverie_core::id::{SpiffeId, TrustDomain};
use reverie_core::ipc::net::{BundleEndpoint, FederationEndpoints, Reply, Verification};
use sha2::{Digest, Sha256};

use super::{Bundles, Federations, alarm_of, document, file_alarm_of};
use crate::keeper::Keeper;
use crate::keeper::state::{Change, Table, Write};
use crate::ops::named_file;

/// The authorities that Debian and others put together.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Bytes of a file of authorities.
const MAX_AUTHORITIES: u64 = 1 << 20;
/// Bytes of all authorities together.
const MAX_ENDPOINTS: usize = 6 << 20;
/// How long net waits for a change, at most.
const WATCH: Duration = Duration::from_secs(25);
/// Until files that could not be used are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Follows the configuration and the trusted roots. Never ends.
pub async fn follow(keeper: Arc<Keeper>) {
    let (mut policies, mut issuers, mut bundles) = (keeper.watch_policy(), keeper.watch_issuers(), keeper.federations.watch());
    loop {
        policies.mark_unchanged();
        issuers.mark_unchanged();
        bundles.mark_unchanged();
        let own = Arc::clone(&keeper);
        // What is fetched meanwhile must be neither overwritten nor forgotten.
        let turn = keeper.federations.turn.lock().await;
        // Files are read: not on the threads that serve.
        let look_again = match tokio::task::spawn_blocking(move || settle(&own)).await {
            Ok(Settled { forgotten, look_again }) => {
                forget(&keeper, forgotten).await;
                look_again
            }
            Err(error) => {
                tracing::error!(%error, "the bundles of other trust domains are not followed now");
                true
            }
        };
        drop(turn);
        tokio::select! {
            changed = policies.changed() => if changed.is_err() { return },
            changed = issuers.changed() => if changed.is_err() { return },
            changed = bundles.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_AGAIN), if look_again => {}
        }
    }
}

/// What is left to do once the configuration was followed.
pub(super) struct Settled {
    /// Whose stored bundle is to go.
    forgotten: Vec<TrustDomain>,
    /// A file could not be used: it may be mended without a word to us.
    pub(super) look_again: bool,
}

/// Who is not declared any more is not believed by an old word if it is declared again.
async fn forget(keeper: &Keeper, domains: Vec<TrustDomain>) {
    if domains.is_empty() {
        return;
    }
    let delete = |domain: TrustDomain| Write::Delete { table: Table::Federation, key: domain.to_string() };
    let writes = domains.into_iter().map(delete).collect();
    if let Err(error) = keeper.commit(Change { writes, events: vec![] }).await {
        tracing::warn!(%error, "the bundles of trust domains that are not declared any more stay in the store until the next start");
    }
}

/// Follows the configuration, the files that it names and what is known.
pub(super) fn settle(keeper: &Keeper) -> Settled {
    let policy = keeper.policy();
    let (config, known) = (&policy.config, &keeper.federations);
    let domains = || config.federation.iter().map(|federation| &federation.trust_domain);
    let declared: Vec<String> = domains().map(alarm_of).chain(domains().map(file_alarm_of)).collect();
    keeper.alarms.clear_except("federation ", &declared);
    let is_declared = |domain: &TrustDomain| domains().any(|declared| declared == domain);
    known.seeds.lock().unwrap_or_else(PoisonError::into_inner).retain(|domain, _| is_declared(domain));
    let mut look_again = false;
    let mut bundles = Bundles::new();
    for federation in &config.federation {
        let (bundle, file_is_well) = known_bundle(keeper, federation);
        look_again |= !file_is_well;
        bundles.extend(bundle.map(|bundle| (federation.trust_domain.clone(), Arc::new(bundle))));
    }
    known.bundles.send_if_modified(|current| {
        let changed = **current != bundles;
        if changed {
            *current = Arc::new(bundles.clone());
        }
        changed
    });
    let found: Vec<BundleEndpoint> =
        config.federation.iter().filter_map(|federation| endpoint(keeper, federation, &bundles)).collect();
    let endpoints = within_one_message(keeper, found);
    look_again |= endpoints.len() < config.federation.len();
    known.endpoints.send_if_modified(|current| {
        let changed = current.endpoints != endpoints;
        if changed {
            *current = Arc::new(FederationEndpoints { number: current.number + 1, endpoints });
        }
        changed
    });
    let mut stored = known.stored.lock().unwrap_or_else(PoisonError::into_inner);
    let forgotten: Vec<TrustDomain> = stored.keys().filter(|domain| !is_declared(domain)).cloned().collect();
    forgotten.iter().for_each(|domain| drop(stored.remove(domain)));
    Settled { forgotten, look_again }
}

/// What is beyond what one message to net holds is not fetched, and said.
fn within_one_message(keeper: &Keeper, endpoints: Vec<BundleEndpoint>) -> Vec<BundleEndpoint> {
    let mut room = MAX_ENDPOINTS;
    let fits = move |endpoint: &BundleEndpoint| {
        let size = 4096
            + match &endpoint.verification {
                Verification::Web { authorities } => authorities.len(),
                Verification::Spiffe { roots, .. } => roots.iter().map(|root| root.len() + 16).sum(),
            };
        let fits = size <= room;
        match fits {
            true => room -= size,
            false => {
                let message = "its bundle is not fetched: the authorities of all [[federation]] are too large together; give a smaller `ca_file`";
                keeper.alarms.raise(alarm_of(&endpoint.trust_domain), message);
            }
        }
        fits
    };
    endpoints.into_iter().filter(fits).collect()
}

/// What was fetched last, else what the operator gave; and whether that file, if there is one, can be used.
fn known_bundle(keeper: &Keeper, federation: &Federation) -> (Option<ForeignBundle>, bool) {
    let domain = &federation.trust_domain;
    let given = federation.bundle_file.as_ref().map(|path| {
        let text = named_file::read(path, MAX_DOCUMENT as u64)?;
        let bundle = document::read(domain, text.as_bytes()).map_err(|why| format!("{path}: {why}"))?;
        Ok::<([u8; 32], _), String>((Sha256::digest(&text).into(), bundle))
    });
    let mut seeds = keeper.federations.seeds.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stored = keeper.federations.stored.lock().unwrap_or_else(PoisonError::into_inner);
    match &given {
        Some(Ok((seed, _))) => {
            seeds.insert(domain.clone(), Some(*seed));
            // A file that is another one than what was fetched began with is the operator's word against it.
            if stored.get(domain).is_some_and(|known| known.seed != Some(*seed)) {
                stored.remove(domain);
            }
        }
        // It is the same file as before for as long as nobody can say otherwise.
        Some(Err(_)) => drop(seeds.entry(domain.clone()).or_insert_with(|| stored.get(domain).and_then(|known| known.seed))),
        None => drop(seeds.insert(domain.clone(), None)),
    }
    let fetched = stored.get(domain).and_then(|stored| match document::read(domain, &stored.document) {
        Ok(bundle) => Some(bundle),
        Err(why) => {
            keeper.alarms.raise(alarm_of(domain), format!("its bundle, as it is stored, is not believed: {why}"));
            None
        }
    });
    drop((seeds, stored));
    match given {
        Some(Err(why)) => {
            let stands = match fetched {
                Some(_) => {
                    "what was fetched before is still believed; mend the file, or remove the [[federation]] to believe them no more"
                }
                None => "its members are not believed until one is fetched; mend the file",
            };
            let message = format!("its `bundle_file` cannot be used, and {stands} (it is looked at again every minute): {why}");
            keeper.alarms.raise(file_alarm_of(domain), message);
            (fetched, false)
        }
        given => {
            keeper.alarms.clear(&file_alarm_of(domain));
            (fetched.or(given.and_then(Result::ok).map(|(_, bundle)| bundle)), true)
        }
    }
}

fn endpoint(keeper: &Keeper, federation: &Federation, bundles: &Bundles) -> Option<BundleEndpoint> {
    let verification = match (&federation.profile, &federation.spiffe_id) {
        (Profile::HttpsSpiffe, Some(spiffe_id)) => spiffe_server(spiffe_id, bundles),
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

/// The server is of the trust domain whose bundle it serves, or of a third.
fn spiffe_server(spiffe_id: &SpiffeId, bundles: &Bundles) -> Result<Verification, String> {
    let domain = spiffe_id.trust_domain();
    let known = bundles.iter().find(|(known, _)| known.as_str() == domain).map(|(_, bundle)| bundle.roots.clone());
    let roots = known.ok_or_else(|| {
        format!("its server is {spiffe_id}, and no bundle of {domain} is known: declare it as [[federation]], with `bundle_file`")
    })?;
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
