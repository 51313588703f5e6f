//! What is damaged, missing or not ours is refused, never silently replaced.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// A closed store with a few rows.
fn stored() -> Place {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=20);
    state.close();
    place
}

fn refusal(place: &Place) -> OpenError {
    place.try_open(&root()).expect_err("it opens")
}

fn copies(place: &Place) -> usize {
    let names = fs::read_dir(&place.options.directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(".damaged-")).count()
}

fn assert_damaged(place: &Place) {
    let error = refusal(place);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restore"), "{error}");
}

#[test]
fn an_empty_store_file_is_refused() {
    let place = stored();
    fs::write(place.path("store.redb"), b"").unwrap();
    assert_damaged(&place);
    assert_eq!(fs::metadata(place.path("store.redb")).unwrap().len(), 0, "it is not filled anew");
}

#[test]
fn a_truncated_store_is_refused_and_kept_once() {
    let place = stored();
    let whole = fs::read(place.path("store.redb")).unwrap();
    for length in [1, 100, 4095, 4096, 8192, whole.len() / 2, whole.len() - 1] {
        fs::write(place.path("store.redb"), &whole[..length]).unwrap();
        assert_damaged(&place);
    }
    let before = copies(&place);
    assert!(before > 0);
    for _ in 0..3 {
        assert_damaged(&place);
    }
    assert_eq!(copies(&place), before, "the same content is not copied again");
    assert_eq!(fs::read(place.path("store.redb")).unwrap(), whole[..whole.len() - 1], "the store is left as it is");
    fs::write(place.path("store.redb"), &whole).unwrap();
    assert!(has(&place.open(), 20), "a restored store opens");
}

#[test]
fn garbage_is_refused() {
    let place = stored();
    let length = fs::metadata(place.path("store.redb")).unwrap().len() as usize;
    let noise: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
    fs::write(place.path("store.redb"), &noise).unwrap();
    assert_damaged(&place);
    assert_eq!(fs::read(place.path("store.redb")).unwrap(), noise);
}

#[test]
fn a_flipped_byte_anywhere_is_refused_or_harmless() {
    let place = stored();
    let whole = fs::read(place.path("store.redb")).unwrap();
    let mut refused = 0;
    // A prime stride meets every kind of page; unused space is harmless.
    for at in (0..whole.len()).step_by(whole.len() / 199) {
        let mut bent = whole.clone();
        bent[at] ^= 0x40;
        fs::write(place.path("store.redb"), &bent).unwrap();
        match place.try_open(&root()) {
            Ok(state) => {
                assert!((1..=20).all(|number| has(&state, number)), "byte {at}");
                let lines = state.audit_lines(0, 100).unwrap();
                assert_eq!(lines.len(), 20, "byte {at}");
                state.close();
            }
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 10, "only {refused}");
}

#[test]
fn an_exchanged_value_is_refused() {
    // Written through redb itself, so that only the encryption can tell.
    let place = stored();
    {
        let database = redb::Database::open(place.path("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut rows = transaction.open_table(super::super::schema::NAMED).unwrap();
            let all: Vec<([u8; 17], Vec<u8>)> = redb::ReadableTable::iter(&rows)
                .unwrap()
                .map(|row| row.map(|(key, value)| (*key.value(), value.value().to_vec())).unwrap())
                .collect();
            let [.., (one, _), (_, other)] = &all[..] else { panic!("no rows") };
            rows.insert(one, &**other).unwrap();
        }
        transaction.commit().unwrap();
    }
    assert_damaged(&place);
}

#[test]
fn an_event_taken_out_of_the_store_is_refused() {
    let place = stored();
    {
        let database = redb::Database::open(place.path("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(super::super::schema::TRAIL).unwrap().remove(7).unwrap();
        transaction.commit().unwrap();
    }
    assert_damaged(&place);
}

#[test]
fn a_wrong_root_secret_is_named_as_such_and_changes_nothing() {
    let place = stored();
    let error = place.try_open(&Zeroizing::new([1; 32])).unwrap_err();
    assert!(matches!(error, OpenError::WrongSecret { .. }), "{error:?}");
    assert!(error.to_string().contains("another root secret"));
    assert_eq!(copies(&place), 0);
    assert!(has(&place.open(), 1));
}

#[test]
fn a_vanished_store_is_not_replaced() {
    let place = stored();
    fs::rename(place.path("store.redb"), place.path("elsewhere")).unwrap();
    for leave in [None, Some("store.id")] {
        leave.into_iter().for_each(|name| fs::remove_file(place.path(name)).unwrap());
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains("move the whole directory away"));
        assert!(!place.path("store.redb").exists());
    }
    fs::rename(&place.options.directory, place.options.directory.with_extension("old")).unwrap();
    assert_eq!(place.open().audit_head().seq, 0, "started over, deliberately");
}

#[test]
fn another_host_s_store_is_not_taken() {
    let (place, other) = (stored(), stored());
    fs::copy(other.path("store.redb"), place.path("store.redb")).unwrap();
    let error = refusal(&place);
    assert!(error.to_string().contains("store.id"), "{error}");
}

#[test]
fn a_crash_while_the_store_is_founded_leaves_a_directory_that_opens() {
    let place = Place::new();
    fs::create_dir(&place.options.directory).unwrap();
    fs::write(place.path("store.redb.new"), b"half").unwrap();
    put_all(&place.open(), 1..=2);
    let id = fs::read(place.path("store.id")).unwrap();
    for part in [&b""[..], &id[..9]] {
        fs::write(place.path("store.id"), part).unwrap();
        assert!(has(&place.open(), 2));
        assert_eq!(fs::read(place.path("store.id")).unwrap(), id);
    }
}

#[test]
fn symbolic_links_are_refused() {
    let place = stored();
    fs::rename(place.path("store.redb"), place.path("real")).unwrap();
    symlink(place.path("real"), place.path("store.redb")).unwrap();
    assert!(refusal(&place).to_string().contains("symbolic link"));
    fs::remove_file(place.path("store.redb")).unwrap();
    fs::rename(place.path("real"), place.path("store.redb")).unwrap();

    fs::rename(place.path("audit"), place.path("real")).unwrap();
    symlink(place.path("real"), place.path("audit")).unwrap();
    assert!(refusal(&place).to_string().contains("symbolic link"));
    fs::remove_file(place.path("audit")).unwrap();
    fs::rename(place.path("real"), place.path("audit")).unwrap();

    let real = place.options.directory.with_extension("real");
    fs::rename(&place.options.directory, &real).unwrap();
    symlink(&real, &place.options.directory).unwrap();
    assert!(refusal(&place).to_string().contains("symbolic link"));
}

#[test]
fn a_directory_or_store_that_others_may_touch_is_refused() {
    let place = stored();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for bad in [0o720, 0o702, 0o777] {
        mode(&place.options.directory, bad);
        let error = refusal(&place).to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
    mode(&place.options.directory, 0o700);
    mode(&place.path("audit"), 0o770);
    assert!(refusal(&place).to_string().contains("may be written by others"));
    mode(&place.path("audit"), 0o700);
    mode(&place.path("store.redb"), 0o640);
    assert!(refusal(&place).to_string().contains("chmod 600"));
    mode(&place.path("store.redb"), 0o600);
    drop(place.open());
    for (name, expected) in [("", 0o700), ("store.redb", 0o600), ("store.id", 0o600), ("audit", 0o700)] {
        assert_eq!(fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777, expected, "{name}");
    }
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let place = Place::new();
    let state = place.open();
    let error = refusal(&place);
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    state.commit_blocking(put(1)).unwrap();
    state.close();
    assert!(has(&place.open(), 1));
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let place = stored();
    {
        let database = redb::Database::open(place.path("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let format = (super::super::schema::FORMAT + 1).to_be_bytes();
        transaction.open_table(super::super::schema::PLAIN).unwrap().insert("format", &format[..]).unwrap();
        transaction.commit().unwrap();
    }
    assert!(matches!(refusal(&place), OpenError::Newer { found: 3, known: 2, .. }));
    assert_eq!(copies(&place), 0);
}
