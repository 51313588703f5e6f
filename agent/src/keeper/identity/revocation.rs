//! Revocation: recorded, listed and published in one go.

use std::collections::BTreeSet;
use std::sync::Arc;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::Serial;
use reverie_core::id::IdentityName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Revocation;
use super::issuance::IssueError;
use super::lifecycle::{self, LifecycleError};
use super::{rotation, store::Generation};
use crate::keeper::state::{IssuedRecord, Write};
use crate::keeper::{Keeper, clock};

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

/// Revokes leaves, signs the lists of their issuers, publishes, and replaces what the agent keeps.
pub async fn revoke_leaves(
    keeper: &Arc<Keeper>,
    leaves: Vec<IssuedRecord>,
    actor: Actor,
) -> Result<Vec<Serial>, RevocationError> {
    let serials: Vec<Serial> = leaves.iter().map(|leaf| leaf.serial).collect();
    {
        let _turn = keeper.authority_turn.lock().await;
        record(keeper, &leaves, actor, |_| {}).await?;
    }
    replace(keeper, |generation| serials.contains(&generation.serial)).await;
    Ok(serials)
}

/// Revokes an intermediate of this host: it signs no more, its root lists it, and every leaf under it that the agent
/// keeps is replaced by one under a new intermediate.
pub async fn revoke_intermediate(keeper: &Arc<Keeper>, fingerprint: &str, actor: Actor) -> Result<Serial, RevocationError> {
    let unknown = || RevocationError::Unknown(format!("{:?}", fingerprint.chars().take(80).collect::<String>()));
    let serial = {
        let _turn = keeper.authority_turn.lock().await;
        let issuers = keeper.issuers();
        let known = issuers.stored.record.intermediates.iter().find(|known| known.fingerprint == fingerprint && !known.revoked);
        let stored = issuers.stored.issuers.iter().find(|stored| stored.fingerprint == fingerprint);
        let (Some(known), Some(stored)) = (known, stored) else { return Err(unknown()) };
        let certificate = X509Certificate::from_der(&stored.certificate).map_err(|_| unknown())?.1;
        let serial: Serial = data_encoding::HEXLOWER.encode(certificate.raw_serial()).parse().map_err(|_| unknown())?;
        let as_leaf = IssuedRecord {
            serial,
            identity: "(intermediate)".to_owned(),
            spiffe_id: format!("spiffe://{}", keeper.host.trust_domain),
            issuer: known.root.clone(),
            not_before: known.validity.not_before,
            not_after: known.validity.not_after,
            revoked_at: None,
        };
        record(keeper, &[as_leaf], actor, |authority| {
            authority.intermediates.iter_mut().filter(|i| i.fingerprint == fingerprint).for_each(|i| i.revoked = true);
        })
        .await?;
        serial
    };
    lifecycle::bring_up_to_date(keeper).await?;
    replace(keeper, |generation| generation.issuer == fingerprint).await;
    Ok(serial)
}

async fn record(
    keeper: &Keeper,
    leaves: &[IssuedRecord],
    actor: Actor,
    change: impl FnOnce(&mut reverie_core::ca::Authority),
) -> Result<(), LifecycleError> {
    let (now, issuers) = (clock::now(), keeper.issuers());
    let mut stored = issuers.stored.clone();
    change(&mut stored.record);
    let mut writes = vec![];
    let mut events = vec![];
    for leaf in leaves {
        // An intermediate is not in the register of leaves until it is revoked.
        if leaf.identity.starts_with('(') {
            writes.push(Write::Issued(leaf.clone()));
        }
        writes.push(Write::Revoked { serial: leaf.serial, at: now });
        let subject = Subject {
            identity: Some(leaf.identity.clone()),
            spiffe_id: Some(leaf.spiffe_id.clone()),
            serial: Some(leaf.serial.to_string()),
            ..Subject::default()
        };
        events.push(Event {
            time: now,
            kind: Kind::CertificateRevoked,
            outcome: Outcome::Done,
            actor: actor.clone(),
            subject,
            reason: None,
        });
    }
    let concerned: BTreeSet<&str> = leaves.iter().map(|leaf| leaf.issuer.as_str()).collect();
    for issuer in concerned {
        if issuers.signing(issuer).is_none() {
            // Its issuer has ended, and every leaf under it with it.
            continue;
        }
        let mut list = lifecycle::revoked_by(keeper, issuer)?;
        let new = leaves.iter().filter(|leaf| leaf.issuer == issuer);
        list.extend(new.map(|leaf| Revocation { serial: leaf.serial.as_bytes().to_vec(), at: now }));
        lifecycle::sign_list(keeper, &issuers, &mut stored, issuer, &list, now)?;
        let subject = Subject { object: Some(issuer.to_owned()), ..Subject::default() };
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
