//! nginx: reloads on SIGHUP.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use reverie_tests::agent::Agent;
use reverie_tests::programs::{free_port, wait_until};
use serde_json::json;

use super::client::Client;
use super::server::{From, Server, client_identity, rotates_under_load};
use super::service::Service;

pub(super) fn start(place: &Path, certs: &Path, port: u16) -> Server {
    let own = place.join("nginx");
    std::fs::create_dir_all(&own).unwrap();
    let (own_text, certs) = (own.display(), certs.display());
    let configuration = format!(
        "pid {own_text}/pid; error_log {own_text}/error.log; worker_processes 2;\nevents {{}}\nhttp {{\n\
         access_log off; client_body_temp_path {own_text}/1; proxy_temp_path {own_text}/2; fastcgi_temp_path {own_text}/3;\n\
         uwsgi_temp_path {own_text}/4; scgi_temp_path {own_text}/5;\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certs}/tls.crt; ssl_certificate_key {certs}/tls.key;\n\
         ssl_client_certificate {certs}/ca.crt; ssl_crl {certs}/crl.pem; ssl_verify_client on; ssl_verify_depth 2;\n\
         location / {{ return 200 ok; }} }} }}\n"
    );
    std::fs::write(own.join("conf"), configuration).unwrap();
    let mut command = Command::new("nginx");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-c").arg(own.join("conf")).args(["-g", "daemon off;"]);
    Server::start(command, port)
}

fn agent(port: u16, reload: impl FnOnce(&Path) -> String) -> Agent {
    agent_of("", port, reload)
}

fn agent_of(head: &str, port: u16, reload: impl FnOnce(&Path) -> String) -> Agent {
    let agent = Agent::new("");
    let reload = reload(agent.path());
    agent.configure(&format!("{head}{}reload = {reload}\nverify = \"127.0.0.1:{port}\"\n{}", Agent::web(), client_identity()));
    agent
}

pub(super) fn by_pidfile(place: &Path) -> String {
    format!("{{ signal = \"HUP\", pidfile = \"{}/nginx/pid\" }}", place.display())
}

#[test]
fn nginx_serves_every_rotation_without_a_failed_handshake() {
    serves_every_rotation(From::Files);
}

#[test]
fn nginx_serves_every_rotation_from_the_view_as_root() {
    serves_every_rotation(From::View);
}

fn serves_every_rotation(from: From) {
    let port = free_port();
    let mut agent = agent_of(from.head(), port, by_pidfile);
    agent.start();
    let folder = from.folder(&agent);
    let _nginx = start(agent.path(), &folder, port);
    rotates_under_load(&agent, port, Service::Nginx, &folder);
}

#[test]
fn a_service_that_goes_on_serving_the_old_certificate_raises_an_alarm_until_it_serves_the_new_one() {
    let port = free_port();
    let mut agent = agent(port, |_| "{ command = [\"/bin/true\"] }".to_owned());
    agent.start();
    agent.file("web", "tls.key");
    let nginx = start(agent.path(), &agent.run().join("certs/web"), port);
    let client = Client::new(&agent);
    let old = client.connect(port, Service::Nginx).unwrap();

    let rotated = agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).ok();
    assert_eq!(rotated["verified"], json!(null));
    assert!(rotated["fault"].as_str().unwrap().contains("not seen served"), "{rotated}");
    let alarms = agent.admin_get("/api/admin/status").ok()["alarms"].to_string();
    assert!(alarms.contains("still serves the certificate") && alarms.contains(&old), "{alarms}");
    let audit = agent.admin_get("/api/admin/audit?limit=100").ok();
    let told = audit["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .any(|line| line.contains("\"service-verified\"") && line.contains("\"failed\"") && line.contains("\"web\""));
    assert!(told, "{audit}");
    assert_eq!(client.connect(port, Service::Nginx).unwrap(), old, "the old pair stays good");

    nginx.signal(Signal::SIGHUP);
    wait_until("the alarm clears by itself", 30, || {
        !agent.admin_get("/api/admin/status").ok()["alarms"].to_string().contains("identity web")
    });
    assert_eq!(client.connect(port, Service::Nginx).unwrap(), agent.file_serial("web"));
}

#[test]
fn a_revoked_client_is_refused_by_nginx() {
    let port = free_port();
    let mut agent = agent(port, by_pidfile);
    agent.start();
    agent.file("web", "tls.key");
    let _nginx = start(agent.path(), &agent.run().join("certs/web"), port);
    let place = agent.path();
    let own = agent.post("/v1/identities/client/certificates", &json!({})).ok();
    for (file, field) in [("own.crt", "certificate"), ("own.key", "private_key")] {
        std::fs::write(place.join(file), own[field].as_str().unwrap()).unwrap();
    }
    let status = || {
        let arguments = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"];
        let mut curl = Command::new("curl");
        curl.args(arguments).arg(agent.run().join("certs/web/ca.crt")).arg("--cert").arg(place.join("own.crt"));
        curl.arg("--key").arg(place.join("own.key")).arg(format!("https://localhost:{port}/"));
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    assert_eq!(status(), "200");
    agent.admin_post("/api/admin/revoke", &json!({ "serial": own["serial"] })).ok();
    // The new list reaches the files, and nginx is reloaded, by themselves.
    wait_until("nginx refuses the revoked certificate", 15, || status() == "400");
}
