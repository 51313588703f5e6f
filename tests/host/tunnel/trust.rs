//! Who is let in, and who is put out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use reverie_tests::mesh::{TRUST_DOMAIN, name};
use reverie_tests::programs::{text, wait_until};
use serde_json::{Value, json};

use super::{PORT, Pair, ask, echo, far, is_refused, near};

const NEAR: &str = "tcp:127.0.0.1:7000";
const FAR: &str = "tcp:127.0.0.1:7001";

fn events(pair: &Pair, host: usize) -> Vec<Value> {
    let directory = std::fs::read_dir(pair.mesh.host(host).agent.state().join("audit")).unwrap();
    let files = directory.map(|entry| entry.unwrap().path()).filter(|path| path.to_string_lossy().contains("/audit-"));
    let texts: Vec<String> = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["event"].clone())).collect()
}

fn refusals(pair: &Pair, host: usize) -> Vec<String> {
    let refused = events(pair, host).into_iter().filter(|event| event["kind"] == "peer-refused");
    refused.map(|event| format!("{} {} {}", event["subject"]["object"], event["subject"]["spiffe_id"], event["reason"])).collect()
}

#[test]
fn a_spiffe_id_that_is_not_in_the_list_is_refused_on_either_side_as_root() {
    let pair = Pair::new(&near(NEAR, ""), &far(FAR, ""));
    pair.serve(7001, echo);
    let mut open = pair.dial(1, 7000);
    assert_eq!(ask(&mut open, "hello").unwrap(), "hello");

    // The service lets in others only: it puts out whom it had, and takes no new one.
    let others = far(FAR, "").replace("svc/app", "svc/other");
    pair.configure(2, &others);
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)), "the one that is open is closed");
    wait_until("a new one is refused", 10, || is_refused(&mut pair.dial(1, 7000)));
    wait_until("that is in the audit log", 10, || {
        refusals(&pair, 2).iter().any(|why| why.contains("tunnel t") && why.contains("svc/app") && why.contains("`peers`"))
    });
    // By a prefix it is let in again.
    pair.configure(2, &far(FAR, "").replace("svc/app", "svc/*"));
    wait_until("it is let in", 10, || ask(&mut pair.dial(1, 7000), "hello").is_ok());

    // The caller wants another service than the one that answers.
    pair.configure(1, &near(NEAR, "").replace("svc/service", "svc/other"));
    wait_until("the wrong service gets nothing", 10, || is_refused(&mut pair.dial(1, 7000)));
    wait_until("that is in the audit log", 10, || refusals(&pair, 1).iter().any(|why| why.contains("svc/service")));
}

#[test]
fn who_does_not_speak_tls_or_shows_no_certificate_or_a_strangers_reaches_nothing_as_root() {
    let pair = Pair::new(&near(NEAR, ""), &far(FAR, ""));
    pair.serve(7001, |mut stream| {
        let _ = stream.write_all(b"the service was reached");
    });
    let reach = || pair.mesh.host(1).within(|| TcpStream::connect((name_address(), PORT))).unwrap();
    let mut plain = reach();
    plain.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = vec![];
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("reached"));

    let openssl = |further: &str| {
        let script = format!("echo | timeout 5 openssl s_client -connect {}:{PORT} -verify_quiet {further} 2>&1", name_address());
        let output = pair.mesh.host(1).run("sh", &["-c", &script]);
        assert!(!text(&output).contains("the service was reached"), "{further}: {}", text(&output));
        text(&output)
    };
    openssl("-tls1_3");
    let said = openssl("-tls1_2");
    assert!(said.contains("protocol version"), "{said}");
    // A certificate with the right name, by an authority of its own.
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let subject = format!("subjectAltName=URI:spiffe://{TRUST_DOMAIN}/svc/app");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=app",
            "-days",
            "2",
        ])
        .args(["-addext", &subject, "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &file("k"), "-out", &file("c")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
    openssl(&format!("-tls1_3 -cert {} -key {}", file("c"), file("k")));
    wait_until("both are in the audit log", 10, || {
        let refusals = refusals(&pair, 2);
        refusals.iter().any(|why| why.contains("no certificate")) && refusals.iter().any(|why| why.contains("does not hold"))
    });
    // And nobody resumes what was never judged: no ticket is given to whoever is let in.
    assert_eq!(pair.metric(2, "reverie_tunnel_connections_total{tunnel=\"t\"}"), 0.0);
}

fn name_address() -> String {
    reverie_tests::mesh::address(2)
}

#[test]
fn a_revoked_peer_loses_its_open_connections_and_gets_no_new_ones_as_root() {
    let pair = Pair::new(&near(NEAR, ""), &far(FAR, ""));
    pair.serve(7001, echo);
    let mut open = pair.dial(1, 7000);
    assert_eq!(ask(&mut open, "hello").unwrap(), "hello");
    pair.mesh.host(1).agent.admin_post("/api/admin/revoke", &json!({ "identity": "app" })).ok();
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)), "the other host closes it once it hears of it");
    wait_until("that is counted", 10, || pair.metric(2, "reverie_tunnel_withdrawn_total{tunnel=\"t\",reason=\"peer\"}") == 1.0);
    // The identity has another certificate by now.
    wait_until("which is let in", 20, || ask(&mut pair.dial(1, 7000), "hello").is_ok());
}

#[test]
fn a_host_that_is_put_out_loses_its_connections_as_root() {
    // Callers on the second host, which can be evicted by the first.
    let pair = Pair::new("", &far(FAR, ""));
    let turned = near(NEAR, "").replace(&name(2), &name(1));
    pair.configure(2, &turned);
    pair.configure(1, &far(FAR, ""));
    let listener = pair.mesh.host(1).within(|| std::net::TcpListener::bind("127.0.0.1:7001")).unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(std::thread::spawn(|| echo(stream)))));
    wait_until("it works", 20, || ask(&mut pair.dial(2, 7000), "hello").is_ok());
    let mut open = pair.dial(2, 7000);
    assert_eq!(ask(&mut open, "hello").unwrap(), "hello");
    pair.mesh.host(1).agent.admin_post("/api/admin/mesh/evict", &json!({ "node_id": name(2), "reason": "test" })).ok();
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(is_refused(&mut pair.dial(2, 7000)));
    wait_until("it says why", 10, || refusals(&pair, 1).iter().any(|why| why.contains("is out") || why.contains("revoked")));
}

#[test]
fn a_leaf_outside_of_what_its_host_may_issue_is_refused_though_its_chain_holds_as_root() {
    let pair = Pair::new("", &far(FAR, ""));
    pair.configure(2, &near(NEAR, "").replace(&name(2), &name(1)));
    pair.configure(1, &far(FAR, ""));
    let listener = pair.mesh.host(1).within(|| std::net::TcpListener::bind("127.0.0.1:7001")).unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(std::thread::spawn(|| echo(stream)))));
    wait_until("it works", 20, || ask(&mut pair.dial(2, 7000), "hello").is_ok());
    let mut open = pair.dial(2, 7000);
    assert_eq!(ask(&mut open, "hello").unwrap(), "hello");
    // Only verifiers know: the host goes on with what it has until that is due.
    let limits =
        json!({ "dns": [name(2)], "addresses": [], "spiffe": ["/svc/elsewhere"], "token_subjects": [], "token_audiences": [] });
    pair.mesh.host(1).agent.admin_put(&format!("/api/admin/mesh/limits/{}", name(2)), &limits).ok();
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(is_refused(&mut pair.dial(2, 7000)));
    wait_until("it says why", 10, || refusals(&pair, 1).iter().any(|why| why.contains("may not issue")));
}

#[test]
fn a_caller_without_the_identity_gets_nothing_from_the_socket_as_root() {
    let pair = Pair::new(&near("unix", ""), &far(FAR, ""));
    pair.serve(7001, echo);
    assert_eq!(ask(&mut pair.call(), "hello").unwrap(), "hello");
    let socket = format!("UNIX-CONNECT:{}", pair.socket().display());
    let script = "echo hello | timeout 5 socat -t 3 - \"$1\"";
    let as_user = |user: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid", user, "--regid", user, "--clear-groups", "sh", "-c", script, "sh", &socket])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(as_user("0"), "hello\n");
    assert_eq!(as_user("65533"), "");
    let log = events(&pair, 1);
    let denied = log.iter().find(|event| event["kind"] == "request-denied").expect("a denial");
    assert_eq!((&denied["actor"]["uid"], &denied["subject"]["object"]), (&json!(65533), &json!("tunnel t")));
}

#[test]
fn a_tunnel_does_not_lead_to_the_agents_own_sockets_as_root() {
    let pair = Pair::new(&near(NEAR, ""), &far(FAR, ""));
    let admin = pair.mesh.host(2).agent.admin_socket();
    let link = pair.mesh.host(2).agent.path().join("innocent.sock");
    std::os::unix::fs::symlink(&admin, &link).unwrap();
    for path in [admin, link] {
        pair.configure(2, &far(&format!("unix:{}", path.display()), ""));
        let unreachable = || pair.metric(2, "reverie_tunnel_refused_total{tunnel=\"t\",reason=\"unreachable\"}");
        let before = unreachable();
        wait_until("it leads nowhere", 20, || {
            drop(pair.dial(1, 7000));
            unreachable() > before
        });
        let mut stream = pair.dial(1, 7000);
        let request = "GET /api/admin/status HTTP/1.1\r\nhost: x\r\n\r\n";
        let _ = stream.write_all(request.as_bytes());
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&answer));
    }
}

#[test]
fn reloads_touch_what_changed_and_the_role_comes_back_after_its_death_as_root() {
    let pair = Pair::new(&near(NEAR, ""), &far(FAR, ""));
    pair.serve(7001, echo);
    let mut open = pair.dial(1, 7000);
    assert_eq!(ask(&mut open, "hello").unwrap(), "hello");
    // Another tunnel comes, on a port that is taken, and this one goes on.
    let taken = pair.mesh.host(1).within(|| std::net::TcpListener::bind("127.0.0.1:7005")).unwrap();
    let another = near("tcp:127.0.0.1:7005", "").replace("\"t\"", "\"u\"");
    pair.configure(1, &format!("{}{another}", near(NEAR, "")));
    let alarms = || pair.mesh.host(1).agent.admin_get("/api/admin/status").ok()["alarms"].to_string();
    wait_until("an alarm says that it cannot listen", 10, || alarms().contains("cannot listen on 127.0.0.1:7005"));
    assert_eq!(ask(&mut open, "still").unwrap(), "still");
    drop(taken);
    wait_until("it listens", 10, || !alarms().contains("7005"));
    assert_eq!(ask(&mut pair.dial(1, 7005), "by the other").unwrap(), "by the other");
    // Both go, and the listener with them.
    pair.configure(1, &another);
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)), "a tunnel that is gone has no connections");
    let refused = pair.mesh.host(1).within(|| TcpStream::connect("127.0.0.1:7000").is_err());
    assert!(refused);
    pair.configure(1, &near(NEAR, ""));
    assert_eq!(ask(&mut pair.dial(1, 7000), "again").unwrap(), "again");
    // Kill -9.
    let before = pair.role(1);
    nix::sys::signal::kill(before, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("another one is there", 20, || pair.role(1) != before);
    wait_until("and works", 20, || ask(&mut pair.dial(1, 7000), "hello").is_ok());
    wait_until("the alarm is over", 10, || !alarms().contains("role tunnel"));
}
