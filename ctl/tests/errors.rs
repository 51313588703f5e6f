//! Every error a person can cause, word for word.

use std::os::unix::fs::PermissionsExt;

use reverie_core::api::{Code, Problem};

use crate::agent::{http, json, problem};
use crate::answers::{SERIAL, healthy};
use crate::transcript::Transcript;

#[test]
fn an_agent_that_cannot_be_reached_is_named() {
    let mut transcript = Transcript::alone();
    assert_eq!(transcript.run(&["whoami"]).exit, 69);
    assert_eq!(transcript.run(&["status", "--json"]).exit, 69);
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(transcript.path("run/agent.sock")).unwrap());
    assert_eq!(transcript.run(&["whoami"]).exit, 69);
    transcript.write("run/admin.sock", "");
    assert_eq!(transcript.run(&["status"]).exit, 69);
    assert_eq!(transcript.run(&["whoami", "--socket", &"x".repeat(120)]).exit, 64);
    transcript.matches("error-unreachable");
}

#[test]
fn a_socket_one_may_not_open_is_a_matter_of_permission() {
    let mut transcript = Transcript::with(healthy);
    transcript.unprivileged = true;
    for name in ["run/agent.sock", "run/admin.sock"] {
        std::fs::set_permissions(transcript.path(name), std::fs::Permissions::from_mode(0o0)).unwrap();
    }
    assert_eq!(transcript.run(&["whoami"]).exit, 77);
    assert_eq!(transcript.run(&["status"]).exit, 77);
    transcript.matches("error-permission");
}

#[test]
fn every_problem_of_the_agent_has_its_exit_code_and_something_to_try() {
    let codes = [
        (Code::Malformed, 65),
        (Code::TooLarge, 65),
        (Code::NotPermitted, 77),
        (Code::BadToken, 77),
        (Code::NotFound, 66),
        (Code::MethodNotAllowed, 70),
        (Code::Conflict, 65),
        (Code::BadRequest, 65),
        (Code::TooMany, 75),
        (Code::CallerGone, 75),
        (Code::Unavailable, 69),
        (Code::Internal, 70),
    ];
    let mut transcript = Transcript::with(move |asked| {
        // The uid asked about chooses the problem.
        let asked: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let (code, _) = codes[asked["uid"].as_u64().unwrap() as usize % 100];
        let mut given = Problem::new(code, format!("the agent says: {code:?}"));
        if asked["uid"].as_u64() > Some(99) {
            given = given.advise("what the agent advises");
        }
        problem(&given)
    });
    for (index, (code, exit)) in codes.iter().enumerate() {
        let run = transcript.run(&["explain", "--uid", &index.to_string()]);
        assert_eq!(run.exit, *exit, "{code:?}");
        assert!(run.err.contains("\ntry: "), "{code:?}: {}", run.err);
    }
    transcript.run(&["explain", "--uid", "104"]);
    transcript.run(&["explain", "--uid", "104", "--json"]);
    transcript.matches("error-problem");
}

#[test]
fn an_answer_that_cannot_be_understood_is_refused() {
    let answers: [(&str, crate::agent::Reply, i32); 10] = [
        ("not json", http(200, "application/json", b"secret-in-the-answer"), 70),
        ("another shape", http(200, "application/json", b"{\"pid\": \"secret-in-the-answer\"}"), 70),
        ("cut off", Some(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()), 75),
        ("no explanation", http(502, "text/html", b"<h1>secret-in-the-answer</h1>"), 70),
        ("half a problem", http(500, "application/problem+json", b"{\"type\":"), 70),
        ("announced too large", Some(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()), 70),
        ("too large", http(200, "application/json", &vec![b' '; (16 << 20) + 1]), 70),
        ("unannounced and too large", Some([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b' '; (16 << 20) + 1]].concat()), 70),
        ("no http", Some(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), 70),
        ("closed", Some(vec![]), 75),
    ];
    let mut all = String::new();
    for (name, answer, exit) in answers {
        let mut transcript = Transcript::with(move |_| answer.clone());
        let run = transcript.run(&["whoami"]);
        assert_eq!(run.exit, exit, "{name}: {}", run.err);
        assert!(!run.err.contains("secret-in-the-answer"), "{name}: {}", run.err);
        all += &format!("# {name}\n{}\n", run.err);
    }
    crate::golden::assert_golden("error-answer", &all);
}

#[test]
fn an_agent_that_never_answers_is_given_up() {
    let mut transcript = Transcript::with(|_| None);
    assert_eq!(transcript.run(&["whoami", "--timeout", "100ms"]).exit, 75);
    transcript.matches("error-silent");
}

#[test]
fn a_stream_that_ends_or_is_refused_says_so() {
    let mut ended = Transcript::with(healthy);
    assert_eq!(ended.run(&["watch"]).exit, 75);
    ended.matches("error-watch-ended");
    let mut refused = Transcript::with(|_| http(200, "text/event-stream", b"data: {\"event\":\"refused\"}\n\n"));
    assert_eq!(refused.run(&["watch"]).exit, 77);
    refused.matches("error-watch-refused");
    let mut strange = Transcript::with(|_| http(200, "text/event-stream", b"data: {\"event\":\"dance\"}\n\n"));
    assert_eq!(strange.run(&["watch"]).exit, 70);
    strange.matches("error-watch-strange");
}

#[test]
fn wrong_arguments_are_named_and_exit_64() {
    let mut transcript = Transcript::alone();
    let wrong: &[&[&str]] = &[
        &[],
        &["fly"],
        &["stats"],
        &["cert"],
        &["cert", "rotat", "web"],
        &["cert", "rotate"],
        &["cert", "rotate", "../etc/passwd"],
        &["cert", "rotate", "web", "--now"],
        &["cert", "show", "xyz"],
        &["cert", "revoke"],
        &["cert", "revoke", "--serial", SERIAL, "--identity", "web"],
        &["cert", "revoke", "--intermediate", "abc"],
        &["ca", "rotate", "leaf"],
        &["ca", "rotate", "intermediate", "--overlap", "1h"],
        &["explain"],
        &["explain", "--pid", "0"],
        &["explain", "--pid", "1", "--uid", "1"],
        &["explain", "--gid", "1"],
        &["status", "--timeout", "soon"],
        &["status", "--timeout", "0s"],
        &["status", "--user"],
        &["secret", "seal", "a/b"],
        &["secret", "seal", "name", "the-value"],
        &["token", "mint", "--ttl", "1h"],
        &["token", "mint", "--allow", "cert fly web", "--ttl", "1h"],
        &["token", "attenuate"],
        &["token", "revoke", "nonsense"],
        &["identity", "add", "web"],
        &["identity", "add", "web", "--match", "uid"],
        &["identity", "add", "web", "--match", "uid=1", "--ttl", "soon"],
        &["identity", "add", "web", "--match", "uid=1", "--spiffe-id", "http://x"],
        &["identity", "add", "web", "--match", "uid=1", "--dns", "127.0.0.1"],
        &["audit", "verify", "--heads", "x"],
        &["init", "--trust-domain", "Example Org"],
        &["completions", "tcsh"],
    ];
    for arguments in wrong {
        let run = transcript.run(arguments);
        assert_eq!(run.exit, 64, "{arguments:?}: {}", run.err);
        assert!(run.err.starts_with("agentctl: ") && run.err.contains("\ntry: "), "{arguments:?}: {}", run.err);
    }
    transcript.run(&["fly", "--json"]);
    transcript.matches("error-usage");
}

#[test]
fn a_name_that_the_agent_does_not_know_is_no_input() {
    let mut transcript = Transcript::with(healthy);
    assert_eq!(transcript.run(&["identity", "show", "nobody"]).exit, 66);
    assert_eq!(transcript.run(&["cert", "show", &SERIAL.replace("4a", "4b")]).exit, 66);
    assert_eq!(transcript.run(&["secret", "show", "nothing"]).exit, 66);
    transcript.matches("error-unknown");
}

#[test]
fn a_secret_that_is_empty_too_large_or_not_there_is_not_sealed() {
    let mut transcript = Transcript::with(healthy);
    assert_eq!(transcript.run(&["secret", "seal", "db-password"]).exit, 65);
    assert_eq!(transcript.run_with_input(&["secret", "seal", "db-password"], &"x".repeat(65_537)).exit, 65);
    assert_eq!(transcript.run(&["secret", "seal", "db-password", "--file", "nowhere"]).exit, 66);
    assert!(transcript.agent.as_ref().unwrap().seen().is_empty());
    transcript.matches("error-secret");
}

#[test]
fn a_damaged_page_of_the_audit_log_is_not_asked_for_again() {
    let mut transcript = Transcript::with(|asked| {
        let (lines, head) = crate::answers::audit_log(3);
        let damaged = reverie_core::api::admin::AuditLines { lines: vec![lines[0].replace("seq", "sqe")], head };
        if asked.line.contains("audit") { json(&damaged) } else { None }
    });
    assert_eq!(transcript.run(&["audit", "tail"]).exit, 65);
    assert_eq!(transcript.run(&["audit", "export"]).exit, 65);
    transcript.matches("error-audit-page");
}
