//! Revocation: recorded, listed and published in one go.
//!
//! Once begun it goes on, whether or not the caller waits; what a crash interrupts is finished after the start: the lists
//! by the lifecycle, replacements by [`super::replacement`].

use std::collections::BTreeSet;
use std::sync::Arc;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{Intermediate, Serial, Step};
use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::issuers::{Issuers, StoredAuthority};
use super::lifecycle::{self, LifecycleError};
use super::lists::{self, MAX_REVOKED};
use super::replacement;
use super::store::Generation;
use crate::keeper::state::{CertificateKind, Change, IssuedRecord, StateError, Write};
use crate::keeper::{Keeper, clock};

/// Certificates revoked in one transaction.
const AT_ONCE: usize = 256;

/// Why something was not revoked, or not all the way.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// Never issued here, ended, or revoked before.
    #[error("{0} is not a certificate in force that this host issued")]
    Unknown(String),
    /// Not even begun.
    #[error(
        "nothing was revoked: the revocation lists of this host may hold {MAX_REVOKED} certificates, have {listed}, and would \
         get at least {asked} more"
    )]
    TooMany {
        /// In the lists now.
        listed: usize,
        /// To be revoked; there may be more.
        asked: usize,
    },
    /// Some are on record as revoked and the rest is not, or not all are in a list.
    #[error("{}", incomplete(*.done, *.asked, *.listed, .why))]
    Incomplete {
        /// On record as revoked.
        done: usize,
        /// To be revoked.
        asked: usize,
        /// Those on record are in a signed list too.
        listed: bool,
        /// What went wrong.
        why: String,
    },
    /// The authority is not in order, or it could not be recorded: nothing was revoked.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

fn incomplete(done: usize, asked: usize, listed: bool, why: &str) -> String {
    let lists = match listed {
        true => "they are in the revocation list",
        false => "no revocation list names them yet; the agent goes on trying to sign it",
    };
    format!("{done} of {asked} certificates were recorded as revoked, and {lists}: {why}")
}

/// True if this generation, which need not be the current one, counts no more, or if that cannot be told.
pub fn is_revoked(keeper: &Keeper, generation: &Generation) -> bool {
    let on_record = keeper.state.issued(generation.serial);
    on_record.map_or(true, |known| known.is_none_or(|known| known.revoked_at.is_some()))
        || keeper.issuers().stored.record.is_revoked(&generation.issuer)
}

/// Every leaf of an identity that is in force.
pub async fn in_force(keeper: &Keeper, identity: IdentityName) -> Result<Vec<IssuedRecord>, RevocationError> {
    let state = keeper.state.clone();
    // They may be many: not on the threads that serve.
    let search = tokio::task::spawn_blocking(move || state.in_force(&identity, clock::now(), MAX_REVOKED));
    let (found, more) = search.await.map_err(|_| stopping())?.map_err(LifecycleError::State)?;
    match more {
        true => Err(RevocationError::TooMany {
            listed: lists::revoked(keeper).await.map_err(LifecycleError::State)?.len(),
            asked: found.len() + 1,
        }),
        false => Ok(found),
    }
}

/// Revokes one certificate in force: a leaf, or an intermediate of this host with all that follows from it.
pub async fn revoke_serial(keeper: &Arc<Keeper>, serial: Serial, actor: Actor) -> Result<Vec<Serial>, RevocationError> {
    let unknown = || RevocationError::Unknown(serial.to_string());
    let found = keeper.state.issued(serial).map_err(LifecycleError::State)?;
    let found = found.filter(|known| known.revoked_at.is_none() && known.not_after > clock::now()).ok_or_else(unknown)?;
    match found.kind {
        CertificateKind::Leaf => revoke_leaves(keeper, vec![found], actor).await,
        CertificateKind::Intermediate => {
            let issuers = keeper.issuers();
            if let Some((fingerprint, _)) = issuers.stored.delegated.iter().find(|(_, known)| known.serial == serial) {
                return revoke_delegated(keeper, vec![fingerprint.clone()], actor).await;
            }
            let known = issuers.stored.issuers.iter().find(|known| serial_of(&known.certificate) == Some(serial));
            let fingerprint = known.ok_or_else(unknown)?.fingerprint.clone();
            Ok(vec![revoke_intermediate(keeper, &fingerprint, actor).await?])
        }
    }
}

/// Revokes leaves, signs the lists of their issuers, publishes, and replaces what the agent keeps.
pub async fn revoke_leaves(
    keeper: &Arc<Keeper>,
    leaves: Vec<IssuedRecord>,
    actor: Actor,
) -> Result<Vec<Serial>, RevocationError> {
    if leaves.is_empty() {
        return Ok(vec![]);
    }
    let task = Arc::clone(keeper);
    let revoke = async move {
        let turn = task.authority_turn.lock().await;
        let listed = lists::revoked(&task).await.map_err(LifecycleError::State)?.len();
        check_room(listed, leaves.len())?;
        let marked = task.issuers().stored.clone();
        let outcome = enter_and_sign(&task, marked, &leaves, &actor).await;
        drop(turn);
        tokio::spawn(replacement::run(Arc::clone(&task)));
        outcome.map(|()| leaves.iter().map(|leaf| leaf.serial).collect())
    };
    keeper.tasks.spawn(revoke).await.map_err(|_| stopping())?
}

/// Revokes an intermediate of this host: it signs no more, its root lists it, and every leaf under it that the agent
/// keeps is replaced by one under a new intermediate.
pub async fn revoke_intermediate(keeper: &Arc<Keeper>, fingerprint: &str, actor: Actor) -> Result<Serial, RevocationError> {
    if keeper.issuers().stored.delegated.contains_key(fingerprint) {
        let revoked = revoke_delegated(keeper, vec![fingerprint.to_owned()], actor).await?;
        return revoked.first().copied().ok_or_else(|| RevocationError::Unknown(format!("{fingerprint:?}")));
    }
    let (task, fingerprint) = (Arc::clone(keeper), fingerprint.to_owned());
    let revoke = async move {
        let turn = task.authority_turn.lock().await;
        let unknown = || RevocationError::Unknown(format!("{:?}", fingerprint.chars().take(80).collect::<String>()));
        let issuers = task.issuers();
        let on_record = live_intermediate(&task, &issuers, &fingerprint)?.ok_or_else(unknown)?;
        let serial = on_record.serial;
        let mut marked = issuers.stored.clone();
        let signs_no_more = marked.record.intermediates.iter_mut().filter(|known| known.fingerprint == fingerprint);
        signs_no_more.for_each(|known| known.revoked = true);
        let outcome = enter_and_sign(&task, marked, &[on_record], &actor).await;
        drop(turn);
        let successor = lifecycle::bring_up_to_date(&task).await;
        tokio::spawn(replacement::run(Arc::clone(&task)));
        outcome?;
        successor?;
        Ok(serial)
    };
    keeper.tasks.spawn(revoke).await.map_err(|_| stopping())?
}

/// Revokes intermediates that this authority has signed for others; their root lists them.
pub async fn revoke_delegated(
    keeper: &Arc<Keeper>,
    fingerprints: Vec<String>,
    actor: Actor,
) -> Result<Vec<Serial>, RevocationError> {
    let task = Arc::clone(keeper);
    let revoke = async move {
        let _turn = task.authority_turn.lock().await;
        let mut marked = task.issuers().stored.clone();
        let mut on_record = vec![];
        for fingerprint in &fingerprints {
            let Some(known) = Arc::make_mut(&mut marked.delegated).get_mut(fingerprint).filter(|known| !known.revoked) else {
                continue;
            };
            known.revoked = true;
            on_record.extend(task.state.issued(known.serial).map_err(LifecycleError::State)?);
        }
        if on_record.is_empty() {
            return Ok(vec![]);
        }
        enter_and_sign(&task, marked, &on_record, &actor).await?;
        Ok(on_record.iter().map(|known| known.serial).collect())
    };
    keeper.tasks.spawn(revoke).await.map_err(|_| stopping())?
}

/// Signs lists anew that lack what the mesh says is revoked.
pub async fn list_anew(keeper: &Arc<Keeper>, issuers: BTreeSet<String>, actor: Actor) -> Result<(), RevocationError> {
    let task = Arc::clone(keeper);
    let list = async move {
        let _turn = task.authority_turn.lock().await;
        let mut marked = task.issuers().stored.clone();
        lists::mark_due(&mut marked.record, &issuers);
        lifecycle::record(&task, marked, vec![], vec![]).await?;
        Ok(sign(&task, &issuers, &actor).await?)
    };
    keeper.tasks.spawn(list).await.map_err(|_| stopping())?
}

/// Asked before anything is written.
fn check_room(listed: usize, asked: usize) -> Result<(), RevocationError> {
    if listed + asked > MAX_REVOKED { Err(RevocationError::TooMany { listed, asked }) } else { Ok(()) }
}

fn live_intermediate(keeper: &Keeper, issuers: &Issuers, fingerprint: &str) -> Result<Option<IssuedRecord>, LifecycleError> {
    let is_live = |known: &&Intermediate| known.fingerprint == fingerprint && !known.revoked;
    let known = issuers.stored.record.intermediates.iter().find(is_live);
    let stored = known.and_then(|known| issuers.stored.issuers.iter().find(|stored| stored.fingerprint == known.fingerprint));
    match stored.and_then(|stored| serial_of(&stored.certificate)) {
        Some(serial) => Ok(keeper.state.issued(serial)?),
        None => Ok(None),
    }
}

fn serial_of(certificate: &[u8]) -> Option<Serial> {
    let certificate = X509Certificate::from_der(certificate).ok()?.1;
    data_encoding::HEXLOWER.encode(certificate.raw_serial()).parse().ok()
}

/// Records them as revoked and signs the lists that must name them. The caller has the authority's turn; `marked` is the
/// authority with what else changes.
async fn enter_and_sign(
    keeper: &Keeper,
    mut marked: StoredAuthority,
    certificates: &[IssuedRecord],
    actor: &Actor,
) -> Result<(), RevocationError> {
    let concerned: BTreeSet<String> = certificates.iter().map(|known| known.issuer.clone()).collect();
    lists::mark_due(&mut marked.record, &concerned);
    let (done, fault) = enter(keeper, marked, certificates, actor).await;
    let signed = sign(keeper, &concerned, actor).await;
    if let Err(error) = &signed {
        keeper.alarms.raise("authority", format!("revoked certificates are in no revocation list yet: {error}"));
        keeper.lifecycle_due.notify_one();
    }
    let (asked, listed) = (certificates.len(), signed.is_ok());
    match fault {
        Some(fault) if done == 0 => Err(fault.into()),
        Some(fault) => Err(RevocationError::Incomplete { done, asked, listed, why: fault.to_string() }),
        None => signed.map_err(|error| RevocationError::Incomplete { done, asked, listed, why: error.to_string() }),
    }
}

/// Records them as revoked, in many transactions if need be; says how many are, and what stopped it.
async fn enter(
    keeper: &Keeper,
    marked: StoredAuthority,
    certificates: &[IssuedRecord],
    actor: &Actor,
) -> (usize, Option<LifecycleError>) {
    let (mut done, mut marked) = (0, Some(marked));
    for some in certificates.chunks(AT_ONCE) {
        let (writes, events) = entries(some, actor, clock::now());
        let made = match marked.take() {
            // With the first of them, so that none is ever on record without a list being due.
            Some(marked) => enter_first(keeper, marked, writes, events).await,
            None => keeper.commit(Change { writes, events }).await.map(drop).map_err(LifecycleError::State),
        };
        if let Err(fault) = made {
            return (done, Some(fault));
        }
        // From here on nobody is handed one, whatever else takes its time.
        let (serials, issuers): (BTreeSet<Serial>, _) = (some.iter().map(|known| known.serial).collect(), keeper.issuers());
        let record = &issuers.stored.record;
        keeper.store.mark_revoked(|known| serials.contains(&known.serial) || record.is_revoked(&known.issuer));
        done += some.len();
    }
    (done, None)
}

async fn enter_first(
    keeper: &Keeper,
    marked: StoredAuthority,
    writes: Vec<Write>,
    events: Vec<Event>,
) -> Result<(), LifecycleError> {
    let made = lifecycle::record(keeper, marked.clone(), writes, events).await;
    if let Err(LifecycleError::State(StateError::InDoubt { .. })) = made {
        // It may be on record after all: a list too many does no harm.
        let mesh = Arc::clone(&keeper.issuers().mesh);
        keeper.publish_issuers(Issuers::load(marked, mesh, &keeper.host.node_id).map_err(LifecycleError::Key)?);
    }
    made
}

fn entries(certificates: &[IssuedRecord], actor: &Actor, now: Moment) -> (Vec<Write>, Vec<Event>) {
    let write = |known: &IssuedRecord| Write::Revoked { serial: known.serial, at: now };
    let event = |known: &IssuedRecord| Event {
        time: now,
        kind: Kind::CertificateRevoked,
        outcome: Outcome::Done,
        actor: actor.clone(),
        subject: Subject {
            identity: Some(known.identity.to_string()),
            spiffe_id: Some(known.spiffe_id.to_string()),
            serial: Some(known.serial.to_string()),
            ..Subject::default()
        },
        reason: None,
    };
    (certificates.iter().map(write).collect(), certificates.iter().map(event).collect())
}

/// Signs those of the lists that are marked. An issuer that has ended has none, and nothing under it is good any more.
async fn sign(keeper: &Keeper, concerned: &BTreeSet<String>, actor: &Actor) -> Result<(), LifecycleError> {
    for issuer in lists::due(&keeper.issuers().stored.record, concerned) {
        lifecycle::take(keeper, &keeper.issuers(), Step::SignCrl { issuer }, actor.clone(), clock::now()).await?;
    }
    Ok(())
}

fn stopping() -> LifecycleError {
    LifecycleError::State(StateError::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_lists_hold_is_refused_with_the_figures() {
        assert!(check_room(100_000, 50_000).is_ok());
        let refused = check_room(100_000, 50_001).unwrap_err().to_string();
        assert!(refused.starts_with("nothing was revoked: "), "{refused}");
        assert!(refused.contains("may hold 150000 certificates, have 100000, and would get at least 50001 more"), "{refused}");
    }

    #[test]
    fn what_was_done_in_part_is_said_so() {
        let partly = RevocationError::Incomplete { done: 256, asked: 300, listed: true, why: "disk full".to_owned() };
        let expected = "256 of 300 certificates were recorded as revoked, and they are in the revocation list: disk full";
        assert_eq!(partly.to_string(), expected);
        let unlisted = RevocationError::Incomplete { done: 300, asked: 300, listed: false, why: "disk full".to_owned() };
        assert!(unlisted.to_string().contains("no revocation list names them yet; the agent goes on trying"), "{unlisted}");
    }
}
