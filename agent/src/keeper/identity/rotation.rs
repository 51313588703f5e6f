//! Rotation: a new generation in time, and another try of what failed.
//!
//! [`renew`] makes and records; [`settle`](super::settle) brings the world in line with the current generation and can be
//! repeated. Renewal is never behind a service that is slow to reload: services are told in tasks of their own.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::api::admin::Rotated;
use reverie_core::audit::Actor;
use reverie_core::id::IdentityName;
use reverie_core::renewal::{renew_at, retry_after};
use tokio::sync::{OwnedMutexGuard, Semaphore};
use zeroize::Zeroizing;

use super::issuance::{self, IssueError};
use super::settle::{Telling, settle};
use super::store::{Generation, made_from};
use super::{lifecycle, reconcile, revocation};
use crate::keeper::state::{Change, StateError, Table, Write};
use crate::keeper::{Keeper, clock, row};
use crate::ops::policy::{Policy, PolicyIdentity};

/// So many services are told and watched at once.
const TOLD_AT_ONCE: usize = 32;
/// When the identity is busy: soon again.
const BUSY: Duration = Duration::from_secs(1);
/// When all places are busy, and nobody gives one up.
const CROWDED: Duration = Duration::from_secs(60);

/// Why there is no new generation.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// No such identity is declared.
    #[error("no identity {0:?} is declared")]
    Unknown(String),
    /// No certificate could be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// It could not be recorded, so it was not made.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be stored.
    #[error(transparent)]
    Row(#[from] row::RowError),
    /// The authority is not in order.
    #[error(transparent)]
    Lifecycle(#[from] lifecycle::LifecycleError),
    /// While it was recorded that it is handed out, it ceased to be what is to be handed out.
    #[error("it was revoked, or its identity declared otherwise, while it was being handed out")]
    Overtaken,
}

/// Waits until an identity is due, renews it or tells its service. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    let slots = Arc::new(Semaphore::new(TOLD_AT_ONCE));
    loop {
        let now = clock::now();
        match keeper.schedule.first() {
            Some((at, name)) if at <= now => attend(&keeper, &name, &slots).await,
            first => {
                let wait = first.map_or(Duration::from_secs(30), |(at, _)| at.since(now));
                // Never long: the clock may jump and the machine may sleep.
                let wait = tokio::time::sleep(wait.min(Duration::from_secs(30)));
                tokio::select! { () = wait => {}, () = keeper.schedule.changed.notified() => {} }
            }
        }
    }
}

async fn attend(keeper: &Arc<Keeper>, name: &IdentityName, slots: &Arc<Semaphore>) {
    // Until someone says otherwise. What dies on its way comes back.
    keeper.schedule.put(name, clock::now().after(BUSY));
    let Ok(turn) = keeper.turns.of(name).try_lock_owned() else { return };
    keeper.schedule.begin(name);
    let policy = keeper.policy();
    let Some(identity) = policy.identities.get(name) else {
        return reconcile::forget(keeper, name).await;
    };
    let as_declared = |known: &Arc<Generation>| known.made_from == made_from(&identity.declared) && !known.is_due(clock::now());
    match keeper.store.current(name).filter(as_declared) {
        None => {
            let result = match renew(keeper, identity, Actor::Agent).await {
                Ok(generation) => settle(keeper, identity, &generation, Telling::Later).await.map(|_| ()),
                Err(error) => Err(error),
            };
            outcome(keeper, name, result);
        }
        Some(generation) => {
            let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
                return keeper.schedule.wait_for_place(name, clock::now().after(CROWDED));
            };
            let (keeper, policy, name) = (Arc::clone(keeper), Arc::clone(&policy), name.clone());
            tokio::spawn(async move {
                tell(&keeper, &policy, &name, &generation, turn).await;
                drop(slot);
                keeper.schedule.place_freed(clock::now());
            });
        }
    }
}

async fn tell(keeper: &Keeper, policy: &Policy, name: &IdentityName, generation: &Generation, turn: OwnedMutexGuard<()>) {
    if let Some(identity) = policy.identities.get(name) {
        let result = settle(keeper, identity, generation, Telling::Now).await;
        outcome(keeper, name, result.map(|_| ()));
    }
    drop(turn);
}

/// What could not even be recorded is an alarm, and tried again.
pub fn outcome(keeper: &Keeper, name: &IdentityName, result: Result<(), RotationError>) {
    if let Err(error) = result {
        keeper.alarms.raise(format!("identity {name}"), error.to_string());
        put_off(keeper, name);
    }
}

/// Schedules another attempt, ever later.
pub fn put_off(keeper: &Keeper, name: &IdentityName) {
    let (now, failures) = (clock::now(), keeper.schedule.count_failure(name));
    let remaining =
        keeper.store.current(name).map_or(Duration::from_secs(600), |generation| generation.validity.not_after.since(now));
    keeper.schedule.done(name, now, now.after(retry_after(failures, remaining)));
}

/// A new generation now, and everything that follows from it.
pub async fn rotate(keeper: &Arc<Keeper>, name: &IdentityName, actor: Actor) -> Result<Rotated, RotationError> {
    let (own, name) = (Arc::clone(keeper), name.clone());
    to_its_end(keeper, async move {
        let turn = own.turns.of(&name);
        let _turn = turn.lock().await;
        own.schedule.begin(&name);
        let policy = own.policy();
        let identity = policy.identities.get(&name).ok_or_else(|| RotationError::Unknown(name.to_string()))?;
        let generation = renew(&own, identity, actor).await?;
        settle(&own, identity, &generation, Telling::Now).await
    })
    .await
}

/// True if it may be handed out to whoever has the identity by the configuration of now.
pub fn is_usable_as_declared(keeper: &Keeper, generation: &Generation) -> bool {
    let policy = keeper.policy();
    let identity = policy.identities.get(&generation.identity);
    generation.is_usable(clock::now()) && identity.is_some_and(|identity| generation.names(&identity.declared))
}

/// Refuses a generation that was taken a moment ago and is revoked by now, or of an identity that is declared otherwise.
pub fn check_still_counts(keeper: &Keeper, generation: &Generation) -> Result<(), RotationError> {
    let counts = is_usable_as_declared(keeper, generation) && !revocation::is_revoked(keeper, generation);
    if counts { Ok(()) } else { Err(RotationError::Overtaken) }
}

/// The current generation of an identity as it is declared, made if there is none.
pub async fn current_or_new(keeper: &Arc<Keeper>, name: &IdentityName, actor: Actor) -> Result<Arc<Generation>, RotationError> {
    if let Some(generation) = keeper.store.current(name).filter(|kept| is_usable_as_declared(keeper, kept)) {
        return Ok(generation);
    }
    let (own, name) = (Arc::clone(keeper), name.clone());
    to_its_end(keeper, async move {
        let turn = own.turns.of(&name);
        let _turn = turn.lock().await;
        if let Some(generation) = own.store.current(&name).filter(|kept| is_usable_as_declared(&own, kept)) {
            return Ok(generation);
        }
        own.schedule.begin(&name);
        let policy = own.policy();
        let identity = policy.identities.get(&name).ok_or_else(|| RotationError::Unknown(name.to_string()))?;
        let generation = renew(&own, identity, actor).await?;
        settle(&own, identity, &generation, Telling::Later).await?;
        Ok(generation)
    })
    .await
}

/// Goes on though whoever asked has gone, or waited too long: half of it must not be left undone.
async fn to_its_end<T: Send + 'static>(
    keeper: &Keeper,
    work: impl Future<Output = Result<T, RotationError>> + Send + 'static,
) -> Result<T, RotationError> {
    keeper.tasks.spawn(work).await.map_err(|_| StateError::Closed)?
}

/// Makes, records and publishes in memory.
pub async fn renew(keeper: &Keeper, identity: &PolicyIdentity, actor: Actor) -> Result<Arc<Generation>, RotationError> {
    let (declared, now) = (&identity.declared, clock::now());
    let leaf = issuance::issue(&keeper.issuers(), declared, None, now)?;
    let mut jitter = [0; 2];
    aws_lc_rs::rand::fill(&mut jitter).map_err(IssueError::from)?;
    let generation = Generation {
        identity: declared.name.clone(),
        spiffe_id: declared.spiffe_id.clone(),
        serial: leaf.serial,
        validity: leaf.validity,
        renew_at: renew_at(leaf.validity, &declared.renew, u16::from_ne_bytes(jitter)),
        number: keeper.store.current(&declared.name).map_or(0, |before| before.number) + 1,
        issuer: leaf.issuer.clone(),
        chain_pem: leaf.chain_pem.clone(),
        key_pem: leaf.key_pem.clone().unwrap_or_else(|| Zeroizing::new(String::new())),
        made_from: made_from(declared),
        revoked: false,
        superseded: false,
    };
    let writes = vec![
        Write::Issued(leaf.record(declared)),
        Write::Put { table: Table::Identities, key: declared.name.to_string(), value: row::encode(&generation)? },
    ];
    let events = vec![leaf.event(declared, actor, now)];
    keeper.commit(Change { writes, events }).await?;
    metrics::counter!("reverie_rotations_total").increment(1);
    // Whatever becomes of the rest: it is looked at.
    keeper.schedule.put(&declared.name, now);
    Ok(keeper.store.publish(generation))
}
