//! Directories in which somebody else, a crash or a full disk has been at work.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use reverie_core::ipc::warden::TargetKind;

use super::super::failure::Failure;
use super::super::fixture::require_root;
use super::tests::{inventory, pair, read, refusal, secret, target};
use super::{publish, sweep, withdraw};

#[test]
fn a_name_that_leads_out_of_the_run_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = directory.path().join("run");
    fs::create_dir(&run_dir).unwrap();
    for name in ["../out", "..", "/tmp/out", "a/b", ".web.tmp", ""] {
        for mut publication in [pair("x", "1"), secret("x", "1")] {
            publication.target.name = name.into();
            assert!(refusal(publish(&run_dir, &publication)).contains("cannot name a file"), "{name:?}");
            assert!(withdraw(&run_dir, &publication.target).is_err(), "{name:?}");
        }
        let mut publication = pair("web", "1");
        publication.files[0].name = name.into();
        assert!(refusal(publish(&run_dir, &publication)).contains("is no plain file name"), "{name:?}");
    }
    assert_eq!(inventory(&run_dir), []);
}

#[test]
fn a_room_that_is_a_symbolic_link_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (run_dir, elsewhere) = (directory.path().join("run"), directory.path().join("elsewhere"));
    fs::create_dir(&run_dir).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    for (room, publication) in [("certs", pair("x", "1")), ("stamps", pair("x", "1")), ("secrets", secret("x", "1"))] {
        symlink(&elsewhere, run_dir.join(room)).unwrap();
        assert!(refusal(publish(&run_dir, &publication)).contains("is not a directory"), "{room}");
        assert!(withdraw(&run_dir, &publication.target).is_err(), "{room}");
        fs::remove_file(run_dir.join(room)).unwrap();
    }
    assert_eq!(inventory(&elsewhere), []);
}

/// Links with every name the warden writes under, to files that must stay as they are.
#[test]
fn links_planted_under_temporary_names_are_not_followed() {
    for hard in [false, true] {
        let plant = |at: &Path, to: &Path| if hard { fs::hard_link(to, at) } else { symlink(to, at) };
        let directory = tempfile::tempdir().unwrap();
        let run_dir = directory.path().join("run");
        let victim = directory.path().join("victim");
        fs::create_dir(&run_dir).unwrap();
        for room in ["certs", "secrets", "stamps"] {
            fs::create_dir(run_dir.join(room)).unwrap();
        }
        fs::write(&victim, "precious").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o604)).unwrap();
        let planted = [
            "certs/.web.tmp",
            "certs/.web.1",
            "certs/.web.1.manifest",
            "stamps/.web.tmp",
            "stamps/web",
            "secrets/.db.tmp",
            "secrets/.db.manifest",
            "secrets/.db.manifest.tmp",
            "secrets/db",
        ];
        for name in planted {
            plant(&run_dir.join(name), &victim).unwrap();
        }
        assert!(publish(&run_dir, &pair("web", "1")).unwrap());
        assert!(publish(&run_dir, &secret("db", "1")).unwrap());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o7777, 0o604);
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
        assert_eq!((&*read(&run_dir, "certs/web/tls.key"), &*read(&run_dir, "secrets/db")), ("1", "1"));
    }
}

#[test]
fn a_link_to_a_directory_elsewhere_is_neither_written_through_nor_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let (run_dir, elsewhere) = (directory.path().join("run"), directory.path().join("elsewhere"));
    fs::create_dir_all(run_dir.join("certs")).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("tls.key"), "precious").unwrap();
    symlink(&elsewhere, run_dir.join("certs/.web.1")).unwrap();
    symlink(".web.1", run_dir.join("certs/web")).unwrap();
    publish(&run_dir, &pair("web", "1")).unwrap();
    symlink(&elsewhere, run_dir.join("certs/mail")).unwrap();
    publish(&run_dir, &pair("mail", "1")).unwrap();
    withdraw(&run_dir, &target(TargetKind::Certificates, "mail")).unwrap();
    assert_eq!(fs::read_to_string(elsewhere.join("tls.key")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert_eq!(read(&run_dir, "certs/web/tls.key"), "1");
}

#[test]
fn what_is_not_ours_in_the_place_of_a_target_stays() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("certs/web");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("tls.key"), "somebody's").unwrap();
    assert!(refusal(publish(directory.path(), &pair("web", "1"))).contains("is not a link of ours"));
    assert!(withdraw(directory.path(), &target(TargetKind::Certificates, "web")).is_err());
    assert_eq!(read(directory.path(), "certs/web/tls.key"), "somebody's");
}

#[test]
fn what_a_crash_left_behind_is_cleaned_up() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &pair("web", "1")).unwrap();
    publish(directory.path(), &secret("db", "1")).unwrap();
    let before = inventory(directory.path());
    let plant = |path: &str| {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "left").unwrap();
    };
    let leave = || {
        for path in ["certs/.web.2/tls.key", "certs/.web.2.manifest", "certs/.gone.7/tls.key", "certs/.gone.7.manifest"] {
            plant(path);
        }
        for path in ["secrets/.db.tmp", "secrets/.db.manifest.tmp", "secrets/.gone.manifest"] {
            plant(path);
        }
        symlink(".web.2", directory.path().join("certs/.web.tmp")).unwrap();
    };
    leave();
    sweep(directory.path());
    let names =
        |inventory: Vec<(PathBuf, u64, i64, i64, u32)>| inventory.into_iter().map(|entry| (entry.0, entry.1)).collect::<Vec<_>>();
    assert_eq!(names(inventory(directory.path())), names(before));
    // And without a sweep nothing of it is in the way.
    leave();
    assert!(publish(directory.path(), &pair("web", "2")).unwrap());
    assert!(publish(directory.path(), &secret("db", "2")).unwrap());
    assert_eq!((&*read(directory.path(), "certs/web/tls.key"), &*read(directory.path(), "secrets/db")), ("2", "2"));
    assert!(!directory.path().join("certs/.web.tmp").exists());
}

/// By name, so that whoever is not root can leave them out: `cargo test -- --skip as_root`.
mod as_root {
    use super::*;

    #[test]
    fn a_room_that_somebody_else_could_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        publish(directory.path(), &pair("web", "1")).unwrap();
        let certs = directory.path().join("certs");
        mode(&certs, 0o775);
        assert!(refusal(publish(directory.path(), &pair("web", "2"))).contains("chmod go-w"));
        mode(&certs, 0o700);
        publish(directory.path(), &pair("web", "2")).unwrap();
        assert_eq!(fs::metadata(&certs).unwrap().mode() & 0o7777, 0o755, "services must be able to read in it");
        mode(directory.path(), 0o777);
        assert!(refusal(publish(directory.path(), &pair("web", "3"))).contains("chmod o-w"));
        mode(directory.path(), 0o755);
        require_root();
        std::os::unix::fs::chown(&certs, Some(12345), None).unwrap();
        assert!(refusal(publish(directory.path(), &pair("web", "3"))).contains("belongs to uid 12345"));
    }

    #[test]
    fn a_full_disk_leaves_the_old_generation_and_no_litter() {
        require_root();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        // The mount is seen by this thread alone, and ends with it.
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            let mut seen = (0, 0);
            for limit in ["nr_inodes=64", "size=256k"] {
                let options = format!("{limit},mode=755");
                mount(Some("none"), &path, Some("tmpfs"), MsFlags::empty(), Some(&*options)).unwrap();
                publish(&path, &pair("web", "old")).unwrap();
                publish(&path, &secret("db", "old")).unwrap();
                // Ever less room is left, so that every step in turn is the one that fails.
                let content = if limit.starts_with("size") { vec![0; 4096] } else { Vec::new() };
                let ballast = path.join("ballast");
                fs::create_dir(&ballast).unwrap();
                let mut count = 0;
                while fs::write(ballast.join(count.to_string()), &content).is_ok() {
                    count += 1;
                }
                fs::remove_file(ballast.join(count.to_string())).unwrap_or_default();
                for _ in 0..12 {
                    for publication in [pair("web", "new"), secret("db", "new")] {
                        let before = inventory(&path.join("certs"));
                        let (old_key, old_secret) = (read(&path, "certs/web/tls.key"), read(&path, "secrets/db"));
                        match publish(&path, &publication) {
                            Ok(_) => seen.0 += 1,
                            Err(Failure::Refused(message)) => {
                                assert!(message.contains("No space left"), "{message}");
                                assert_eq!((read(&path, "certs/web/tls.key"), read(&path, "secrets/db")), (old_key, old_secret));
                                let names =
                                    |inventory: Vec<(PathBuf, u64, i64, i64, u32)>| inventory.into_iter().map(|entry| entry.0);
                                assert!(names(inventory(&path.join("certs"))).eq(names(before)), "litter in certs");
                                for room in ["certs", "secrets", "stamps"] {
                                    let left = fs::read_dir(path.join(room)).unwrap().map(|entry| entry.unwrap().file_name());
                                    assert!(
                                        left.into_iter().all(|name| !name.to_str().unwrap().ends_with(".tmp")),
                                        "litter in {room}"
                                    );
                                }
                                seen.1 += 1;
                            }
                            Err(failure) => panic!("{failure:?}"),
                        }
                    }
                    count -= 1;
                    fs::remove_file(ballast.join(count.to_string())).unwrap();
                }
                assert_eq!((&*read(&path, "certs/web/tls.key"), &*read(&path, "secrets/db")), ("new", "new"));
                umount2(&path, MntFlags::MNT_DETACH).unwrap();
            }
            assert!(seen.0 > 4 && seen.1 > 8, "{seen:?}");
        })
        .join()
        .unwrap();
    }
}
