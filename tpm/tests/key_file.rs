//! The key file: what is accepted as one, and what it seals.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use nix::sys::stat::Mode as FileMode;
use reverie_tpm::{KeyFile, Policy, Seal, SealError};

use crate::rig::{self, SECRET};

fn made(dir: &Path) -> KeyFile {
    let key = KeyFile::new(dir.join("root.key"));
    key.create().unwrap();
    key
}

fn sealed(key: &KeyFile) -> Vec<u8> {
    key.seal("db", SECRET, &Policy::default()).unwrap()
}

#[test]
fn a_secret_sealed_with_a_key_file_comes_back() {
    let dir = rig::directory();
    let key = made(dir.path());
    let facts = fs::metadata(key.path()).unwrap();
    assert_eq!((facts.mode() & 0o7777, facts.len()), (0o600, 32));
    let blob = sealed(&key);
    assert!(!rig::shows(&blob, SECRET) && blob != sealed(&key), "nonces must differ");
    assert_eq!(key.unseal("db", &blob).unwrap().as_slice(), SECRET);
    assert!(!rig::shows(format!("{key:?} {:?}", key.describe()).as_bytes(), &fs::read(key.path()).unwrap()));
}

#[test]
fn a_key_file_with_any_access_for_others_is_refused() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o666, 0o660] {
        fs::set_permissions(key.path(), Permissions::from_mode(mode)).unwrap();
        let text = format!("others have access to it (mode {mode:04o}); chmod 0600");
        rig::says(&key.unseal("db", &blob).unwrap_err(), &["root.key is not safe", &text]);
        assert!(key.seal("db", SECRET, &Policy::default()).is_err() && key.create().is_err());
    }
    fs::set_permissions(key.path(), Permissions::from_mode(0o400)).unwrap();
    assert!(key.unseal("db", &blob).is_ok());
}

#[test]
fn a_key_file_of_another_owner_is_refused() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    if nix::unistd::geteuid().is_root() {
        chown(key.path(), Some(65534), None).unwrap();
        rig::says(&key.unseal("db", &blob).unwrap_err(), &["is not safe: it belongs to uid 65534; run as that user, or chown"]);
    } else {
        // An ordinary user cannot give a file away; root's own are at hand.
        let error = KeyFile::new("/etc/hostname").unseal("db", &blob).unwrap_err();
        rig::says(&error, &["is not safe: it belongs to uid 0"]);
    }
}

#[test]
fn a_link_in_place_of_the_key_file_is_not_followed() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    fs::rename(key.path(), dir.path().join("real")).unwrap();
    symlink("real", key.path()).unwrap();
    rig::says(&key.unseal("db", &blob).unwrap_err(), &["is not safe: it is a symbolic link; put the file itself there"]);
    assert!(key.create().is_err());
    assert!(fs::symlink_metadata(key.path()).unwrap().is_symlink(), "it was replaced");
}

#[test]
fn a_fifo_or_directory_in_place_of_the_key_file_neither_hangs_nor_passes() {
    let dir = rig::directory();
    let key = KeyFile::new(dir.path().join("root.key"));
    nix::unistd::mkfifo(key.path(), FileMode::S_IRWXU).unwrap();
    rig::says(&key.create().unwrap_err(), &["it is not a plain file"]);
    fs::remove_file(key.path()).unwrap();
    fs::create_dir(key.path()).unwrap();
    rig::says(&key.create().unwrap_err(), &["it is not a plain file"]);
}

#[test]
fn a_key_file_of_another_length_is_refused() {
    let dir = rig::directory();
    let key = made(dir.path());
    for len in [0, 31, 33, 1 << 20] {
        fs::write(key.path(), vec![0; len]).unwrap();
        assert!(matches!(key.create(), Err(SealError::Damaged { .. } | SealError::TooLong { .. })), "{len}");
    }
}

#[test]
fn a_missing_key_file_is_not_made_anew_by_sealing_or_unsealing() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    fs::remove_file(key.path()).unwrap();
    rig::says(&key.unseal("db", &blob).unwrap_err(), &["root.key is not there; restore it from a backup"]);
    assert!(matches!(key.seal("db", SECRET, &Policy::default()), Err(SealError::KeyFileAbsent { .. })));
    assert!(!key.path().exists());
}

#[test]
fn another_key_name_or_policy_is_refused_and_named() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    let other = KeyFile::new(dir.path().join("other.key"));
    other.create().unwrap();
    rig::says(&other.unseal("db", &blob).unwrap_err(), &["sealed with another key file than", "other.key"]);
    rig::says(&key.unseal("dbx", &blob).unwrap_err(), &["this was sealed under the name \"db\", not \"dbx\""]);
    let error = key.seal("db", SECRET, &Policy::new([7]).unwrap()).unwrap_err();
    rig::says(&error, &["PCR 7 cannot be bound by sealing with file"]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_called_damage() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 0x10;
        assert!(matches!(key.unseal("db", &damaged), Err(SealError::Damaged { .. })), "byte {at}");
        assert!(matches!(key.unseal("db", &blob[..at]), Err(SealError::Damaged { .. })), "cut at {at}");
    }
}

#[test]
fn a_name_forged_with_a_fitting_checksum_does_not_decrypt() {
    let dir = rig::directory();
    let key = made(dir.path());
    let blob = sealed(&key);
    let mut forged = blob[..blob.len() - 32].to_vec();
    let name = forged.windows(2).position(|two| two == b"db").unwrap();
    forged[name + 1] = b'c';
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &forged);
    forged.extend_from_slice(sum.as_ref());
    rig::says(&key.unseal("dc", &forged).unwrap_err(), &["the sealed secret is damaged: it does not decrypt"]);
}

#[test]
fn processes_that_make_the_key_at_once_end_with_one_key() {
    let dir = rig::directory();
    let key = KeyFile::new(dir.path().join("root.key"));
    let blobs: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    key.create().unwrap();
                    sealed(&key)
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(blobs.iter().all(|blob| key.unseal("db", blob).is_ok()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files are left");
}
