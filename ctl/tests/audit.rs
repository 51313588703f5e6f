//! The audit log, by the agent and offline.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reverie_core::audit::{ChainHead, SignedHead};

use crate::answers::{audit_log, day, healthy};
use crate::transcript::{Transcript, mode};

#[test]
fn the_agents_log_is_shown_checked_and_exported() {
    let mut transcript = Transcript::with(healthy);
    transcript.run(&["audit", "tail"]);
    transcript.run(&["audit", "tail", "-n", "1"]);
    transcript.run(&["audit", "tail", "-n", "1", "--json"]);
    transcript.run(&["audit", "verify"]);
    transcript.run(&["audit", "verify", "--json"]);
    let export = transcript.run(&["audit", "export", "--after", "2"]);
    assert_eq!(export.out, format!("{}\n", audit_log(3).0[2]));
    transcript.run(&["audit", "export", "-o", "log.jsonl"]);
    assert_eq!(mode(&transcript.path("log.jsonl")), 0o600);
    assert_eq!(std::fs::read_to_string(transcript.path("log.jsonl")).unwrap(), audit_log(3).0.join("\n") + "\n");
    assert_eq!(transcript.run(&["audit", "export", "-o", "log.jsonl"]).exit, 73);
    transcript.matches("audit");
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let away = Transcript::alone();
    assert_eq!(away.run_silently(&["audit", "export", "-o", "log.jsonl"], "").exit, 69);
    assert!(!away.path("log.jsonl").exists());
    let damaged = Transcript::with(|asked| {
        // The second page repeats the first.
        let (lines, mut head) = audit_log(2);
        head.seq = 4;
        crate::agent::json(&reverie_core::api::admin::AuditLines { lines, head }).filter(|_| asked.line.contains("audit"))
    });
    assert_eq!(damaged.run_silently(&["audit", "export", "-o", "log.jsonl"], "").exit, 65);
    assert!(!damaged.path("log.jsonl").exists());
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn pem(&self) -> String {
        let spki = self.0.public_key().as_der().unwrap();
        pem::encode(&pem::Pem::new("PUBLIC KEY", spki.as_ref()))
    }

    fn sign(&self, head: ChainHead) -> String {
        let signature = self.0.sign(&SystemRandom::new(), &SignedHead::signed_bytes(&head, day(1))).unwrap();
        let signed = SignedHead { head, time: day(1), signature: BASE64_STANDARD.encode(signature.as_ref()) };
        serde_json::to_string(&signed).unwrap() + "\n"
    }
}

#[test]
fn an_exported_log_is_verified_without_the_agent() {
    let mut transcript = Transcript::alone();
    let (lines, head) = audit_log(6);
    transcript.write("a.jsonl", lines[..4].join("\n") + "\n");
    transcript.write("b.jsonl", lines[4..].join("\n") + "\n");
    let signer = Signer::new();
    transcript.write("key.pem", signer.pem());
    transcript.write("heads.jsonl", signer.sign(audit_log(3).1) + &signer.sign(head));
    let signed = ["--public-key", "key.pem", "--heads", "heads.jsonl"];
    let verify = |transcript: &mut Transcript, files: &[&str], more: &[&str]| {
        transcript.run(&[&["audit", "verify"], files, more].concat()).exit
    };
    assert_eq!(verify(&mut transcript, &["a.jsonl", "b.jsonl"], &[]), 0);
    assert_eq!(verify(&mut transcript, &["a.jsonl", "b.jsonl"], &signed), 0);
    assert_eq!(verify(&mut transcript, &["a.jsonl", "b.jsonl"], &["--json"]), 0);
    // Cut off, altered, removed, rewritten, without its beginning.
    assert_eq!(verify(&mut transcript, &["a.jsonl"], &signed), 65);
    transcript.write("altered.jsonl", lines.join("\n").replacen("denied", "done", 1) + "\n");
    assert_eq!(verify(&mut transcript, &["altered.jsonl"], &[]), 65);
    transcript.write("removed.jsonl", [&lines[..2], &lines[3..]].concat().join("\n") + "\n");
    assert_eq!(verify(&mut transcript, &["removed.jsonl"], &[]), 65);
    assert_eq!(verify(&mut transcript, &["b.jsonl"], &[]), 65);
    assert_eq!(verify(&mut transcript, &["b.jsonl"], &["--partial"]), 0);
    transcript.write("after.jsonl", lines[3..].join("\n") + "\n");
    assert_eq!(verify(&mut transcript, &["after.jsonl"], &[&signed[..], &["--partial"]].concat()), 0);
    let other = {
        let mut head = head;
        head.hash.0[0] ^= 1;
        head
    };
    transcript.write("other-heads.jsonl", signer.sign(other));
    assert_eq!(
        verify(&mut transcript, &["a.jsonl", "b.jsonl"], &["--public-key", "key.pem", "--heads", "other-heads.jsonl"]),
        65
    );
    let mut fifth = audit_log(5).1;
    fifth.hash.0[0] ^= 1;
    transcript.write("fifth.jsonl", signer.sign(fifth));
    let contradicted = ["--public-key", "key.pem", "--heads", "fifth.jsonl", "--partial"];
    assert_eq!(verify(&mut transcript, &["b.jsonl"], &contradicted), 65, "what a signed head contradicts is not taken on trust");
    transcript.matches("audit-offline");
}

#[test]
fn heads_that_another_key_signed_prove_nothing() {
    let mut transcript = Transcript::alone();
    let (lines, head) = audit_log(2);
    transcript.write("log.jsonl", lines.join("\n") + "\n");
    transcript.write("key.pem", Signer::new().pem());
    transcript.write("heads.jsonl", Signer::new().sign(head));
    transcript.write("no-key.pem", "hello");
    let mut verify = |more: &[&str]| transcript.run(&[&["audit", "verify", "log.jsonl"], more].concat()).exit;
    assert_eq!(verify(&["--public-key", "key.pem", "--heads", "heads.jsonl"]), 65);
    assert_eq!(verify(&["--public-key", "no-key.pem", "--heads", "heads.jsonl"]), 65);
    assert_eq!(verify(&["--public-key", "key.pem", "--heads", "nowhere"]), 66);
    assert_eq!(verify(&["--public-key", "key.pem"]), 64);
    assert_eq!(transcript.run(&["audit", "verify", "nowhere.jsonl"]).exit, 66);
    transcript.matches("error-audit-offline");
}
