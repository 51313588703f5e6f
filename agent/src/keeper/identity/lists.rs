//! Revocation lists: what belongs into them, and where they are kept.
//!
//! Marking certificates as revoked may take many transactions. With the first, [`mark_due`] is recorded, so that the
//! lists are signed whatever comes in between: by the revocation itself, or after a crash by the lifecycle.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use reverie_core::ca::{Authority, Serial};
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

use super::authority::{self, Revocation};
use super::issuance::IssueError;
use super::issuers::{Issuers, StoredAuthority};
use super::lifecycle::{LifecycleError, settings};
use super::trust::MeshTrust;
use crate::keeper::state::{RevokedRecord, State, StateError, Table, Write};
use crate::keeper::{Keeper, clock};

/// Certificates that all lists of this host together may hold: so many fit into one publication of `crl.pem`.
pub const MAX_REVOKED: usize = 150_000;

/// Of what only the mesh says is revoked, so many under one issuer: a list of them still fits into a record.
const MAX_DEMANDED: usize = 8192;

/// Puts the stored lists with their issuers. One that is missing is due.
pub fn attach(state: &State, stored: &mut StoredAuthority) -> Result<(), StateError> {
    let mut missing = BTreeSet::new();
    for issuer in &mut stored.issuers {
        match state.get(Table::Crls, &issuer.fingerprint)? {
            Some(list) => issuer.crl = Arc::new(list.to_vec()),
            None => drop(missing.insert(issuer.fingerprint.clone())),
        }
    }
    mark_due(&mut stored.record, &missing);
    Ok(())
}

/// What makes the lists of `after` durable, where those of `before` are.
pub fn writes(before: &StoredAuthority, after: &StoredAuthority) -> Vec<Write> {
    let of = |stored: &StoredAuthority, fingerprint: &str| {
        stored.issuers.iter().find(|issuer| issuer.fingerprint == fingerprint).map(|issuer| Arc::clone(&issuer.crl))
    };
    let changed = after.issuers.iter().filter(|issuer| {
        !issuer.crl.is_empty() && of(before, &issuer.fingerprint).is_none_or(|known| !Arc::ptr_eq(&known, &issuer.crl))
    });
    let put = changed.map(|issuer| Write::Put {
        table: Table::Crls,
        key: issuer.fingerprint.clone(),
        value: Zeroizing::new(issuer.crl.to_vec()),
    });
    let gone = before.issuers.iter().filter(|issuer| of(after, &issuer.fingerprint).is_none());
    put.chain(gone.map(|issuer| Write::Delete { table: Table::Crls, key: issuer.fingerprint.clone() })).collect()
}

/// The lists of these issuers lack entries: they are to be signed at once.
pub fn mark_due(record: &mut Authority, issuers: &BTreeSet<String>) {
    record.roots.iter_mut().filter(|root| issuers.contains(&root.fingerprint)).for_each(|root| root.crl_next_update = None);
    let intermediates = record.intermediates.iter_mut().filter(|intermediate| issuers.contains(&intermediate.fingerprint));
    intermediates.for_each(|intermediate| intermediate.crl_next_update = None);
}

/// Which of these issuers have a list that is to be signed at once.
pub fn due(record: &Authority, issuers: &BTreeSet<String>) -> Vec<String> {
    let roots = record.roots.iter().map(|root| (&root.fingerprint, root.crl_next_update));
    let intermediates = record.intermediates.iter().map(|known| (&known.fingerprint, known.crl_next_update));
    let due = roots.chain(intermediates).filter(|(name, next_update)| next_update.is_none() && issuers.contains(*name));
    due.map(|(name, _)| name.clone()).collect()
}

/// Signs the list of `issuer` anew; says how many entries it has.
pub async fn sign(
    keeper: &Keeper,
    issuers: &Arc<Issuers>,
    stored: &mut StoredAuthority,
    issuer: &str,
    now: Moment,
) -> Result<usize, LifecycleError> {
    let next_update = now.after(settings(keeper).crl_ttl);
    let row = stored.issuer_mut(issuer).ok_or(IssueError::NoIssuer)?;
    row.crl_number += 1;
    let (state, issuers, name, number) = (keeper.state.clone(), Arc::clone(issuers), issuer.to_owned(), row.crl_number);
    // A long list takes a while: not on the threads that serve.
    let signed = tokio::task::spawn_blocking(move || -> Result<(Vec<u8>, usize), LifecycleError> {
        let signing = issuers.signing(&name).ok_or(IssueError::NoIssuer)?;
        let revoked = entries(state.revoked_of(&name, now)?, &issuers.mesh, &name, now);
        Ok((authority::sign_crl(&revoked, number, now, next_update, signing)?, revoked.len()))
    });
    let (list, entries) = signed.await.map_err(|_| StateError::Closed)??;
    row.crl = Arc::new(list);
    let record = &mut stored.record;
    record.roots.iter_mut().filter(|root| root.fingerprint == issuer).for_each(|root| root.crl_next_update = Some(next_update));
    let intermediates = record.intermediates.iter_mut().filter(|intermediate| intermediate.fingerprint == issuer);
    intermediates.for_each(|intermediate| intermediate.crl_next_update = Some(next_update));
    Ok(entries)
}

/// What is revoked here, and what the mesh says is, whether or not this host knows such a certificate: a list that lacks it
/// would not be believed.
fn entries(revoked: Vec<RevokedRecord>, mesh: &MeshTrust, issuer: &str, now: Moment) -> Vec<Revocation> {
    let demanded = mesh.revoked_of(issuer).filter(|(_, known)| known.not_after > now).take(MAX_DEMANDED);
    let demanded =
        demanded.filter_map(|(serial, known)| Some((data_encoding::HEXLOWER.decode(serial.as_bytes()).ok()?, known.at)));
    let mut all: BTreeMap<Vec<u8>, Moment> = demanded.collect();
    all.extend(revoked.into_iter().map(|record| (record.serial.as_bytes().to_vec(), record.revoked_at)));
    all.into_iter().map(|(serial, at)| Revocation { serial, at }).collect()
}

/// Everything that is revoked here and has not ended.
pub async fn revoked(keeper: &Keeper) -> Result<HashSet<Serial>, StateError> {
    let (state, issuers) = (keeper.state.clone(), keeper.issuers());
    let search = tokio::task::spawn_blocking(move || {
        let mut all = HashSet::new();
        for issuer in &issuers.stored.issuers {
            all.extend(state.revoked_of(&issuer.fingerprint, clock::now())?.into_iter().map(|record| record.serial));
        }
        Ok(all)
    });
    search.await.map_err(|_| StateError::Closed)?
}

#[cfg(test)]
mod tests {
    use reverie_core::ca::{Intermediate, Root, RootTemplate};
    use reverie_core::config::KeyType;
    use reverie_core::ipc;
    use reverie_core::renewal::Validity;
    use std::time::Duration;

    use super::super::issuers::{StoredIssuer, fingerprint, to_pem};
    use super::*;
    use crate::keeper::state::MAX_CRL;

    const NOW: Moment = Moment::from_secs(1_767_225_600);

    /// A root that can sign.
    fn root() -> StoredAuthority {
        let key = authority::fresh_key(KeyType::P256).unwrap();
        let serial = authority::fresh_serial(NOW).unwrap();
        let (domain, node) = ("example.org".parse().unwrap(), "host1.example.org".parse().unwrap());
        let template = RootTemplate::new(serial, &domain, &node, NOW, Duration::from_secs(86_400 * 365));
        let certificate = authority::sign_root(&template, &key).unwrap();
        let fingerprint = fingerprint(&certificate);
        let root = Root {
            fingerprint: fingerprint.clone(),
            validity: template.validity,
            signs_from: NOW,
            crl_next_update: Some(NOW.after(Duration::from_secs(1000))),
            retired: false,
        };
        let key = Zeroizing::new(key.serialize_der());
        let issuer = StoredIssuer { fingerprint, certificate, key, crl: Arc::default(), crl_number: 0 };
        let record = Authority { roots: vec![root], ..Authority::default() };
        StoredAuthority { record, issuers: vec![issuer], ..StoredAuthority::default() }
    }

    #[test]
    fn as_many_as_may_be_revoked_fit_into_the_store_and_into_one_publication() {
        let issuers = Issuers::load(root(), Arc::default(), &"host1.example.org".parse().unwrap()).unwrap();
        let serial = |number: usize| Serial::at(NOW, (number as u128).to_be_bytes()[6..].try_into().unwrap());
        let entry = |number| Revocation { serial: serial(number).as_bytes().to_vec(), at: NOW };
        let all: Vec<Revocation> = (0..MAX_REVOKED).map(entry).collect();
        let list = authority::sign_crl(&all, u64::MAX, NOW, NOW.after(Duration::from_secs(9)), &issuers.signing[0]).unwrap();
        assert!(list.len() <= MAX_CRL, "{}", list.len());
        let published = to_pem("X509 CRL", &list).len();
        assert!(published + 512 * 1024 <= ipc::MAX_MESSAGE, "{published}: nothing is left for the rest");
    }

    #[test]
    fn a_marked_list_is_due_until_it_is_signed_and_others_are_not() {
        let mut record = root().record;
        record.intermediates.push(Intermediate {
            fingerprint: "aa".to_owned(),
            root: record.roots[0].fingerprint.clone(),
            validity: Validity { not_before: NOW, not_after: NOW.after(Duration::from_secs(86_400 * 60)) },
            crl_next_update: Some(NOW.after(Duration::from_secs(86_400 * 30))),
            revoked: false,
            retired: false,
        });
        let concerned = BTreeSet::from(["aa".to_owned(), "an issuer that ended".to_owned()]);
        assert!(due(&record, &concerned).is_empty());
        mark_due(&mut record, &concerned);
        assert_eq!(due(&record, &concerned), ["aa"]);
        assert!(record.roots[0].crl_next_update.is_some());
        let settings = reverie_core::ca::Settings {
            root_ttl: Duration::from_secs(86_400 * 365),
            root_overlap: Duration::from_secs(86_400 * 30),
            intermediate_ttl: Duration::from_secs(86_400 * 60),
            crl_ttl: Duration::from_secs(1000),
        };
        let steps = reverie_core::ca::steps(&record, &settings, NOW);
        assert!(steps.contains(&reverie_core::ca::Step::SignCrl { issuer: "aa".to_owned() }), "{steps:?}");
    }

    #[test]
    fn a_list_is_written_when_it_changed_and_removed_with_its_issuer() {
        let before = root();
        assert!(writes(&before, &before).is_empty(), "there is none yet");
        let mut after = before.clone();
        after.issuers[0].crl = Arc::new(vec![1]);
        assert!(matches!(&writes(&before, &after)[..], [Write::Put { table: Table::Crls, .. }]));
        assert!(writes(&after, &after.clone()).is_empty());
        assert!(matches!(&writes(&after, &StoredAuthority::default())[..], [Write::Delete { table: Table::Crls, .. }]));
    }
}
