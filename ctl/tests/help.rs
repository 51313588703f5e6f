//! The help of every verb, its manual page and its completion.

use crate::transcript::Transcript;

const VERBS: &[&str] = &[
    "",
    "init",
    "status",
    "doctor",
    "whoami",
    "explain",
    "identity",
    "identity list",
    "identity show",
    "identity add",
    "identity rm",
    "cert",
    "cert list",
    "cert show",
    "cert issue",
    "cert rotate",
    "cert revoke",
    "ca",
    "ca status",
    "ca rotate",
    "bundle",
    "crl",
    "secret",
    "secret seal",
    "secret list",
    "secret show",
    "secret rm",
    "token",
    "token mint",
    "token attenuate",
    "token inspect",
    "token verify",
    "token revoke",
    "token key",
    "watch",
    "mesh",
    "mesh status",
    "mesh peers",
    "mesh init",
    "mesh invite",
    "mesh join",
    "mesh promote",
    "mesh evict",
    "mesh readmit",
    "mesh leave",
    "mesh rotate",
    "mesh resume",
    "mesh limits",
    "mesh envelope",
    "mesh envelope keygen",
    "mesh envelope seal",
    "mesh envelope open",
    "mesh envelope inspect",
    "client",
    "client put",
    "client rm",
    "tunnel",
    "tunnel list",
    "audit",
    "audit tail",
    "audit verify",
    "audit export",
    "config",
    "config check",
    "config show",
    "config schema",
    "bench",
    "bench whoami",
    "bench issue",
    "bench envelope",
    "bench converge",
    "bench merge",
    "completions",
    "man",
    "openapi",
];

#[test]
fn every_verb_has_its_help() {
    let mut transcript = Transcript::alone();
    // Once whole; the options for all verbs are the same everywhere.
    transcript.run(&["--help"]);
    for verb in VERBS.iter().filter(|verb| !verb.is_empty()) {
        let arguments: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let run = transcript.run(&arguments);
        assert_eq!((run.exit, run.err.as_str()), (0, ""), "{verb}");
        assert!(run.out.contains("--json"), "{verb} has no --json");
    }
    transcript.matches("help");
}

#[test]
fn every_verb_has_a_manual_page() {
    let transcript = Transcript::alone();
    let run = transcript.run_silently(&["man", "--dir", "man"], "");
    assert_eq!(run.exit, 0, "{}", run.err);
    for verb in VERBS {
        let name = format!("agentctl {verb}").trim_end().replace(' ', "-");
        let page = std::fs::read_to_string(transcript.path("man").join(format!("{name}.1"))).unwrap_or_default();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}.1");
    }
    let again = transcript.run_silently(&["man"], "");
    assert_eq!(again.out, transcript.run_silently(&["man"], "").out, "the same sources give the same page");
}

#[test]
fn every_shell_has_its_completions() {
    let transcript = Transcript::alone();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = transcript.run_silently(&["completions", shell], "");
        assert!(run.exit == 0 && run.out.contains("attenuate") && run.out.contains("readmit"), "{shell}: {}", run.err);
    }
}

#[test]
fn the_api_and_the_configuration_are_described_without_an_agent() {
    let transcript = Transcript::alone();
    for (arguments, word) in [(&["openapi"][..], "/v1/whoami"), (&["config", "schema"], "trust_domain")] {
        let run = transcript.run_silently(arguments, "");
        let document: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        assert!(document.to_string().contains(word), "{arguments:?}");
    }
}
