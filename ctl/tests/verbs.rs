//! What every verb prints, as text and as JSON.

use crate::agent::no_admin;
use crate::answers::{REVOCATION_ID, SERIAL, healthy};
use crate::transcript::Transcript;

fn both(transcript: &mut Transcript, arguments: &[&str]) {
    transcript.run(arguments);
    transcript.run(&[arguments, &["--json"]].concat());
}

#[test]
fn the_agents_state_is_shown() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["status"]);
    both(&mut transcript, &["ca", "status"]);
    transcript.matches("status");
}

#[test]
fn the_caller_learns_who_it_is_and_why() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["whoami"]);
    both(&mut transcript, &["explain", "--pid", "4711"]);
    assert_eq!(transcript.agent.as_ref().unwrap().last().body, r#"{"pid":4711,"uid":null,"gid":null}"#);
    transcript.run(&["explain", "--uid", "33", "--gid", "4"]);
    assert_eq!(transcript.agent.as_ref().unwrap().last().body, r#"{"pid":null,"uid":33,"gid":4}"#);
    transcript.matches("whoami");
}

#[test]
fn alarms_renewals_and_events_are_looked_at_again_and_again() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["top", "-n", "1"]);
    transcript.matches("top");
    let twice = Transcript::with(healthy).run(&["top", "-n", "2", "--every", "10ms", "--json"]);
    assert_eq!((twice.exit, twice.out.lines().count()), (0, 2));
    assert!(twice.out.lines().last().unwrap().contains("\"events_per_second\":0.0"));
}

#[test]
fn identities_are_listed_for_an_administrator() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["identity", "list"]);
    both(&mut transcript, &["identity", "show", "web"]);
    transcript.matches("identity");
}

#[test]
fn a_caller_who_is_no_administrator_sees_its_own() {
    let mut transcript = Transcript::with(|asked| if asked.socket == "admin.sock" { no_admin() } else { healthy(asked) });
    both(&mut transcript, &["identity", "list"]);
    both(&mut transcript, &["identity", "show", "web"]);
    both(&mut transcript, &["secret", "list"]);
    both(&mut transcript, &["secret", "show", "db-password"]);
    assert_eq!(transcript.agent.as_ref().unwrap().last().socket, "agent.sock");
    transcript.matches("not-an-administrator");
}

#[test]
fn certificates_are_listed_rotated_and_revoked() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["cert", "list"]);
    both(&mut transcript, &["cert", "show", SERIAL]);
    both(&mut transcript, &["cert", "rotate", "web"]);
    assert_eq!(transcript.agent.as_ref().unwrap().last().line, "POST /api/admin/rotate");
    both(&mut transcript, &["cert", "revoke", "--serial", SERIAL]);
    transcript.run(&["cert", "revoke", "--identity", "web"]);
    transcript.run(&["cert", "revoke", "--intermediate", &"ab".repeat(32)]);
    let body = transcript.agent.as_ref().unwrap().last().body;
    assert_eq!(body, format!(r#"{{"serial":null,"identity":null,"intermediate":"{}","issuer":null}}"#, "ab".repeat(32)));
    both(&mut transcript, &["ca", "rotate", "root", "--overlap", "30s"]);
    assert_eq!(transcript.agent.as_ref().unwrap().last().body, r#"{"issuer":"root","overlap_seconds":30}"#);
    transcript.run(&["ca", "rotate", "intermediate"]);
    transcript.matches("cert");
}

#[test]
fn trust_is_printed_as_pem() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["bundle"]);
    both(&mut transcript, &["crl"]);
    transcript.matches("trust");
}

#[test]
fn secrets_are_sealed_from_standard_input_and_from_a_file() {
    let mut transcript = Transcript::with(healthy);
    transcript.run_with_input(&["secret", "seal", "db-password"], "hunter2\n");
    assert_eq!(transcript.agent.as_ref().unwrap().last().body, r#"{"value":"aHVudGVyMgo="}"#);
    transcript.run_with_input(&["secret", "seal", "db-password", "--trim", "--json"], "hunter2\n");
    assert_eq!(transcript.agent.as_ref().unwrap().last().body, r#"{"value":"aHVudGVyMg=="}"#);
    let file = transcript.write("value", [0xff, 0]);
    transcript.run_silently(&["secret", "seal", "stray", "--file", file.to_str().unwrap()], "");
    assert_eq!(transcript.agent.as_ref().unwrap().last().body, r#"{"value":"/wA="}"#);
    transcript.run_with_input(&["secret", "seal", "stray"], "x");
    both(&mut transcript, &["secret", "list"]);
    both(&mut transcript, &["secret", "show", "db-password"]);
    both(&mut transcript, &["secret", "rm", "db-password"]);
    transcript.matches("secret");
}

#[test]
fn tokens_are_minted_and_revoked_by_the_agent() {
    let mut transcript = Transcript::with(healthy);
    both(
        &mut transcript,
        &["token", "mint", "--allow", "cert rotate web", "--allow", "secret read *", "--ttl", "1h", "--uid", "33"],
    );
    let body = transcript.agent.as_ref().unwrap().last().body;
    assert_eq!(body, r#"{"allow":["cert rotate web","secret read *"],"ttl_seconds":3600,"uid":33}"#);
    both(&mut transcript, &["token", "revoke", REVOCATION_ID]);
    both(&mut transcript, &["token", "key"]);
    transcript.matches("token-agent");
}

#[test]
fn tunnels_are_listed_with_their_trouble() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["tunnel", "list"]);
    transcript.matches("tunnel");
}

#[test]
fn events_are_printed_as_they_come() {
    let mut transcript = Transcript::with(healthy);
    both(&mut transcript, &["watch", "-n", "2"]);
    transcript.matches("watch");
}

#[test]
fn a_table_fits_a_narrow_terminal() {
    let mut transcript = Transcript::with(healthy);
    transcript.env.push(("COLUMNS", "60".into()));
    for arguments in [["identity", "list"], ["cert", "list"], ["secret", "list"]] {
        let run = transcript.run(&arguments);
        assert!(run.out.lines().all(|line| line.chars().count() <= 60), "{}", run.out);
    }
    transcript.matches("narrow");
}

#[test]
fn there_is_no_colour_without_a_terminal() {
    let transcript = Transcript::with(healthy);
    let status = transcript.run_silently(&["status"], "");
    let refused = transcript.run_silently(&["identity", "show", "nobody"], "");
    assert!(!(status.out + &refused.err).contains('\x1b'));
}

#[test]
fn the_doctor_answers_in_json_and_counts_what_failed() {
    let transcript = Transcript::with(healthy);
    let run = transcript.run_silently(&["doctor", "--json"], "");
    let findings: Vec<serde_json::Value> = serde_json::from_str(&run.out).unwrap();
    assert!(findings.len() >= 16, "{}", run.out);
    let failed = findings.iter().any(|finding| finding["level"] == "fail");
    assert_eq!(run.exit, i32::from(failed), "{}", run.out);
    // The fake host's configuration does not exist, and its alarm is one.
    for check in ["configuration", "alarms"] {
        assert!(findings.iter().any(|finding| finding["check"] == check && finding["level"] == "fail"), "{}", run.out);
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let transcript = Transcript::alone();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"))
        .args(["completions", "bash"])
        .current_dir(transcript.path("run"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(74), 0));
}
