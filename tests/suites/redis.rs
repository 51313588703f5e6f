//! redis ignores SIGHUP: the agent sets its certificate anew over its unix socket.

use std::process::Command;

use reverie_tests::agent::Agent;
use reverie_tests::programs::free_port;

use super::server::{From, Server, client_identity, rotates_under_load};
use super::service::Service;

#[test]
fn redis_serves_every_rotation_without_a_failed_handshake() {
    serves_every_rotation(From::Files);
}

#[test]
fn redis_serves_every_rotation_from_the_view_as_root() {
    serves_every_rotation(From::View);
}

fn serves_every_rotation(from: From) {
    let port = free_port();
    let mut agent = Agent::new("");
    let socket = agent.path().join("redis.sock");
    let reload = format!("{{ redis = {socket:?} }}");
    let web = match from {
        From::Files => Agent::web(),
        // What is not published it is told to read from the view.
        From::View => Agent::web().replace("files = { mode = \"0400\" }\n", ""),
    };
    let head = from.head();
    agent.configure(&format!("{head}{web}reload = {reload}\nverify = \"127.0.0.1:{port}\"\n{}", client_identity()));
    agent.start();
    let folder = from.folder(&agent);
    let certs = |name: &str| folder.join(name).display().to_string();
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
    rotates_under_load(&agent, port, Service::Redis, &folder);
}
