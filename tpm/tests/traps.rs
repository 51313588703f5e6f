//! What the bare program does that ours must not. Each test first shows the trap.

use std::path::Path;
use std::process::Command;

use reverie_tpm::credential::Header;
use reverie_tpm::{Mode, Policy, Seal, SealError};

use crate::rig::{self, SECRET, bare};

#[test]
fn an_empty_pcr_list_seals_what_nobody_can_unseal_so_it_is_never_passed() {
    let (own, dir) = (rig::tpm(), rig::directory());
    let device = format!("--tpm2-device={}", own.tpm.tcti());
    let sealed = bare(&["encrypt", "--with-key=tpm2", "--name=db", &device, "--tpm2-pcrs="], SECRET);
    let opened = bare(&["decrypt", "--name=db", &device], &sealed.stdout);
    assert!(sealed.status.success() && !opened.status.success(), "the trap is gone: the option could be passed now");

    let seen = dir.path().join("seen");
    let body = format!("echo \"$@\" >>{}; exec /usr/bin/systemd-creds \"$@\"", seen.display());
    let creds = rig::creds(Mode::Tpm2, &own.tpm).with_program(rig::script(dir.path(), "spy", &body)).unwrap();
    let blob = creds.seal("db", SECRET, &Policy::default()).unwrap();
    assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(!seen.contains("--tpm2-pcrs"), "{seen}");
    // What holds then is systemd's default, and it shows.
    assert_eq!(Header::parse(&blob).unwrap().pcrs, [7]);
}

#[test]
fn what_is_bound_to_no_pcr_is_not_taken_for_sealed_before_it_could_be_opened() {
    let (own, dir) = (rig::tpm(), rig::directory());
    // A program whose default is the trap.
    let body = "[ \"$1\" = encrypt ] && set -- \"$@\" --tpm2-pcrs=; exec /usr/bin/systemd-creds \"$@\"";
    let creds = rig::creds(Mode::Tpm2, &own.tpm).with_program(rig::script(dir.path(), "trap", body)).unwrap();
    assert!(creds.seal("db", SECRET, &Policy::default()).is_err());
}

#[test]
fn auto_seals_without_a_tpm_and_says_nothing_so_the_keys_are_always_named() {
    // On the disk of the build: the program takes no host key on a tmpfs here.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sealed = run_with_own_host_key(dir.path(), &["encrypt", "--with-key=auto", "--name=db"], SECRET);
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    assert_eq!(Header::parse(&sealed.stdout).unwrap().mode, Mode::Host, "there is a TPM here after all");

    let creds = reverie_tpm::SystemdCreds::new(Mode::Tpm2).unwrap().with_tpm2_device(Some("/nonexistent/tpm".into())).unwrap();
    let error = creds.seal("db", SECRET, &Policy::default()).unwrap_err();
    assert!(matches!(error, SealError::TpmAbsent { .. }), "{error}");
}

fn run_with_own_host_key(dir: &Path, args: &[&str], input: &[u8]) -> std::process::Output {
    let program = rig::program_with_host_key(dir);
    rig::run(Command::new(program).args(args), input)
}

#[test]
fn pcrs_that_were_never_extended_are_refused() {
    let own = rig::tpm();
    let device = format!("--tpm2-device={}", own.tpm.tcti());
    let sealed = bare(&["encrypt", "--with-key=tpm2", "--name=db", &device, "--tpm2-pcrs=10"], SECRET);
    assert!(sealed.status.success(), "the program refuses by itself now");

    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    for pcrs in [vec![10], vec![22], vec![10, 11, 18]] {
        let error = creds.seal("db", SECRET, &Policy::new(pcrs.clone()).unwrap()).unwrap_err();
        assert!(matches!(&error, SealError::UnenforcedPolicy { pcrs: named } if *named == pcrs), "{error}");
        rig::says(&error, &["never been extended on this machine", "choose PCRs that the firmware measures into"]);
    }
    // One that holds something binds.
    creds.seal("db", SECRET, &Policy::new([7, 10]).unwrap()).unwrap();
}

#[test]
fn what_anybody_can_seal_is_not_opened() {
    let own = rig::tpm();
    let forged = bare(&["encrypt", "--with-key=tpm2-absent", "--name=db"], b"a key that the forger knows");
    assert!(forged.status.success());
    let device = format!("--tpm2-device={}", own.tpm.tcti());
    assert!(bare(&["decrypt", "--name=db", &device], &forged.stdout).status.success(), "the program refuses by itself now");
    let error = rig::creds(Mode::Tpm2, &own.tpm).unseal("db", &forged.stdout).unwrap_err();
    rig::says(&error, &["it is not a credential sealed with tpm2, host or host+tpm2"]);
}

#[test]
fn a_secret_sealed_with_less_is_not_opened_in_place_of_one_sealed_with_more() {
    let (own, dir) = (rig::tpm(), rig::directory());
    let program = rig::program_with_host_key(dir.path());
    let host = rig::creds(Mode::Host, &own.tpm).with_program(program.clone()).unwrap();
    let weaker = host.seal("db", b"a key that root of another time knows", &Policy::default()).unwrap();
    assert!(host.unseal("db", &weaker).is_ok());
    let error = rig::creds(Mode::Tpm2, &own.tpm).with_program(program).unwrap().unseal("db", &weaker).unwrap_err();
    assert!(matches!(error, SealError::OtherMode { found: Mode::Host, expected: Mode::Tpm2 }));
    rig::says(&error, &["this is sealed with host, not tpm2 as it should be", "may have been put there by others"]);
}

#[test]
fn a_variable_switches_the_check_of_names_off_so_the_environment_is_ours() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("one", SECRET, &Policy::default()).unwrap();
    let mut command = Command::new(reverie_tpm::systemd_creds::PROGRAM);
    command.env("SYSTEMD_CREDENTIAL_VALIDATE_NAME", "0").env("SYSTEMD_TPM2_DEVICE", own.tpm.tcti());
    assert!(rig::run(command.args(["decrypt", "--name=two"]), &blob).status.success(), "the variable has no power now");
    // That ours never reaches the program is shown in `handling`; here, that the check holds.
    assert!(matches!(creds.unseal("two", &blob), Err(SealError::OtherName { .. })));
}
