//! What is kept, in line with what is declared: at start, and after a change of configuration, trust or clock.

use std::sync::Arc;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::id::IdentityName;

use super::rotation::{RotationError, outcome, renew};
use super::settle::{Telling, settle};
use super::store::made_from;
use crate::keeper::outlet::files;
use crate::keeper::state::{Change, Table, Write};
use crate::keeper::{Keeper, clock};

/// Publishes everything that is declared, and withdraws the rest. Makes no noise where nothing changed, and waits for no
/// service.
pub async fn reconcile(keeper: &Arc<Keeper>) {
    let policy = keeper.policy();
    let kept = keeper.store.all().into_iter().map(|generation| generation.identity.clone());
    for name in kept.chain(keeper.schedule.names()) {
        if policy.identities.contains_key(&name) {
            continue;
        }
        // One whose service is being told is forgotten when that is done.
        let turn = keeper.turns.of(&name);
        match turn.try_lock() {
            Ok(_turn) => forget(keeper, &name).await,
            Err(_) => keeper.schedule.ask_again(&name, clock::now()),
        }
    }
    for name in policy.identities.keys() {
        outcome(keeper, name, bring_in_line(keeper, name).await);
    }
    if let Err(error) = files::withdraw_undeclared(keeper).await {
        keeper.alarms.raise("files", format!("old files could not be removed: {error}"));
    } else {
        keeper.alarms.clear("files");
    }
}

async fn bring_in_line(keeper: &Keeper, name: &IdentityName) -> Result<(), RotationError> {
    let has_files = keeper.policy().identities.get(name).is_some_and(|identity| identity.declared.files.is_some());
    if !has_files && keeper.store.current(name).is_none() {
        return Ok(());
    }
    // While a service of the same identity is being told, its task has the turn; that may take long.
    let turn = keeper.turns.of(name);
    let Ok(_turn) = turn.try_lock() else {
        keeper.schedule.ask_again(name, clock::now());
        return Ok(());
    };
    keeper.schedule.begin(name);
    let policy = keeper.policy();
    let Some(identity) = policy.identities.get(name) else { return Ok(()) };
    let current = keeper.store.current(name);
    let current = current.filter(|known| known.made_from == made_from(&identity.declared) && !known.is_due(clock::now()));
    let generation = match current {
        Some(generation) => generation,
        None => renew(keeper, identity, Actor::Agent).await?,
    };
    settle(keeper, identity, &generation, Telling::Later).await.map(|_| ())
}

/// The clock was set: what was made by a clock that ran ahead is due now, and so is what waits for another try.
pub fn after_the_clock_was_set(keeper: &Keeper) {
    let now = clock::now();
    let due = keeper.store.all().into_iter().filter(|generation| generation.is_due(now));
    for name in due.map(|generation| generation.identity.clone()).chain(keeper.schedule.failing()) {
        keeper.schedule.put(&name, now);
    }
    keeper.lifecycle_due.notify_one();
}

/// Forgets an identity that is no longer declared. Its turn must be held.
pub async fn forget(keeper: &Keeper, name: &IdentityName) {
    if keeper.policy().identities.contains_key(name) {
        return;
    }
    keeper.schedule.remove(name);
    keeper.alarms.clear(&format!("identity {name}"));
    let Some(generation) = keeper.store.current(name) else { return };
    keeper.store.withdraw(name);
    keeper.told.forget(name);
    let row = |table| Write::Delete { table, key: name.to_string() };
    let event = Event {
        time: clock::now(),
        kind: Kind::IdentityWithdrawn,
        outcome: Outcome::Done,
        actor: Actor::Agent,
        subject: Subject {
            identity: Some(name.to_string()),
            spiffe_id: Some(generation.spiffe_id.to_string()),
            serial: Some(generation.serial.to_string()),
            ..Subject::default()
        },
        reason: None,
    };
    let change = Change { writes: vec![row(Table::Identities), row(Table::Told)], events: vec![event] };
    // What stays in the store is forgotten at the next start.
    if let Err(error) = keeper.commit(change).await {
        tracing::warn!(%name, %error, "an identity was forgotten in memory only");
    }
}
