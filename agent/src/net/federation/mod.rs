//! Bundles of other trust domains, fetched over HTTPS when the keeper says so, and handed to it as they came: it reads them.

mod fetch;
mod verifier;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::federation::FIRST_RETRY;
use reverie_core::id::TrustDomain;
use reverie_core::ipc::net::{BundleEndpoint, FederationEndpoints, Reply, Request};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::keeper::Keeper;

/// The keeper answers a wait after 25 s at the latest.
const WATCH: Duration = Duration::from_secs(40);
/// The keeper reads and records a bundle.
const TOLD: Duration = Duration::from_secs(20);
/// Between the first attempts at an endpoint that changed and changed again.
const FLOOR: Duration = Duration::from_secs(10);
/// After an odd answer of the keeper.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the keeper's list of endpoints. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    // Dropped with this: nothing goes on without the keeper.
    let mut work = JoinSet::new();
    let mut fetching: BTreeMap<TrustDomain, (BundleEndpoint, AbortHandle)> = BTreeMap::new();
    // A server that has its own roots changed with each answer is asked no more often for it.
    let mut begun: BTreeMap<TrustDomain, Instant> = BTreeMap::new();
    let mut seen = 0;
    loop {
        while work.try_join_next().is_some() {}
        let FederationEndpoints { number, endpoints } = match keeper.ask(&Request::WatchFederation { seen }, WATCH).await {
            Ok(Reply::Federation(Some(endpoints))) => endpoints,
            Ok(Reply::Federation(None)) => continue,
            _ => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        seen = number;
        fetching.retain(|_, (known, task)| {
            let stays = endpoints.contains(known);
            if !stays {
                task.abort();
            }
            stays
        });
        for endpoint in endpoints {
            fetching.entry(endpoint.trust_domain.clone()).or_insert_with(|| {
                let now = Instant::now();
                let first = begun.get(&endpoint.trust_domain).map_or(now, |before| now.max(*before + FLOOR));
                begun.insert(endpoint.trust_domain.clone(), first);
                let task = work.spawn(follow(Arc::clone(&keeper), endpoint.clone(), first));
                (endpoint, task)
            });
        }
    }
}

async fn follow(keeper: Arc<Keeper>, endpoint: BundleEndpoint, first: Instant) {
    tokio::time::sleep_until(first).await;
    loop {
        let outcome = fetch::fetch(&endpoint).await;
        let told = Request::Fetched { trust_domain: endpoint.trust_domain.clone(), outcome };
        let wait = match keeper.ask(&told, TOLD).await {
            Ok(Reply::FetchAgain(seconds)) => Duration::from_secs(seconds.into()),
            _ => FIRST_RETRY,
        };
        tokio::time::sleep(wait.max(PAUSE)).await;
    }
}
