//! Envelopes against OpenSSL 4 and against pyca/cryptography with pyasn1: each opens what the other sealed, both ways.
//!
//! `tests/install.sh test` makes both beforehand, in `target/`; else the first test that needs one does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reverie_tests::programs::{built, run, text};
use tempfile::TempDir;

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn target() -> PathBuf {
    built("agentctl").parent().and_then(Path::parent).expect("target/PROFILE").to_owned()
}

/// What a script of that name makes in `target/`, unless it is there already.
fn beside(name: &str) -> String {
    let script = tests().join(format!("{name}.sh"));
    run(&script.display().to_string(), &[&target().join(name).display().to_string()]).trim().to_owned()
}

fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // One that refuses may not read.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// Something that seals and opens with the four files of `agentctl mesh envelope keygen`.
enum Tool {
    Agentctl,
    Openssl(String),
    Pyca(String),
}

impl Tool {
    fn openssl() -> Self {
        Self::Openssl(beside("openssl4"))
    }

    fn pyca() -> Self {
        Self::Pyca(beside("python"))
    }

    fn command(&self, act: &str, keys: &Path) -> Command {
        match self {
            Self::Agentctl => {
                let mut command = Command::new(built("agentctl"));
                let files = if act == "seal" {
                    ["--signer-key", "signer.key", "--recipient-pub", "kem.pub"]
                } else {
                    ["--signer-pub", "signer.pub", "--kem-key", "kem.key"]
                };
                command.args(["mesh", "envelope", act, "--raw"]).args(files).current_dir(keys);
                command
            }
            Self::Openssl(program) => {
                let mut command = Command::new(tests().join("suites/cms.sh"));
                command.arg(program).arg(act).arg(keys);
                command
            }
            Self::Pyca(program) => {
                let mut command = Command::new(program);
                command.arg(tests().join("second/cms.py")).arg(act).arg(keys);
                command
            }
        }
    }

    #[track_caller]
    fn does(&self, act: &str, keys: &Path, input: &[u8]) -> Vec<u8> {
        let output = with_input(&mut self.command(act, keys), input);
        assert!(output.status.success(), "{act}: {}", text(&output));
        output.stdout
    }

    fn refuses(&self, keys: &Path, message: &[u8]) -> bool {
        !with_input(&mut self.command("open", keys), message).status.success()
    }
}

fn keys() -> TempDir {
    let keys = tempfile::Builder::new().prefix("cms").tempdir().expect("a directory");
    run(&built("agentctl").display().to_string(), &["mesh", "envelope", "keygen", &keys.path().display().to_string()]);
    keys
}

/// Around the sizes where the length of lengths changes.
fn payloads() -> Vec<Vec<u8>> {
    [0, 1, 15, 16, 100, 300, 70_000].into_iter().map(|length| (0..length).map(|at| (at % 251) as u8).collect()).collect()
}

fn both_ways(other: &Tool) {
    let keys = keys();
    for payload in payloads() {
        let ours = Tool::Agentctl.does("seal", keys.path(), &payload);
        assert_eq!(other.does("open", keys.path(), &ours), payload, "what agentctl sealed, {} bytes", payload.len());
        let theirs = other.does("seal", keys.path(), &payload);
        assert_eq!(Tool::Agentctl.does("open", keys.path(), &theirs), payload, "what it sealed, {} bytes", payload.len());
    }
    // Each refuses what is damaged, whoever made it, and what is by someone else.
    for maker in [&Tool::Agentctl, other] {
        let mut message = maker.does("seal", keys.path(), b"payload");
        let other_keys = self::keys();
        assert!(Tool::Agentctl.refuses(other_keys.path(), &message) && other.refuses(other_keys.path(), &message));
        let middle = message.len() / 2;
        message[middle] ^= 1;
        assert!(Tool::Agentctl.refuses(keys.path(), &message) && other.refuses(keys.path(), &message));
    }
}

#[test]
fn openssl_opens_what_agentctl_sealed_and_agentctl_what_openssl_sealed() {
    both_ways(&Tool::openssl());
}

#[test]
fn pyca_opens_what_agentctl_sealed_and_agentctl_what_pyca_sealed() {
    both_ways(&Tool::pyca());
}

#[test]
fn openssl_reads_the_keys_that_agentctl_makes_and_agentctl_those_of_openssl() {
    let Tool::Openssl(openssl) = Tool::openssl() else { unreachable!() };
    let keys = keys();
    let path = |name: &str| keys.path().join(name).display().to_string();
    for (private, public) in [("signer.key", "signer.pub"), ("kem.key", "kem.pub")] {
        let derived = run(&openssl, &["pkey", "-in", &path(private), "-pubout"]);
        assert_eq!(derived, std::fs::read_to_string(path(public)).expect("the public key"));
    }
    let theirs = tempfile::tempdir().expect("a directory");
    let path = |name: &str| theirs.path().join(name).display().to_string();
    run(&openssl, &["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &path("signer.key")]);
    // With seed and expanded key, as OpenSSL writes them unless told otherwise.
    run(&openssl, &["genpkey", "-quiet", "-algorithm", "ML-KEM-768", "-out", &path("kem.key")]);
    for (private, public) in [("signer.key", "signer.pub"), ("kem.key", "kem.pub")] {
        run(&openssl, &["pkey", "-in", &path(private), "-pubout", "-out", &path(public)]);
    }
    let message = Tool::Agentctl.does("seal", theirs.path(), b"payload");
    assert_eq!(Tool::Agentctl.does("open", theirs.path(), &message), b"payload");
}

#[test]
fn a_certificate_that_openssl_embeds_makes_agentctl_refuse() {
    let (keys, tool) = (keys(), Tool::openssl());
    let sealed = |option: &str| {
        let output = with_input(tool.command("seal", keys.path()).arg(option), b"payload");
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    };
    assert_eq!(Tool::Agentctl.does("open", keys.path(), &sealed("-no_signing_time")), b"payload");
    assert!(Tool::Agentctl.refuses(keys.path(), &sealed("--with-certificate")));
    // CAdES adds a signed attribute that has no place here.
    assert!(Tool::Agentctl.refuses(keys.path(), &sealed("-cades")));
}
