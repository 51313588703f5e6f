//! Files published, the service told, the new serial seen served. Repeatable: it does what is not done yet.

use reverie_core::api::admin::Rotated;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::config::Identity;

use super::issuance::subject;
use super::issuers::Issuers;
use super::rotation::{RotationError, put_off};
use super::service;
use super::store::Generation;
use super::told::Told;
use crate::keeper::outlet::files;
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};
use crate::ops::policy::PolicyIdentity;

/// Whether the service is told here, or by the task that tells services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Here: it may take as long as the service does.
    Now,
    /// Soon, by [`super::rotation::run`].
    Later,
}

/// Brings the world in line with `generation`. What fails raises an alarm and is tried again later; only what could not
/// be recorded is an error. The identity's turn must be held.
pub async fn settle(
    keeper: &Keeper,
    identity: &PolicyIdentity,
    generation: &Generation,
    telling: Telling,
) -> Result<Rotated, RotationError> {
    let (declared, issuers) = (&identity.declared, keeper.issuers());
    let mut done = Rotated {
        identity: declared.name.to_string(),
        certificate: generation.summary(),
        published: false,
        reloaded: None,
        verified: None,
        fault: None,
    };
    let mut progress = Progress { events: vec![], fault: publish(keeper, identity, generation, &issuers, &mut done).await };
    progress.note_publication(keeper, identity, generation, done.published);
    let mark = Told::mark(&generation.serial, &issuers.digest, identity);
    let has_service = declared.reload.is_some() || declared.verify.is_some();
    let known = keeper.told.of(&declared.name).is_some_and(|told| told.mark == mark);
    let untold = progress.fault.is_none() && has_service && !known;
    let mut told = None;
    if untold && telling == Telling::Now {
        progress.tell(keeper, identity, generation, &mut done).await;
        if progress.fault.is_none() {
            told = Some(Told { mark, at: clock::now(), seen: done.verified.clone() });
        }
    }
    let forgotten = done.published.then(|| Ok(Told::deletion(&declared.name)));
    let written = told.iter().map(|told| told.write(&declared.name));
    let writes = forgotten.into_iter().chain(written).collect::<Result<Vec<_>, _>>()?;
    if !writes.is_empty() || !progress.events.is_empty() {
        keeper.commit(Change { writes, events: progress.events }).await?;
    }
    let subject = format!("identity {}", declared.name);
    match progress.fault {
        Some(fault) => {
            done.fault = Some(fault.clone());
            keeper.alarms.raise(&subject, fault);
            put_off(keeper, &declared.name);
        }
        None if untold && told.is_none() => keeper.schedule.put(&declared.name, clock::now()),
        None => {
            if let Some(told) = told {
                keeper.told.note(&declared.name, told);
            }
            keeper.alarms.clear(&subject);
            keeper.schedule.forget_failures(&declared.name);
            keeper.schedule.done(&declared.name, clock::now(), generation.renew_at);
            if !issuers.stored.record.former_roots().is_empty() {
                // This may have been the last that needed them.
                keeper.lifecycle_due.notify_one();
            }
        }
    }
    Ok(done)
}

/// Writes the files; why it could not.
async fn publish(
    keeper: &Keeper,
    identity: &PolicyIdentity,
    generation: &Generation,
    issuers: &Issuers,
    done: &mut Rotated,
) -> Option<String> {
    let declared = &identity.declared;
    declared.files.as_ref()?;
    let Some(owner) = identity.files else {
        return Some("its files stay as they are: their owner or group cannot be looked up".to_owned());
    };
    match files::publish(keeper, declared, owner, generation, issuers).await {
        Ok(changed) => {
            done.published = changed;
            None
        }
        Err(error) => Some(format!("its files could not be published: {error}")),
    }
}

/// The steps up to the first that fails.
struct Progress {
    events: Vec<Event>,
    fault: Option<String>,
}

fn note(declared: &Identity, generation: &Generation, kind: Kind, object: Option<String>, failed: Option<String>) -> Event {
    Event {
        time: clock::now(),
        kind,
        outcome: if failed.is_some() { Outcome::Failed } else { Outcome::Done },
        actor: Actor::Agent,
        subject: Subject { serial: Some(generation.serial.to_string()), object, ..subject(declared) },
        reason: failed,
    }
}

impl Progress {
    fn note_publication(&mut self, keeper: &Keeper, identity: &PolicyIdentity, generation: &Generation, changed: bool) {
        let declared = &identity.declared;
        if changed {
            // A service that was told of the same before was told of other files.
            keeper.told.forget(&declared.name);
        }
        if changed || self.fault.is_some() {
            let directory = Some(files::directory(&keeper.host.run, declared));
            self.events.push(note(declared, generation, Kind::FilesPublished, directory, self.fault.clone()));
        }
    }

    async fn tell(&mut self, keeper: &Keeper, identity: &PolicyIdentity, generation: &Generation, done: &mut Rotated) {
        let declared = &identity.declared;
        if let Some(how) = &declared.reload {
            match service::tell(keeper, declared, identity.uid, how).await {
                Ok(how) => {
                    self.events.push(note(declared, generation, Kind::ServiceReloaded, Some(how.clone()), None));
                    done.reloaded = Some(how);
                }
                Err(error) => {
                    self.events.push(note(declared, generation, Kind::ServiceReloaded, None, Some(error.to_string())));
                    self.fault = Some(format!("its service could not be reloaded: {error}"));
                    return;
                }
            }
        }
        if let Some(verify) = &declared.verify {
            match service::see_served(keeper, &generation.serial, verify).await {
                Ok(place) => {
                    self.events.push(note(declared, generation, Kind::ServiceVerified, Some(place.clone()), None));
                    done.verified = Some(place);
                }
                Err(last) => {
                    metrics::counter!("reverie_verification_failures_total").increment(1);
                    let place = Some(verify.to_string());
                    self.events.push(note(declared, generation, Kind::ServiceVerified, place, Some(last.clone())));
                    self.fault = Some(format!(
                        "the new certificate is not seen served: {last}; is `reload` right, and is the service running?"
                    ));
                }
            }
        }
    }
}
