//! What the tests stand on: TPMs, host keys and stand-ins for the program, each test's own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use reverie_tpm::root::Backends;
use reverie_tpm::systemd_creds::PROGRAM;
use reverie_tpm::{Mode, SystemdCreds};
use tempfile::TempDir;

use crate::swtpm::SoftTpm;

pub(crate) const SECRET: &[u8; 32] = b"an example of a secret, 32 bytes";

/// A directory that a root secret can be kept in.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("reverie-tpm-").tempdir().unwrap()
}

/// A TPM that is this test's own.
pub(crate) struct OwnTpm {
    pub(crate) tpm: SoftTpm,
    _dir: TempDir,
}

pub(crate) fn tpm() -> OwnTpm {
    let dir = directory();
    OwnTpm { tpm: SoftTpm::start(dir.path(), None).unwrap(), _dir: dir }
}

/// systemd-creds with a host key in `dir` instead of /var/lib/systemd, of which nothing is touched.
pub(crate) fn program_with_host_key(dir: &Path) -> PathBuf {
    let key = dir.join("credential.secret");
    script(dir, "creds-own-host-key", &format!("SYSTEMD_CREDENTIAL_SECRET={} exec {PROGRAM} \"$@\"", key.display()))
}

/// A stand-in for the program. Written by a child, so that no test holds it open for writing while another forks.
pub(crate) fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "cat >\"$0\" && chmod 0755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

pub(crate) fn creds(mode: Mode, tpm: &SoftTpm) -> SystemdCreds {
    SystemdCreds::new(mode).unwrap().with_tpm2_device(Some(tpm.tcti())).unwrap()
}

/// Everything to be had: a TPM, and a host key in `keys`.
pub(crate) fn backends(dir: &Path, keys: &Path, tpm: &SoftTpm) -> Backends {
    Backends { program: program_with_host_key(keys), tpm2_device: Some(tpm.tcti()), ..Backends::new(dir) }
}

/// Nothing to be had but a key file: no TPM, and the program as a user who may not read the host key.
pub(crate) fn poor_backends(dir: &Path, keys: &Path) -> Backends {
    let as_nobody = if nix::unistd::geteuid().is_root() { "setpriv --reuid=65534 --clear-groups " } else { "" };
    let program = script(keys, "creds-as-nobody", &format!("exec {as_nobody}{PROGRAM} \"$@\""));
    Backends { program, tpm2_device: Some("/nonexistent/tpm".to_owned()), ..Backends::new(dir) }
}

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Runs the bare program, without any of our precautions.
pub(crate) fn bare(args: &[&str], input: &[u8]) -> Output {
    run(Command::new(PROGRAM).args(args), input)
}

/// Runs `command - -` with `input`.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    let command = command.args(["-", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Flips one bit of the sealed bytes under the base64.
pub(crate) fn flipped(blob: &[u8], at: usize) -> Vec<u8> {
    let text: Vec<u8> = blob.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let mut bytes = data_encoding::BASE64.decode(&text).unwrap();
    bytes[at] ^= 1;
    data_encoding::BASE64.encode(&bytes).into_bytes()
}

/// Every file under `dir`, for looking for secrets in.
pub(crate) fn contents(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all.extend(fs::read(path).unwrap());
        }
    }
    all
}

/// Whether `hay` holds `secret` as it is, in hex, or in base64.
pub(crate) fn shows(hay: &[u8], secret: &[u8]) -> bool {
    let found = |needle: &[u8]| hay.windows(needle.len()).any(|window| window == needle);
    found(secret)
        || found(data_encoding::HEXLOWER.encode(secret).as_bytes())
        || found(data_encoding::BASE64_NOPAD.encode(&secret[..30]).as_bytes())
}

/// Asserts that `error` says all of `parts`.
#[track_caller]
pub(crate) fn says(error: &dyn std::fmt::Display, parts: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text:?} does not say {parts:?}");
}

/// An example of this package, which cargo builds before its tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run cargo test without --test, or with --examples", path.display());
    path
}
