//! Revocation: recorded, listed and published in one go.

use std::collections::BTreeSet;
use std::sync::Arc;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{Intermediate, Serial};
use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Revocation;
use super::issuance::IssueError;
use super::lifecycle::{self, LifecycleError};
use super::{rotation, store::Generation};
use crate::keeper::state::{Change, IssuedRecord, StateError, Write};
use crate::keeper::{Keeper, clock};

/// Leaves revoked in one transaction.
const AT_ONCE: usize = 256;

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// Never issued here, ended, or revoked before.
    #[error("{0} is not a certificate in force that this host issued")]
    Unknown(String),
    /// The authority is not in order, or it could not be recorded.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

/// Every leaf of an identity that is in force.
pub async fn in_force(keeper: &Keeper, identity: IdentityName) -> Result<Vec<IssuedRecord>, RevocationError> {
    let state = keeper.state.clone();
    // Looks through the whole register: not on the threads that serve.
    let search = tokio::task::spawn_blocking(move || state.issued_of(&identity, clock::now()));
    let found = search.await.map_err(|_| LifecycleError::State(StateError::Closed))?.map_err(LifecycleError::State)?;
    Ok(found.into_iter().filter(|leaf| leaf.revoked_at.is_none() && !leaf.spiffe_id.path().is_empty()).collect())
}

/// Revokes leaves, signs the lists of their issuers, publishes, and replaces what the agent keeps.
pub async fn revoke_leaves(
    keeper: &Arc<Keeper>,
    leaves: Vec<IssuedRecord>,
    actor: Actor,
) -> Result<Vec<Serial>, RevocationError> {
    let serials: Vec<Serial> = leaves.iter().map(|leaf| leaf.serial).collect();
    {
        let _turn = keeper.authority_turn.lock().await;
        let (last, before) = leaves.split_at(leaves.len().min(AT_ONCE));
        for some in before.chunks(AT_ONCE) {
            let (writes, events) = entries(some, &actor, clock::now());
            keeper.commit(Change { writes, events }).await.map_err(LifecycleError::State)?;
        }
        // The lists are signed with the last of them, and name them all.
        let concerned: BTreeSet<String> = leaves.iter().map(|leaf| leaf.issuer.clone()).collect();
        let (writes, events) = entries(last, &actor, clock::now());
        record(keeper, Recorded { writes, events, last, concerned, actor }, |_| {}).await?;
    }
    let revoked: BTreeSet<&Serial> = serials.iter().collect();
    replace(keeper, |generation| revoked.contains(&generation.serial)).await;
    Ok(serials)
}

/// Revokes an intermediate of this host: it signs no more, its root lists it, and every leaf under it that the agent
/// keeps is replaced by one under a new intermediate.
pub async fn revoke_intermediate(keeper: &Arc<Keeper>, fingerprint: &str, actor: Actor) -> Result<Serial, RevocationError> {
    let unknown = || RevocationError::Unknown(format!("{:?}", fingerprint.chars().take(80).collect::<String>()));
    let serial = {
        let _turn = keeper.authority_turn.lock().await;
        let issuers = keeper.issuers();
        let is_live = |known: &&Intermediate| known.fingerprint == fingerprint && !known.revoked;
        let known = issuers.stored.record.intermediates.iter().find(is_live).ok_or_else(unknown)?;
        let stored = issuers.stored.issuers.iter().find(|stored| stored.fingerprint == known.fingerprint).ok_or_else(unknown)?;
        let certificate = X509Certificate::from_der(&stored.certificate).map_err(|_| unknown())?.1;
        let serial: Serial = data_encoding::HEXLOWER.encode(certificate.raw_serial()).parse().map_err(|_| unknown())?;
        let on_record = keeper.state.issued(serial).map_err(LifecycleError::State)?.ok_or_else(unknown)?;
        let last = std::slice::from_ref(&on_record);
        let (writes, events) = entries(last, &actor, clock::now());
        let recorded = Recorded { writes, events, last, concerned: [on_record.issuer.clone()].into(), actor };
        record(keeper, recorded, |authority| {
            authority.intermediates.iter_mut().filter(|i| i.fingerprint == fingerprint).for_each(|i| i.revoked = true);
        })
        .await?;
        serial
    };
    lifecycle::bring_up_to_date(keeper).await?;
    replace(keeper, |generation| generation.issuer == fingerprint).await;
    Ok(serial)
}

/// What becomes durable together with the lists.
struct Recorded<'a> {
    writes: Vec<Write>,
    events: Vec<Event>,
    /// The leaves that are not in the store yet, but must be in the lists.
    last: &'a [IssuedRecord],
    /// Fingerprints of their issuers.
    concerned: BTreeSet<String>,
    actor: Actor,
}

fn entries(leaves: &[IssuedRecord], actor: &Actor, now: Moment) -> (Vec<Write>, Vec<Event>) {
    let write = |leaf: &IssuedRecord| Write::Revoked { serial: leaf.serial, at: now };
    let event = |leaf: &IssuedRecord| Event {
        time: now,
        kind: Kind::CertificateRevoked,
        outcome: Outcome::Done,
        actor: actor.clone(),
        subject: Subject {
            identity: Some(leaf.identity.to_string()),
            spiffe_id: Some(leaf.spiffe_id.to_string()),
            serial: Some(leaf.serial.to_string()),
            ..Subject::default()
        },
        reason: None,
    };
    (leaves.iter().map(write).collect(), leaves.iter().map(event).collect())
}

async fn record(
    keeper: &Keeper,
    recorded: Recorded<'_>,
    change: impl FnOnce(&mut reverie_core::ca::Authority),
) -> Result<(), LifecycleError> {
    let (now, issuers) = (clock::now(), keeper.issuers());
    let Recorded { writes, mut events, last, concerned, actor } = recorded;
    let mut stored = issuers.stored.clone();
    change(&mut stored.record);
    for issuer in concerned {
        if issuers.signing(&issuer).is_none() {
            // Its issuer has ended, and every leaf under it with it.
            continue;
        }
        let mut list = lifecycle::revoked_by(keeper, &issuer)?;
        let new = last.iter().filter(|leaf| leaf.issuer == issuer);
        list.extend(new.map(|leaf| Revocation { serial: leaf.serial.as_bytes().to_vec(), at: now }));
        lifecycle::sign_list(keeper, &issuers, &mut stored, &issuer, &list, now)?;
        let subject = Subject { object: Some(issuer), ..Subject::default() };
        let reason = Some(format!("{} entries", list.len()));
        events.push(Event { time: now, kind: Kind::CrlSigned, outcome: Outcome::Done, actor: actor.clone(), subject, reason });
    }
    lifecycle::record(keeper, stored, writes, events).await
}

/// A revoked certificate that the agent keeps is replaced at once.
async fn replace(keeper: &Arc<Keeper>, is_revoked: impl Fn(&Generation) -> bool) {
    let names: Vec<IdentityName> = keeper
        .store
        .all()
        .into_iter()
        .filter(|generation| is_revoked(generation))
        .map(|generation| generation.identity.clone())
        .collect();
    for name in names {
        if let Err(error) = rotation::rotate(keeper, &name, Actor::Agent).await {
            keeper.alarms.raise(format!("identity {name}"), format!("its revoked certificate could not be replaced: {error}"));
        }
    }
}

impl From<IssueError> for RevocationError {
    fn from(error: IssueError) -> Self {
        Self::Lifecycle(error.into())
    }
}
