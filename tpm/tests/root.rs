//! The root secret's life: made, opened, renewed, handed over, recovered.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use reverie_tpm::root::{self, Backends, Renewal, RootError, Warning};
use reverie_tpm::{Choice, Mode, Policy};

use crate::rig;

#[test]
fn a_root_secret_is_made_once_and_opened_again() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    assert_eq!(root::describe(dir.path()).unwrap(), None);
    let error = root::open(dir.path(), &backends, Choice::Auto).unwrap_err();
    rig::says(&error, &["there is no root secret in", "start the agent once to make one"]);

    let policy = Policy::new([0, 7]).unwrap();
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::Tpm2), &policy, rig::now()).unwrap();
    assert_eq!(made.warnings, []);
    let record = root::describe(dir.path()).unwrap().unwrap();
    assert_eq!((record.mode, record.created.as_str()), (Mode::Tpm2, "2027-01-15T08:00:00Z"));
    assert_eq!(record.bound_pcrs, [0, 7]);
    assert!(!rig::shows(&rig::contents(dir.path()), made.secret.expose()));
    assert!(!rig::shows(format!("{made:?}").as_bytes(), made.secret.expose()));

    let opened = root::open(dir.path(), &backends, Choice::Auto).unwrap();
    assert_eq!(opened.secret.expose(), made.secret.expose());
    assert_eq!(opened.record, made.record);
    let error = root::create(dir.path(), &backends, Choice::Auto, &policy, rig::now()).unwrap_err();
    rig::says(&error, &["there is a root secret in", "it is not replaced"]);
}

#[test]
fn systemd_opens_the_root_secret_for_a_unit() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::Tpm2), &Policy::default(), rig::now()).unwrap();
    let device = format!("--tpm2-device={}", own.tpm.tcti());
    let opened = rig::bare(&["decrypt", "--name=reverie-root", &device], &fs::read(dir.path().join("root.cred")).unwrap());
    assert_eq!(opened.stdout, made.secret.expose());
    fs::write(keys.path().join("reverie-root"), opened.stdout).unwrap();
    assert_eq!(root::from_systemd_credential(keys.path()).unwrap().expose(), made.secret.expose());
}

#[test]
fn a_renewal_through_every_mode_keeps_the_secret() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    let none = Policy::default();
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::File), &none, rig::now()).unwrap();
    let files = || {
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(files(), ["root.cred", "root.cred.json", "root.key"]);
    for mode in [Mode::Host, Mode::Tpm2, Mode::HostTpm2] {
        let renewal = Renewal { choice: Choice::Fixed(mode), policy: &none, allow_weaker: false, now: rig::now() };
        let renewed = root::renew(dir.path(), &backends, &renewal).unwrap();
        assert_eq!((renewed.record.mode, renewed.warnings), (mode, vec![]));
        let opened = root::open(dir.path(), &backends, Choice::Fixed(mode)).unwrap();
        assert_eq!(opened.secret.expose(), made.secret.expose());
        // The key file would still open an old copy of root.cred.
        assert_eq!(files(), ["root.cred", "root.cred.json"], "{mode}");
    }
}

#[test]
fn a_renewal_that_cannot_seal_changes_nothing() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::Tpm2), &Policy::default(), rig::now()).unwrap();
    let before = rig::contents(dir.path());
    let unenforced = Policy::new([10]).unwrap();
    let renewal = Renewal { choice: Choice::Auto, policy: &unenforced, allow_weaker: true, now: rig::now() };
    let error = root::renew(dir.path(), &backends, &renewal).unwrap_err();
    rig::says(&error, &["PCR 10 has never been extended on this machine"]);
    assert_eq!(rig::contents(dir.path()), before);
    assert_eq!(root::open(dir.path(), &backends, Choice::Auto).unwrap().secret.expose(), made.secret.expose());
}

#[test]
fn a_lost_record_is_written_anew_for_a_named_mode_only() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::Tpm2), &Policy::default(), rig::now()).unwrap();
    let record = dir.path().join("root.cred.json");
    let spoilt = fs::read_to_string(&record).unwrap().replace("\"version\": 1", "\"version\": 9");
    for (content, says) in
        [(None, "is missing though root.cred is there"), (Some("{"), "unreadable"), (Some(&*spoilt), "of version 9")]
    {
        match content {
            None => fs::remove_file(&record).unwrap(),
            Some(content) => fs::write(&record, content).unwrap(),
        }
        let error = root::open(dir.path(), &backends, Choice::Auto).unwrap_err();
        rig::says(&error, &["root.cred.json is", says, "reverie-agent seal adopt --mode MODE"]);
        let error = root::adopt(dir.path(), &backends, Mode::Host, rig::now()).unwrap_err();
        rig::says(&error, &["this is sealed with tpm2, not host as it should be"]);
        root::adopt(dir.path(), &backends, Mode::Tpm2, rig::now()).unwrap();
        assert_eq!(root::open(dir.path(), &backends, Choice::Auto).unwrap().secret.expose(), made.secret.expose());
    }
    assert!(matches!(root::adopt(dir.path(), &backends, Mode::Tpm2, rig::now()), Err(RootError::AlreadyThere { .. })));
}

#[test]
fn two_who_make_the_root_secret_at_once_end_with_one() {
    let dir = rig::directory();
    let backends = Backends::new(dir.path());
    let made: Vec<_> = std::thread::scope(|scope| {
        let make = || root::create(dir.path(), &backends, Choice::Fixed(Mode::File), &Policy::default(), rig::now());
        let makers: Vec<_> = (0..6).map(|_| scope.spawn(make)).collect();
        makers.into_iter().filter_map(|maker| maker.join().unwrap().ok()).collect()
    });
    assert_eq!(made.len(), 1);
    assert_eq!(root::open(dir.path(), &backends, Choice::Auto).unwrap().secret.expose(), made[0].secret.expose());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let dir = rig::directory();
    for mode in [0o770, 0o707, 0o1777] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = root::describe(dir.path()).unwrap_err();
        rig::says(&error, &["can be written by others", "chmod go-w"]);
    }
    rig::says(&root::describe(&dir.path().join("none")).unwrap_err(), &["cannot look into", "none"]);
}

#[test]
fn links_in_place_of_its_files_are_not_followed() {
    let (dir, elsewhere) = (rig::directory(), rig::directory());
    let backends = Backends::new(dir.path());
    root::create(dir.path(), &backends, Choice::Fixed(Mode::File), &Policy::default(), rig::now()).unwrap();
    for name in ["root.cred", "root.cred.json"] {
        let (file, moved) = (dir.path().join(name), elsewhere.path().join(name));
        fs::copy(&file, &moved).unwrap();
        fs::rename(&file, dir.path().join("kept")).unwrap();
        std::os::unix::fs::symlink(&moved, &file).unwrap();
        assert!(root::open(dir.path(), &backends, Choice::Auto).is_err(), "{name}");
        fs::rename(dir.path().join("kept"), &file).unwrap();
    }
    assert!(root::open(dir.path(), &backends, Choice::Auto).is_ok());
}

#[test]
fn renewals_killed_at_any_moment_never_lose_the_secret() {
    let dir = rig::directory();
    let backends = Backends::new(dir.path());
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::File), &Policy::default(), rig::now()).unwrap();
    let mut interrupted = 0;
    for round in 0..60u64 {
        let mut child = Command::new(rig::example("renew_forever")).arg(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut first_line = [0; 9];
        child.stdout.take().unwrap().read_exact(&mut first_line).unwrap();
        std::thread::sleep(Duration::from_micros(137 * (round % 60)));
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += usize::from(fs::read_dir(dir.path()).unwrap().count() > 3);
        let opened = root::open(dir.path(), &backends, Choice::Auto).unwrap();
        assert_eq!(opened.secret.expose(), made.secret.expose(), "round {round}");
        let serious = opened.warnings.iter().any(|warning| matches!(warning, Warning::NotTidied(_)));
        assert!(!serious && fs::read_dir(dir.path()).unwrap().count() == 3, "{:?}", opened.warnings);
    }
    assert!(interrupted > 0, "no round hit a renewal in the middle");
}
