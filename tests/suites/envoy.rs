//! Two real Envoys that serve and ask each other by mutual TLS, with all of it from the agent by SDS, as docs/guides/envoy.md has it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use reverie_tests::agent::Agent;
use reverie_tests::guides::{blocks, page};
use reverie_tests::programs::{free_port, output, python, run, text, wait_until};
use serde_json::{Value, json};

const EDGE: &str = "46011";
const CLIENT: &str = "46012";

fn agent() -> Agent {
    let mut agent = Agent::new(&format!(
        "[[identity]]\nname = \"edge\"\ndns = [\"localhost\"]\nmatch = {{ uid = {EDGE} }}\n\
         [[identity]]\nname = \"client\"\nmatch = {{ uid = {CLIENT} }}\n"
    ));
    agent.start();
    agent
}

/// The fenced blocks of YAML in the guide, with the socket of this agent.
fn guide(agent: &Agent) -> Vec<String> {
    blocks(&page("envoy.md").replace("/run/reverie/", &format!("{}/", agent.run().display())), "yaml")
}

fn indented(block: &str, by: usize) -> String {
    block.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

const ANSWERS: &str = "route_config: {virtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]}]}";

fn listener(port: u16, transport_socket: &str, routes: &str) -> String {
    format!(
        "  listeners:\n  - name: l\n    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n    filter_chains:\n    - filters:\n      \
         - name: envoy.filters.network.http_connection_manager\n        typed_config:\n          \
         \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         stat_prefix: i\n          http_filters: [{{name: envoy.filters.http.router, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]\n          \
         {routes}\n{}",
        indented(transport_socket, 6)
    )
}

/// An upstream whose every request is a handshake of its own.
fn upstream(name: &str, port: u16, transport_socket: &str) -> String {
    format!(
        "  - name: {name}\n    connect_timeout: 5s\n    typed_extension_protocol_options:\n      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
         \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        explicit_http_config: {{http_protocol_options: {{}}}}\n        \
         common_http_protocol_options: {{max_requests_per_connection: 1}}\n    load_assignment:\n      cluster_name: {name}\n      \
         endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]\n{}",
        indented(transport_socket, 4)
    )
}

struct Envoy(Child, PathBuf);

impl Envoy {
    /// A copy of it that the user may run, with what it says in a file of its own.
    fn start(agent: &Agent, user: &str, configuration: &str) -> Self {
        let program = agent.path().join("envoy");
        if !program.exists() {
            let found =
                run(&python(), &["-c", "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin/envoy')"]);
            std::fs::copy(found.trim(), &program).unwrap();
        }
        let (file, log) = (agent.path().join(format!("{user}.yaml")), agent.path().join(format!("{user}.log")));
        std::fs::write(&file, configuration).unwrap();
        let said = std::fs::File::create(&log).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "KILL"])
            .arg(program)
            .arg("-c")
            .arg(file);
        command.args(["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"]).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(said).spawn().unwrap(), log)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(&self.1).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(30).collect();
            eprintln!("--- {} ---\n{}", self.1.display(), last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status of a request, or 0.
fn status(url: &str, options: &[&str]) -> String {
    let words =
        [&["--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{http_code}", url][..], options].concat();
    text(&output("curl", &words)).trim().to_owned()
}

/// The serial that the port serves, lower-case hex.
fn served(port: u16) -> String {
    let script =
        format!("openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null");
    text(&output("sh", &["-c", &script])).trim().trim_start_matches("serial=").to_lowercase()
}

/// Certificate and key of an identity as its user gets them, in files: what a thief would have.
fn stolen(agent: &Agent, user: &str, identity: &str) -> [String; 2] {
    let socket = agent.agent_socket().display().to_string();
    let url = format!("http://localhost/v1/identities/{identity}/certificate");
    let curl = ["--reuid", user, "--regid", user, "--clear-groups", "curl", "--silent", "--unix-socket", &socket, &url];
    let got: Value = serde_json::from_str(&run("setpriv", &curl)).unwrap();
    ["certificate", "private_key"].map(|part| {
        let path = agent.path().join(format!("{identity}.{part}"));
        std::fs::write(&path, got[part].as_str().unwrap()).unwrap();
        path.display().to_string()
    })
}

#[test]
fn two_envoys_keep_serving_each_other_across_rotations_and_refuse_who_is_revoked_as_root() {
    let agent = agent();
    let blocks = guide(&agent);
    let [reverie, downstream] = &blocks[..] else { panic!("{blocks:?}") };
    let (edge, front, fake) = (free_port(), free_port(), free_port());

    let _edge = Envoy::start(
        &agent,
        EDGE,
        &format!("node: {{id: edge, cluster: test}}\n{reverie}{}", listener(edge, downstream, ANSWERS)),
    );
    // The other side, incrementally and by the SPIFFE validator.
    let socket =
        downstream.replace("DownstreamTlsContext", "UpstreamTlsContext").replace("    require_client_certificate: true\n", "");
    let socket =
        socket.replace("/svc/client", "/svc/edge").replace("ROOTCA", "ALL").replace("api_type: GRPC", "api_type: DELTA_GRPC");
    let clusters = upstream("edge", edge, &socket) + &upstream("fake", fake, &socket);
    let routes = "route_config: {virtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /fake}, route: {cluster: fake}}, {match: {prefix: /}, route: {cluster: edge}}]}]}";
    let _client = Envoy::start(
        &agent,
        CLIENT,
        &format!("node: {{id: client, cluster: test}}\n{reverie}{clusters}{}", listener(front, "", routes)),
    );

    let url = format!("http://127.0.0.1:{front}/");
    wait_until("both have their secrets", 60, || status(&url, &[]) == "200");

    let (stop, failed, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (stop, failed, done, url) = (Arc::clone(&stop), Arc::clone(&failed), Arc::clone(&done), url.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let counter = if status(&url, &[]) == "200" { &done } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for identity in ["edge", "client", "edge", "client", "edge", "edge"] {
        let rotated = agent.admin_post("/api/admin/rotate", &json!({ "identity": identity })).ok();
        if identity == "edge" {
            let serial = rotated["certificate"]["serial"].as_str().unwrap().to_owned();
            wait_until("the new certificate is served", 20, || served(edge) == serial);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    // A new root comes the same way.
    agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "root" })).ok();
    std::thread::sleep(Duration::from_secs(1));
    stop.store(true, Ordering::Relaxed);
    asking.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", done.load(Ordering::Relaxed));
    assert!(done.load(Ordering::Relaxed) > 50, "{}", done.load(Ordering::Relaxed));

    // Whoever stole the client's key is let in by the edge until it is revoked.
    let [certificate, key] = stolen(&agent, CLIENT, "client");
    let direct = format!("https://localhost:{edge}/");
    let with_stolen = ["--insecure", "--cert", &certificate, "--key", &key];
    assert_eq!(status(&direct, &with_stolen), "200");
    assert_eq!(status(&direct, &["--insecure"]), "000", "without a certificate");
    agent.admin_post("/api/admin/revoke", &json!({ "identity": "client" })).ok();
    wait_until("the edge refuses it", 20, || status(&direct, &with_stolen) == "000");
    wait_until("the client has another", 20, || status(&url, &[]) == "200");

    // And whoever stole the edge's is believed by the client until then.
    let [certificate, key] = stolen(&agent, EDGE, "edge");
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{fake}")]);
    server.args(["-cert", &certificate, "-cert_chain", &certificate, "-key", &key]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut server = server.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the false edge is believed", 20, || status(&format!("{url}fake"), &[]) == "200");
    agent.admin_post("/api/admin/revoke", &json!({ "identity": "edge" })).ok();
    wait_until("the client refuses it", 20, || status(&format!("{url}fake"), &[]) == "503");
    wait_until("the edge has another", 20, || status(&url, &[]) == "200");
    server.kill().unwrap();
    server.wait().unwrap();

    let audit = agent.ctl_json_lines(&["audit", "tail", "--lines", "1000"]);
    let handed = audit.iter().filter(|event| event["event"]["reason"] == "by Envoy SDS").count();
    assert!(handed >= 10, "{handed}: each key is on record");
    assert!(!agent.log().contains("rejects a secret"), "{}", agent.log());
}

#[test]
fn a_client_of_sds_gets_what_it_may_have_once_and_again_when_it_changes() {
    let uid = nix::unistd::geteuid();
    let mut agent = Agent::new(&format!(
        "[[identity]]\nname = \"web\"\nmatch = {{ uid = {uid} }}\n[[identity]]\nname = \"theirs\"\nmatch = {{ uid = {EDGE} }}\n"
    ));
    agent.start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/workload/discovering.py");
    let done = output(&python(), &[script, &agent.run().display().to_string()]);
    assert!(done.status.success(), "{}\n{}", text(&done), agent.log());
    let audit = agent.ctl_json_lines(&["audit", "tail", "--lines", "1000"]);
    let denied =
        audit.iter().filter(|event| event["event"]["subject"]["object"] == "SDS secret \"spiffe://example.org/svc/theirs\"");
    assert_eq!(denied.count(), 3, "once for each stream, however often it is looked for");
    assert!(agent.log().contains("Envoy rejects a secret and goes on with what it had: bad key"), "{}", agent.log());
}
