//! A revoked certificate that the agent keeps, or one whose issuer signs no more, is due at once; the schedule does the rest, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::ca;

use super::lists;
use crate::keeper::{Keeper, clock};

/// Between attempts to read what is revoked.
const RETRY: Duration = Duration::from_secs(30);

/// Marks what the agent keeps and is revoked, also just before it ended.
pub async fn run(keeper: Arc<Keeper>) {
    while !mark(&keeper).await {
        tokio::time::sleep(RETRY).await;
    }
}

/// False if what is revoked could not be read.
async fn mark(keeper: &Keeper) -> bool {
    let revoked = match lists::revoked(keeper).await {
        Ok(revoked) => revoked,
        Err(error) => {
            keeper.alarms.raise("store", error.to_string());
            return false;
        }
    };
    let (issuers, now) = (keeper.issuers(), clock::now());
    let record = &issuers.stored.record;
    // Where nothing else signs, what there is stays.
    let signing = ca::issuing_intermediate(record, now).map(|known| &known.fingerprint);
    keeper.store.mark_revoked(|known| revoked.contains(&known.serial) || record.is_revoked(&known.issuer));
    for generation in keeper.store.all() {
        if generation.revoked {
            keeper.schedule.ask_again(&generation.identity, now);
        } else if record.is_superseded(&generation.issuer) && signing.is_some_and(|signing| *signing != generation.issuer) {
            keeper.store.mark_superseded(&generation);
            keeper.schedule.ask_again(&generation.identity, now);
        }
    }
    true
}
