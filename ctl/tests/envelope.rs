//! `agentctl mesh envelope`: on files, without an agent.

use crate::transcript::{Transcript, mode};

const MESSAGE: &str = r#"{"mesh":"00112233445566778899aabbccddeeff","sender":"a.example.org","recipient":"b.example.org","epoch":5,
"nonce":"0102030405060708090a0b0c0d0e0f10","issued_at":"2026-01-31T12:00:00Z","kind":"sync","records":["cmVjb3Jk"]}"#;

/// A directory with the keys of two hosts, and a shell to pipe binary messages with.
fn with_keys() -> Transcript {
    let transcript = Transcript::alone();
    for host in ["a", "b"] {
        assert_eq!(transcript.run_silently(&["mesh", "envelope", "keygen", host], "").exit, 0);
    }
    transcript
}

fn piped(transcript: &Transcript, line: &str, input: &str) -> (i32, String, String) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut command = Command::new("bash");
    command.args([
        "-o",
        "pipefail",
        "-c",
        &line.replace("envelope", &format!("{} mesh envelope", env!("CARGO_BIN_EXE_agentctl"))),
    ]);
    command.current_dir(transcript.path("")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

const SEAL: &str = "envelope seal --signer-key a/signer.key --recipient-pub b/kem.pub";
const OPEN: &str = "envelope open --signer-pub a/signer.pub --kem-key b/kem.key";

#[test]
fn keys_are_made_once_and_the_secret_ones_for_their_owner_alone() {
    let transcript = with_keys();
    for (name, bits) in
        [("a", 0o700), ("a/signer.key", 0o600), ("a/kem.key", 0o600), ("a/signer.pub", 0o644), ("a/kem.pub", 0o644)]
    {
        assert_eq!(mode(&transcript.path(name)), bits, "{name}");
    }
    let before = std::fs::read(transcript.path("a/signer.key")).unwrap();
    assert_eq!(transcript.run_silently(&["mesh", "envelope", "keygen", "a"], "").exit, 73);
    assert_eq!(std::fs::read(transcript.path("a/signer.key")).unwrap(), before);
}

#[test]
fn what_is_sealed_opens_as_it_was() {
    let transcript = with_keys();
    let (exit, out, err) = piped(&transcript, &format!("{SEAL} --raw | {OPEN} --raw"), "any payload");
    assert_eq!((exit, out.as_str(), err.as_str()), (0, "any payload", ""));
    let (exit, out, err) = piped(&transcript, &format!("{SEAL} | {OPEN}"), MESSAGE);
    assert_eq!((exit, err.as_str()), (0, ""));
    let (sent, opened): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(MESSAGE).unwrap(), serde_json::from_str(&out).unwrap());
    for (field, value) in sent.as_object().unwrap() {
        assert!(opened[field] == *value || field == "issued_at", "{field}: {out}");
    }
    // What it prints can be sealed again.
    let (_, again, _) = piped(&transcript, &format!("{SEAL} | {OPEN}"), &out);
    assert_eq!(again, out);
}

#[test]
fn an_envelope_shows_its_names_and_sizes() {
    let transcript = with_keys();
    let kid = |host: &str, field: &str| {
        let (_, out, _) = piped(&transcript, &format!("envelope keygen {host} --json"), "");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()[field].as_str().unwrap().to_owned()
    };
    let (signing, kem) = (kid("c", "signing_kid"), kid("d", "kem_kid"));
    let line = "envelope seal --signer-key c/signer.key --recipient-pub d/kem.pub --raw | envelope inspect --json";
    let (exit, out, _) = piped(&transcript, line, "0123456789abcdef");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (exit, &shown["signer"], &shown["recipient"], &shown["content_bytes"]),
        (0, &signing.into(), &kem.into(), &32.into())
    );
}

#[test]
fn what_does_not_open_says_why_and_what_to_try() {
    let mut transcript = with_keys();
    let open = ["mesh", "envelope", "open", "--signer-pub", "a/signer.pub", "--kem-key", "b/kem.key"];
    assert_eq!(transcript.run_with_input(&open, "no message").exit, 65);
    let seal = ["mesh", "envelope", "seal", "--signer-key", "a/signer.key", "--recipient-pub", "b/kem.pub"];
    assert_eq!(transcript.run_with_input(&seal, "no JSON").exit, 65);
    assert_eq!(transcript.run_with_input(&seal, r#"{"kind":"sync"}"#).exit, 65);
    let wrong = ["mesh", "envelope", "seal", "--raw", "--signer-key", "b/kem.key", "--recipient-pub", "b/kem.pub"];
    assert_eq!(transcript.run_with_input(&wrong, "x").exit, 65);
    let wrong = ["mesh", "envelope", "seal", "--raw", "--signer-key", "a/signer.key", "--recipient-pub", "a/signer.pub"];
    assert_eq!(transcript.run_with_input(&wrong, "x").exit, 65);
    let nowhere = ["mesh", "envelope", "seal", "--raw", "--signer-key", "nowhere", "--recipient-pub", "b/kem.pub"];
    assert_eq!(transcript.run_with_input(&nowhere, "x").exit, 66);
    transcript.matches("error-mesh-envelope");
    let transcript = with_keys();
    for (line, told) in [
        (format!("{SEAL} --raw | envelope open --raw --signer-pub b/signer.pub --kem-key b/kem.key"), "is not by the key pinned"),
        (format!("{SEAL} --raw | envelope open --raw --signer-pub a/signer.pub --kem-key a/kem.key"), "cannot be opened"),
        (format!("{SEAL} --raw | {OPEN}"), "no message of the mesh"),
    ] {
        let (exit, out, err) = piped(&transcript, &line, "payload");
        assert!(exit == 65 && out.is_empty() && err.contains(told) && err.contains("\ntry: "), "{line}: {err}");
    }
    let (exit, out, err) = piped(&transcript, SEAL, &MESSAGE.replace("records", "recods"));
    assert!(exit == 65 && out.is_empty() && err.contains("unknown field `recods`"), "a slip is not passed over: {err}");
}
