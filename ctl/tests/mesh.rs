//! The verbs of the mesh, as people see them.

use std::time::Duration;

use reverie_core::api::admin::Health;
use reverie_core::api::mesh::{Invited, MeshStatus};
use reverie_core::api::{Code, Problem};
use reverie_core::moment::Moment;
use serde_json::{Value, json};

use crate::agent::{Asked, Reply, json as reply, problem};
use crate::answers::day;
use crate::transcript::Transcript;

/// So long ago that the age reads the same for the whole test.
fn hours_ago(hours: u64) -> Moment {
    Moment::from(time::OffsetDateTime::now_utc()).before(Duration::from_secs(hours * 3_600 + 1_800))
}

fn host(number: u8, state: &str, standing: Option<&str>) -> Value {
    let name = format!("host{number}.example.org");
    json!({
        "node_id": name, "standing": standing, "state": state, "addresses": [format!("{name}:7438")],
        "agent_version": "0.1.0", "signing_kid": format!("{number}f").repeat(20), "last_sync": null, "in_sync": null,
        "clock_offset_ms": null, "round_trip_ms": null, "failures": 0, "last_error": null, "intermediate_ends": null, "wrapping_key": 3,
    })
}

fn well() -> Value {
    let peer = |number, standing| {
        let mut peer = host(number, "alive", Some(standing));
        peer["last_sync"] = json!(hours_ago(3));
        peer["in_sync"] = json!(true);
        peer["clock_offset_ms"] = json!(-4);
        peer["round_trip_ms"] = json!(2);
        peer
    };
    json!({
        "trust_domain": "example.org", "node_id": "host1.example.org", "state": "authority", "mesh": "8f14e45fceea167a5a36dedd4bea2543",
        "digest": "9a0364b9e99bb480dd25e1f0284c8555".repeat(2), "records": 118, "record_bytes": 45_321,
        "counts": { "clients": 12, "nodes": 3, "scopes": 0 }, "wrapping_key": 3, "newest_wrapping_key": 3,
        "intermediate_ends": "2099-03-01T00:00:00Z", "listen": ["[::]:7438"], "admission": "admissions",
        "hosts": [host(1, "self", Some("authority")), peer(2, "authority"), peer(3, "member")],
    })
}

/// Everything at once.
fn ill() -> Value {
    let mut status = well();
    status["state"] = json!("cloned");
    status["wrapping_key"] = json!(2);
    status["intermediate_ends"] = json!("2026-01-02T00:00:00Z");
    status["admission"] = json!("static and topology");
    status["topology_at"] = json!("2026-01-01T00:00:00Z");
    status["topology_error"] = json!("ldap://ipa1.example.org did not answer within 10 s");
    status["held_back"] = json!({ "host4.example.org": 7 });
    let hosts = &mut status["hosts"];
    hosts[1]["state"] = json!("down");
    hosts[1]["failures"] = json!(12);
    hosts[1]["last_error"] = json!("connection refused");
    hosts[2]["in_sync"] = json!(false);
    let mut fast = host(4, "suspect", Some("member"));
    fast["clock_offset_ms"] = json!(45_000);
    fast["evidence"] = json!(["two histories from (1767225600000, 4)"]);
    let rest = [fast, host(5, "not-allowed", Some("member")), host(6, "no-key", Some("member")), host(7, "evicted", None)];
    hosts.as_array_mut().unwrap().extend(rest);
    status
}

fn none() -> Value {
    json!({
        "trust_domain": "example.org", "node_id": "host1.example.org", "state": "none", "records": 0, "record_bytes": 0, "counts": {},
        "wrapping_key": null, "newest_wrapping_key": null, "intermediate_ends": null, "listen": [], "admission": "admissions", "hosts": [],
    })
}

fn status(value: Value) -> Reply {
    reply(&serde_json::from_value::<MeshStatus>(value).unwrap())
}

fn healthy(asked: &Asked) -> Reply {
    let (method, path) = asked.line.split_once(' ').unwrap();
    match (method, path) {
        ("POST", "/api/admin/mesh/invites" | "/api/admin/mesh/readmit") => reply(&Invited {
            token: "rvj1.b25lLXRpbWUtdG9rZW4".into(),
            expires_at: day(1),
            addresses: vec!["host1.example.org:7438".into()],
        }),
        (_, path) if path.starts_with("/api/admin/clients/") => reply(&Health { ok: true, why: None }),
        (_, path) if path.starts_with("/api/admin/mesh") => status(well()),
        _ => crate::answers::healthy(asked),
    }
}

fn body(transcript: &Transcript) -> Value {
    serde_json::from_str(&transcript.agent.as_ref().unwrap().last().body).unwrap()
}

fn line(transcript: &Transcript) -> String {
    transcript.agent.as_ref().unwrap().last().line
}

#[test]
fn a_mesh_that_is_well_says_so_in_its_first_line() {
    let mut transcript = Transcript::with(healthy);
    assert!(transcript.run(&["mesh", "status"]).out.starts_with("well · 3 of 3 hosts alive\n"));
    assert!(transcript.run(&["mesh", "peers"]).out.starts_with("well · 3 of 3 hosts alive\n"));
    let shown = transcript.run_silently(&["mesh", "status", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&shown.out).unwrap()["hosts"].as_array().unwrap().len(), 3);
    transcript.matches("mesh-well");
}

#[test]
fn a_mesh_that_is_not_well_says_what_is_wrong_and_what_to_try() {
    let mut transcript = Transcript::with(|_| status(ill()));
    transcript.run(&["mesh", "status"]);
    transcript.run(&["mesh", "peers"]);
    transcript.matches("mesh-ill");
}

#[test]
fn a_host_in_no_mesh_says_how_to_found_or_join_one() {
    let mut transcript = Transcript::with(|_| status(none()));
    transcript.run(&["mesh", "status"]);
    transcript.run(&["mesh", "peers"]);
    transcript.matches("mesh-none");
}

#[test]
fn the_peers_fit_a_narrow_terminal() {
    let mut transcript = Transcript::with(|_| status(ill()));
    transcript.env.push(("COLUMNS", "72".into()));
    let run = transcript.run(&["mesh", "peers"]);
    let table: Vec<&str> = run.out.lines().skip(2).take_while(|line| !line.is_empty()).collect();
    assert!(table.iter().all(|line| line.chars().count() <= 72), "{}", run.out);
    transcript.matches("mesh-narrow");
}

#[test]
fn the_mesh_is_changed_by_verbs() {
    let mut transcript = Transcript::with(healthy);
    transcript.run(&["mesh", "init"]);
    assert_eq!(body(&transcript), json!({ "trust_domain": null }));
    transcript.run(&["mesh", "init", "--trust-domain", "example.org"]);
    assert_eq!(body(&transcript), json!({ "trust_domain": "example.org" }));
    transcript.run(&["mesh", "promote", "host2.example.org", "--yes"]);
    assert_eq!(
        (line(&transcript).as_str(), body(&transcript)["node_id"].as_str().unwrap()),
        ("POST /api/admin/mesh/promote", "host2.example.org")
    );
    transcript.run(&["mesh", "promote", "host3.example.org"]);
    transcript.run(&["mesh", "evict", "host3.example.org", "--reason", "stolen"]);
    assert_eq!(body(&transcript), json!({ "node_id": "host3.example.org", "reason": "stolen" }));
    transcript.run(&["mesh", "leave"]);
    assert_eq!(line(&transcript), "POST /api/admin/mesh/leave");
    transcript.run(&["mesh", "rotate", "wrapping-key"]);
    assert_eq!(body(&transcript), json!({ "what": "wrapping-key" }));
    transcript.run(&["mesh", "rotate", "host-keys"]);
    assert_eq!(body(&transcript), json!({ "what": "host-keys" }));
    transcript.run(&["mesh", "resume"]);
    assert_eq!(line(&transcript), "POST /api/admin/mesh/resume");
    transcript.run(&[
        "mesh",
        "limits",
        "host3.example.org",
        "--dns",
        "web.example.org",
        "--address",
        "192.168.0.0/16",
        "--spiffe",
        "/svc/web",
    ]);
    assert_eq!(line(&transcript), "PUT /api/admin/mesh/limits/host3.example.org");
    transcript.run(&["client", "put", "grafana", "--name", "Grafana"]);
    assert_eq!(
        (line(&transcript).as_str(), body(&transcript)),
        ("PUT /api/admin/clients/grafana", json!({ "display_name": "Grafana" }))
    );
    transcript.run(&["client", "rm", "grafana"]);
    transcript.matches("mesh-changes");
}

#[test]
fn a_token_is_one_line_of_output_so_that_it_can_be_piped() {
    let mut transcript = Transcript::with(healthy);
    let run = transcript.run(&["mesh", "invite", "host4.example.org"]);
    assert_eq!(run.out, "rvj1.b25lLXRpbWUtdG9rZW4\n");
    assert_eq!(body(&transcript), json!({ "node_id": "host4.example.org", "ttl_seconds": 600, "limits": null }));
    transcript.run(&["mesh", "invite", "host4.example.org", "--ttl", "1h", "--dns", "web.example.org", "--address", "10.1.2.3"]);
    assert_eq!(body(&transcript)["limits"]["spiffe"], json!(["/"]));
    transcript.run(&["mesh", "readmit", "host3.example.org"]);
    assert_eq!(line(&transcript), "POST /api/admin/mesh/readmit");
    transcript.run(&["mesh", "invite", "host4.example.org", "--json"]);
    transcript.matches("mesh-invite");
}

#[test]
fn a_token_is_read_from_standard_input_and_never_shown() {
    let mut transcript = Transcript::with(healthy);
    let run = transcript.run_with_input(&["mesh", "join", "Host1.example.org"], "rvj1.c2VjcmV0\n");
    assert!(!(run.out + &run.err).contains("c2VjcmV0"));
    assert_eq!(body(&transcript), json!({ "address": "host1.example.org:7438", "token": "rvj1.c2VjcmV0" }));
    transcript.run(&["mesh", "join", "host1.example.org:99", "--kerberos"]);
    assert_eq!(body(&transcript), json!({ "address": "host1.example.org:99", "token": null }));
    transcript.matches("mesh-join");
}

#[test]
fn what_is_wrong_with_an_order_is_said_before_it_is_sent() {
    let mut transcript = Transcript::with(healthy);
    let wrong: &[(&[&str], i32)] = &[
        (&["mesh"], 64),
        (&["mesh", "invit", "host4.example.org"], 64),
        (&["mesh", "init", "--trust-domain", "Example Org"], 64),
        (&["mesh", "invite"], 64),
        (&["mesh", "invite", "Host 4"], 64),
        (&["mesh", "invite", "host4.example.org", "--ttl", "8d"], 64),
        (&["mesh", "invite", "host4.example.org", "--ttl", "500ms"], 64),
        (&["mesh", "invite", "host4.example.org", "--address", "10.1.2.3/16"], 64),
        (&["mesh", "invite", "host4.example.org", "--address", "everything"], 64),
        (&["mesh", "invite", "host4.example.org", "--spiffe", "svc"], 64),
        (&["mesh", "invite", "host4.example.org", "--dns", "10.0.0.1"], 64),
        (&["mesh", "invite", "host4.example.org", "--dns", "a.example.org", "--no-dns"], 64),
        (&["mesh", "invite", "host4.example.org", "--token-subject", ""], 64),
        (&["mesh", "join"], 64),
        (&["mesh", "join", "https://host1"], 64),
        (&["mesh", "join", "host1.example.org", "the-token"], 64),
        (&["mesh", "join", "host1.example.org"], 65),
        (&["mesh", "promote"], 64),
        (&["mesh", "evict", "host2", "--reason", ""], 64),
        (&["mesh", "rotate"], 64),
        (&["mesh", "rotate", "everything"], 64),
        (&["mesh", "limits"], 64),
        (&["client", "put", "a/b"], 64),
        (&["client", "rm"], 64),
    ];
    for (arguments, exit) in wrong {
        let run = transcript.run(arguments);
        assert_eq!(run.exit, *exit, "{arguments:?}: {}", run.err);
        assert!(run.err.starts_with("agentctl: ") && run.err.contains("\ntry: "), "{arguments:?}: {}", run.err);
    }
    let large = transcript.run_silently(&["mesh", "join", "host1.example.org"], &"x".repeat(65_537));
    assert_eq!(large.exit, 65, "{}", large.err);
    assert!(transcript.agent.as_ref().unwrap().seen().is_empty());
    transcript.matches("error-mesh-usage");
}

#[test]
fn what_the_agent_refuses_is_shown_with_its_advice() {
    let mut transcript = Transcript::with(|_| {
        problem(
            &Problem::new(Code::Unavailable, "no authority can be reached").advise("try again when host1.example.org is back"),
        )
    });
    for arguments in
        [&["mesh", "status"][..], &["mesh", "peers"], &["mesh", "evict", "host2.example.org"], &["client", "put", "x"]]
    {
        assert_eq!(transcript.run(arguments).exit, 69, "{arguments:?}");
    }
    transcript.matches("error-mesh-refused");
}

#[test]
fn what_a_peer_says_cannot_drive_the_terminal() {
    let transcript = Transcript::with(|_| {
        let mut hostile = ill();
        hostile["hosts"][1]["last_error"] = json!("x\u{1b}]0;owned\u{7}\u{202e}y\r\nz");
        hostile["hosts"][1]["agent_version"] = json!("\u{1b}[2Jowned");
        status(hostile)
    });
    for verb in ["status", "peers"] {
        let run = transcript.run_silently(&["mesh", verb], "");
        assert!(run.out.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{:?}", run.out);
        assert!(run.out.contains("owned"), "{}", run.out);
    }
}

/// Runs it with a terminal for standard input, types, and returns what it said on standard error, and how it ended.
fn typed(transcript: &Transcript, arguments: &[&str], keys: &str) -> (String, i32) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentctl"));
    command.args(["--run-dir"]).arg(transcript.path("run")).args(arguments).env("NO_COLOR", "1");
    command.stdin(terminal.slave).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    nix::unistd::write(&terminal.master, keys.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[test]
fn what_cannot_be_taken_back_is_asked_about_on_a_terminal() {
    let transcript = Transcript::with(healthy);
    let destructive: &[&[&str]] = &[
        &["mesh", "promote", "host2.example.org"],
        &["mesh", "evict", "host2.example.org"],
        &["mesh", "readmit", "host2.example.org"],
        &["mesh", "leave"],
        &["mesh", "resume"],
    ];
    for arguments in destructive {
        let (said, exit) = typed(&transcript, arguments, "n\n");
        assert!(said.contains("[y/N]") && said.contains("nothing was done") && exit == 75, "{arguments:?}: {said}");
        assert!(transcript.agent.as_ref().unwrap().seen().is_empty(), "{arguments:?} was sent all the same");
    }
    let before = destructive.len();
    for (index, arguments) in destructive.iter().enumerate() {
        let (said, exit) = typed(&transcript, arguments, "y\n");
        assert_eq!((exit, transcript.agent.as_ref().unwrap().seen().len()), (0, index + 1), "{arguments:?}: {said}");
        let (said, exit) = typed(&transcript, &[arguments, &["--yes"][..]].concat(), "");
        assert!(exit == 0 && !said.contains("[y/N]"), "{arguments:?}: {said}");
        transcript.agent.as_ref().unwrap().forget(1);
    }
    assert_eq!(transcript.agent.as_ref().unwrap().seen().len(), before);
}
