//! The life of roots, intermediates and revocation lists: does what `reverie_core::ca` says is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::{self, Intermediate, IntermediateTemplate, Root, RootTemplate, Settings, Step};
use reverie_core::config::KeyType;
use reverie_core::id::{InvalidName, NodeId};
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

use super::issuance::IssueError;
use super::issuers::{Issuers, StoredAuthority, StoredIssuer, fingerprint};
use super::{authority, lists, membership};
use crate::keeper::state::{CertificateKind, Change, IssuedRecord, State, StateError, Table, Write};
use crate::keeper::{Keeper, clock, row};

/// The key of the authority's row.
const ROW: &str = "authority";
/// The key of the row of [`StoredMembership`](super::membership::StoredMembership).
const MEMBERSHIP_ROW: &str = "membership";
/// Before the fingerprint in the key of a row of [`Delegated`](super::delegation::Delegated).
const DELEGATED: &str = "delegated/";
/// The name intermediates have in the register.
pub const INTERMEDIATE: &str = "intermediate";
/// No plan takes more steps than this; one that does is a fault.
const MAX_STEPS: usize = 64;

/// Why the authority could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// Signing failed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The change could not be recorded, so it was not made.
    #[error(transparent)]
    State(#[from] StateError),
    /// The stored row is not one.
    #[error(transparent)]
    Row(#[from] row::RowError),
    /// A name of our own making is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A key in the store cannot be read.
    #[error("a key of the certificate authority cannot be read: {0}; restore the store from a backup")]
    Key(rcgen::Error),
    /// What follows from the mesh could not be done.
    #[error("{0}")]
    Mesh(String),
    /// The clock stands before everything the authority has made.
    #[error(
        "the clock says {now}, but the certificate authority was made at {born}: set the clock right; nothing is issued until \
         then (if it was the clock of that time that was wrong: `agentctl ca rotate root` begins anew)"
    )]
    Clock {
        /// What the clock says.
        now: Moment,
        /// The oldest root's birth.
        born: Moment,
    },
}

impl From<rcgen::Error> for LifecycleError {
    fn from(error: rcgen::Error) -> Self {
        Self::Issue(error.into())
    }
}

impl From<aws_lc_rs::error::Unspecified> for LifecycleError {
    fn from(error: aws_lc_rs::error::Unspecified) -> Self {
        Self::Issue(error.into())
    }
}

/// What is stored, ready to sign; empty on a new host.
pub fn load(state: &State, node: &NodeId) -> Result<Issuers, LifecycleError> {
    let row = state.get(Table::Authority, ROW)?;
    let mut stored: StoredAuthority = row.map(|row| row::decode(&row)).transpose()?.unwrap_or_default();
    lists::attach(state, &mut stored)?;
    if let Some(row) = state.get(Table::Authority, MEMBERSHIP_ROW)? {
        stored.membership = row::decode(&row)?;
    }
    stored.set_role(stored.membership.role);
    let mut delegated = BTreeMap::new();
    for (name, row) in state.scan(Table::Authority)? {
        if let Some(fingerprint) = name.strip_prefix(DELEGATED) {
            delegated.insert(fingerprint.to_owned(), row::decode(&row)?);
        }
    }
    stored.delegated = Arc::new(delegated);
    Issuers::load(stored, Arc::default(), node).map_err(LifecycleError::Key)
}

/// What makes membership and delegated intermediates durable, where they changed.
fn mesh_writes(before: &StoredAuthority, after: &StoredAuthority) -> Result<Vec<Write>, row::RowError> {
    let mut writes = vec![];
    if after.membership != before.membership {
        let value = row::encode(&after.membership)?;
        writes.push(Write::Put { table: Table::Authority, key: MEMBERSHIP_ROW.to_owned(), value });
    }
    if Arc::ptr_eq(&before.delegated, &after.delegated) {
        return Ok(writes);
    }
    for (fingerprint, known) in after.delegated.iter().filter(|(name, known)| before.delegated.get(*name) != Some(known)) {
        writes.push(Write::Put { table: Table::Authority, key: format!("{DELEGATED}{fingerprint}"), value: row::encode(known)? });
    }
    let gone = before.delegated.keys().filter(|name| !after.delegated.contains_key(*name));
    writes.extend(gone.map(|name| Write::Delete { table: Table::Authority, key: format!("{DELEGATED}{name}") }));
    Ok(writes)
}

/// Lifetimes from the configuration in force.
pub fn settings(keeper: &Keeper) -> Settings {
    let ca = &keeper.policy().config.ca;
    Settings {
        root_ttl: ca.root_ttl.0,
        root_overlap: ca.root_overlap.0,
        intermediate_ttl: ca.intermediate_ttl.0,
        crl_ttl: ca.crl_ttl.0,
    }
}

/// Waits for what is due, does it, and has the files follow. Never ends.
pub async fn run(keeper: Arc<Keeper>) {
    loop {
        if let Err(error) = bring_up_to_date(&keeper).await {
            keeper.alarms.raise("authority", error.to_string());
        }
        if let Err(error) = membership::give_up_former_roots(&keeper).await {
            tracing::warn!(%error, "roots from before this host joined its mesh could not be given up");
        }
        let now = clock::now();
        let wake = ca::next_wake(&keeper.issuers().stored.record, &settings(&keeper), now);
        // Never long: the clock may jump and the machine may sleep.
        let wait = tokio::time::sleep(wake.since(now).clamp(Duration::from_millis(100), Duration::from_secs(30)));
        tokio::select! { () = wait => {}, () = keeper.lifecycle_due.notified() => {} }
    }
}

/// Does everything that is due now.
pub async fn bring_up_to_date(keeper: &Keeper) -> Result<(), LifecycleError> {
    let _turn = keeper.authority_turn.lock().await;
    for _ in 0..MAX_STEPS {
        let (now, issuers) = (clock::now(), keeper.issuers());
        check_clock(&issuers.stored.record, now)?;
        let Some(step) = ca::steps(&issuers.stored.record, &settings(keeper), now).into_iter().next() else {
            keeper.alarms.clear("authority");
            keeper.intermediate_wanted.send_if_modified(|wanted| std::mem::replace(wanted, false));
            return Ok(());
        };
        if step == Step::RequestIntermediate {
            membership::want_intermediate(keeper, now);
            return Ok(());
        }
        take(keeper, &issuers, step, Actor::Agent, now).await?;
    }
    Ok(())
}

/// A root or intermediate made now because an administrator asked; returns its fingerprint.
pub async fn rotate(
    keeper: &Keeper,
    step: impl FnOnce(&ca::Authority, Moment) -> Option<Step>,
    actor: Actor,
) -> Result<String, LifecycleError> {
    let made = {
        let _turn = keeper.authority_turn.lock().await;
        let (now, issuers) = (clock::now(), keeper.issuers());
        let step = step(&issuers.stored.record, now).ok_or(IssueError::NoIssuer)?;
        // A new root is the way out when it was the founding clock that was wrong.
        if !matches!(step, Step::MakeRoot { .. }) {
            check_clock(&issuers.stored.record, now)?;
        }
        take(keeper, &issuers, step, actor, now).await?
    };
    bring_up_to_date(keeper).await?;
    Ok(made)
}

/// Refuses to sign before the birth of everything there is.
pub fn check_clock(record: &ca::Authority, now: Moment) -> Result<(), LifecycleError> {
    match record.roots.iter().map(|root| root.validity.not_before).min() {
        Some(born) if now < born => Err(LifecycleError::Clock { now, born }),
        _ => Ok(()),
    }
}

/// Does one step and records it; returns the fingerprint it concerns. The caller has the authority's turn.
pub async fn take(
    keeper: &Keeper,
    issuers: &Arc<Issuers>,
    step: Step,
    actor: Actor,
    now: Moment,
) -> Result<String, LifecycleError> {
    let mut stored = issuers.stored.clone();
    let mut writes = vec![];
    let (kind, fingerprint, what) = match step {
        Step::MakeRoot { signs_from } => {
            (Kind::RootChanged, make_root(keeper, &mut stored, signs_from, now)?, format!("published; signs from {signs_from}"))
        }
        Step::MakeIntermediate { root } => (
            Kind::IntermediateChanged,
            make_intermediate(keeper, issuers, &mut stored, &mut writes, &root, now)?,
            format!("made under root {root}"),
        ),
        Step::SignCrl { issuer } => {
            let entries = lists::sign(keeper, issuers, &mut stored, &issuer, now).await?;
            (Kind::CrlSigned, issuer, format!("{entries} entries"))
        }
        Step::Retire { fingerprint } => {
            stored.record.set_retired(&fingerprint, true);
            (changed(&stored.record, &fingerprint), fingerprint, "retired: it has ended".to_owned())
        }
        Step::RequestIntermediate => return Err(IssueError::NoIssuer.into()),
        Step::Reinstate { fingerprint } => {
            stored.record.set_retired(&fingerprint, false);
            (changed(&stored.record, &fingerprint), fingerprint, "reinstated: the clock ran ahead when it was retired".to_owned())
        }
    };
    let subject = Subject { object: Some(fingerprint.clone()), ..Subject::default() };
    let event = Event { time: now, kind, outcome: Outcome::Done, actor, subject, reason: Some(what) };
    record(keeper, stored, writes, vec![event]).await?;
    Ok(fingerprint)
}

fn changed(record: &ca::Authority, fingerprint: &str) -> Kind {
    match record.is_root(fingerprint) {
        true => Kind::RootChanged,
        false => Kind::IntermediateChanged,
    }
}

/// Makes a changed authority durable, together with what belongs to it, and only then lets it sign.
pub async fn record(
    keeper: &Keeper,
    mut stored: StoredAuthority,
    mut writes: Vec<Write>,
    events: Vec<Event>,
) -> Result<(), LifecycleError> {
    stored.drop_unnamed();
    writes.push(Write::Put { table: Table::Authority, key: ROW.to_owned(), value: row::encode(&stored)? });
    let before = keeper.issuers();
    writes.extend(lists::writes(&before.stored, &stored));
    writes.extend(mesh_writes(&before.stored, &stored)?);
    let issuers = Issuers::load(stored, Arc::clone(&before.mesh), &keeper.host.node_id).map_err(LifecycleError::Key)?;
    keeper.commit(Change { writes, events }).await?;
    keeper.publish_issuers(issuers);
    Ok(())
}

fn make_root(keeper: &Keeper, stored: &mut StoredAuthority, signs_from: Moment, now: Moment) -> Result<String, LifecycleError> {
    let key = authority::fresh_key(KeyType::P256)?;
    let host = &keeper.host;
    let ttl = settings(keeper).root_ttl;
    let template = RootTemplate::new(authority::fresh_serial(now)?, &host.trust_domain, &host.node_id, now, ttl);
    let certificate = authority::sign_root(&template, &key)?;
    let fingerprint = add(stored, certificate, &key);
    stored.record.roots.push(Root {
        fingerprint: fingerprint.clone(),
        validity: template.validity,
        signs_from,
        crl_next_update: None,
        retired: false,
    });
    Ok(fingerprint)
}

fn make_intermediate(
    keeper: &Keeper,
    issuers: &Issuers,
    stored: &mut StoredAuthority,
    writes: &mut Vec<Write>,
    root: &str,
    now: Moment,
) -> Result<String, LifecycleError> {
    let (host, ttl) = (&keeper.host, settings(keeper).intermediate_ttl);
    let signing = issuers.signing(root).ok_or(IssueError::NoIssuer)?;
    let life = stored.record.roots.iter().find(|known| known.fingerprint == root).ok_or(IssueError::NoIssuer)?.validity;
    let template = IntermediateTemplate::new(authority::fresh_serial(now)?, &host.trust_domain, &host.node_id, now, ttl, life)
        .map_err(IssueError::Template)?;
    let key = authority::fresh_key(KeyType::P256)?;
    let certificate = authority::sign_intermediate(&template, &key, signing)?;
    // In the register like any other, so that it can be revoked like any other.
    writes.push(Write::Issued(IssuedRecord {
        serial: template.serial,
        kind: CertificateKind::Intermediate,
        identity: INTERMEDIATE.parse()?,
        spiffe_id: format!("spiffe://{}", host.trust_domain).parse()?,
        issuer: root.to_owned(),
        not_before: template.validity.not_before,
        not_after: template.validity.not_after,
        revoked_at: None,
    }));
    let fingerprint = add(stored, certificate, &key);
    stored.record.intermediates.push(Intermediate {
        fingerprint: fingerprint.clone(),
        root: root.to_owned(),
        validity: template.validity,
        crl_next_update: None,
        revoked: false,
        retired: false,
    });
    Ok(fingerprint)
}

fn add(stored: &mut StoredAuthority, certificate: Vec<u8>, key: &rcgen::KeyPair) -> String {
    let fingerprint = fingerprint(&certificate);
    stored.issuers.push(StoredIssuer {
        fingerprint: fingerprint.clone(),
        certificate,
        key: Zeroizing::new(key.serialize_der()),
        crl: Arc::default(),
        crl_number: 0,
    });
    fingerprint
}
