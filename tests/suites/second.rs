//! The second client (tests/second, in Python, no code in common) against a real agent.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tests::agent::Agent;
use reverie_tests::ipa::{Ipa, READER, SUFFIX};
use reverie_tests::kdc::{Kdc, TRUSTED};
use reverie_tests::programs::{free_port, python, run, text, wait_until};
use serde_json::{Value, json};

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of its scripts, which must find all as it must be.
fn second(script: &str, kdc: &Kdc, world: &Value) {
    let mut command = Command::new(python());
    command.arg(tests().join("second").join(script)).env("KRB5_CONFIG", kdc.config());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python");
    child.stdin.take().expect("piped").write_all(world.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{script}: {}", text(&output));
}

/// An agent as the scripts know it.
fn described(agent: &Agent, node: &str, address: &str) -> Value {
    json!({ "node": node, "address": address, "socket": agent.admin_socket() })
}

/// An agent of that name that speaks on a port of its own, with more of `[gossip]`.
fn host(node: &str, gossip: &str) -> (Agent, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let configuration = format!("[gossip]\nlisten = [{address:?}]\nadvertise = [{address:?}]\n{gossip}{}", Agent::web());
    (Agent::of_host("mesh.test", node, vec![], &configuration), address)
}

fn founded(node: &str, gossip: &str) -> (Agent, String) {
    let (mut agent, address) = host(node, gossip);
    agent.start();
    agent.admin_post("/api/admin/mesh/init", &json!({})).ok();
    wait_until("it listens", 20, || std::net::TcpStream::connect(&address).is_ok());
    (agent, address)
}

fn invite(agent: &Agent, node: &str) -> String {
    let invited = agent.admin_post("/api/admin/mesh/invites", &json!({ "node_id": node, "ttl_seconds": 600 })).ok();
    invited["token"].as_str().expect("a token").to_owned()
}

/// A KDC, an authority named `localhost`, and the keytabs of three others.
struct Realm {
    kdc: Kdc,
    keytabs: tempfile::TempDir,
    authority: Agent,
    address: String,
}

impl Realm {
    fn start(gossip: &str) -> Self {
        let kdc = Kdc::start();
        let keytab = kdc.service("HTTP/localhost");
        let keytabs = tempfile::tempdir().unwrap();
        for (principal, file) in [
            ("HTTP/second.mesh.test", "second"),
            ("HTTP/python.mesh.test", "python"),
            ("HTTP/other.mesh.test", "other"),
            ("alice", "alice"),
        ] {
            std::fs::copy(kdc.service(principal), keytabs.path().join(format!("{file}.keytab"))).unwrap();
        }
        let foreign = kdc.service_of(TRUSTED, "HTTP/second.mesh.test");
        std::fs::copy(foreign, keytabs.path().join("foreign.keytab")).unwrap();
        let (mut authority, address) = host("localhost", &format!("keytab = {keytab:?}\n{gossip}"));
        authority.set_variable("KRB5_CONFIG", &kdc.config().display().to_string());
        authority.start();
        authority.admin_post("/api/admin/mesh/init", &json!({})).ok();
        wait_until("it listens", 20, || std::net::TcpStream::connect(&address).is_ok());
        let address = address.replace("127.0.0.1", "localhost");
        Self { kdc, keytabs, authority, address }
    }
}

#[test]
fn every_endpoint_gives_each_of_its_status_codes() {
    const HOSTS: [&str; 12] =
        ["python", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"];
    let mut allowed: Vec<String> = HOSTS.iter().map(|name| format!("{name}.mesh.test")).collect();
    allowed.extend(["localhost", "member.mesh.test", "thirteenth.mesh.test"].map(str::to_owned));
    let gossip = format!(
        "allowed_node_ids = {allowed:?}\nrate_per_second = 500\nmax_waiters = 6\nmax_waiters_per_address = 4\nmax_wait = \"2s\"\n"
    );
    let realm = Realm::start(&gossip);
    let keytab = realm.kdc.service("HTTP/member.mesh.test");
    let (mut member, address) =
        host("member.mesh.test", &format!("keytab = {keytab:?}\npublic_stats = false\nrate_per_second = 5\n"));
    member.set_variable("KRB5_CONFIG", &realm.kdc.config().display().to_string());
    member.start();
    let join = json!({ "address": realm.address, "token": invite(&realm.authority, "member.mesh.test") });
    member.admin_post("/api/admin/mesh/join", &join).ok();
    let world = json!({
        "authority": described(&realm.authority, "localhost", &realm.address),
        "member": described(&member, "member.mesh.test", &address),
        "bundle": realm.authority.file_path("web", "ca.crt"),
        "keytabs": realm.keytabs.path(),
    });
    second("endpoints.py", &realm.kdc, &world);
    let audit = realm.authority.admin_get("/api/admin/audit?limit=1000").text();
    // What was refused is on record, and who came in by Kerberos.
    assert!(audit.contains("peer-refused") && audit.contains("by Kerberos as HTTP/second.mesh.test@"), "{audit}");
}

#[test]
fn without_a_keytab_register_kem_is_not_available() {
    let (agent, address) = founded("localhost", "");
    let kdc = Kdc::start();
    kdc.service("HTTP/localhost");
    let keytabs = tempfile::tempdir().unwrap();
    std::fs::copy(kdc.service("HTTP/second.mesh.test"), keytabs.path().join("second.keytab")).unwrap();
    let world = json!({ "authority": described(&agent, "localhost", &address), "keytabs": keytabs.path() });
    second("no_keytab.py", &kdc, &world);
}

#[test]
fn a_host_joins_by_kerberos_alone() {
    let realm = Realm::start("allowed_node_ids = [\"localhost\", \"third.mesh.test\"]\n");
    let (mut joiner, _) = host("third.mesh.test", &format!("keytab = {:?}\n", realm.kdc.service("HTTP/third.mesh.test")));
    joiner.set_variable("KRB5_CONFIG", &realm.kdc.config().display().to_string());
    joiner.start();
    let joined = joiner.admin_post("/api/admin/mesh/join", &json!({ "address": realm.address })).ok();
    assert_eq!(joined["state"], "member", "{joined}");
    wait_until("both have the same records", 20, || digest(&joiner) == digest(&realm.authority));
}

fn digest(agent: &Agent) -> Value {
    agent.admin_get("/api/admin/mesh").ok()["digest"].clone()
}

fn state_of(agent: &Agent, node: &str) -> String {
    let status = agent.admin_get("/api/admin/mesh").ok();
    let hosts = status["hosts"].as_array().cloned().unwrap_or_default();
    let host =
        hosts.iter().find(|host| host["node_id"] == node).map(|host| host["state"].as_str().unwrap_or_default().to_owned());
    host.unwrap_or_default()
}

#[test]
fn who_leaves_the_topology_of_freeipa_is_spoken_with_no_more_and_an_absent_directory_changes_nothing() {
    let mut ipa = Ipa::start(&[("first.mesh.test", "second.mesh.test")]);
    let directory: PathBuf = ipa.ca_file().parent().unwrap().to_owned();
    std::fs::write(directory.join("password"), READER.1).unwrap();
    run("chmod", &["600", &directory.join("password").display().to_string()]);
    let gossip = format!(
        "ipa_topology = true\nipa_topology_interval_secs = 10\nipa_ldap_uris = [{:?}]\nipa_suffix = {SUFFIX:?}\nipa_ca_file = {:?}\n\
         ipa_bind_dn = {:?}\nipa_bind_password_file = {:?}\n",
        ipa.uris()[0],
        ipa.ca_file(),
        READER.0,
        directory.join("password"),
    );
    let (first, address) = founded("first.mesh.test", &gossip);
    let (mut second, _) = host("second.mesh.test", "");
    second.start();
    wait_until("the directory was asked", 40, || first.admin_get("/api/admin/mesh").ok()["topology_at"].is_string());
    let join = json!({ "address": address, "token": invite(&first, "second.mesh.test") });
    second.admin_post("/api/admin/mesh/join", &join).ok();
    wait_until("they speak", 20, || state_of(&first, "second.mesh.test") == "alive");
    // Away: the last answer counts, and its age is told.
    ipa.stop();
    wait_until("it is said that the directory is away", 60, || {
        first.admin_get("/api/admin/mesh").ok()["topology_error"].is_string()
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_ne!(state_of(&first, "second.mesh.test"), "not-allowed");
        std::thread::sleep(Duration::from_millis(200));
    }
    ipa.resume();
    ipa.remove("second.mesh.test");
    wait_until("a removed replica is spoken with no more", 60, || state_of(&first, "second.mesh.test") == "not-allowed");
}
