//! A client of one host, revoked there, at a service of another: nginx with the files that its own agent publishes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tests::agent::Agent;
use reverie_tests::programs::{free_port, text, wait_until};
use serde_json::json;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::nginx;
use super::server::client_identity;

/// What nginx answers to a client, in a new session that is kept, or in the one kept before.
struct Answer {
    resumed: bool,
    accepted: bool,
    refused: bool,
}

fn ask(place: &Path, bundle: &str, port: u16, session: &str) -> Answer {
    let mut command = Command::new("openssl");
    let address = format!("localhost:{port}");
    command.args(["s_client", "-connect", &address, "-CAfile", bundle, "-verify_return_error", "-ign_eof", session]);
    command.arg(place.join("session")).arg("-cert").arg(place.join("own.crt")).arg("-cert_chain").arg(place.join("own.crt"));
    command.arg("-key").arg(place.join("own.key"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl");
    child.stdin.take().expect("piped").write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    let said = text(&child.wait_with_output().expect("it ends"));
    let (accepted, refused) = (said.contains("HTTP/1.1 200 OK"), said.contains("HTTP/1.1 400 Bad Request"));
    assert!(accepted || refused, "{said}");
    Answer { resumed: said.contains("Reused, TLSv1"), accepted, refused }
}

fn host(node: &str) -> (Agent, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let gossip = format!("[gossip]\nlisten = [{address:?}]\nadvertise = [{address:?}]\n");
    (Agent::of_host("mesh.test", node, vec![], &gossip), gossip)
}

fn is_listed(agent: &Agent, serial: &str) -> bool {
    pem::parse_many(agent.file("web", "crl.pem")).expect("PEM").iter().any(|list| {
        let (_, list) = CertificateRevocationList::from_der(list.contents()).expect("a list");
        list.iter_revoked_certificates().any(|entry| data_encoding::HEXLOWER.encode(entry.raw_serial()) == serial)
    })
}

#[test]
fn a_client_revoked_on_its_host_is_refused_by_a_service_of_another_in_a_resumed_session_too() {
    let port = free_port();
    let (mut serving, gossip) = host("localhost");
    let reload = nginx::by_pidfile(serving.path());
    serving.configure(&format!("{gossip}{}reload = {reload}\nverify = \"127.0.0.1:{port}\"\n", Agent::web()));
    serving.start();
    serving.admin_post("/api/admin/mesh/init", &json!({})).ok();
    let address = gossip.split('"').nth(1).expect("an address");
    wait_until("it listens", 20, || std::net::TcpStream::connect(address).is_ok());

    let (mut other, gossip) = host("client.mesh.test");
    other.configure(&format!("{gossip}{}", client_identity()));
    other.start();
    let invited =
        serving.admin_post("/api/admin/mesh/invites", &json!({ "node_id": "client.mesh.test", "ttl_seconds": 600 })).ok();
    other.admin_post("/api/admin/mesh/join", &json!({ "address": address, "token": invited["token"] })).ok();
    let digest = |agent: &Agent| agent.admin_get("/api/admin/mesh").ok()["digest"].clone();
    wait_until("both have the same records", 20, || digest(&serving) == digest(&other));

    serving.file("web", "tls.key");
    let _nginx = nginx::start(serving.path(), &serving.run().join("certs/web"), port);
    let own = other.post("/v1/identities/client/certificates", &json!({})).ok();
    let place = other.path();
    for (file, field) in [("own.crt", "certificate"), ("own.key", "private_key")] {
        std::fs::write(place.join(file), own[field].as_str().unwrap()).unwrap();
    }
    let bundle = serving.file_path("web", "ca.crt");
    wait_until("the client is served, and again in the same session", 20, || {
        ask(place, &bundle, port, "-sess_out").accepted && {
            let again = ask(place, &bundle, port, "-sess_in");
            again.resumed && again.accepted
        }
    });

    let serial = own["serial"].as_str().unwrap();
    assert!(!is_listed(&serving, serial));
    let begun = Instant::now();
    other.admin_post("/api/admin/revoke", &json!({ "serial": serial })).ok();
    wait_until("the other host lists it", 10, || is_listed(&serving, serial));
    let listed = begun.elapsed();
    // nginx is told by the agent, and judges by a list that it reads anew; tickets of before are of no use to it.
    wait_until("the service refuses the kept session", 10, || ask(place, &bundle, port, "-sess_in").refused);
    let refused = begun.elapsed();
    let resumed = ask(place, &bundle, port, "-sess_in");
    assert!(resumed.refused && !resumed.resumed);
    assert!(ask(place, &bundle, port, "-sess_out").refused, "and a new one");
    eprintln!("listed after {listed:?}, refused after {refused:?}");
    assert!(listed < Duration::from_secs(1), "{listed:?}");
}
