//! This host as part of a mesh: it joins, is renewed, becomes an authority, leaves. What the rest of the keeper calls.
//!
//! A member's intermediate is signed by an authority; the key never leaves this host. The roots it had before are trusted
//! here alone, until everything the agent keeps is under the new intermediate and its services know.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, Intermediate, Role};
use reverie_core::config::KeyType;
use reverie_core::id::IdentityName;
use reverie_core::mesh::collection::BundleRoot;
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::chain::{self, Chain, Refused};
use super::issuers::{Issuers, StoredAuthority, StoredIssuer};
use super::lifecycle::{self, LifecycleError};
use super::told::Told;
use super::{authority, replacement};
use crate::keeper::state::{CertificateKind, IssuedRecord, StateError};
use crate::keeper::{Keeper, clock};

/// Certificates looked at for whether callers still hold some under a root from before.
const MAX_SEARCHED: usize = 10_000;

/// What is stored of it, beside the authority's own row.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMembership {
    /// Who signs.
    pub role: Role,
    /// PKCS #8 of the key whose intermediate has been asked for.
    pub pending: Option<Zeroizing<Vec<u8>>>,
    /// Roots as they were when this host joined, DER: trusted until the view has its own.
    pub anchors: Vec<Vec<u8>>,
}

/// Why an intermediate was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// It is not what was asked for.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It is for another key than this host's.
    #[error("the intermediate is for a key that this host does not hold; ask for another")]
    ForeignKey,
    /// Nothing binds its holder.
    #[error("the intermediate does not say what this host may issue; the authority that signed it is at fault")]
    Unconstrained,
    /// Its root is not trusted.
    #[error("the root {0} of the intermediate is not in the trust bundle of the mesh")]
    ForeignRoot(String),
    /// The clocks differ.
    #[error(
        "by this host's clock ({now}) the intermediate is good from {from} to {to} only: set the clock right, then try again"
    )]
    Clock {
        /// This host's.
        now: Moment,
        /// `notBefore`.
        from: Moment,
        /// `notAfter`.
        to: Moment,
    },
    /// It could not be recorded.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl From<rcgen::Error> for MembershipError {
    fn from(error: rcgen::Error) -> Self {
        Self::Lifecycle(error.into())
    }
}

/// A certificate request for this host's intermediate, DER. The same key until an intermediate for it is installed, so that
/// asking again costs nothing.
pub async fn certificate_request(keeper: &Keeper) -> Result<Vec<u8>, MembershipError> {
    let _turn = keeper.authority_turn.lock().await;
    let mut stored = keeper.issuers().stored.clone();
    let key = match &stored.membership.pending {
        Some(pending) => KeyPair::try_from(pending.as_slice())?,
        None => {
            let key = authority::fresh_key(KeyType::P256)?;
            stored.membership.pending = Some(Zeroizing::new(key.serialize_der()));
            lifecycle::record(keeper, stored, vec![], vec![]).await?;
            key
        }
    };
    // Names in it would not count.
    Ok(CertificateParams::default().serialize_request(&key)?.der().to_vec())
}

/// This host stops being its own root. `bundle`: all roots of the mesh, DER.
pub async fn become_member(keeper: &Arc<Keeper>, chain: &Chain, bundle: &[Vec<u8>], actor: Actor) -> Result<(), MembershipError> {
    install(keeper, chain, Some(bundle), actor).await
}

/// A renewed intermediate of a member.
pub async fn install_intermediate(keeper: &Arc<Keeper>, chain: &Chain, actor: Actor) -> Result<(), MembershipError> {
    install(keeper, chain, None, actor).await
}

async fn install(keeper: &Arc<Keeper>, chain: &Chain, bundle: Option<&[Vec<u8>]>, actor: Actor) -> Result<(), MembershipError> {
    {
        let _turn = keeper.authority_turn.lock().await;
        let (issuers, now) = (keeper.issuers(), clock::now());
        let domain = &keeper.host.trust_domain;
        let root = chain::read_root(&chain.root, domain)?;
        let read = chain::read_intermediate(&chain.intermediate, &chain.root, domain)?;
        if issuers.stored.record.intermediates.iter().any(|known| known.fingerprint == read.fingerprint) {
            return Ok(());
        }
        let trusted = match bundle {
            Some(bundle) => bundle.contains(&chain.root),
            None => issuers.trusts(&root.fingerprint),
        };
        if !trusted {
            return Err(MembershipError::ForeignRoot(root.fingerprint));
        }
        if read.constraints.is_none() {
            return Err(MembershipError::Unconstrained);
        }
        if !read.validity.contains(now) {
            let (from, to) = (read.validity.not_before, read.validity.not_after);
            return Err(MembershipError::Clock { now, from, to });
        }
        let mut stored = issuers.stored.clone();
        let pending = stored.membership.pending.take().ok_or(MembershipError::ForeignKey)?;
        if rcgen::PublicKeyData::subject_public_key_info(&KeyPair::try_from(pending.as_slice())?) != read.public_key {
            return Err(MembershipError::ForeignKey);
        }
        let joins = bundle.is_some();
        if let Some(bundle) = bundle {
            stored.membership.anchors = bundle.to_vec();
            stored.set_role(Role::Member);
        }
        add(&mut stored, chain, &root.fingerprint, read.validity, pending);
        let what = format!("{}signed by root {}", if joins { "this host joined a mesh; " } else { "" }, root.fingerprint);
        let event = changed(read.fingerprint, what, actor, now);
        lifecycle::record(keeper, stored, vec![], vec![event]).await?;
    }
    keeper.intermediate_wanted.send_replace(false);
    // Its lists.
    keeper.lifecycle_due.notify_one();
    tokio::spawn(replacement::run(Arc::clone(keeper)));
    Ok(())
}

fn add(
    stored: &mut StoredAuthority,
    chain: &Chain,
    root: &str,
    validity: reverie_core::renewal::Validity,
    key: Zeroizing<Vec<u8>>,
) {
    stored.issuers.push(StoredIssuer {
        fingerprint: chain.fingerprint.clone(),
        certificate: chain.intermediate.clone(),
        key,
        crl: Arc::default(),
        crl_number: 0,
    });
    stored.record.intermediates.push(Intermediate {
        fingerprint: chain.fingerprint.clone(),
        root: root.to_owned(),
        validity,
        crl_next_update: None,
        revoked: false,
        retired: false,
    });
}

fn changed(fingerprint: String, what: String, actor: Actor, now: Moment) -> Event {
    let subject = Subject { object: Some(fingerprint), ..Subject::default() };
    Event { time: now, kind: Kind::IntermediateChanged, outcome: Outcome::Done, actor, subject, reason: Some(what) }
}

/// This host is an authority now: it makes a root of its own, which signs once everybody has had time to learn of it.
/// Repeatable.
pub async fn promote(keeper: &Arc<Keeper>, actor: Actor) -> Result<(), MembershipError> {
    {
        let _turn = keeper.authority_turn.lock().await;
        let mut stored = keeper.issuers().stored.clone();
        if stored.membership.role == Role::Own {
            return Ok(());
        }
        // A root from before it joined is known to nobody.
        let former = stored.record.former_roots();
        stored.record.give_up(&former);
        stored.set_role(Role::Own);
        let event = changed(keeper.host.node_id.to_string(), "this host signs for itself now".to_owned(), actor, clock::now());
        lifecycle::record(keeper, stored, vec![], vec![event]).await?;
    }
    Ok(lifecycle::bring_up_to_date(keeper).await?)
}

/// This host is in no mesh any more: it is its own root again, at once. Repeatable.
pub async fn leave(keeper: &Arc<Keeper>, actor: Actor) -> Result<(), MembershipError> {
    {
        let _turn = keeper.authority_turn.lock().await;
        let mut stored = keeper.issuers().stored.clone();
        stored.membership.anchors.clear();
        stored.membership.pending = None;
        stored.set_role(Role::Own);
        // What another has signed is revoked by now.
        let foreign = stored.record.foreign_roots();
        stored.record.give_up(&foreign);
        let event = changed(keeper.host.node_id.to_string(), "this host left its mesh".to_owned(), actor, clock::now());
        lifecycle::record(keeper, stored, vec![], vec![event]).await?;
    }
    lifecycle::bring_up_to_date(keeper).await?;
    tokio::spawn(replacement::run(Arc::clone(keeper)));
    Ok(())
}

/// Gives up the roots from before this host joined, once everything the agent keeps is under another and its services know,
/// and what was handed out to callers under them has ended.
pub async fn give_up_former_roots(keeper: &Keeper) -> Result<(), LifecycleError> {
    let _turn = keeper.authority_turn.lock().await;
    let (now, issuers) = (clock::now(), keeper.issuers());
    let record = &issuers.stored.record;
    let former = record.former_roots();
    if former.is_empty() {
        return Ok(());
    }
    let before: Vec<&String> =
        record.intermediates.iter().filter(|known| former.contains(&known.root)).map(|known| &known.fingerprint).collect();
    let kept = keeper.store.all();
    if kept.iter().any(|generation| before.contains(&&generation.issuer)) || !every_service_knows(keeper, &issuers) {
        return Ok(());
    }
    let state = keeper.state.clone();
    let search = tokio::task::spawn_blocking(move || state.issued_newest(now, MAX_SEARCHED));
    let (issued, more) = search.await.map_err(|_| StateError::Closed)??;
    let is_kept = |name: &IdentityName| kept.iter().any(|generation| generation.identity == *name);
    let in_use = |known: &IssuedRecord| known.kind == CertificateKind::Leaf && before.contains(&&known.issuer);
    if more || issued.iter().any(|known| in_use(known) && known.revoked_at.is_none() && !is_kept(&known.identity)) {
        return Ok(());
    }
    let mut stored = issuers.stored.clone();
    stored.record.give_up(&former);
    let event = |root: &String| Event {
        time: now,
        kind: Kind::RootChanged,
        outcome: Outcome::Done,
        actor: Actor::Agent,
        subject: Subject { object: Some(root.clone()), ..Subject::default() },
        reason: Some("given up: the mesh's roots have taken over".to_owned()),
    };
    lifecycle::record(keeper, stored, vec![], former.iter().map(event).collect()).await
}

fn every_service_knows(keeper: &Keeper, issuers: &Issuers) -> bool {
    let policy = keeper.policy();
    keeper.store.all().iter().all(|generation| {
        let Some(identity) = policy.identities.get(&generation.identity) else { return true };
        let has_service = identity.declared.reload.is_some() || identity.declared.verify.is_some();
        let mark = Told::mark(&generation.serial, &issuers.digest, identity);
        !has_service || keeper.told.of(&generation.identity).is_some_and(|told| told.mark == mark)
    })
}

/// An intermediate is due. Whoever speaks with the mesh watches [`Keeper::watch_intermediate_wanted`] and asks an authority.
pub fn want_intermediate(keeper: &Keeper, now: Moment) {
    keeper.intermediate_wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
    let issuers = keeper.issuers();
    match ca::issuing_intermediate(&issuers.stored.record, now) {
        None => keeper.alarms.raise(
            "authority",
            "this host has no intermediate that can sign, and asks the mesh for one; is an authority reachable? `agentctl mesh \
             peers` shows",
        ),
        Some(current) if now >= current.validity.not_after.before(current.validity.life() / 4) => keeper.alarms.raise(
            "authority",
            format!(
                "the intermediate of this host ends at {} and no authority has renewed it yet; `agentctl mesh peers` shows who \
                 is reachable",
                current.validity.not_after
            ),
        ),
        Some(_) => keeper.alarms.clear("authority"),
    }
}

/// What an authority says in `bundles/<fingerprint>`: its roots that have not ended. Empty on a member.
pub fn own_root_records(issuers: &Issuers) -> Vec<(String, BundleRoot)> {
    let record = &issuers.stored.record;
    if record.membership.role == Role::Member {
        return vec![];
    }
    let published = record.roots.iter().filter(|root| !root.retired);
    let with_certificate = published.filter_map(|root| {
        let stored = issuers.stored.issuers.iter().find(|stored| stored.fingerprint == root.fingerprint)?;
        let value = BundleRoot { certificate: stored.certificate.clone(), signs_from: root.signs_from };
        Some((root.fingerprint.clone(), value))
    });
    with_certificate.collect()
}
