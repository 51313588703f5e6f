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

/// A small file system in memory; only root can have one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kib: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k,mode=0700");
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "reverie-test"]).arg(directory.path()).status();
        assert!(status.unwrap().success(), "mount");
        Self(directory)
    }

    fn remount(&self, options: &str) {
        let option = format!("remount,{options}");
        let status = std::process::Command::new("mount").args(["-o", &option]).arg(self.0.path()).status();
        assert!(status.unwrap().success(), "mount -o {option}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_really_fills_up_loses_nothing_and_recovers() {
    if !nix::unistd::geteuid().is_root() {
        // The same is tested with injected errors; a real full disk needs root.
        return;
    }
    let disk = SmallDisk::mount(1024);
    let mut place = Place::new();
    place.options.directory = disk.0.path().join("state");
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
    disk.remount("size=8192k");
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
fn a_directory_that_becomes_read_only_fails_changes_until_it_is_writable_again() {
    if !nix::unistd::geteuid().is_root() {
        // The same is tested with injected errors; remounting needs root.
        return;
    }
    let disk = SmallDisk::mount(8192);
    let mut place = Place::new();
    place.options.directory = disk.0.path().join("state");
    let state = place.open();
    put_all(&state, 1..=5);
    state.close();
    disk.remount("ro");
    let error = place.try_open(&root()).unwrap_err();
    assert!(error.to_string().contains("mounted writable"), "{error}");
    disk.remount("rw");
    let state = place.open();
    assert!(has(&state, 5));
    state.close();
}
