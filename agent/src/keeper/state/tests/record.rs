//! What is recorded, and what is refused.

use reverie_core::audit::Line;
use reverie_core::ca::Serial;
use reverie_core::id::IdentityName;

use super::super::{CertificateKind, IssuedRecord, MAX_CRL, MAX_KEY, MAX_VALUE, PRUNED_AT_ONCE, StateError};
use super::*;

fn record(number: u16, identity: &str, issuer: &str, ends: i64) -> IssuedRecord {
    let mut random = [0; 10];
    random[..2].copy_from_slice(&number.to_be_bytes());
    IssuedRecord {
        serial: Serial::at(Moment::from_secs(1_767_225_600 + i64::from(number)), random),
        kind: CertificateKind::Leaf,
        identity: identity.parse().unwrap(),
        spiffe_id: format!("spiffe://example.org/{identity}").parse().unwrap(),
        issuer: issuer.into(),
        not_before: Moment::from_secs(0),
        not_after: Moment::from_secs(ends),
        revoked_at: None,
    }
}

fn issue(state: &State, record: &IssuedRecord) {
    let change = Change { writes: vec![Write::Issued(record.clone())], events: vec![event(1)] };
    state.commit_blocking(change).unwrap();
}

fn revoke(state: &State, serial: Serial, at: i64) -> Result<super::super::Committed, StateError> {
    let writes = vec![Write::Revoked { serial, at: Moment::from_secs(at) }];
    state.commit_blocking(Change { writes, events: vec![event(2)] })
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=300);
    let head = state.audit_head();
    state.close();
    let state = place.open();
    assert!((1..=300).all(|number| has(&state, number)));
    assert_eq!((state.audit_head(), head.seq), (head, 300));
    let names: Vec<_> = state.scan(Table::Secrets).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 300);
    assert!(names.is_sorted());
    assert!(state.scan(Table::Identities).unwrap().is_empty());
    assert_eq!(state.alarms(), []);
    let (report, _) = state.audit_verify().unwrap();
    assert_eq!((report.events, report.faults), (300, vec![]));
}

#[test]
fn a_change_is_made_as_a_whole_or_not_at_all() {
    let place = Place::new();
    let state = place.open();
    state.commit_blocking(put(1)).unwrap();
    let unknown = Serial::from_random([9; 16]);
    let mut change = put(2);
    change.writes.push(Write::Delete { table: Table::Secrets, key: "s1".into() });
    change.writes.push(Write::Revoked { serial: unknown, at: Moment::from_secs(5) });
    assert_eq!(state.commit_blocking(change).unwrap_err(), StateError::UnknownSerial(unknown));
    assert!(has(&state, 1) && !has(&state, 2));
    assert_eq!(state.audit_head().seq, 1);
    let twice = record(1, "web", "aa", 100);
    let change = Change { writes: vec![Write::Issued(twice.clone()), Write::Issued(twice.clone())], events: vec![] };
    assert_eq!(state.commit_blocking(change).unwrap_err(), StateError::DuplicateSerial(twice.serial));
    assert_eq!(state.issued_count().unwrap(), 0);
}

#[test]
fn a_refused_change_does_not_harm_those_beside_it() {
    let place = Place::new();
    let state = place.open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let results = runtime.block_on(async {
        let bad = Change {
            writes: vec![Write::Revoked { serial: Serial::from_random([1; 16]), at: Moment::from_secs(1) }],
            events: vec![event(99)],
        };
        futures_util::future::join_all([state.commit(put(1)), state.commit(bad), state.commit(put(2))]).await
    });
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok());
    assert!(has(&state, 1) && has(&state, 2));
    assert!(state.audit_verify().unwrap().0.is_whole());
    assert_eq!(state.audit_head().seq, 2);
}

#[test]
fn what_is_too_large_is_refused_with_the_bound() {
    let place = Place::new();
    let state = place.open();
    let write = |key: usize, value: usize| Change {
        writes: vec![Write::Put { table: Table::Meta, key: "k".repeat(key), value: Zeroizing::new(vec![0; value]) }],
        events: vec![],
    };
    assert!(state.commit_blocking(write(MAX_KEY, MAX_VALUE)).is_ok());
    for bad in [write(MAX_KEY + 1, 1), write(1, MAX_VALUE + 1)] {
        assert!(matches!(state.commit_blocking(bad), Err(StateError::TooLarge { .. })));
    }
    let list = |bytes| Change {
        writes: vec![Write::Put { table: Table::Crls, key: "aa".into(), value: Zeroizing::new(vec![0; bytes]) }],
        events: vec![],
    };
    state.commit_blocking(list(MAX_CRL)).unwrap();
    assert_eq!(state.get(Table::Crls, "aa").unwrap().unwrap().len(), MAX_CRL);
    assert!(matches!(state.commit_blocking(list(MAX_CRL + 1)), Err(StateError::TooLarge { .. })));
    let mut long = event(1);
    long.reason = Some("x".repeat(70_000));
    let refused = state.commit_blocking(Change { writes: vec![], events: vec![long] });
    assert!(matches!(refused, Err(StateError::TooLarge { what: "an audit event", .. })));
}

#[test]
fn the_register_finds_revokes_and_prunes() {
    let place = Place::new();
    let state = place.open();
    for number in 0..50 {
        let identity = if number % 5 == 0 { "db" } else { "web" };
        let issuer = if number < 25 { "aa" } else { "bb" };
        issue(&state, &record(number, identity, issuer, 1000 + i64::from(number)));
    }
    let now = Moment::from_secs(1009);
    let (newest, more) = state.issued_newest(now, 3).unwrap();
    assert_eq!(newest.iter().map(|r| r.not_after.as_secs()).collect::<Vec<_>>(), [1049, 1048, 1047]);
    assert!(more);
    let db: IdentityName = "db".parse().unwrap();
    let of_db = |limit| {
        let (found, more) = state.in_force(&db, now, limit).unwrap();
        (found.iter().map(|r| r.not_after.as_secs()).collect::<Vec<_>>(), more)
    };
    assert_eq!(of_db(99), (vec![1045, 1040, 1035, 1030, 1025, 1020, 1015, 1010], false));
    assert_eq!(of_db(2), (vec![1045, 1040], true));
    revoke(&state, record(40, "db", "bb", 0).serial, 500).unwrap();
    assert!(!of_db(99).0.contains(&1040), "it is revoked");
    for number in [3, 12, 30] {
        revoke(&state, record(number, "web", "aa", 0).serial, 500).unwrap();
    }
    let again = record(12, "web", "aa", 1012);
    revoke(&state, again.serial, 777).unwrap();
    let found = state.issued(again.serial).unwrap().unwrap();
    assert_eq!(found, IssuedRecord { revoked_at: Some(Moment::from_secs(500)), ..again.clone() });
    let listed = state.revoked_of("aa", now).unwrap();
    assert_eq!(listed.len(), 1, "3 has ended, 30 is another issuer's");
    assert_eq!((listed[0].serial, listed[0].revoked_at.as_secs(), listed[0].not_after.as_secs()), (again.serial, 500, 1012));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(runtime.block_on(state.prune_issued(Moment::from_secs(1013))).unwrap(), 13);
    assert_eq!(state.issued_count().unwrap(), 37);
    let revoked = state.revoked_of("aa", Moment::from_secs(0)).unwrap().len();
    assert_eq!(revoked, 2, "should the clock have run ahead, nobody has forgotten what was revoked");
    assert_eq!(state.revoked_of("bb", Moment::from_secs(0)).unwrap().len(), 2);
    assert_eq!(state.issued(again.serial).unwrap(), None);
    let (of_db, _) = state.in_force(&db, Moment::from_secs(0), 99).unwrap();
    assert_eq!(
        of_db.iter().map(|r| r.not_after.as_secs()).collect::<Vec<_>>(),
        [1045, 1035, 1025, 1020, 1015],
        "30 and 40 are revoked"
    );
}

#[test]
fn an_intermediate_is_no_leaf_of_an_identity_of_that_name() {
    let place = Place::new();
    let state = place.open();
    let intermediate = IssuedRecord { kind: CertificateKind::Intermediate, ..record(1, "intermediate", "root", 1000) };
    issue(&state, &intermediate);
    issue(&state, &record(2, "intermediate", "aa", 1000));
    let (leaves, _) = state.in_force(&"intermediate".parse().unwrap(), Moment::from_secs(0), 99).unwrap();
    assert_eq!(leaves, [record(2, "intermediate", "aa", 1000)]);
    assert_eq!(state.issued(intermediate.serial).unwrap(), Some(intermediate));
}

#[test]
fn few_certificates_are_found_behind_many_that_ended() {
    let place = Place::new();
    let state = place.open();
    let all: Vec<_> = (0..6000).map(|number| record(number, "web", "aa", if number < 20 { 9000 } else { 1000 })).collect();
    for some in all.chunks(500) {
        let writes = some.iter().cloned().map(Write::Issued).collect();
        state.commit_blocking(Change { writes, events: vec![] }).unwrap();
    }
    let serials = |limit| {
        let (found, more) = state.issued_newest(Moment::from_secs(1000), limit).unwrap();
        (found.iter().map(|record| record.serial).collect::<Vec<_>>(), more)
    };
    let newest: Vec<_> = all[..20].iter().rev().map(|record| record.serial).collect();
    assert_eq!(serials(20), (newest.clone(), false));
    assert_eq!(serials(3), (newest[..3].to_vec(), true));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut pruned = vec![];
    while pruned.last() != Some(&0) {
        pruned.push(runtime.block_on(state.prune_issued(Moment::from_secs(1001))).unwrap());
    }
    assert!(pruned.iter().all(|count| *count <= PRUNED_AT_ONCE), "each in a small transaction");
    assert_eq!((pruned.iter().sum::<usize>(), state.issued_count().unwrap()), (5980, 20));
}

#[test]
fn neither_names_nor_values_can_be_read_in_the_store_file() {
    let place = Place::new();
    let state = place.open();
    let value = Zeroizing::new(b"correct horse battery staple".to_vec());
    let write = Write::Put { table: Table::Secrets, key: "database-password".into(), value };
    issue(&state, &record(1, "confidential-identity", "aa", 9999));
    state.commit_blocking(Change { writes: vec![write], events: vec![event(12345)] }).unwrap();
    state.close();
    let bytes = std::fs::read(place.path("store.redb")).unwrap();
    for text in ["correct horse", "database-password", "confidential-identity", "s12345", "spiffe:", "PRIVATE"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert!(!bytes.windows(32).any(|window| window == [7; 32]));
    let debug = format!("{:?}", put(4));
    assert!(debug.contains("s4") && !debug.contains("52"), "{debug}");
}

#[test]
fn a_new_root_secret_replaces_the_old_one() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=3);
    let fresh = Zeroizing::new([8; 32]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let change = Change { writes: vec![], events: vec![event(4)] };
    runtime.block_on(state.change_root_secret(&fresh, change)).unwrap();
    state.close();
    assert!(matches!(place.try_open(&root()), Err(OpenError::WrongSecret { .. })));
    let state = place.try_open(&fresh).unwrap();
    assert!(has(&state, 2));
    assert_eq!(state.audit_head().seq, 4);
}

#[test]
fn old_lines_are_read_from_the_files_and_new_ones_from_the_store() {
    let place = Place::rotating(100_000, 0);
    let state = place.open();
    for from in (1..=12_000).step_by(1000) {
        put_all(&state, from..=from + 999);
    }
    let pruned = || state.0.shared.progress.look(|stand| stand.extent.store_start.seq) > 500;
    let mut more = 12_001;
    eventually("old events leave the store", || {
        put_all(&state, more..=more);
        more += 1;
        pruned()
    });
    for after in [0, 1, 399, 5000, 11_990] {
        let lines = state.audit_lines(after, 10).unwrap();
        let numbers: Vec<_> = lines.iter().map(|line| Line::parse(line).unwrap().event().unwrap().0).collect();
        assert_eq!(numbers, (after + 1..=after + 10).collect::<Vec<_>>());
    }
    let (report, _) = state.audit_verify().unwrap();
    assert!(report.is_whole(), "{:?}", report.faults);
    let head = state.audit_head();
    state.close();
    let state = place.open();
    assert_eq!((state.audit_head(), state.alarms()), (head, vec![]));
}

#[test]
fn after_closing_nothing_is_accepted() {
    let place = Place::new();
    let state = place.open();
    let other = state.clone();
    state.close();
    assert_eq!(other.commit_blocking(put(1)).unwrap_err(), StateError::Closed);
    assert_eq!(other.get(Table::Secrets, "s1").unwrap_err(), StateError::Closed);
}

#[test]
fn dropping_the_last_handle_closes_in_good_order() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=5);
    drop(state);
    let state = place.open();
    let (report, signed) = state.audit_verify().unwrap();
    assert!(report.is_whole());
    assert_eq!(signed.unwrap().head.seq, 5);
}
