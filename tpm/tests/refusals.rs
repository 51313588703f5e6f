//! Each reason not to unseal has a sentence of its own.

use std::fs;

use reverie_tpm::root::{self, Backends};
use reverie_tpm::{Choice, Evidence, Mode, Policy, Seal, SealError};

use crate::rig::{self, SECRET};

const OTHER_TPM: &str = "sealed by another TPM, or this machine's TPM has been cleared since";

#[test]
fn another_tpm_is_told_from_damage() {
    let (first, second) = (rig::tpm(), rig::tpm());
    let (here, there) = (rig::creds(Mode::Tpm2, &first.tpm), rig::creds(Mode::Tpm2, &second.tpm));
    let blob = here.seal("db", SECRET, &Policy::new([7]).unwrap()).unwrap();
    let evidence = Evidence::gather(&blob, Some(&here));

    let error = there.unseal("db", &blob).unwrap_err();
    rig::says(&error, &["the TPM does not accept this", "another TPM", "or the sealed bytes are damaged"]);
    let explained = evidence.explain(error, &blob, &there);
    assert!(matches!(explained, SealError::OtherTpm));
    rig::says(&explained, &[OTHER_TPM, "put the disk back into the machine that sealed it"]);

    let damaged = rig::flipped(&blob, 120);
    let error = here.unseal("db", &damaged).unwrap_err();
    rig::says(&evidence.explain(error, &damaged, &here), &["the sealed secret is damaged", "restore it from a backup"]);
}

#[test]
fn another_pcr_state_is_named_by_its_pcr() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("db", SECRET, &Policy::new([0, 4, 7]).unwrap()).unwrap();
    let evidence = Evidence::gather(&blob, Some(&creds));
    own.tpm.extend(4, "another boot loader").unwrap();

    let error = creds.unseal("db", &blob).unwrap_err();
    rig::says(&error, &["a PCR this is bound to (0+4+7) has changed since this was sealed"]);
    rig::says(
        &evidence.explain(error, &blob, &creds),
        &["PCR 4 has changed since this was sealed", "boot the state it was sealed in"],
    );

    own.tpm.extend(7, "Secure Boot off").unwrap();
    let error = creds.unseal("db", &blob).unwrap_err();
    rig::says(&evidence.explain(error, &blob, &creds), &["PCRs 4+7 have changed since this was sealed"]);
}

#[test]
fn another_tpm_in_another_state_is_called_another_tpm() {
    let (first, second) = (rig::tpm(), rig::tpm());
    let (here, there) = (rig::creds(Mode::Tpm2, &first.tpm), rig::creds(Mode::Tpm2, &second.tpm));
    let blob = here.seal("db", SECRET, &Policy::new([7]).unwrap()).unwrap();
    let evidence = Evidence::gather(&blob, Some(&here));
    second.tpm.extend(7, "another machine").unwrap();
    let error = there.unseal("db", &blob).unwrap_err();
    rig::says(&evidence.explain(error, &blob, &there), &[OTHER_TPM]);
}

#[test]
fn another_name_is_refused_with_both_names() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("one", SECRET, &Policy::default()).unwrap();
    rig::says(&creds.unseal("two", &blob).unwrap_err(), &["this was sealed under the name \"one\", not \"two\""]);
    for bad in ["", "../x", "--help", "a b"] {
        rig::says(&creds.unseal(bad, &blob).unwrap_err(), &["cannot name a sealed secret"]);
    }
}

#[test]
fn no_flipped_bit_and_no_cut_passes() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("db", SECRET, &Policy::new([7]).unwrap()).unwrap();
    let evidence = Evidence::gather(&blob, Some(&creds));
    // One place in each field: id, sizes, IV, PCR mask, bank, sizes, private part, public part, policy, text, tag.
    for at in [0, 17, 34, 49, 57, 61, 65, 80, 200, 250, 310, 350, 385] {
        let damaged = rig::flipped(&blob, at);
        let error = evidence.explain(creds.unseal("db", &damaged).unwrap_err(), &damaged, &creds);
        assert!(matches!(error, SealError::Damaged { .. } | SealError::Failed { .. }), "byte {at}: {error}");
    }
    for len in [0, 1, 60, 100, blob.len() / 2, blob.len() - 8] {
        let error = evidence.explain(creds.unseal("db", &blob[..len]).unwrap_err(), &blob[..len], &creds);
        assert!(matches!(error, SealError::Damaged { .. }), "{len} bytes: {error}");
    }
    rig::says(&creds.unseal("db", &blob[..100]).unwrap_err(), &["the sealed secret is damaged: it is cut short"]);
}

#[test]
fn a_tpm_that_is_not_there_is_named_by_its_device() {
    let own = rig::tpm();
    let creds = rig::creds(Mode::Tpm2, &own.tpm);
    let blob = creds.seal("db", SECRET, &Policy::default()).unwrap();
    let device = own.tpm.tcti();
    drop(own);
    rig::says(&creds.unseal("db", &blob).unwrap_err(), &[&format!("there is no TPM at {device}"), "enable it in the firmware"]);
    rig::says(&creds.seal("db", SECRET, &Policy::default()).unwrap_err(), &["there is no TPM at"]);
    let nowhere = creds.with_tpm2_device(Some("/nonexistent/tpm".into())).unwrap();
    rig::says(&nowhere.unseal("db", &blob).unwrap_err(), &["there is no TPM at /nonexistent/tpm"]);
}

#[test]
fn a_tpm_whose_driver_is_not_installed_is_told_from_none() {
    let creds = reverie_tpm::SystemdCreds::new(Mode::Tpm2).unwrap().with_tpm2_device(Some("nodriver:x".into())).unwrap();
    rig::says(
        &creds.seal("db", SECRET, &Policy::default()).unwrap_err(),
        &["the TPM's libraries are missing", "install libtss2-esys"],
    );
}

#[test]
fn the_root_secret_is_refused_with_the_exact_reason() {
    let (first, second, dir, keys) = (rig::tpm(), rig::tpm(), rig::directory(), rig::directory());
    let here = rig::backends(dir.path(), keys.path(), &first.tpm);
    let there = Backends { tpm2_device: Some(second.tpm.tcti()), ..here.clone() };
    let policy = Policy::new([0, 7]).unwrap();
    root::create(dir.path(), &here, Choice::Fixed(Mode::Tpm2), &policy, rig::now()).unwrap();

    let open = |backends: &Backends| root::open(dir.path(), backends, Choice::Auto).unwrap_err();
    rig::says(&open(&there), &["the root secret: this was", OTHER_TPM]);
    first.tpm.extend(7, "Secure Boot off").unwrap();
    rig::says(&open(&here), &["PCR 7 has changed since this was sealed"]);
    rig::says(&open(&there), &[OTHER_TPM]);

    let file = dir.path().join("root.cred");
    let blob = fs::read(&file).unwrap();
    fs::write(&file, rig::flipped(&blob, 120)).unwrap();
    rig::says(&open(&here), &["root.cred is damaged: it is not what root.cred.json describes", "restore it from a backup"]);
    fs::write(&file, &blob[..blob.len() - 9]).unwrap();
    rig::says(&open(&here), &["root.cred is damaged"]);
}
