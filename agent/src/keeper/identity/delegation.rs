//! An authority's side: intermediates for the members of its mesh, and their end.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, BadLimits, IntermediateTemplate, NameConstraints, Role, Serial};
use reverie_core::id::NodeId;
use reverie_core::mesh::collection::{HostIntermediate, IssuingLimits};
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use serde::{Deserialize, Serialize};

use super::authority;
use super::chain::{self, Chain, Refused};
use super::issuance::IssueError;
use super::issuers::{Issuers, fingerprint};
use super::lifecycle::{self, LifecycleError, settings};
use super::revocation::{self, RevocationError};
use crate::keeper::state::{CertificateKind, IssuedRecord, Write};
use crate::keeper::{Keeper, clock};

/// Intermediates of one host in force at once: it renews one, and may have lost some.
const MAX_FOR_ONE_HOST: usize = 16;

/// One that ended stays on record for so long: the clock may be wrong.
const KEPT_AFTER_END: Duration = Duration::from_secs(30 * 86_400);

/// An intermediate that this authority has signed for another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegated {
    /// Whose.
    pub node: NodeId,
    /// Fingerprint of the root that signed it.
    pub root: String,
    /// Its serial.
    pub serial: Serial,
    /// Its life.
    pub validity: Validity,
    /// DER.
    pub certificate: Vec<u8>,
    /// Revoked.
    pub revoked: bool,
}

/// Why no intermediate was signed.
#[derive(Debug, thiserror::Error)]
pub enum DelegationError {
    /// This host has no root that could.
    #[error("this host is no authority of the mesh: it has no root that signs; ask another")]
    NoAuthority,
    /// The request is not one.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What the host may issue makes no sense.
    #[error(transparent)]
    Limits(#[from] BadLimits),
    /// It has plenty.
    #[error("{node} has {MAX_FOR_ONE_HOST} intermediates in force already; revoke some: agentctl cert revoke --help")]
    TooMany {
        /// The host.
        node: NodeId,
    },
    /// The authority is not in order, or it could not be recorded: nothing was signed.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

/// Signs an intermediate for `node`: the key from its request, everything else from here. Recorded as issued to that host.
/// Asked again for the same key and the same limits, the answer is the same.
pub async fn issue_intermediate(
    keeper: &Keeper,
    csr_der: &[u8],
    node: &NodeId,
    limits: &IssuingLimits,
    actor: Actor,
) -> Result<Chain, DelegationError> {
    let public_key = chain::check_request(csr_der)?;
    ca::check_limits(limits)?;
    let _turn = keeper.authority_turn.lock().await;
    let (now, issuers) = (clock::now(), keeper.issuers());
    let record = &issuers.stored.record;
    lifecycle::check_clock(record, now)?;
    if record.membership.role != Role::Own {
        return Err(DelegationError::NoAuthority);
    }
    let root = ca::signing_root(record, now).ok_or(DelegationError::NoAuthority)?;
    let signing = issuers.signing(&root.fingerprint).ok_or(DelegationError::NoAuthority)?;
    let root_der = issuers.certificate(&root.fingerprint).ok_or(DelegationError::NoAuthority)?.to_vec();
    let constraints = NameConstraints::of(limits, node);
    let key = rcgen::PublicKeyData::subject_public_key_info(&public_key);
    let in_force = issuers.stored.delegated.iter().filter(|(_, known)| known.node == *node && known.is_in_force(now));
    let mut count = 0;
    for (fingerprint, known) in in_force {
        count += 1;
        let read = chain::read_intermediate(&known.certificate, &root_der, &keeper.host.trust_domain);
        let same = read.is_ok_and(|read| read.public_key == key && read.constraints.as_ref() == Some(&constraints));
        if same && now < known.validity.half_life() {
            return Ok(Chain { intermediate: known.certificate.clone(), root: root_der, fingerprint: fingerprint.clone() });
        }
    }
    if count >= MAX_FOR_ONE_HOST {
        return Err(DelegationError::TooMany { node: node.clone() });
    }
    let (domain, ttl) = (&keeper.host.trust_domain, settings(keeper).intermediate_ttl);
    let serial = authority::fresh_serial(now).map_err(LifecycleError::from)?;
    let template = IntermediateTemplate::new(serial, domain, node, now, ttl, root.validity)
        .map_err(|error| LifecycleError::Issue(IssueError::Template(error)))?
        .limited_to(limits, node);
    let certificate = authority::sign_intermediate(&template, &public_key, signing).map_err(LifecycleError::from)?;
    let fingerprint = fingerprint(&certificate);
    let made = Delegated {
        node: node.clone(),
        root: root.fingerprint.clone(),
        serial,
        validity: template.validity,
        certificate: certificate.clone(),
        revoked: false,
    };
    let issued = IssuedRecord {
        serial,
        kind: CertificateKind::Intermediate,
        identity: lifecycle::INTERMEDIATE.parse().map_err(LifecycleError::from)?,
        spiffe_id: format!("spiffe://{domain}/host/{node}").parse().map_err(LifecycleError::from)?,
        issuer: root.fingerprint.clone(),
        not_before: template.validity.not_before,
        not_after: template.validity.not_after,
        revoked_at: None,
    };
    let subject = Subject { object: Some(fingerprint.clone()), serial: Some(serial.to_string()), ..Subject::default() };
    let reason = Some(format!("signed for {node} under root {}", root.fingerprint));
    let event = Event { time: now, kind: Kind::IntermediateChanged, outcome: Outcome::Done, actor, subject, reason };
    let mut stored = issuers.stored.clone();
    let delegated = Arc::make_mut(&mut stored.delegated);
    delegated.retain(|_, known| known.validity.not_after > now.before(KEPT_AFTER_END));
    delegated.insert(fingerprint.clone(), made);
    lifecycle::record(keeper, stored, vec![Write::Issued(issued)], vec![event]).await?;
    Ok(Chain { intermediate: certificate, root: root_der, fingerprint })
}

impl Delegated {
    /// Neither revoked nor ended.
    pub fn is_in_force(&self, now: Moment) -> bool {
        !self.revoked && self.validity.not_after > now
    }
}

/// Revokes every intermediate that this authority has signed for `node`. What others have signed, they revoke themselves
/// when they hear of the eviction; a root of its own leaves the bundle with it. Repeatable.
pub async fn revoke_host(keeper: &Arc<Keeper>, node: &NodeId, actor: Actor) -> Result<Vec<Serial>, RevocationError> {
    let now = clock::now();
    let issuers = keeper.issuers();
    let of_node = issuers.stored.delegated.iter().filter(|(_, known)| known.node == *node && known.is_in_force(now));
    let fingerprints: Vec<String> = of_node.map(|(fingerprint, _)| fingerprint.clone()).collect();
    revocation::revoke_delegated(keeper, fingerprints, actor).await
}

/// What this authority says in `intermediates/<fingerprint>`: everything in force that it has signed, its own included.
pub fn signed_intermediates(issuers: &Issuers, own: &NodeId, now: Moment) -> Vec<(String, HostIntermediate)> {
    let others =
        issuers.stored.delegated.iter().filter(|(_, known)| known.validity.not_after > now).map(|(fingerprint, known)| {
            let value =
                HostIntermediate { node: known.node.clone(), root: known.root.clone(), certificate: known.certificate.clone() };
            (fingerprint.clone(), value)
        });
    let record = &issuers.stored.record;
    let own_ones = record.intermediates.iter().filter(|known| !known.retired && record.is_root(&known.root));
    let own_ones = own_ones.filter_map(|known| {
        let certificate = issuers.certificate(&known.fingerprint)?.to_vec();
        Some((known.fingerprint.clone(), HostIntermediate { node: own.clone(), root: known.root.clone(), certificate }))
    });
    others.chain(own_ones).collect()
}
