//! Refusals: each is answered; how many become events is bounded.

use std::os::unix::net::UnixStream;

use reverie_tests::agent::Agent;
use reverie_tests::http::{exchange, request};
use reverie_tests::programs::{output, run, text, wait_until};
use serde_json::{Value, json};

/// Every event of the audit log, from its files.
fn events(agent: &Agent) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(agent.state().join("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("audit-"));
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone()).collect::<Vec<_>>()
        })
        .collect()
}

fn denials(agent: &Agent) -> Vec<Value> {
    events(agent).into_iter().filter(|event| event["kind"] == "request-denied").collect()
}

#[test]
fn a_flood_of_refusals_is_answered_recorded_in_a_few_events_and_counted() {
    let mut agent = Agent::with_web();
    agent.start();
    let mut stream = UnixStream::connect(agent.agent_socket()).unwrap();
    for _ in 0..1000 {
        assert_eq!(exchange(&mut stream, "GET", "/v1/identities/theirs", &[], b"").status, 403);
    }
    agent.post("/v1/identities/web/certificates", &json!({})).ok();
    agent.stop();
    let denials = denials(&agent);
    assert!((21..100).contains(&denials.len()), "{} events", denials.len());
    let counted = denials.iter().filter_map(|event| event["reason"].as_str()?.split_once(" more denied to uid "));
    let counted: usize = counted.map(|(count, _)| count.parse::<usize>().unwrap() - 1).sum();
    assert_eq!(counted + denials.len(), 1000, "none is lost");
    assert!(events(&agent).iter().any(|event| event["kind"] == "certificate-issued"));
}

/// Its child connects and ends; then it asks on that connection.
const ORPHAN: &str = r#"
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
if os.fork() == 0:
    s.connect(sys.argv[1]); s.sendall(b"GET /v1/bundle HTTP/1.1\r\nhost: x\r\n\r\n"); s.recv(65536); os._exit(0)
os.wait()
s.sendall(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
print(s.recv(65536).split(b"\r\n")[0].decode())
"#;

#[test]
fn every_kind_of_refusal_is_recorded() {
    let mut agent = Agent::with_web();
    agent.start();
    let fixed = ["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj"];
    let csr = |arguments: &[&str]| run("openssl", &[&fixed, arguments].concat());
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let issue = "/v1/identities/web/certificates";
    for request in [
        csr(&[&["/", "-addext", "subjectAltName=DNS:db.example.org"], &p256[..]].concat()),
        csr(&[&["/CN=db.example.org"], &p256[..]].concat()),
        csr(&["/", "-newkey", "rsa:1024"]),
    ] {
        agent.post(issue, &json!({ "csr": request })).problem(422);
    }
    request(&agent.agent_socket(), "GET", "/v1/whoami", &[("authorization", "Basic dXNlcg==")], b"").problem(401);
    let orphan = output("python3", &["-c", ORPHAN, agent.agent_socket().to_str().unwrap()]);
    assert_eq!(text(&orphan), "HTTP/1.1 403 Forbidden\n");
    for expected in [
        ("POST /v1/identities/web/certificates", "DNSName(db.example.org)"),
        ("POST /v1/identities/web/certificates", "common name \"db.example.org\""),
        ("POST /v1/identities/web/certificates", "RSA of 1024 bits"),
        ("GET /v1/whoami", "Authorization header"),
        ("GET /v1/whoami", "has ended"),
    ] {
        let (object, reason) = expected;
        let is_it = |event: &Value| {
            event["subject"]["object"] == object && event["reason"].as_str().is_some_and(|why| why.contains(reason))
        };
        assert!(denials(&agent).iter().any(is_it), "{expected:?} in {:#?}", denials(&agent));
    }
}

#[test]
fn a_caller_that_cannot_be_attested_is_recorded_and_a_wedged_warden_is_replaced() {
    let mut agent = Agent::with_web();
    agent.start();
    // It has greeted once it has published.
    agent.file("web", "tls.key");
    let warden = run("pgrep", &["--parent", &agent.pid().to_string(), "--full", "role warden"]);
    run("kill", &["-STOP", warden.trim()]);
    agent.get("/v1/whoami").problem(503);
    wait_until("another warden takes its place", 40, || agent.get("/v1/whoami").status == 200);
    run("kill", &["-CONT", warden.trim()]);
    assert!(agent.log().contains("the warden does not answer, another one is started"), "{}", agent.log());
    assert_eq!(agent.admin_get("/api/admin/status").ok()["alarms"], json!([]), "and that is over");
    let denials = denials(&agent);
    assert_eq!(denials[0]["subject"]["object"], "connection to agent.sock");
    assert_eq!((&denials[0]["outcome"], &denials[0]["actor"]["pid"]), (&json!("failed"), &json!(std::process::id())));
}
