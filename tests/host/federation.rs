//! Two trust domains that believe each other by their bundles, fetched over both profiles, configured as docs/guides/federation.md
//! has it.

use std::path::Path;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reverie_tests::agent::Agent;
use reverie_tests::guides::{blocks, page};
use reverie_tests::programs::{free_port, output, run, text, wait_until};
use serde_json::{Value, json};

const NODE: &str = "a.other.org";

/// An authority of the trust domain `other.org` that others can reach.
fn other(port: u16) -> Agent {
    let mut agent =
        Agent::of_host("other.org", NODE, vec![], &format!("[gossip]\nlisten = [\"127.0.0.1:{port}\"]\n{}", Agent::web()));
    agent.start();
    agent.admin_post("/api/admin/mesh/init", &json!({})).ok();
    agent
}

/// A block of the guide, with other words in place of its own.
fn guided(language: &str, number: usize, instead: &[(&str, &str)]) -> String {
    let block = blocks(&page("federation.md"), language).swap_remove(number);
    instead.iter().fold(block, |block, (theirs, ours)| {
        assert!(block.contains(theirs), "docs/guides/federation.md does not say {theirs} here: {block}");
        block.replace(theirs, ours)
    })
}

fn by_spiffe(port: u16, id: &str, bundle: &Path) -> String {
    let (server, bundle) = (format!("https://127.0.0.1:{port}/"), bundle.display().to_string());
    let instead = [
        ("https://a.other.org:7438/", server.as_str()),
        ("spiffe://other.org/host/a.other.org", id),
        ("/etc/reverie/other.org.json", bundle.as_str()),
    ];
    guided("toml", 1, &instead)
}

fn roots(agent: &Agent) -> Option<Vec<String>> {
    let answer = agent.get("/v1/bundle?trust_domain=other.org");
    let answer: Value = serde_json::from_slice(&answer.body).ok()?;
    answer["roots"].as_array().map(|roots| roots.iter().map(|root| root.as_str().unwrap().to_owned()).collect())
}

fn alarms(agent: &Agent) -> String {
    agent.admin_get("/api/admin/status").ok()["alarms"].to_string()
}

fn fetches(agent: &Agent) -> usize {
    let events = agent.ctl_json_lines(&["audit", "tail", "--lines", "200"]);
    events.iter().filter(|event| event["event"]["kind"] == "federation-changed").count()
}

/// Ends the role that fetches: another one begins by fetching.
fn have_it_fetched_again(agent: &Agent) {
    let found = text(&output("pgrep", &["--parent", &agent.pid().to_string(), "--full", "role net"]));
    kill(Pid::from_raw(found.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
}

#[test]
fn a_bundle_is_fetched_from_a_server_that_is_known_by_its_spiffe_id_and_follows_its_roots() {
    let port = free_port();
    let other = other(port);
    let first = other.path().join("first.json");
    std::fs::write(&first, &other.get("/v1/bundle?format=spiffe").body).unwrap();
    let mut agent = Agent::new(&by_spiffe(port, &format!("spiffe://other.org/host/{NODE}"), &first));
    agent.start();
    wait_until("the bundle is fetched", 20, || fetches(&agent) == 1);
    let own = other.get("/v1/bundle").ok()["roots"].as_array().unwrap().len();
    assert_eq!(roots(&agent).unwrap().len(), own);

    // A leaf of the other trust domain verifies by it, and by our own it does not.
    let (leaf, foreign, ours) = (agent.path().join("leaf.pem"), agent.path().join("foreign.pem"), agent.path().join("ours.pem"));
    std::fs::write(&leaf, other.file("web", "tls.crt")).unwrap();
    std::fs::write(&foreign, &agent.get("/v1/bundle?trust_domain=other.org&format=pem").body).unwrap();
    std::fs::write(&ours, &agent.get("/v1/bundle?format=pem").body).unwrap();
    let verify = |roots: &Path| {
        let (roots, leaf) = (roots.display().to_string(), leaf.display().to_string());
        output("openssl", &["verify", "-CAfile", &roots, "-untrusted", &leaf, &leaf]).status.success()
    };
    assert!(verify(&foreign) && !verify(&ours));

    // A new root of theirs is there at the next fetch; and it all stays over a restart, without the server.
    other.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "root" })).ok();
    wait_until("they have another root", 20, || other.get("/v1/bundle").ok()["roots"].as_array().unwrap().len() == own + 1);
    have_it_fetched_again(&agent);
    wait_until("so have we", 30, || roots(&agent).unwrap().len() == own + 1);
    drop(other);
    agent.stop();
    agent.start();
    wait_until("the bundle of before counts", 20, || roots(&agent).is_some_and(|roots| roots.len() == own + 1));
    wait_until("and the failure is told", 30, || alarms(&agent).contains("the one before stands"));
    assert!(agent.get("/v1/bundle?trust_domain=third.org").status == 404);
}

#[test]
fn a_server_with_another_spiffe_id_or_other_roots_is_not_believed() {
    let (port, other_port) = (free_port(), free_port());
    let (theirs, stranger) = (other(port), other(other_port));
    let first = theirs.path().join("first.json");
    std::fs::write(&first, &theirs.get("/v1/bundle?format=spiffe").body).unwrap();
    for (port, id, why) in [
        (port, "spiffe://other.org/host/b.other.org", "the server is spiffe://other.org/host/a.other.org"),
        (other_port, "spiffe://other.org/host/a.other.org", "invalid peer certificate"),
    ] {
        let mut agent = Agent::new(&by_spiffe(port, id, &first));
        agent.start();
        wait_until("the alarm says why", 20, || alarms(&agent).contains(why));
        assert_eq!(fetches(&agent), 0);
        assert_eq!(roots(&agent), roots_of(&theirs), "the file's own stands");
    }
    drop(stranger);
}

fn roots_of(agent: &Agent) -> Option<Vec<String>> {
    let roots = agent.get("/v1/bundle").ok()["roots"].clone();
    serde_json::from_value(roots).ok()
}

/// nginx with a certificate of a web authority, in front of the other agent's own socket.
struct Web(Child);

impl Web {
    fn start(place: &Path, port: u16, agent: &Agent) -> Self {
        let shown = place.display();
        let openssl = |arguments: &str| run("openssl", &arguments.split(' ').collect::<Vec<_>>());
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=web-ca -keyout {shown}/ca.key -out {shown}/ca.pem"
        ));
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout {shown}/web.key -out {shown}/web.csr"
        ));
        std::fs::write(place.join("ext"), "subjectAltName=DNS:localhost\n").unwrap();
        openssl(&format!(
            "x509 -req -in {shown}/web.csr -CA {shown}/ca.pem -CAkey {shown}/ca.key -CAcreateserial -days 2 -extfile {shown}/ext -out {shown}/web.pem"
        ));
        let location = guided("nginx", 0, &[("/run/reverie/agent.sock", &agent.agent_socket().display().to_string())]);
        let configuration = format!(
            "pid {shown}/pid; error_log {shown}/error.log; events {{}}\nhttp {{ access_log off;\n\
             client_body_temp_path {shown}/1; proxy_temp_path {shown}/2; fastcgi_temp_path {shown}/3; uwsgi_temp_path {shown}/4;\n\
             scgi_temp_path {shown}/5;\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {shown}/web.pem; ssl_certificate_key {shown}/web.key;\n\
             {location}\n\
             location = /moved {{ return 302 /bundle.json; }} }} }}\n"
        );
        std::fs::write(place.join("conf"), configuration).unwrap();
        let conf = place.join("conf").display().to_string();
        let mut command = Command::new("nginx");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(["-c", &conf, "-g", "daemon off;"]);
        let child = Self(command.spawn().unwrap());
        wait_until("nginx listens", 20, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        child
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGQUIT);
        let _ = self.0.wait();
    }
}

#[test]
fn a_bundle_is_fetched_from_a_web_server_by_its_authorities_and_no_redirection_is_followed() {
    let (port, web_port) = (free_port(), free_port());
    let other = other(port);
    let place = tempfile::tempdir().unwrap();
    let _web = Web::start(place.path(), web_port, &other);
    let by_web = |path: &str, more: &str| {
        let url = format!("https://localhost:{web_port}{path}");
        guided("toml", 0, &[("https://www.other.org/bundle.json", &url)]) + more
    };
    let authority = format!("ca_file = \"{}/ca.pem\"\n", place.path().display());
    let mut agent = Agent::new(&by_web("/bundle.json", &authority));
    agent.start();
    wait_until("the bundle is fetched", 20, || fetches(&agent) == 1);
    assert_eq!(roots(&agent), roots_of(&other));

    agent.configure(&by_web("/moved", &authority));
    agent.reload();
    wait_until("a redirection is told", 20, || alarms(&agent).contains("redirections are not followed"));
    agent.configure(&by_web("/bundle.json", ""));
    agent.reload();
    wait_until("an authority of nobody's is told", 20, || alarms(&agent).contains("UnknownIssuer"));
    assert_eq!(roots(&agent), roots_of(&other), "the one before stands");
    agent.configure("");
    agent.reload();
    wait_until("who is not declared is not believed", 20, || roots(&agent).is_none());
    assert!(!alarms(&agent).contains("federation"));
}
