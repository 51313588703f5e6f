//! What follows for this host from what the mesh says: its files and services, its own lists, and, on an authority, the
//! intermediates of others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{Role, Serial};
use reverie_core::mesh::collection::{Collection, Revocation, Standing, key};
use reverie_core::moment::Moment;

use super::issuers::Issuers;
use super::lifecycle::{self, LifecycleError};
use super::mesh_list::serials_of;
use super::trust::MeshTrust;
use super::{membership, replacement, revocation};
use crate::keeper::mesh::writing::{self, Draft};
use crate::keeper::state::{Change, IssuedRecord};
use crate::keeper::{Keeper, clock};

/// So long may an issuer's holder take to list what the mesh says is revoked, before an authority revokes the issuer: it is
/// unreachable, or unwilling.
const LIST_GRACE: Duration = Duration::from_secs(30);
/// Subject of the alarm on what others publish.
const FINDINGS: &str = "mesh trust";

/// Lets what the mesh says take effect, if it differs from before. Repeatable; to be called for every view, and now and then
/// without, since things end.
pub async fn follow(keeper: &Arc<Keeper>, trust: MeshTrust) -> Result<(), LifecycleError> {
    take(keeper, trust).await?;
    let mesh = Arc::clone(&keeper.issuers().mesh);
    match mesh.findings.is_empty() {
        true => keeper.alarms.clear(FINDINGS),
        false => keeper.alarms.raise(FINDINGS, mesh.findings.join("; ")),
    }
    say_what_lies_outside(keeper);
    let role = keeper.issuers().stored.record.membership.role;
    if mesh.standing == Some(Standing::Authority) && role == Role::Member {
        membership::promote(keeper, Actor::Agent).await.map_err(into_lifecycle)?;
    }
    let own = own_leaves_revoked(keeper, &mesh)?;
    if !own.is_empty() {
        revocation::revoke_leaves(keeper, own, Actor::Agent).await.map_err(of_revocation)?;
    }
    let unlisted = unlisted(&keeper.issuers(), &mesh);
    if !unlisted.is_empty() {
        revocation::list_anew(keeper, unlisted, Actor::Agent).await.map_err(of_revocation)?;
    }
    let others = to_revoke(&keeper.issuers(), &mesh, clock::now());
    if !others.is_empty() {
        revocation::revoke_delegated(keeper, others, Actor::Agent).await.map_err(of_revocation)?;
    }
    Ok(())
}

/// On an authority: revokes a certificate of another host, signed by `issuer`. Its holder lists it as soon as it hears of it,
/// also if it has ended or never was; if it does not, the authority that signed `issuer` revokes that.
pub async fn revoke_elsewhere(
    keeper: &Arc<Keeper>,
    issuer: &str,
    serial: Serial,
    actor: Actor,
) -> Result<Serial, revocation::RevocationError> {
    let mesh = Arc::clone(&keeper.issuers().mesh);
    let failed = |why: String| revocation::RevocationError::Lifecycle(LifecycleError::Mesh(why));
    if mesh.standing != Some(Standing::Authority) {
        let why = "this host is no authority of a mesh: revoke it on the host that issued it, or on an authority";
        return Err(failed(why.to_owned()));
    }
    let unknown = || revocation::RevocationError::Unknown(format!("{serial} of the issuer {:?}", shown(issuer)));
    let known = mesh.intermediates.get(issuer).ok_or_else(unknown)?;
    let now = clock::now();
    // When it ends is its issuer's knowledge; later than this it does not.
    let value = Revocation { at: now, not_after: known.validity.not_after };
    let name = key::revocation(issuer, &serial.to_string());
    let draft = Draft::put(Collection::Revocations, name, &value).map_err(|error| failed(error.to_string()))?;
    let event = Event {
        time: now,
        kind: Kind::CertificateRevoked,
        outcome: Outcome::Done,
        actor,
        subject: Subject { serial: Some(serial.to_string()), object: Some(known.node.to_string()), ..Subject::default() },
        reason: None,
    };
    let change = Change { writes: vec![], events: vec![event] };
    writing::write(keeper, vec![draft], change).await.map_err(|error| failed(error.to_string()))?;
    Ok(serial)
}

fn shown(issuer: &str) -> String {
    issuer.chars().take(80).collect()
}

fn into_lifecycle(error: membership::MembershipError) -> LifecycleError {
    match error {
        membership::MembershipError::Lifecycle(error) => error,
        other => LifecycleError::Mesh(other.to_string()),
    }
}

fn of_revocation(error: revocation::RevocationError) -> LifecycleError {
    match error {
        revocation::RevocationError::Lifecycle(error) => error,
        other => LifecycleError::Mesh(other.to_string()),
    }
}

async fn take(keeper: &Arc<Keeper>, trust: MeshTrust) -> Result<(), LifecycleError> {
    let _turn = keeper.authority_turn.lock().await;
    let before = keeper.issuers();
    if before.mesh.says_the_same_as(&trust) {
        return Ok(());
    }
    let mut stored = before.stored.clone();
    // The view knows the root under which this host signs: what it was told when it joined has done its service.
    let known = |issuers: &Issuers| issuers.stored.record.foreign_roots().iter().any(|root| trust.roots.contains_key(root));
    if !stored.membership.anchors.is_empty() && known(&before) {
        stored.membership.anchors.clear();
        super::lifecycle::record(keeper, stored.clone(), vec![], vec![]).await?;
    }
    let issuers = Issuers::load(stored, Arc::new(trust), &keeper.host.node_id).map_err(LifecycleError::Key)?;
    let judged = issuers.stored.record.membership != before.stored.record.membership;
    keeper.publish_issuers(issuers);
    drop(_turn);
    if judged {
        let task = Arc::clone(keeper);
        tokio::spawn(async move {
            // What takes over may still have to be made, and only then is there something to replace by.
            if let Err(error) = lifecycle::bring_up_to_date(&task).await {
                tracing::warn!(%error, "this host's issuers are not up to date yet");
                task.lifecycle_due.notify_one();
            }
            replacement::run(task).await;
        });
    }
    Ok(())
}

/// An alarm for every declared identity that this host may not issue.
fn say_what_lies_outside(keeper: &Keeper) {
    let (issuers, policy) = (keeper.issuers(), keeper.policy());
    let now = clock::now();
    let issuing = reverie_core::ca::issuing_intermediate(&issuers.stored.record, now).map(|known| known.fingerprint.clone());
    let mut standing = vec![];
    for (name, identity) in &policy.identities {
        let Some(Err(error)) = issuing.as_ref().map(|issuing| issuers.check_limits(issuing, &identity.declared)) else {
            continue;
        };
        let subject = format!("limits {name}");
        keeper.alarms.raise(&subject, format!("identity {name}, declared at {}: {error}", identity.declared.declared_at));
        standing.push(subject);
    }
    keeper.alarms.clear_except("limits ", &standing);
}

/// Certificates of this host's own issuers that somebody else has revoked: its lists are to name them.
fn own_leaves_revoked(keeper: &Keeper, mesh: &MeshTrust) -> Result<Vec<IssuedRecord>, LifecycleError> {
    let issuers = keeper.issuers();
    let mut found = vec![];
    for (issuer, serial) in mesh.revoked.keys() {
        if issuers.signing(issuer).is_none() {
            continue;
        }
        let Ok(serial) = serial.parse::<Serial>() else { continue };
        let known = keeper.state.issued(serial)?;
        found.extend(
            known.filter(|known| known.issuer == *issuer && known.revoked_at.is_none() && !is_delegated(&issuers, serial)),
        );
    }
    Ok(found)
}

/// Issuers of this host whose list, as it is stored here, still lacks what the mesh says is revoked: certificates that this
/// host does not know, or that have ended. It lists them all the same, or it would be taken for one that hides them.
fn unlisted(issuers: &Issuers, mesh: &MeshTrust) -> BTreeSet<String> {
    let own = issuers.stored.issuers.iter().filter(|own| mesh.lagging.contains_key(&own.fingerprint) && !own.crl.is_empty());
    let lacks = own.filter(|own| {
        let listed = serials_of(&own.crl).unwrap_or_default();
        mesh.revoked_of(&own.fingerprint).any(|(serial, known)| known.not_after > clock::now() && !listed.contains(serial))
    });
    lacks.filter(|own| issuers.signing(&own.fingerprint).is_some()).map(|own| own.fingerprint.clone()).collect()
}

fn is_delegated(issuers: &Issuers, serial: Serial) -> bool {
    issuers.stored.delegated.values().any(|known| known.serial == serial)
}

/// Intermediates that this authority has signed and must revoke: the mesh says so, their holder is out, or it does not list
/// what is revoked.
pub(super) fn to_revoke(issuers: &Issuers, mesh: &MeshTrust, now: Moment) -> Vec<String> {
    let in_force = issuers.stored.delegated.iter().filter(|(_, known)| known.is_in_force(now));
    let must_go = in_force.filter(|(fingerprint, known)| {
        let revoked = mesh.revoked.contains_key(&(known.root.clone(), known.serial.to_string()));
        let silent = mesh.lagging.get(*fingerprint).is_some_and(|since| now >= since.after(LIST_GRACE));
        revoked || silent
    });
    must_go.map(|(fingerprint, _)| fingerprint.clone()).collect()
}
