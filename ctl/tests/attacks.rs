//! What a hostile agent, file or caller could try through `agentctl`.

use reverie_core::api::{Code, Problem};

use crate::agent::{json, problem};
use crate::answers::{healthy, status};
use crate::transcript::Transcript;

const DRIVES_A_TERMINAL: &str = "x\x1b]0;owned\x07\u{9b}2J\u{202e}y\r\nz";

fn assert_harmless(text: &str) {
    assert!(text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{text:?}");
    assert!(text.contains("owned"), "{text:?}");
}

#[test]
fn the_agents_data_cannot_drive_the_terminal() {
    let transcript = Transcript::with(|_| {
        let mut hostile = status();
        hostile.node_id = DRIVES_A_TERMINAL.into();
        hostile.alarms[0].message = DRIVES_A_TERMINAL.into();
        hostile.roots[0].state = DRIVES_A_TERMINAL.into();
        json(&hostile)
    });
    for arguments in [&["status"][..], &["status", "--json"], &["ca", "status"], &["ca", "status", "--json"]] {
        assert_harmless(&transcript.run_silently(arguments, "").out);
    }
}

#[test]
fn the_agents_errors_cannot_drive_the_terminal() {
    let transcript = Transcript::with(|_| problem(&Problem::new(Code::Internal, DRIVES_A_TERMINAL).advise(DRIVES_A_TERMINAL)));
    for arguments in [&["whoami"][..], &["whoami", "--json"]] {
        assert_harmless(&transcript.run_silently(arguments, "").err);
    }
}

#[test]
fn a_secret_reaches_the_agent_and_nobody_else() {
    let transcript = Transcript::with(healthy);
    let run = transcript.run_silently(&["secret", "seal", "db-password"], "correct-horse-battery");
    assert_eq!(run.exit, 0);
    assert!(!(run.out + &run.err).contains("correct-horse"));
    let body = transcript.agent.as_ref().unwrap().last().body;
    assert!(body.contains("Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"), "{body}");
}

#[test]
fn a_token_goes_to_the_agent_socket_and_is_never_shown() {
    let mut transcript = Transcript::with(healthy);
    transcript.env.push(("REVERIE_TOKEN", "c2VjcmV0LXRva2Vu".into()));
    let verbs: &[(&[&str], &str)] = &[
        (&["cert", "rotate", "web"], "POST /v1/identities/web/rotate"),
        (&["cert", "revoke", "--identity", "web"], "POST /v1/identities/web/revoke"),
        (&["cert", "issue", "web"], "POST /v1/identities/web/certificates"),
        (&["secret", "show", "db-password"], "GET /v1/secrets/db-password"),
    ];
    for (arguments, line) in verbs {
        let run = transcript.run_silently(arguments, "");
        assert_eq!(run.exit, 0, "{}", run.err);
        let asked = transcript.agent.as_ref().unwrap().last();
        assert_eq!((asked.socket.as_str(), asked.line.as_str()), ("agent.sock", *line));
        assert_eq!(asked.authorization.as_deref(), Some("Biscuit c2VjcmV0LXRva2Vu"));
        assert!(!(run.out + &run.err).contains("c2VjcmV0"));
    }
}

#[test]
fn a_token_for_the_local_socket_is_not_sent_to_administration() {
    let mut transcript = Transcript::with(healthy);
    transcript.env.push(("REVERIE_TOKEN", "c2VjcmV0LXRva2Vu".into()));
    transcript.run_silently(&["status"], "");
    assert_eq!(transcript.agent.as_ref().unwrap().last().authorization, None);
}

#[test]
fn a_token_that_could_forge_a_header_is_refused() {
    let mut transcript = Transcript::with(healthy);
    let file = transcript.write("token", "abc\r\nX-Admin: yes\n");
    let run = transcript.run(&["cert", "rotate", "web", "--token-file", file.to_str().unwrap()]);
    assert_eq!(run.exit, 65);
    assert!(transcript.agent.as_ref().unwrap().seen().is_empty());
}
