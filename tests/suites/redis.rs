//! redis ignores SIGHUP: the agent sets its certificate anew over its unix socket.

use std::process::Command;

use reverie_tests::agent::Agent;
use reverie_tests::programs::free_port;

use super::server::{Server, client_identity, rotates_under_load};
use super::service::Service;

#[test]
fn redis_serves_every_rotation_without_a_failed_handshake() {
    let port = free_port();
    let mut agent = Agent::new("");
    let socket = agent.path().join("redis.sock");
    let reload = format!("{{ redis = {socket:?} }}");
    agent.configure(&format!("{}reload = {reload}\nverify = \"127.0.0.1:{port}\"\n{}", Agent::web(), client_identity()));
    agent.start();
    let certs = |name: &str| agent.file_path("web", name);
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--bind", "127.0.0.1", "--tls-auth-clients", "yes", "--save", "", "--unixsocketperm", "700"]);
    command.args(["--tls-port", &port.to_string()]).arg("--dir").arg(agent.path()).arg("--unixsocket").arg(&socket);
    command.args([
        "--tls-cert-file",
        &certs("tls.crt"),
        "--tls-key-file",
        &certs("tls.key"),
        "--tls-ca-cert-file",
        &certs("ca.crt"),
    ]);
    let _redis = Server::start(command, port);
    rotates_under_load(&agent, port, Service::Redis);
}
