//! The files of the audit log: whole after any crash, and no change to them goes unnoticed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use reverie_core::audit::Fault;

use super::*;

/// A closed log of 60 events in several files.
fn logged() -> Place {
    let place = Place::rotating(4000, 0);
    let state = place.open();
    for number in 1..=60 {
        put_all(&state, number..=number);
    }
    state.close();
    assert!(place.logs().len() >= 4);
    place
}

fn faults(state: &State) -> Vec<Fault> {
    state.audit_verify().unwrap().0.faults
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| line.clone() + "\n").collect::<String>()).unwrap();
}

/// Number of a file's first event.
fn first(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap()["audit-".len()..].parse().unwrap()
}

#[test]
fn the_files_hold_every_line_in_order_and_rotate_without_breaking_the_chain() {
    let place = logged();
    let state = place.open();
    assert_eq!((faults(&state), state.alarms()), (vec![], vec![]));
    let all: Vec<_> = place.logs().iter().flat_map(|path| lines(path)).collect();
    assert_eq!(all, state.audit_lines(0, 1000).unwrap());
    for path in &place.logs() {
        assert_eq!(reverie_core::audit::Line::parse(&lines(path)[0]).unwrap().event().unwrap().0, first(path));
    }
    // Files that were filled in one go share a head: what counts is that every closed one lies below a signed head.
    let last = lines(&place.path("audit/heads.jsonl")).pop().unwrap();
    let last: reverie_core::audit::SignedHead = serde_json::from_str(&last).unwrap();
    assert!(last.head.seq >= first(place.logs().last().unwrap()) - 1, "{last:?}");
}

#[test]
fn only_the_newest_closed_files_are_kept_and_the_rest_still_verifies() {
    let place = Place::rotating(2000, 3);
    let state = place.open();
    let mut number = 0;
    eventually("old files go", || {
        number += 10;
        put_all(&state, number - 9..=number);
        let logs = place.logs();
        logs.len() <= 5 && logs.first().is_some_and(|path| first(path) > 1)
    });
    let (report, _) = state.audit_verify().unwrap();
    assert!(report.is_whole() && report.first > 1, "{report:?}");
    state.close();
    let state = place.open();
    assert_eq!((faults(&state), state.alarms()), (vec![], vec![]));
    // What was cleared away by us is no excuse for what others take.
    fs::remove_file(&place.logs()[1]).unwrap();
    assert!(matches!(faults(&state)[..], [Fault::Missing { .. }]), "{:?}", faults(&state));
}

#[test]
fn an_edited_line_is_found_and_located() {
    let place = logged();
    let path = &place.logs()[1];
    let mut content = lines(path);
    content[2] = content[2].replace("\"done\"", "\"denied\"");
    write_lines(path, &content);
    let state = place.open();
    let seq = first(path) + 2;
    assert_eq!(faults(&state)[0], Fault::Altered { seq });
}

#[test]
fn a_deleted_line_is_found_and_located() {
    let place = logged();
    let path = &place.logs()[1];
    let mut content = lines(path);
    content.remove(3);
    write_lines(path, &content);
    let seq = first(path) + 3;
    assert_eq!(faults(&place.open())[0], Fault::Missing { from: seq, to: seq });
}

#[test]
fn a_deleted_file_is_found_and_located() {
    for at in [0, 1] {
        let place = logged();
        let files = place.logs();
        fs::remove_file(&files[at]).unwrap();
        let state = place.open();
        assert_eq!(faults(&state)[0], Fault::Missing { from: first(&files[at]), to: first(&files[at + 1]) - 1 });
    }
}

#[test]
fn a_cut_off_end_is_found_while_the_agent_runs() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=30);
    eventually("written", || faults(&state).is_empty());
    let path = &place.logs()[0];
    let content = lines(path);
    write_lines(path, &content[..25]);
    assert!(faults(&state).contains(&Fault::Truncated { ends_at: 25, signed: 30 }), "{:?}", faults(&state));
    put_all(&state, 31..=31);
    eventually("it is said", || !state.alarms().is_empty());
    assert!(state.alarms()[0].message.contains("replaced") || state.alarms()[0].message.contains("cut off"));
    assert!(!faults(&state).is_empty(), "going on does not hide it");
}

#[test]
fn lines_cut_off_while_the_agent_was_stopped_are_written_anew_and_reported() {
    let place = logged();
    let path = place.logs().pop().unwrap();
    let content = lines(&path);
    fs::remove_file(&path).unwrap();
    let state = place.open();
    let gone = first(&path);
    assert!(state.alarms()[0].message.contains(&format!("events {gone} to 60")), "{:?}", state.alarms());
    eventually("written anew", || faults(&state).is_empty());
    assert_eq!(lines(&place.logs().pop().unwrap()), content);
}

#[test]
fn a_changed_end_is_left_as_it_is_and_reported() {
    let place = logged();
    let path = place.logs().pop().unwrap();
    let mut content = lines(&path);
    let last = content.len() - 1;
    content[last] = content[last].replace("\"done\"", "\"denied\"");
    write_lines(&path, &content);
    let state = place.open();
    assert!(state.alarms()[0].message.contains("was changed after event 59"), "{:?}", state.alarms());
    eventually("the right line follows in another file", || place.logs().pop().unwrap() != path);
    assert_eq!(lines(&path), content, "evidence is not touched");
    assert_eq!(faults(&state)[0], Fault::Altered { seq: 60 });
}

#[test]
fn a_log_rewritten_as_a_whole_disagrees_with_the_store_and_the_signed_heads() {
    let (place, forged) = (logged(), Place::new());
    let state = forged.open();
    for number in 1..=60 {
        put_all(&state, number + 100..=number + 100);
    }
    state.close();
    for path in place.logs() {
        fs::remove_file(path).unwrap();
    }
    fs::copy(&forged.logs()[0], place.path("audit/audit-00000000000000000001.jsonl")).unwrap();
    let state = place.open();
    assert!(!state.alarms().is_empty());
    assert!(faults(&state).iter().any(|fault| matches!(fault, Fault::Rewritten { .. })), "{:?}", faults(&state));
}

#[test]
fn a_store_put_back_from_an_old_backup_is_reported() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=10);
    state.close();
    fs::copy(place.path("store.redb"), place.path("backup")).unwrap();
    let state = place.open();
    put_all(&state, 11..=20);
    state.close();
    fs::rename(place.path("backup"), place.path("store.redb")).unwrap();
    let state = place.open();
    assert!(state.alarms()[0].message.contains("put back from a backup"), "{:?}", state.alarms());
    put_all(&state, 31..=33);
    let (report, _) = state.audit_verify().unwrap();
    assert!(!report.is_whole());
}

#[test]
fn a_forged_signed_head_is_not_believed() {
    let place = logged();
    let forged = "{\"head\":{\"seq\":99,\"hash\":\"".to_owned()
        + &"ab".repeat(32)
        + "\"},\"time\":\"2026-01-01T00:00:00Z\",\"signature\":\"AAAA\"}\n";
    let mut file = fs::OpenOptions::new().append(true).open(place.path("audit/heads.jsonl")).unwrap();
    file.write_all(forged.as_bytes()).unwrap();
    let state = place.open();
    assert_eq!(faults(&state), []);
    assert!(state.alarms()[0].message.contains("did not sign"), "{:?}", state.alarms());
}

#[test]
fn heads_are_signed_with_the_published_key() {
    let place = logged();
    let state = place.open();
    let (_, signed) = state.audit_verify().unwrap();
    let signed = signed.unwrap();
    assert_eq!(signed.head, state.audit_head());
    let spki = pem::parse(state.audit_public_key_pem()).unwrap();
    let (_, spki) =
        <x509_parser::x509::SubjectPublicKeyInfo<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(spki.contents()).unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
        &spki.subject_public_key.data,
    );
    let signature = data_encoding::BASE64.decode(signed.signature.as_bytes()).unwrap();
    let bytes = reverie_core::audit::SignedHead::signed_bytes(&signed.head, signed.time);
    key.verify(&bytes, &signature).unwrap();
    let mut other = signed.head;
    other.seq += 1;
    assert!(key.verify(&reverie_core::audit::SignedHead::signed_bytes(&other, signed.time), &signature).is_err());
    drop(state);
    assert_eq!(place.open().audit_verify().unwrap().1.unwrap(), signed, "the head outlives a restart");
}

#[test]
fn a_torn_end_is_mended_wherever_a_crash_cut_it() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=8);
    // As after a crash: the files are written, but the store does not yet know that they are on disk.
    eventually("written", || state.0.shared.progress.look(|stand| stand.written.seq == 8));
    let copy = tempfile::tempdir().unwrap();
    let crashed = copy.path().join("crashed");
    copy_directory(&place.options.directory, &crashed);
    state.close();
    let log = crashed.join("audit/audit-00000000000000000001.jsonl");
    let whole = fs::read(&log).unwrap();
    let start = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).nth(4).unwrap();
    for cut in start..=whole.len() {
        for tail in [&b""[..], &[0; 100]] {
            let again = copy.path().join("again");
            copy_directory(&crashed, &again);
            let log = again.join("audit/audit-00000000000000000001.jsonl");
            fs::write(&log, [&whole[..cut], tail].concat()).unwrap();
            let state = State::open(Options { directory: again.clone(), ..place.options.clone() }, &root()).unwrap();
            assert_eq!((faults(&state), state.alarms()), (vec![], vec![]), "cut at {cut}");
            state.close();
            assert_eq!(fs::read(&log).unwrap(), whole, "cut at {cut}");
            fs::remove_dir_all(&again).unwrap();
        }
    }
}

#[test]
fn a_file_torn_in_its_first_line_or_left_empty_is_mended() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=3);
    eventually("written", || state.0.shared.progress.look(|stand| stand.written.seq == 3));
    let copy = tempfile::tempdir().unwrap();
    for length in [0, 1, 40] {
        let crashed = copy.path().join(length.to_string());
        copy_directory(&place.options.directory, &crashed);
        let log = crashed.join("audit/audit-00000000000000000001.jsonl");
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length).unwrap();
        let state = State::open(Options { directory: crashed, ..place.options.clone() }, &root()).unwrap();
        assert_eq!((faults(&state), state.alarms()), (vec![], vec![]), "{length}");
        state.close();
        assert_eq!(lines(&log).len(), 3);
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn the_admin_group_may_read_the_log_and_nobody_else() {
    let mut place = Place::new();
    let own = nix::unistd::getegid().as_raw();
    place.options.audit.admin_gid = Some(own);
    let state = place.open();
    put_all(&state, 1..=1);
    state.close();
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("audit"), 0o750);
    for log in place.logs().iter().chain([&place.path("audit/heads.jsonl")]) {
        assert_eq!(fs::metadata(log).unwrap().permissions().mode() & 0o7777, 0o640);
    }
    assert_eq!(mode("store.redb"), 0o600);
}
