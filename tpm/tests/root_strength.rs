//! The strongest way is taken, and never a weaker one unasked.

use std::fs;

use reverie_tpm::root::{self, Backends, Renewal, RootError, Warning};
use reverie_tpm::{Choice, Mode, Policy, SealError};

use crate::rig;

const NO_TPM: &str = "/nonexistent/tpm";

fn made_by_auto(backends: &Backends) -> root::Opened {
    root::create(backends.key_file.parent().unwrap(), backends, Choice::Auto, &Policy::default(), rig::now()).unwrap()
}

#[test]
fn auto_takes_the_strongest_that_works() {
    let (own, keys) = (rig::tpm(), rig::directory());
    let all = |dir: &tempfile::TempDir| rig::backends(dir.path(), keys.path(), &own.tpm);

    let dir = rig::directory();
    let best = made_by_auto(&all(&dir));
    assert_eq!((best.record.mode, best.warnings), (Mode::HostTpm2, vec![]));

    let dir = rig::directory();
    let no_host_key = Backends { program: rig::poor_backends(dir.path(), keys.path()).program, ..all(&dir) };
    fs::set_permissions(keys.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(made_by_auto(&no_host_key).record.mode, Mode::Tpm2);

    let dir = rig::directory();
    let no_tpm = Backends { tpm2_device: Some(NO_TPM.into()), ..all(&dir) };
    assert_eq!(made_by_auto(&no_tpm).record.mode, Mode::Host);
}

#[test]
fn auto_that_ends_at_a_key_file_says_so_loudly_each_time() {
    let (dir, keys) = (rig::directory(), rig::directory());
    fs::set_permissions(keys.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let backends = rig::poor_backends(dir.path(), keys.path());
    let made = made_by_auto(&backends);
    assert_eq!(made.record.mode, Mode::File);
    let [warning @ Warning::KeyFile { passed_over }] = &made.warnings[..] else { panic!("{:?}", made.warnings) };
    assert_eq!(passed_over.iter().map(|(mode, _)| *mode).collect::<Vec<_>>(), [Mode::HostTpm2, Mode::Tpm2, Mode::Host]);
    rig::says(warning, &["PROTECTED BY A KEY FILE ONLY", "tpm2 was not to be had: there is no TPM at /nonexistent/tpm"]);
    let opened = root::open(dir.path(), &backends, Choice::Auto).unwrap();
    assert!(matches!(opened.warnings[..], [Warning::KeyFile { .. }]), "{:?}", opened.warnings);

    let dir = rig::directory();
    let no_systemd = Backends { program: "/nonexistent/creds".into(), ..Backends::new(dir.path()) };
    assert_eq!(made_by_auto(&no_systemd).record.mode, Mode::File);
}

#[test]
fn a_tpm_that_is_there_and_fails_is_not_passed_over() {
    let (dir, keys) = (rig::directory(), rig::directory());
    let broken = rig::script(
        keys.path(),
        "broken",
        "echo 'Failed to create TPM object: tpm:warn(2.0): the TPM is in DA lockout mode' >&2; exit 1",
    );
    let backends = Backends { program: broken, ..Backends::new(dir.path()) };
    let error = root::create(dir.path(), &backends, Choice::Auto, &Policy::default(), rig::now()).unwrap_err();
    rig::says(&error, &["could not seal: Failed to create TPM object", "DA lockout"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn pcrs_asked_for_are_not_dropped_for_want_of_a_tpm() {
    let (dir, keys) = (rig::directory(), rig::directory());
    fs::set_permissions(keys.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let policy = Policy::new([7]).unwrap();
    let backends = rig::poor_backends(dir.path(), keys.path());
    let error = root::create(dir.path(), &backends, Choice::Auto, &policy, rig::now()).unwrap_err();
    rig::says(&error, &["there is no TPM at /nonexistent/tpm"]);
    for mode in [Mode::Host, Mode::File] {
        let error = root::create(dir.path(), &backends, Choice::Fixed(mode), &policy, rig::now()).unwrap_err();
        assert!(matches!(error, RootError::Seal(SealError::PolicyNeedsTpm { .. })), "{error}");
    }
}

#[test]
fn opening_with_auto_never_falls_to_something_weaker() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    made_by_auto(&backends);
    // All that weaker ways need is at hand.
    reverie_tpm::KeyFile::new(&backends.key_file).create().unwrap();
    let no_tpm = Backends { tpm2_device: Some(NO_TPM.into()), ..backends };
    let error = root::open(dir.path(), &no_tpm, Choice::Auto).unwrap_err();
    rig::says(
        &error,
        &[
            "the root secret is sealed with host+tpm2, which is not to be had here: there is no TPM at /nonexistent/tpm",
            "Nothing weaker was tried",
        ],
    );
    assert!(matches!(
        root::create(dir.path(), &no_tpm, Choice::Auto, &Policy::default(), rig::now()),
        Err(RootError::AlreadyThere { .. })
    ));
}

#[test]
fn a_mode_configured_otherwise_than_sealed_is_refused_with_the_command() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    root::create(dir.path(), &backends, Choice::Fixed(Mode::Host), &Policy::default(), rig::now()).unwrap();
    for asked in [Mode::Tpm2, Mode::File] {
        let error = root::open(dir.path(), &backends, Choice::Fixed(asked)).unwrap_err();
        let command = format!("\"reverie-agent seal renew --mode {asked}\"");
        rig::says(&error, &["sealed with host, but", &command]);
    }
}

#[test]
fn a_record_changed_to_a_weaker_mode_opens_nothing() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    root::create(dir.path(), &backends, Choice::Fixed(Mode::Tpm2), &Policy::default(), rig::now()).unwrap();
    reverie_tpm::KeyFile::new(&backends.key_file).create().unwrap();
    let path = dir.path().join("root.cred.json");
    let record = fs::read_to_string(&path).unwrap();
    for weaker in ["host", "file"] {
        fs::write(&path, record.replace("\"tpm2\"", &format!("{weaker:?}"))).unwrap();
        assert_eq!(root::describe(dir.path()).unwrap().unwrap().mode.as_str(), weaker);
        assert!(root::open(dir.path(), &backends, Choice::Auto).is_err(), "{weaker}");
    }
}

#[test]
fn a_secret_exchanged_for_one_sealed_with_less_is_not_opened() {
    let (own, dir, other, keys) = (rig::tpm(), rig::directory(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    root::create(dir.path(), &backends, Choice::Fixed(Mode::Tpm2), &Policy::default(), rig::now()).unwrap();
    let weaker = Backends { key_file: other.path().join("root.key"), ..backends.clone() };
    root::create(other.path(), &weaker, Choice::Fixed(Mode::Host), &Policy::default(), rig::now()).unwrap();
    fs::copy(other.path().join("root.cred"), dir.path().join("root.cred")).unwrap();
    rig::says(&root::open(dir.path(), &backends, Choice::Auto).unwrap_err(), &["root.cred is damaged"]);
    // With its record too, only a fixed mode notices: auto believes the record. So the shipped units fix it.
    fs::copy(other.path().join("root.cred.json"), dir.path().join("root.cred.json")).unwrap();
    let error = root::open(dir.path(), &backends, Choice::Fixed(Mode::Tpm2)).unwrap_err();
    assert!(matches!(error, RootError::OtherMode { recorded: Mode::Host, asked: Mode::Tpm2 }), "{error}");
}

#[test]
fn a_renewal_to_less_is_refused_unless_it_is_meant() {
    let (own, dir, keys) = (rig::tpm(), rig::directory(), rig::directory());
    let backends = rig::backends(dir.path(), keys.path(), &own.tpm);
    let (none, more) = (Policy::default(), Policy::new([0, 7]).unwrap());
    let made = root::create(dir.path(), &backends, Choice::Fixed(Mode::HostTpm2), &more, rig::now()).unwrap();
    let renew = |mode, policy, allow_weaker| {
        let renewal = Renewal { choice: Choice::Fixed(mode), policy, allow_weaker, now: rig::now() };
        root::renew(dir.path(), &backends, &renewal)
    };
    for mode in [Mode::Tpm2, Mode::Host, Mode::File] {
        let error = renew(mode, &none, false).unwrap_err();
        rig::says(&error, &[&format!("renewing from host+tpm2 to {mode} would protect the root secret less"), "--allow-weaker"]);
    }
    rig::says(
        &renew(Mode::HostTpm2, &none, false).unwrap_err(),
        &["would no longer bind the root secret to PCR 0;", "--allow-weaker"],
    );
    assert_eq!(root::describe(dir.path()).unwrap().unwrap(), made.record);

    let renewed = renew(Mode::File, &none, true).unwrap();
    assert!(matches!(renewed.warnings[..], [Warning::KeyFile { .. }]), "{:?}", renewed.warnings);
    assert_eq!(root::open(dir.path(), &backends, Choice::Auto).unwrap().secret.expose(), made.secret.expose());
}
