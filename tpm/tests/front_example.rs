//! The software TPM as a program of its own, as demonstrations and other crates' tests run it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tpm::{Mode, Policy, Seal, SystemdCreds};

use crate::rig::{self, SECRET};

fn start(dir: &Path) -> (Child, SystemdCreds) {
    let mut child =
        Command::new(rig::example("swtpm_front")).arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut tcti = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut tcti).unwrap();
    let creds = SystemdCreds::new(Mode::Tpm2).unwrap().with_tpm2_device(Some(tcti.trim_end().to_owned())).unwrap();
    (child, creds)
}

/// Whether a swtpm with its state in `dir` runs.
fn runs(dir: &Path) -> bool {
    let state = dir.join("state");
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        command.starts_with(b"swtpm\0") && String::from_utf8_lossy(&command).contains(state.to_str().unwrap())
    })
}

#[test]
fn the_same_directory_is_the_same_tpm_and_swtpm_never_outlives_the_front() {
    let dir = rig::directory();
    let (mut child, creds) = start(dir.path());
    let blob = creds.seal("db", SECRET, &Policy::new([0, 4, 7]).unwrap()).unwrap();
    for killed in [true, false] {
        assert!(runs(dir.path()));
        if killed {
            child.kill().unwrap();
        } else {
            drop(child.stdin.take());
        }
        child.wait().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while runs(dir.path()) {
            assert!(Instant::now() < until, "swtpm still runs, killed: {killed}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let creds;
        (child, creds) = start(dir.path());
        assert_eq!(creds.unseal("db", &blob).unwrap().as_slice(), SECRET);
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}
