//! systemd's host key: used by root, refused to others.

use std::fs;

use reverie_tpm::{Evidence, Mode, Policy, Seal, SealError, SystemdCreds};

use crate::rig::{self, SECRET};

#[test]
fn a_secret_sealed_with_the_host_key_comes_back() {
    let dir = rig::directory();
    let creds = SystemdCreds::new(Mode::Host).unwrap().with_program(rig::program_with_host_key(dir.path())).unwrap();
    let blob = creds.seal("db", SECRET, &Policy::default()).unwrap();
    assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);
    rig::says(&creds.seal("db", SECRET, &Policy::new([7]).unwrap()).unwrap_err(), &["PCR 7 cannot be bound", "that takes a TPM"]);
}

#[test]
fn a_secret_sealed_with_both_takes_both() {
    let (own, other, dir, elsewhere) = (rig::tpm(), rig::tpm(), rig::directory(), rig::directory());
    let creds = rig::creds(Mode::HostTpm2, &own.tpm).with_program(rig::program_with_host_key(dir.path())).unwrap();
    let blob = creds.seal("db", SECRET, &Policy::new([0, 7]).unwrap()).unwrap();
    let evidence = Evidence::gather(&blob, Some(&creds));
    assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);

    let other_tpm = creds.clone().with_tpm2_device(Some(other.tpm.tcti())).unwrap();
    let error = evidence.explain(other_tpm.unseal("db", &blob).unwrap_err(), &blob, &other_tpm);
    assert!(matches!(error, SealError::OtherTpm), "{error}");

    let other_key = creds.with_program(rig::program_with_host_key(elsewhere.path())).unwrap();
    other_key.seal("db", SECRET, &Policy::default()).unwrap(); // makes the other key
    let error = evidence.explain(other_key.unseal("db", &blob).unwrap_err(), &blob, &other_key);
    rig::says(&error, &["this was sealed with another host key; restore the credential.secret"]);
}

#[test]
fn another_host_key_is_told_from_damage_and_from_a_missing_one() {
    let dir = rig::directory();
    let creds = SystemdCreds::new(Mode::Host).unwrap().with_program(rig::program_with_host_key(dir.path())).unwrap();
    let blob = creds.seal("db", SECRET, &Policy::default()).unwrap();
    let evidence = Evidence::gather(&blob, Some(&creds));
    let explained = |blob: &[u8]| evidence.explain(creds.unseal("db", blob).unwrap_err(), blob, &creds);
    rig::says(&explained(&rig::flipped(&blob, 60)), &["the sealed secret is damaged"]);

    fs::remove_file(dir.path().join("credential.secret")).unwrap();
    rig::says(&explained(&blob), &["systemd's host key cannot be used", "No such file", "systemd-creds setup"]);
    creds.seal("db", SECRET, &Policy::default()).unwrap(); // makes another
    rig::says(&creds.unseal("db", &blob).unwrap_err(), &["another host key, or the sealed bytes are damaged"]);
    rig::says(&explained(&blob), &["this was sealed with another host key"]);
}

#[test]
fn the_host_key_is_refused_to_an_ordinary_user_with_a_way_out() {
    let (own, dir) = (rig::tpm(), rig::directory());
    let program = rig::poor_backends(dir.path(), dir.path()).program;
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for mode in [Mode::Host, Mode::HostTpm2] {
        let creds = rig::creds(mode, &own.tpm).with_program(program.clone()).unwrap();
        let error = creds.seal("db", SECRET, &Policy::default()).unwrap_err();
        assert!(matches!(error, SealError::NotPermitted { .. }), "{error}");
        rig::says(&error, &["systemd's host key may not be used by this user", "run as root, or seal with tpm2 or file"]);
    }
    let creds = rig::creds(Mode::Tpm2, &own.tpm).with_program(program).unwrap();
    let blob = creds.seal("db", SECRET, &Policy::default()).unwrap();
    assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);
}
