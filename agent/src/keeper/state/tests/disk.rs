//! A disk that fails: nothing half-done, a clear error, and on again by itself.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use nix::errno::Errno;

use super::super::StateError;
use super::*;

fn set(fault: &AtomicI32, errno: Errno) {
    fault.store(errno as i32, SeqCst);
}

fn clear(fault: &AtomicI32) {
    fault.store(0, SeqCst);
}

/// Commits until it works again.
fn recovers(state: &State, number: u64) {
    let mut last = None;
    eventually(&format!("recovers: {last:?}"), || {
        last = state.commit_blocking(put(number)).err();
        last.is_none()
    });
}

fn assert_whole(place: &Place, mut state: State, present: &[u64], absent: &[u64]) {
    eventually("alarms are cleared", || state.alarms().is_empty());
    let head = state.audit_head();
    for restarted in [false, true] {
        if restarted {
            state.close();
            state = place.open();
        }
        assert!(present.iter().all(|number| has(&state, *number)));
        assert!(absent.iter().all(|number| !has(&state, *number)));
        assert_eq!(state.audit_head(), head);
        let (report, _) = state.audit_verify().unwrap();
        assert_eq!((report.faults, report.events), (vec![], present.len() as u64));
    }
}

#[test]
fn a_full_disk_fails_the_change_and_the_store_goes_on_by_itself() {
    for errno in [Errno::ENOSPC, Errno::EROFS, Errno::EIO] {
        let place = Place::new();
        let state = place.open();
        put_all(&state, 1..=3);
        set(&place.faults.injected.write, errno);
        for number in 4..=6 {
            let error = state.commit_blocking(put(number)).unwrap_err();
            assert!(matches!(error, StateError::Unavailable { .. } | StateError::InDoubt { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(std::io::Error::from(errno).to_string().as_str()), "{text}");
        }
        clear(&place.faults.injected.write);
        recovers(&state, 7);
        assert_whole(&place, state, &[1, 2, 3, 7], &[4, 5, 6]);
    }
}

#[test]
fn a_failed_sync_leaves_the_change_in_doubt_and_the_chain_whole() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=3);
    set(&place.faults.injected.sync, Errno::EIO);
    let error = state.commit_blocking(put(4)).unwrap_err();
    assert!(matches!(error, StateError::InDoubt { .. }), "{error:?}");
    clear(&place.faults.injected.sync);
    recovers(&state, 5);
    // Whether it was made is told by the log, and the log agrees with the rows.
    let made = has(&state, 4);
    let lines = state.audit_lines(0, 100).unwrap();
    assert_eq!(lines.iter().any(|line| line.contains("\"s4\"")), made);
    assert_eq!(state.alarms().iter().any(|alarm| alarm.message.contains("had been made after all")), made);
    assert!(state.audit_verify().unwrap().0.is_whole());
    let head = state.audit_head();
    state.close();
    assert_eq!(place.open().audit_head(), head);
}

#[test]
fn a_failed_read_is_tried_again_on_a_store_opened_anew() {
    let place = Place::new();
    let state = place.open();
    let large = |number: u64| Write::Put {
        table: Table::Secrets,
        key: format!("s{number}"),
        value: Zeroizing::new(number.to_string().into_bytes().repeat(2000)),
    };
    for from in (1..=2000).step_by(100) {
        let writes = (from..from + 100).map(large).collect();
        state.commit_blocking(Change { writes, events: vec![] }).unwrap();
    }
    set(&place.faults.injected.read, Errno::EIO);
    let failed = (1..=2000).filter(|number| state.get(Table::Secrets, &format!("s{number}")).is_err()).count();
    assert!(failed > 0, "the cache is smaller than the store");
    clear(&place.faults.injected.read);
    eventually("reads again", || state.get(Table::Secrets, "s1").is_ok());
    assert!((1..=2000).all(|number| state.get(Table::Secrets, &format!("s{number}")).unwrap().is_some()));
    recovers(&state, 2001);
    state.close();
    assert!(has(&place.open(), 2001));
}

#[test]
fn when_the_audit_files_cannot_be_written_nothing_is_changed() {
    let place = Place::new();
    let state = place.open();
    put_all(&state, 1..=1);
    set(&place.faults.injected.mirror, Errno::ENOSPC);
    // The fault shows with the first event that does not reach the files.
    let _ = state.commit_blocking(put(2));
    let mut refused = 0;
    eventually("refused", || {
        refused += 1;
        matches!(state.commit_blocking(put(2 + refused)), Err(StateError::AuditUnwritable { .. }))
    });
    let head = state.audit_head();
    for number in 1000..1010 {
        let error = state.commit_blocking(put(number)).unwrap_err();
        assert!(error.to_string().contains("nothing is issued"), "{error}");
    }
    assert_eq!(state.audit_head(), head);
    assert!(!state.alarms().is_empty());
    clear(&place.faults.injected.mirror);
    recovers(&state, 3000);
    eventually("alarms are cleared", || state.alarms().is_empty());
    let (report, _) = state.audit_verify().unwrap();
    assert_eq!((report.faults, report.events), (vec![], state.audit_head().seq));
}

/// By name, so that whoever is not root can leave them out: `cargo test -- --skip as_root`.
mod as_root {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[track_caller]
    fn run(program: &str, arguments: &[&str], path: &Path) {
        let output = Command::new(program).args(arguments).arg(path).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A small file system of its own, gone with the test.
    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new() -> Self {
            assert!(nix::unistd::geteuid().is_root(), "this test needs root");
            Self(tempfile::tempdir().unwrap())
        }

        /// In memory; it can grow.
        fn in_memory(kib: u32) -> Self {
            let disk = Self::new();
            std::fs::create_dir(disk.mounted()).unwrap();
            run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "reverie-test"], &disk.mounted());
            disk
        }

        /// In a file; it can fail as a real one does.
        fn in_a_file(mib: u64) -> Self {
            let disk = Self::new();
            std::fs::create_dir(disk.mounted()).unwrap();
            std::fs::File::create(disk.image()).unwrap().set_len(mib << 20).unwrap();
            run("mkfs.ext4", &["-q"], &disk.image());
            disk.mount();
            disk
        }

        fn image(&self) -> std::path::PathBuf {
            self.0.path().join("image")
        }

        fn mounted(&self) -> std::path::PathBuf {
            self.0.path().join("mounted")
        }

        fn mount(&self) {
            run("mount", &["-o", "loop,errors=remount-ro", self.image().to_str().unwrap()], &self.mounted());
        }

        /// What ext4 does when it meets an error: read-only from here on, whatever is open. An ordinary remount is
        /// refused while a file is open for writing.
        fn fail(&self) {
            run("mount", &["-o", "remount,abort"], &self.mounted());
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(self.mounted()).output();
        }
    }

    fn place_on(disk: &Disk) -> Place {
        let mut place = Place::new();
        place.options.directory = disk.mounted().join("state");
        place
    }

    #[test]
    fn a_disk_that_really_fills_up_loses_nothing_and_recovers() {
        let disk = Disk::in_memory(1024);
        let place = place_on(&disk);
        let state = place.open();
        let (mut number, mut acknowledged) = (0, vec![]);
        let error = loop {
            number += 1;
            match state.commit_blocking(put(number)) {
                Ok(_) => acknowledged.push(number),
                Err(error) => break error,
            }
            assert!(number < 100_000, "the disk does not fill up");
        };
        assert!(error.to_string().contains("free space"), "{error}");
        assert!(state.commit_blocking(put(number)).is_err());
        run("mount", &["-o", "remount,size=8192k"], &disk.mounted());
        recovers(&state, 200_000);
        acknowledged.push(200_000);
        assert!(acknowledged.iter().all(|number| has(&state, *number)));
        let (report, _) = state.audit_verify().unwrap();
        assert!(report.is_whole(), "{:?}", report.faults);
        state.close();
        let state = place.open();
        assert!(acknowledged.iter().all(|number| has(&state, *number)));
        state.close();
    }

    #[test]
    fn a_file_system_that_becomes_read_only_fails_changes_until_it_is_mounted_anew() {
        let disk = Disk::in_a_file(16);
        let place = place_on(&disk);
        let state = place.open();
        put_all(&state, 1..=5);
        let head = state.audit_head();
        disk.fail();
        for number in 6..=8 {
            let error = state.commit_blocking(put(number)).unwrap_err().to_string();
            // What was under way when it failed.
            assert!(error.contains("Read-only file system") || error.contains("Input/output error"), "{error}");
        }
        assert_eq!(state.audit_head(), head);
        state.close();
        let error = place.try_open(&root()).unwrap_err();
        assert!(error.to_string().contains("mounted writable"), "{error}");

        run("umount", &[], &disk.mounted());
        disk.mount();
        let state = place.open();
        recovers(&state, 9);
        assert_whole(&place, state, &[1, 2, 3, 4, 5, 9], &[6, 7, 8]);
    }
}
