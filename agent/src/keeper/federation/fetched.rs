//! What net brought, or could not: looked at, recorded, and only then in force.

use std::sync::PoisonError;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::federation::next_fetch;
use reverie_core::id::TrustDomain;
use reverie_core::ipc::net::Reply;

use super::{Stored, alarm_of, document};
use crate::keeper::state::{Change, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// Takes a bundle, or counts a failure; says when to fetch again.
pub async fn fetched(keeper: &Keeper, domain: &TrustDomain, outcome: Result<Vec<u8>, String>) -> Reply {
    let _turn = keeper.federations.turn.lock().await;
    // Asked in the turn: it may have been withdrawn while this waited.
    if !keeper.policy().config.federation.iter().any(|federation| federation.trust_domain == *domain) {
        return Reply::Refused { status: 404, message: format!("{domain} is not declared as a federation any more") };
    }
    let taken = match outcome {
        Ok(document) => take(keeper, domain, document).await,
        Err(why) => Err(why.chars().filter(|c| !c.is_control()).take(500).collect()),
    };
    let failures = count(keeper, domain, taken.is_err());
    let hint = match taken {
        Ok(hint) => {
            keeper.alarms.clear(&alarm_of(domain));
            hint
        }
        Err(why) => {
            let stands = match keeper.federations.bundles().contains_key(domain) {
                true => "the one before stands",
                false => "there is none: its members are not believed",
            };
            keeper.alarms.raise(alarm_of(domain), format!("its bundle was not fetched, {stands}: {why}"));
            keeper.federations.bundles().get(domain).and_then(|bundle| bundle.refresh_hint)
        }
    };
    metrics::counter!("reverie_federation_fetches_total", "outcome" => if failures == 0 { "done" } else { "failed" })
        .increment(1);
    Reply::FetchAgain(u32::try_from(next_fetch(hint, failures).as_secs()).unwrap_or(u32::MAX))
}

fn count(keeper: &Keeper, domain: &TrustDomain, failed: bool) -> u32 {
    let mut failures = keeper.federations.failures.lock().unwrap_or_else(PoisonError::into_inner);
    match failed {
        true => {
            let count = failures.entry(domain.clone()).or_default();
            *count = count.saturating_add(1);
            *count
        }
        false => {
            failures.remove(domain);
            0
        }
    }
}

async fn take(keeper: &Keeper, domain: &TrustDomain, document: Vec<u8>) -> Result<Option<Duration>, String> {
    let whose = domain.clone();
    // Thousands of keys are looked at: not on the threads that serve.
    let reading = tokio::task::spawn_blocking(move || document::read(&whose, &document).map(|bundle| (document, bundle)));
    let (document, bundle) = reading.await.map_err(|error| error.to_string())??;
    let known = keeper.federations.bundles().get(domain).cloned();
    if known.as_ref().is_some_and(|known| !bundle.may_replace(known)) {
        return Err("it is older than the one before (spiffe_sequence)".to_owned());
    }
    let (hint, fetched_at) = (bundle.refresh_hint, clock::now());
    let seeds = keeper.federations.seeds.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let stored = Stored { document, fetched_at, seed: seeds.get(domain).copied().flatten() };
    if keeper
        .federations
        .stored
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(domain)
        .map(|known| (&known.document, known.seed))
        == Some((&stored.document, stored.seed))
    {
        return Ok(hint);
    }
    let value = row::encode(&stored).map_err(|error| error.to_string())?;
    let keys = format!("{} roots, {} keys for tokens", bundle.roots.len(), bundle.jwt_keys.len() + bundle.wit_keys.len());
    let event = Event {
        time: fetched_at,
        kind: Kind::FederationChanged,
        outcome: Outcome::Done,
        actor: Actor::Agent,
        subject: Subject { object: Some(domain.to_string()), ..Subject::default() },
        reason: Some(keys),
    };
    let write = Write::Put { table: Table::Federation, key: domain.to_string(), value };
    keeper.commit(Change { writes: vec![write], events: vec![event] }).await.map_err(|error| error.to_string())?;
    keeper.federations.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.clone(), stored);
    keeper.federations.bundles.send_modify(|bundles| {
        let mut changed = super::Bundles::clone(bundles);
        changed.insert(domain.clone(), std::sync::Arc::new(bundle));
        *bundles = std::sync::Arc::new(changed);
    });
    Ok(hint)
}
