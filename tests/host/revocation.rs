//! Revoking much, by other names, and through a crash.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tests::agent::Agent;
use reverie_tests::http::{exchange, request};
use reverie_tests::programs::{text, wait_until};
use serde_json::json;

/// An agent that lets one user ask as fast as he can.
fn unlimited() -> Agent {
    Agent::with_head("[seal]\nmode = \"file\"\n[limits]\nrequests_per_second = 0\n", &Agent::web())
}

/// Has that many certificates issued; returns their serials.
fn issue(agent: &Agent, count: usize) -> BTreeSet<String> {
    let mut stream = UnixStream::connect(agent.agent_socket()).unwrap();
    let one = |_| {
        let answer = exchange(&mut stream, "POST", "/v1/identities/web/certificates", &[], b"{}").ok();
        answer["serial"].as_str().unwrap().to_owned()
    };
    (0..count).map(one).collect()
}

/// Every serial in the published lists, as OpenSSL reads them.
fn listed(agent: &Agent) -> BTreeSet<String> {
    let mut serials = BTreeSet::new();
    for list in pem::parse_many(agent.file("web", "crl.pem")).unwrap() {
        let mut openssl = Command::new("openssl")
            .args(["crl", "-inform", "DER", "-noout", "-text"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        openssl.stdin.take().unwrap().write_all(list.contents()).unwrap();
        let said = openssl.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", text(&said));
        let lines = String::from_utf8(said.stdout).unwrap();
        let of = |line: &str| line.trim().strip_prefix("Serial Number: ").map(str::to_lowercase);
        serials.extend(lines.lines().filter_map(of));
    }
    serials
}

/// Every serial that the audit log's files say is revoked.
fn audited(agent: &Agent) -> BTreeSet<String> {
    let mut serials = BTreeSet::new();
    for entry in std::fs::read_dir(agent.state().join("audit")).unwrap() {
        let text = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned();
        for line in text.lines().filter(|line| line.contains("\"certificate-revoked\"")) {
            let serial = line.split("\"serial\":\"").nth(1).and_then(|rest| rest.get(..32));
            serials.extend(serial.map(str::to_owned));
        }
    }
    serials
}

#[test]
fn an_identity_of_many_certificates_is_revoked_as_a_whole() {
    let mut agent = unlimited();
    agent.start();
    agent.file("web", "tls.key");
    let mut expected = issue(&agent, 300);
    expected.insert(agent.file_serial("web"));
    let revoked = agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    assert_eq!(revoked["serials"].as_array().unwrap().len(), 301);
    wait_until("the files follow", 20, || listed(&agent).len() == 301);
    assert_eq!(listed(&agent), expected);
    assert!(!expected.contains(&agent.file_serial("web")), "what the agent keeps is replaced");
    let again = agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    assert_eq!(again["serials"].as_array().unwrap().len(), 1, "the replacement alone was left");
    assert_eq!(agent.admin_get("/api/admin/status").ok()["alarms"], json!([]));
    agent.stop();
    agent.start();
    wait_until("the lists outlive a restart", 20, || listed(&agent).len() == 302);
}

#[test]
fn a_revocation_that_is_killed_midway_leaves_nothing_revoked_outside_the_lists() {
    let mut agent = unlimited();
    agent.start();
    agent.file("web", "tls.key");
    issue(&agent, 3000);
    // The newest goes first: the kept one will be revoked, and not yet replaced.
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).ok();
    let kept = agent.file_serial("web");
    let socket = agent.admin_socket();
    let asking = std::thread::spawn(move || {
        let body = json!({ "identity": "web" }).to_string();
        std::panic::catch_unwind(|| request(&socket, "POST", "/api/admin/revoke", &[], body.as_bytes()))
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while audited(&agent).is_empty() {
        assert!(Instant::now() < deadline, "nothing is revoked");
        std::thread::sleep(Duration::from_millis(1));
    }
    agent.kill();
    let _ = asking.join();
    agent.start();
    let revoked = audited(&agent);
    println!("{} of 3002 were revoked when the agent was killed", revoked.len());
    assert!(revoked.contains(&kept));
    wait_until("the lists name what is revoked", 20, || listed(&agent) == revoked);
    wait_until("the kept one is replaced", 20, || agent.file_serial("web") != kept);
    agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    wait_until("asked again, it goes on where it stopped", 20, || listed(&agent).len() == 3003);
    assert_eq!(listed(&agent), audited(&agent));
}

#[test]
fn an_intermediate_revoked_by_its_serial_signs_no_more() {
    let mut agent = Agent::with_web();
    agent.start();
    let before = agent.file("web", "tls.crt");
    let chain = pem::parse_many(&before).unwrap();
    let (_, intermediate) = x509_parser::parse_x509_certificate(chain[1].contents()).unwrap();
    let serial = data_encoding::HEXLOWER.encode(intermediate.raw_serial());
    assert!(agent.ctl_ok(&["cert", "revoke", "--serial", &serial]).contains(&serial));
    let status = agent.admin_get("/api/admin/status").ok();
    let states: Vec<_> = status["intermediates"].as_array().unwrap().iter().map(|known| &known["state"]).collect();
    assert_eq!(states, ["revoked", "signing"]);
    let issuer = || pem::parse_many(agent.file("web", "tls.crt")).unwrap().remove(1);
    wait_until("what the agent keeps is under the new one", 15, || issuer() != chain[1]);
    wait_until("the root's list names it", 15, || listed(&agent) == BTreeSet::from([serial.clone()]));
    let again = agent.admin_post("/api/admin/revoke", &json!({ "serial": serial })).problem(404);
    assert!(again.contains("not a certificate in force"), "{again}");
}

#[test]
fn certificates_that_ended_leave_the_register_unless_the_clock_may_be_wrong() {
    let head = "[seal]\nmode = \"file\"\n[limits]\nrequests_per_second = 0\n";
    let mut agent = Agent::with_head(head, &format!("{}ttl = \"5m\"\n", Agent::web()));
    agent.start();
    agent.file("web", "tls.key");
    issue(&agent, 600);
    let recorded = |agent: &Agent| {
        let metrics = agent.admin_get("/metrics").text();
        assert!(metrics.contains("reverie_store_bytes"), "{metrics}");
        let line = metrics.lines().find_map(|line| line.strip_prefix("reverie_certificates_recorded "));
        line.unwrap_or_else(|| panic!("{metrics}")).parse::<f64>().unwrap()
    };
    assert!(recorded(&agent) >= 602.0);
    agent.stop();
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(std::path::Path::new(&library).exists(), "{library} is missing: tests/install.sh brings it");
    agent.set_variable("LD_PRELOAD", &library);
    // After so long an absence it may be the clock that is wrong: what a wrong clock took out could never be revoked.
    agent.set_variable("FAKETIME", "+9d");
    agent.start();
    std::thread::sleep(Duration::from_secs(3));
    assert!(recorded(&agent) >= 602.0);
    agent.kill();
    agent.set_variable("FAKETIME", "+40h");
    agent.start();
    agent.stop();
    agent.set_variable("FAKETIME", "+50h");
    agent.start();
    wait_until("the ended ones are gone", 20, || recorded(&agent) < 10.0);
    agent.post("/v1/identities/web/certificates", &json!({})).ok();
}

#[test]
fn a_misspelt_name_does_not_look_like_a_revocation() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    let said = agent.admin_post("/api/admin/revoke", &json!({ "identity": "wbe" })).problem(404);
    assert!(said.contains("no identity \"wbe\" is declared"), "{said}");
}
