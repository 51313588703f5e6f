//! Rotation: a new generation in time, published, the service told, and the new serial seen served.
//!
//! [`renew`] makes and records; [`settle`] brings the world in line with the current generation and can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::api::admin::Rotated;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;
use reverie_core::renewal::{renew_at, retry_after};
use zeroize::Zeroizing;

use super::issuance::{self, IssueError, subject};
use super::store::{Generation, made_from};
use super::{lifecycle, reload};
use crate::keeper::outlet::files;
use crate::keeper::state::{Change, StateError, Table, Write};
use crate::keeper::{Keeper, clock, row};
use crate::ops::policy::PolicyIdentity;

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
}

/// When each kept identity is due, and which ones must be settled again.
#[derive(Debug, Default)]
pub struct Schedule {
    due: Mutex<Due>,
    changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Due {
    order: BTreeSet<(Moment, IdentityName)>,
    at: BTreeMap<IdentityName, Moment>,
    failures: BTreeMap<IdentityName, u32>,
}

impl Schedule {
    fn put(&self, name: &IdentityName, at: Moment) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = due.at.insert(name.clone(), at) {
            due.order.remove(&(before, name.clone()));
        }
        due.order.insert((at, name.clone()));
        drop(due);
        self.changed.notify_one();
    }

    fn remove(&self, name: &IdentityName) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.failures.remove(name);
        if let Some(before) = due.at.remove(name) {
            due.order.remove(&(before, name.clone()));
        }
    }

    fn first(&self) -> Option<(Moment, IdentityName)> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).order.first().cloned()
    }

    fn count_failure(&self, name: &IdentityName) -> u32 {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = due.failures.entry(name.clone()).or_default();
        *failures += 1;
        *failures
    }

    fn forget_failures(&self, name: &IdentityName) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).failures.remove(name);
    }
}

/// One at a time for each identity.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<IdentityName, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, name: &IdentityName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Forget the ones nobody holds, so that the map stays as small as the work at hand.
        if turns.len() > 1024 {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(name.clone()).or_default())
    }
}

/// Waits until an identity is due, renews or settles it. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    loop {
        let now = clock::now();
        match keeper.schedule.first() {
            Some((at, name)) if at <= now => attend(&keeper, &name).await,
            first => {
                let wait = first.map_or(Duration::from_secs(30), |(at, _)| at.since(now));
                // Never long: the clock may jump and the machine may sleep.
                let wait = tokio::time::sleep(wait.min(Duration::from_secs(30)));
                tokio::select! { () = wait => {}, () = keeper.schedule.changed.notified() => {} }
            }
        }
    }
}

async fn attend(keeper: &Arc<Keeper>, name: &IdentityName) {
    let due = keeper.store.current(name).is_none_or(|generation| generation.renew_at <= clock::now());
    let result = match due {
        true => rotate(keeper, name, Actor::Agent).await.map(|_| ()),
        false => settle_again(keeper, name).await,
    };
    if let Err(error) = result {
        keeper.alarms.raise(format!("identity {name}"), error.to_string());
        put_off(keeper, name);
    }
}

/// Schedules another attempt, ever later.
fn put_off(keeper: &Keeper, name: &IdentityName) {
    let (now, failures) = (clock::now(), keeper.schedule.count_failure(name));
    let remaining =
        keeper.store.current(name).map_or(Duration::from_secs(600), |generation| generation.validity.not_after.since(now));
    keeper.schedule.put(name, now.after(retry_after(failures, remaining)));
}

async fn settle_again(keeper: &Arc<Keeper>, name: &IdentityName) -> Result<(), RotationError> {
    let turn = keeper.turns.of(name);
    let _turn = turn.lock().await;
    let policy = keeper.policy();
    let identity = policy.identities.get(name).ok_or_else(|| RotationError::Unknown(name.to_string()))?;
    if let Some(generation) = keeper.store.current(name) {
        settle(keeper, identity, &generation, true).await?;
    }
    Ok(())
}

/// A new generation now, and everything that follows from it.
pub async fn rotate(keeper: &Arc<Keeper>, name: &IdentityName, actor: Actor) -> Result<Rotated, RotationError> {
    let turn = keeper.turns.of(name);
    let _turn = turn.lock().await;
    let policy = keeper.policy();
    let identity = policy.identities.get(name).ok_or_else(|| RotationError::Unknown(name.to_string()))?;
    let generation = renew(keeper, identity, actor).await?;
    settle(keeper, identity, &generation, true).await
}

/// The current generation of an identity, made if there is none.
pub async fn current_or_new(keeper: &Arc<Keeper>, name: &IdentityName, actor: Actor) -> Result<Arc<Generation>, RotationError> {
    if let Some(generation) = keeper.store.current(name) {
        return Ok(generation);
    }
    let turn = keeper.turns.of(name);
    let _turn = turn.lock().await;
    if let Some(generation) = keeper.store.current(name) {
        return Ok(generation);
    }
    let policy = keeper.policy();
    let identity = policy.identities.get(name).ok_or_else(|| RotationError::Unknown(name.to_string()))?;
    let generation = renew(keeper, identity, actor).await?;
    settle(keeper, identity, &generation, false).await?;
    Ok(generation)
}

/// Makes, records and publishes in memory.
async fn renew(keeper: &Keeper, identity: &PolicyIdentity, actor: Actor) -> Result<Arc<Generation>, RotationError> {
    let (declared, now) = (&identity.declared, clock::now());
    let leaf = issuance::issue(&keeper.issuers(), declared, None, now)?;
    let mut jitter = [0; 2];
    aws_lc_rs::rand::fill(&mut jitter).map_err(IssueError::from)?;
    let generation = Generation {
        identity: declared.name.clone(),
        spiffe_id: declared.spiffe_id.clone(),
        serial: leaf.serial,
        validity: leaf.validity,
        renew_at: renew_at(leaf.validity, u16::from_ne_bytes(jitter)),
        number: keeper.store.current(&declared.name).map_or(0, |before| before.number) + 1,
        issuer: leaf.issuer.clone(),
        chain_pem: leaf.chain_pem.clone(),
        key_pem: leaf.key_pem.clone().unwrap_or_else(|| Zeroizing::new(String::new())),
        made_from: made_from(declared),
    };
    let writes = vec![
        Write::Issued(leaf.record(declared)),
        Write::Put { table: Table::Identities, key: declared.name.to_string(), value: row::encode(&generation)? },
    ];
    let events = vec![leaf.event(declared, actor, now)];
    keeper.commit(Change { writes, events }).await?;
    metrics::counter!("reverie_rotations_total").increment(1);
    Ok(keeper.store.publish(generation))
}

/// Files, reload, verification; repeatable. What fails raises an alarm and is tried again later.
async fn settle(
    keeper: &Keeper,
    identity: &PolicyIdentity,
    generation: &Generation,
    tell: bool,
) -> Result<Rotated, RotationError> {
    let declared = &identity.declared;
    let mut done = Rotated {
        identity: declared.name.to_string(),
        certificate: generation.summary(),
        published: false,
        reloaded: None,
        verified: None,
    };
    keeper.schedule.put(&declared.name, generation.renew_at);
    let (events, fault) = follow(keeper, identity, generation, tell, &mut done).await;
    if !events.is_empty() {
        keeper.commit(Change { writes: vec![], events }).await?;
    }
    let subject = format!("identity {}", declared.name);
    match fault {
        None => {
            keeper.alarms.clear(&subject);
            keeper.schedule.forget_failures(&declared.name);
        }
        Some(fault) => {
            keeper.alarms.raise(&subject, fault);
            put_off(keeper, &declared.name);
        }
    }
    keeper.note_verified(&declared.name, done.verified.clone());
    Ok(done)
}

/// The steps of [`settle`] up to the first that fails.
async fn follow(
    keeper: &Keeper,
    identity: &PolicyIdentity,
    generation: &Generation,
    tell: bool,
    done: &mut Rotated,
) -> (Vec<Event>, Option<String>) {
    let declared = &identity.declared;
    let mut events = vec![];
    let note = |kind, outcome, object: Option<String>, reason| Event {
        time: clock::now(),
        kind,
        outcome,
        actor: Actor::Agent,
        subject: Subject { serial: Some(generation.serial.to_string()), object, ..subject(declared) },
        reason,
    };
    if let Some(owner) = identity.files {
        let directory = Some(reload::directory(&keeper.host.run, declared));
        match files::publish(keeper, declared, owner, generation).await {
            Ok(changed) => {
                done.published = changed;
                if changed {
                    events.push(note(Kind::FilesPublished, Outcome::Done, directory, None));
                }
            }
            Err(error) => {
                events.push(note(Kind::FilesPublished, Outcome::Failed, directory, Some(error.to_string())));
                return (events, Some(format!("its files could not be published: {error}")));
            }
        }
    }
    if let Some(how) = declared.reload.as_ref().filter(|_| tell) {
        match reload::tell(keeper, declared, identity.uid, how).await {
            Ok(how) => {
                events.push(note(Kind::ServiceReloaded, Outcome::Done, Some(how.clone()), None));
                done.reloaded = Some(how);
            }
            Err(error) => {
                events.push(note(Kind::ServiceReloaded, Outcome::Failed, None, Some(error.to_string())));
                return (events, Some(format!("its service could not be reloaded: {error}")));
            }
        }
    }
    if let Some(verify) = declared.verify.as_ref().filter(|_| tell) {
        match reload::see_served(keeper, &generation.serial, verify).await {
            Ok(place) => {
                events.push(note(Kind::ServiceVerified, Outcome::Done, Some(place.clone()), None));
                done.verified = Some(place);
            }
            Err(last) => {
                metrics::counter!("reverie_verification_failures_total").increment(1);
                events.push(note(Kind::ServiceVerified, Outcome::Failed, Some(verify.to_string()), Some(last.clone())));
                let fault =
                    format!("the new certificate is not seen served: {last}; is `reload` right, and is the service running?");
                return (events, Some(fault));
            }
        }
    }
    (events, None)
}

/// Brings what is kept in line with what is declared: at start and after a change of configuration or trust.
/// Makes no noise where nothing changed.
pub async fn reconcile(keeper: &Arc<Keeper>) {
    let policy = keeper.policy();
    for generation in keeper.store.all() {
        if !policy.identities.contains_key(&generation.identity) {
            forget(keeper, &generation.identity).await;
        }
    }
    for (name, identity) in &policy.identities {
        let current = keeper.store.current(name);
        let wanted = identity.files.is_some() || current.is_some();
        if !wanted {
            continue;
        }
        let result = match current.filter(|generation| generation.made_from == made_from(&identity.declared)) {
            Some(generation) if generation.renew_at > clock::now() => settle_quietly(keeper, name, identity, &generation).await,
            _ => rotate(keeper, name, Actor::Agent).await.map(|_| ()),
        };
        if let Err(error) = result {
            keeper.alarms.raise(format!("identity {name}"), error.to_string());
            put_off(keeper, name);
        }
    }
    if let Err(error) = files::withdraw_undeclared(keeper).await {
        keeper.alarms.raise("files", format!("old files could not be removed: {error}"));
    } else {
        keeper.alarms.clear("files");
    }
}

/// Publishes; tells the service only if the files changed.
async fn settle_quietly(
    keeper: &Arc<Keeper>,
    name: &IdentityName,
    identity: &PolicyIdentity,
    generation: &Generation,
) -> Result<(), RotationError> {
    let turn = keeper.turns.of(name);
    let _turn = turn.lock().await;
    let done = settle(keeper, identity, generation, false).await?;
    if done.published {
        settle(keeper, identity, generation, true).await?;
    }
    Ok(())
}

async fn forget(keeper: &Keeper, name: &IdentityName) {
    keeper.schedule.remove(name);
    keeper.store.withdraw(name);
    keeper.alarms.clear(&format!("identity {name}"));
    let change = Change { writes: vec![Write::Delete { table: Table::Identities, key: name.to_string() }], events: vec![] };
    if let Err(error) = keeper.commit(change).await {
        keeper.alarms.raise("store", error.to_string());
    }
}
