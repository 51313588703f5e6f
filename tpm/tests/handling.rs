//! How secrets go in and out, and how the program that seals them is kept in hand.

use std::fs;
use std::time::{Duration, Instant};

use reverie_tpm::{Mode, Policy, Seal, SealError, SystemdCreds};

use crate::rig::{self, SECRET};

#[test]
fn a_secret_sealed_to_the_tpm_comes_back() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    for pcrs in [vec![], vec![7], vec![0, 4, 7]] {
        let blob = creds.seal("db", SECRET, &Policy::new(pcrs).unwrap()).unwrap();
        assert!(!rig::shows(&blob, SECRET));
        assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);
    }
}

#[test]
fn secrets_of_any_length_up_to_the_bound_come_back() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    for len in [0, 1, 4096, 65_536] {
        let secret: Vec<u8> = (0..len).map(|at: usize| at.to_le_bytes()[0]).collect();
        let blob = creds.seal("long", &secret, &Policy::default()).unwrap();
        assert_eq!(creds.unseal("long", &blob).unwrap().as_slice(), secret, "{len}");
    }
    let error = creds.seal("long", &vec![0; 65_537], &Policy::default()).unwrap_err();
    rig::says(&error, &["the secret is too long: 65537 bytes where 65536 are allowed"]);
}

#[test]
fn the_same_tpm_unseals_after_a_reboot() {
    let mut own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("db", SECRET, &Policy::new([0, 7]).unwrap()).unwrap();
    own.tpm.reboot().unwrap();
    assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);
}

#[test]
fn many_callers_at_once_all_get_their_secret() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("db", SECRET, &Policy::default()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET));
        }
    });
}

#[test]
fn no_secret_is_on_the_command_line_in_the_environment_or_in_debug_output() {
    let (own, dir) = (rig::tpm(), rig::directory());
    let seen = dir.path().join("seen");
    let body = format!(
        "tr '\\0' '\\n' </proc/$$/cmdline >>{0}; tr '\\0' '\\n' </proc/$$/environ >>{0}; exec /usr/bin/systemd-creds \"$@\"",
        seen.display()
    );
    let program = rig::script(dir.path(), "spy", &body);
    let creds = rig::creds(Mode::Tpm2, &own.tpm).with_program(program).unwrap();
    let blob = creds.seal("db", SECRET, &Policy::new([7]).unwrap()).unwrap();
    creds.unseal("db", &blob).unwrap();

    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("--with-key=tpm2\n") && seen.contains("decrypt\n"), "{seen}");
    assert!(!rig::shows(seen.as_bytes(), SECRET));
    // Variables could move the host key or switch the check of names off: none is passed on but ours.
    let mut names: Vec<&str> =
        seen.lines().filter(|line| !line.starts_with('-')).filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != "PWD");
    let ours = ["LC_ALL", "PATH", "SYSTEMD_LOG_COLOR", "SYSTEMD_LOG_LEVEL", "SYSTEMD_LOG_LOCATION", "SYSTEMD_LOG_TARGET"];
    assert_eq!(names, ours);
    assert!(!rig::shows(format!("{creds:?} {:?}", creds.describe()).as_bytes(), SECRET));
}

#[test]
fn a_program_that_hangs_is_stopped_at_the_deadline_with_all_that_it_started() {
    let dir = rig::directory();
    let pids = dir.path().join("pids");
    let body = format!("sleep 600 & echo $$ $! >{}; wait", pids.display());
    let creds = SystemdCreds::new(Mode::Tpm2).unwrap().with_program(rig::script(dir.path(), "hang", &body)).unwrap();
    let begun = Instant::now();
    let error = creds.with_deadline(Duration::from_secs(1)).seal("db", SECRET, &Policy::default()).unwrap_err();
    rig::says(&error, &["hang did not seal within 1s and was stopped", "see whether the TPM answers"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        let until = Instant::now() + Duration::from_secs(20);
        while is_running(pid) {
            assert!(Instant::now() < until, "{pid} still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_running(pid: &str) -> bool {
    // A zombie that its reaper has not fetched yet runs no more.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[test]
fn a_program_that_does_not_read_its_input_is_no_trouble() {
    let dir = rig::directory();
    let creds = SystemdCreds::new(Mode::Tpm2).unwrap().with_program(rig::script(dir.path(), "deaf", "exit 1")).unwrap();
    let error = creds.seal("db", &[0; 65_536], &Policy::default()).unwrap_err();
    rig::says(&error, &["deaf could not seal: it gave no reason"]);
}

#[test]
fn a_program_that_never_stops_writing_is_stopped() {
    let dir = rig::directory();
    for flood in ["exec cat /dev/zero", "exec cat /dev/zero >&2"] {
        let creds = SystemdCreds::new(Mode::Tpm2).unwrap().with_program(rig::script(dir.path(), "flood", flood)).unwrap();
        let error = creds.seal("db", SECRET, &Policy::default()).unwrap_err();
        rig::says(&error, &["what systemd-creds wrote is too long"]);
    }
}

#[test]
fn a_program_that_seals_otherwise_than_asked_is_caught() {
    let (own, dir) = (rig::tpm(), rig::directory());
    let without = |option: &str| {
        format!(
            "for a; do shift; case $a in {option}*) ;; *) set -- \"$@\" \"$a\";; esac; done; exec /usr/bin/systemd-creds \"$@\""
        )
    };
    let program = rig::script(dir.path(), "drops-pcrs", &without("--tpm2-pcrs"));
    let creds = rig::creds(Mode::Tpm2, &own.tpm).with_program(program).unwrap();
    let error = creds.seal("db", SECRET, &Policy::new([0, 4]).unwrap()).unwrap_err();
    rig::says(&error, &["sealed something else than was asked for (to PCRs 7)"]);

    let own_key = rig::program_with_host_key(dir.path());
    let body = format!(
        "for a; do shift; case $a in --with-key*) a=--with-key=host;; esac; set -- \"$@\" \"$a\"; done; exec {} \"$@\"",
        own_key.display()
    );
    let creds = rig::creds(Mode::Tpm2, &own.tpm).with_program(rig::script(dir.path(), "weak", &body)).unwrap();
    let error = creds.seal("db", SECRET, &Policy::default()).unwrap_err();
    rig::says(&error, &["sealed something else than was asked for (with host)"]);
}

#[test]
fn a_program_that_is_not_there_or_may_not_be_run_is_named() {
    let dir = rig::directory();
    let with = |program: &str| {
        let creds = SystemdCreds::new(Mode::Tpm2).unwrap().with_program(program.into()).unwrap();
        creds.seal("db", SECRET, &Policy::default()).unwrap_err()
    };
    rig::says(&with("/nonexistent/creds"), &["/nonexistent/creds is not there to seal with", "install systemd"]);
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    rig::says(&with(plain.to_str().unwrap()), &["may not be used by this user", "make it executable"]);
    let error = SystemdCreds::new(Mode::Tpm2).unwrap().with_program("systemd-creds".into()).unwrap_err();
    rig::says(&error, &["program \"systemd-creds\" must be an absolute path"]);
}

#[test]
fn a_device_that_is_none_is_refused_before_the_program_sees_it() {
    for bad in ["", "list", "auto", "tpmrm0", "mssim:", ":x", "MSSIM:x", "/dev/tpm rm0", "../tpm:x"] {
        let error = SystemdCreds::new(Mode::Tpm2).unwrap().with_tpm2_device(Some(bad.to_owned())).unwrap_err();
        assert!(matches!(error, SealError::InvalidSetting { key: "tpm2_device", .. }), "{bad}");
        rig::says(&error, &["is not a TPM; write a path such as \"/dev/tpmrm0\""]);
    }
    assert!(SystemdCreds::new(Mode::File).is_err());
}
