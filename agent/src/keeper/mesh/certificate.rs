//! The host's certificate for TLS: over its signing key, by its intermediate, for those who know a root and not the key.
//! Peers look at the key alone.

use std::sync::PoisonError;
use std::time::Duration;

use rcgen::KeyPair;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, LeafTemplate};
use reverie_core::mesh::crypto::Kid;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use super::{Keeper, Mesh, MeshError};
use crate::keeper::clock;
use crate::keeper::identity::authority;
use crate::keeper::identity::issuance::IssueError;
use crate::keeper::identity::lifecycle::LifecycleError;
use crate::keeper::state::{CertificateKind, Change, IssuedRecord, Write};

/// Subject of the alarm that it could not be made.
pub(super) const SUBJECT: &str = "mesh, certificate";
/// Its life, where the issuer's allows it; made anew at half.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Its name in the register.
const NAME: &str = "mesh-host";

/// The certificate and what it is for.
pub(super) struct HostCertificate {
    kid: Kid,
    issuer: String,
    half_life: Moment,
    chain: Vec<Vec<u8>>,
}

impl Mesh {
    pub(super) fn certificate_chain(&self) -> Vec<Vec<u8>> {
        let certificate = self.certificate.lock().unwrap_or_else(PoisonError::into_inner);
        certificate.as_ref().map(|certificate| certificate.chain.clone()).unwrap_or_default()
    }
}

/// Makes it, if there is a mesh and the one there is for another key, by another issuer, or half over. In memory only: a new
/// one is made at each start.
pub(super) async fn bring_up_to_date(keeper: &Keeper) -> Result<(), MeshError> {
    let (now, issuers) = (clock::now(), keeper.issuers());
    let Some(ring) = keeper.mesh.keys().filter(|_| keeper.mesh.id().is_some()) else { return Ok(()) };
    let Some(issuer) = ca::issuing_intermediate(&issuers.stored.record, now) else {
        // The one before serves on: peers ignore dates, and others are right not to. Without any, TLS needs some bytes.
        return self_signed(keeper, &ring.speaking, now);
    };
    let kid = ring.speaking.kid();
    {
        let known = keeper.mesh.certificate.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |known: &HostCertificate| known.kid == kid && known.issuer == issuer.fingerprint && now < known.half_life;
        if known.as_ref().is_some_and(fits) {
            return Ok(());
        }
    }
    let failed = |error: LifecycleError| MeshError::Lifecycle(Box::new(error));
    let signing = issuers.signing(&issuer.fingerprint).ok_or_else(|| failed(IssueError::NoIssuer.into()))?;
    let key = key_pair(&ring.speaking)?;
    let template = template(keeper, now, issuer.validity).map_err(failed)?;
    let name = NAME.parse().map_err(|error: reverie_core::id::InvalidName| failed(error.into()))?;
    let leaf = authority::sign_leaf(&template, NAME, &key, signing).map_err(|error| failed(error.into()))?;
    let record = IssuedRecord {
        serial: template.serial,
        kind: CertificateKind::Leaf,
        identity: name,
        spiffe_id: template.spiffe_id.clone(),
        issuer: issuer.fingerprint.clone(),
        not_before: template.validity.not_before,
        not_after: template.validity.not_after,
        revoked_at: None,
    };
    let subject = Subject {
        identity: Some(NAME.to_owned()),
        spiffe_id: Some(template.spiffe_id.to_string()),
        serial: Some(template.serial.to_string()),
        ..Subject::default()
    };
    let event =
        Event { time: now, kind: Kind::CertificateIssued, outcome: Outcome::Done, actor: Actor::Agent, subject, reason: None };
    keeper.commit(Change { writes: vec![Write::Issued(record)], events: vec![event] }).await?;
    let above = issuers.stored.issuers.iter().find(|stored| stored.fingerprint == issuer.fingerprint);
    let chain = std::iter::once(leaf).chain(above.map(|stored| stored.certificate.clone())).collect();
    let life = template.validity.not_after.since(now);
    let made = HostCertificate { kid, issuer: issuer.fingerprint.clone(), half_life: now.after(life / 2), chain };
    *keeper.mesh.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    keeper.alarms.clear(SUBJECT);
    Ok(())
}

fn template(keeper: &Keeper, now: Moment, issuer: Validity) -> Result<LeafTemplate, LifecycleError> {
    let host = &keeper.host;
    let spiffe_id = format!("spiffe://{}/host/{}", host.trust_domain, host.node_id).parse()?;
    let validity = LeafTemplate::validity(now, LIFE, issuer).map_err(IssueError::Template)?;
    let serial = authority::fresh_serial(now).map_err(IssueError::Randomness)?;
    Ok(LeafTemplate { serial, spiffe_id, dns: vec![host.node_id.as_str().parse()?], ip: vec![], validity })
}

fn key_pair(pair: &super::keys::Pair) -> Result<KeyPair, MeshError> {
    let der = pair.signing.to_pkcs8_der()?;
    KeyPair::try_from(&**der).map_err(|error| MeshError::Lifecycle(Box::new(error.into())))
}

fn self_signed(keeper: &Keeper, pair: &super::keys::Pair, now: Moment) -> Result<(), MeshError> {
    let kid = pair.kid();
    let mut certificate = keeper.mesh.certificate.lock().unwrap_or_else(PoisonError::into_inner);
    if certificate.as_ref().is_some_and(|known| known.kid == kid) {
        return Ok(());
    }
    let failed = |error: rcgen::Error| MeshError::Lifecycle(Box::new(error.into()));
    let params = rcgen::CertificateParams::new(vec![keeper.host.node_id.to_string()]).map_err(failed)?;
    let made = params.self_signed(&key_pair(pair)?).map_err(failed)?;
    let chain = vec![made.der().to_vec()];
    *certificate = Some(HostCertificate { kid, issuer: String::new(), half_life: now.after(LIFE), chain });
    Ok(())
}
