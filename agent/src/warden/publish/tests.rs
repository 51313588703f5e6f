use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reverie_core::ipc::warden::File;
use rustix::fs::{Mode, OFlags};

use super::super::fixture::require_root;
use super::*;

pub(super) fn target(kind: TargetKind, name: &str) -> Target {
    Target { kind, name: name.into() }
}

fn file(name: &str, mode: u32, content: &str) -> File {
    File { name: name.into(), mode, content: content.as_bytes().to_vec(), made_from: None }
}

/// A pair of which both halves say `serial`, and a file that stays.
pub(super) fn pair(name: &str, serial: &str) -> Publication {
    let files = vec![file("tls.crt", 0o644, serial), file("tls.key", 0o600, serial), file("ca.crt", 0o644, "roots")];
    Publication { target: target(TargetKind::Certificates, name), uid: None, gid: None, files }
}

pub(super) fn secret(name: &str, content: &str) -> Publication {
    Publication { target: target(TargetKind::Secret, name), uid: None, gid: None, files: vec![file("value", 0o400, content)] }
}

pub(super) fn refusal(result: Result<bool, Failure>) -> String {
    match result {
        Err(Failure::Refused(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// Everything below a directory, with what a watcher could notice of it.
pub(super) fn inventory(directory: &Path) -> Vec<(PathBuf, u64, i64, i64, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.mode()));
        if metadata.is_dir() {
            found.extend(inventory(&path));
        }
    }
    found.sort();
    found
}

pub(super) fn read(run_dir: &Path, path: &str) -> String {
    fs::read_to_string(run_dir.join(path)).unwrap()
}

#[test]
fn what_is_published_again_unchanged_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    for publication in [pair("web", "1"), secret("db", "1")] {
        assert!(publish(directory.path(), &publication).unwrap());
    }
    let before = inventory(directory.path());
    std::thread::sleep(Duration::from_millis(20));
    for publication in [pair("web", "1"), secret("db", "1")] {
        assert!(!publish(directory.path(), &publication).unwrap());
    }
    sweep(directory.path());
    assert_eq!(inventory(directory.path()), before);
}

#[test]
fn what_is_salted_is_told_by_what_it_was_made_from() {
    let directory = tempfile::tempdir().unwrap();
    let salted = |content: &str, made_from| {
        let mut publication = pair("web", "1");
        let mut file = file("tls.p12", 0o400, content);
        file.made_from = Some([made_from; 32]);
        publication.files.push(file);
        publish(directory.path(), &publication).unwrap()
    };
    assert!(salted("first", 1));
    assert!(!salted("the same with other salt", 1));
    assert_eq!(read(directory.path(), "certs/web/tls.p12"), "first");
    assert!(salted("another password", 2));
    assert_eq!(read(directory.path(), "certs/web/tls.p12"), "another password");
    fs::write(directory.path().join("certs/web/tls.p12"), "an owner's own").unwrap();
    assert!(salted("once more", 2), "what was changed is written again");
}

#[test]
fn a_file_that_did_not_change_stays_the_same_file_in_the_next_generation() {
    let directory = tempfile::tempdir().unwrap();
    let stat = |path: &str| fs::metadata(directory.path().join(path)).unwrap();
    publish(directory.path(), &pair("web", "1")).unwrap();
    let (roots, key) = (stat("certs/web/ca.crt"), stat("certs/web/tls.key"));
    assert_eq!(read(directory.path(), "stamps/web"), "1\n");
    assert!(publish(directory.path(), &pair("web", "2")).unwrap());
    assert_eq!(stat("certs/web/ca.crt").ino(), roots.ino());
    assert_eq!(stat("certs/web/ca.crt").modified().unwrap(), roots.modified().unwrap());
    assert_ne!(stat("certs/web/tls.key").ino(), key.ino());
    assert_eq!(read(directory.path(), "certs/web/tls.key"), "2");
    assert_eq!(read(directory.path(), "stamps/web"), "2\n");
}

#[test]
fn secrets_can_be_opened_by_name_and_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        publish(directory.path(), &secret("db", "1")).unwrap();
        publish(directory.path(), &pair("web", "1")).unwrap();
        let mode = |room: &str| fs::metadata(directory.path().join(room)).unwrap().mode() & 0o7777;
        assert_eq!((mode("secrets"), mode("certs"), mode("stamps")), (0o711, 0o755, 0o755));
        // As somebody or an earlier version left it.
        fs::set_permissions(directory.path().join("secrets"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_change_of_mode_or_of_the_set_of_files_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &pair("web", "1")).unwrap();
    let mut changed = pair("web", "1");
    changed.files[1].mode = 0o640;
    assert!(publish(directory.path(), &changed).unwrap());
    assert_eq!(fs::metadata(directory.path().join("certs/web/tls.key")).unwrap().mode() & 0o7777, 0o640);
    changed.files.pop();
    assert!(publish(directory.path(), &changed).unwrap());
    assert!(!directory.path().join("certs/web/ca.crt").exists());
}

#[test]
fn a_reader_with_one_directory_handle_never_sees_a_torn_pair() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &pair("web", "0")).unwrap();
    let done = AtomicBool::new(false);
    let path = directory.path().join("certs/web");
    let whole = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut whole = 0;
            while !done.load(Ordering::Relaxed) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let handle = rustix::fs::open(&path, flags, Mode::empty()).expect("the link always leads somewhere");
                let read = |name: &str| {
                    let file = rustix::fs::openat(&handle, name, OFlags::RDONLY, Mode::empty()).ok()?;
                    std::io::read_to_string(fs::File::from(file)).ok()
                };
                let certificate = read("tls.crt");
                std::thread::yield_now();
                // A handle that is two generations old finds nothing, which is no mixture.
                if let (Some(certificate), Some(key)) = (certificate, read("tls.key")) {
                    assert_eq!(certificate, key);
                    assert!(!key.is_empty());
                    whole += 1;
                }
            }
            whole
        });
        for serial in 1..=200 {
            publish(directory.path(), &pair("web", &serial.to_string())).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(whole > 50, "the reader read only {whole} pairs");
}

#[test]
fn two_generations_stay_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    for serial in 1..=5 {
        publish(directory.path(), &pair("web", &serial.to_string())).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(directory.path().join("certs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".web.4", ".web.4.manifest", ".web.5", ".web.5.manifest", "web"]);
}

#[test]
fn a_stamp_that_a_crash_forgot_is_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &pair("web", "1")).unwrap();
    fs::remove_file(directory.path().join("stamps/web")).unwrap();
    assert!(publish(directory.path(), &pair("web", "1")).unwrap(), "watchers have not been told");
    assert!(!publish(directory.path(), &pair("web", "1")).unwrap());
    assert_eq!(read(directory.path(), "certs/web/tls.key"), "1");
}

#[test]
fn a_file_that_its_owner_changed_is_made_right_again() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &pair("web", "1")).unwrap();
    publish(directory.path(), &secret("db", "1")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    for path in ["certs/web/tls.crt", "secrets/db"] {
        let path = directory.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "x").unwrap();
    }
    assert!(publish(directory.path(), &pair("web", "1")).unwrap());
    assert!(publish(directory.path(), &secret("db", "1")).unwrap());
    assert_eq!((&*read(directory.path(), "certs/web/tls.crt"), &*read(directory.path(), "secrets/db")), ("1", "1"));
}

#[test]
fn withdrawing_removes_every_trace_and_nothing_of_another_name() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a", "a.1", "b"] {
        for serial in ["1", "2", "3"] {
            publish(directory.path(), &pair(name, serial)).unwrap();
            publish(directory.path(), &secret(name, serial)).unwrap();
        }
    }
    assert_eq!(list(directory.path(), TargetKind::Certificates).unwrap(), ["a", "a.1", "b"]);
    for kind in [TargetKind::Certificates, TargetKind::Secret] {
        withdraw(directory.path(), &target(kind, "a")).unwrap();
        withdraw(directory.path(), &target(kind, "a")).unwrap();
        withdraw(directory.path(), &target(kind, "b")).unwrap();
        assert_eq!(list(directory.path(), kind).unwrap(), ["a.1"]);
    }
    assert_eq!(read(directory.path(), "certs/a.1/tls.key"), "3");
    assert_eq!(read(directory.path(), "secrets/a.1"), "3");
    for (path, ..) in inventory(directory.path()) {
        let name = path.file_name().unwrap().to_str().unwrap().trim_start_matches('.');
        assert!(!name.starts_with("b") && (!name.starts_with("a.") || name.starts_with("a.1")), "{path:?} is left");
    }
}

/// By name, so that whoever is not root can leave them out: `cargo test -- --skip as_root`.
mod as_root {
    use super::*;

    #[test]
    fn files_have_their_owner_group_and_mode() {
        require_root();
        let directory = tempfile::tempdir().unwrap();
        let owned = |publication| Publication { uid: Some(12345), gid: Some(54321), ..publication };
        let files = vec![file("tls.key", 0o440, "key"), file("tls.crt", 0o644, "crt")];
        publish(directory.path(), &Publication { files, ..owned(pair("web", "1")) }).unwrap();
        publish(directory.path(), &owned(secret("db", "1"))).unwrap();
        for (path, mode) in [("certs/web/tls.key", 0o440), ("certs/web/tls.crt", 0o644), ("secrets/db", 0o400)] {
            let metadata = fs::metadata(directory.path().join(path)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (12345, 54321, mode), "{path}");
        }
        let generation = fs::metadata(directory.path().join("certs/web")).unwrap();
        assert_eq!((generation.uid(), generation.mode() & 0o7777), (0, 0o755), "only the warden may change what is in it");
        // The same files, of another owner.
        assert!(publish(directory.path(), &secret("db", "1")).unwrap());
        assert_eq!(fs::metadata(directory.path().join("secrets/db")).unwrap().uid(), 0);
    }

    #[test]
    fn what_was_given_away_need_not_be_read_to_be_known_unchanged() {
        require_root();
        let directory = tempfile::tempdir().unwrap();
        let owned = |publication| Publication { uid: Some(12345), gid: Some(12345), ..publication };
        // As the shipped unit has it; capabilities belong to the thread.
        for capability in [caps::Capability::CAP_DAC_OVERRIDE, caps::Capability::CAP_DAC_READ_SEARCH] {
            caps::drop(None, caps::CapSet::Effective, capability).unwrap();
        }
        publish(directory.path(), &owned(pair("web", "1"))).unwrap();
        publish(directory.path(), &owned(secret("db", "1"))).unwrap();
        assert!(fs::read(directory.path().join("certs/web/tls.key")).is_err(), "this test must not be able to read it");
        let before = inventory(directory.path());
        assert!(!publish(directory.path(), &owned(pair("web", "1"))).unwrap());
        assert!(!publish(directory.path(), &owned(secret("db", "1"))).unwrap());
        assert_eq!(inventory(directory.path()), before);
        publish(directory.path(), &owned(pair("web", "2"))).unwrap();
    }
}
