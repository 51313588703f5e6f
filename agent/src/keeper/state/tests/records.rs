//! Records of the mesh, and stores from before there were any.

use redb::{Database, ReadableDatabase};

use super::super::schema::{FORMAT, FORMAT_ROW, PLAIN, RECORDS};
use super::*;

fn filed(numbers: std::ops::Range<u64>) -> Change {
    let file = numbers.map(|number| (number, format!("record {number}").into_bytes())).collect();
    Change { writes: vec![Write::Records { file, drop: vec![] }], events: vec![] }
}

fn all(state: &State) -> Vec<u64> {
    let (mut from, mut found) = (0, vec![]);
    loop {
        let page = state.records(from, 4096).unwrap();
        let Some((last, _)) = page.last() else { return found };
        from = last + 1;
        for (number, record) in page {
            assert_eq!(record, format!("record {number}").into_bytes());
            found.push(number);
        }
    }
}

#[test]
fn records_are_read_back_in_the_order_of_their_numbers_and_dropped_with_others_that_are_filed() {
    let place = Place::new();
    let state = place.open();
    state.commit_blocking(filed(0..1000)).unwrap();
    let write = Write::Records { file: vec![(1000, b"record 1000".to_vec())], drop: vec![0, 7, 5000] };
    state.commit_blocking(Change { writes: vec![write], events: vec![event(1)] }).unwrap();
    state.close();
    let state = place.open();
    let expected: Vec<u64> = (1..=1000).filter(|number| *number != 7).collect();
    assert_eq!(all(&state), expected);
}

#[test]
fn more_records_than_fit_into_one_change_are_refused() {
    let state = Place::new().open();
    let write = Write::Records { file: vec![(0, vec![0; 33 << 20])], drop: vec![] };
    let error = state.commit_blocking(Change { writes: vec![write], events: vec![] }).unwrap_err();
    assert!(error.to_string().starts_with("a page of records is larger than"), "{error}");
}

#[test]
fn a_record_moved_to_another_number_or_bent_is_damage() {
    let place = Place::new();
    let state = place.open();
    state.commit_blocking(filed(0..2)).unwrap();
    state.close();
    let database = Database::open(place.path("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut rows = transaction.open_table(RECORDS).unwrap();
    let moved = rows.remove(1).unwrap().unwrap().value().to_vec();
    rows.insert(5, &*moved).unwrap();
    drop(rows);
    transaction.commit().unwrap();
    drop(database);
    let state = place.open();
    assert!(matches!(state.records(0, 1 << 20), Err(super::super::StateError::Damaged { .. })));
}

#[test]
fn a_store_of_the_release_before_opens_with_all_it_holds_and_takes_records() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=5);
    state.close();
    // As format 1 left it.
    let database = Database::open(place.path("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(RECORDS).unwrap());
    transaction.open_table(PLAIN).unwrap().insert(FORMAT_ROW, &1u32.to_be_bytes()[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    for _ in 0..2 {
        let state = place.open();
        assert!((1..=5).all(|number| has(&state, number)));
        assert!(state.records(0, 1 << 20).unwrap().len() < 2);
        state.commit_blocking(filed(0..1)).unwrap();
        put_all(&state, 6..=6);
        state.close();
    }
    let database = Database::open(place.path("store.redb")).unwrap();
    let transaction = database.begin_read().unwrap();
    let plain = transaction.open_table(PLAIN).unwrap();
    assert_eq!(redb::ReadableTable::get(&plain, FORMAT_ROW).unwrap().unwrap().value(), FORMAT.to_be_bytes());
}
