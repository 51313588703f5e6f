//! `agentctl demo`, as anybody would run it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use reverie_tests::programs::{built, text, wait_until};

#[test]
fn the_tour_holds_for_root_and_for_anybody_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    // Programs below root's home are out of others' reach.
    for program in ["agentctl", "reverie-agent"] {
        std::fs::copy(built(program), place.path().join(program)).unwrap();
    }
    let scratch = place.path().join("tmp");
    std::fs::create_dir(&scratch).unwrap();
    std::fs::set_permissions(&scratch, std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for uid in ["0", "4244"] {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}")).args(["--clear-groups", "--"]);
        let said = command.arg(place.path().join("agentctl")).arg("demo").env("TMPDIR", &scratch).output().unwrap();
        assert!(said.status.success() && text(&said).contains("the audit log is whole"), "{uid}: {}", text(&said));
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "{uid}");
    }
}

#[test]
fn a_tour_that_is_ended_clears_away_too() {
    let scratch = tempfile::tempdir().unwrap();
    let mut tour = Command::new(built("agentctl")).arg("demo").env("TMPDIR", scratch.path()).spawn().unwrap();
    wait_until("it has begun", 10, || std::fs::read_dir(scratch.path()).unwrap().count() > 0);
    let pid = nix::unistd::Pid::from_raw(tour.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(!tour.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
