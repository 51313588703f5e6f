//! PostgreSQL: its own user, a key that must be its own, reload on SIGHUP.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::User;
use reverie_tests::agent::Agent;
use reverie_tests::programs::free_port;

use super::server::{From, Server, client_identity, open_directory, rotates_under_load};
use super::service::Service;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

fn as_postgres(program: &str, home: &Path) -> Command {
    let user = User::from_name("postgres").unwrap().expect("the user postgres: tests/install.sh brings it");
    let mut command = Command::new(format!("{PROGRAMS}/{program}"));
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir(home);
    command
}

#[test]
fn postgresql_serves_every_rotation_without_a_failed_handshake() {
    serves_every_rotation(From::Files);
}

#[test]
fn postgresql_serves_every_rotation_from_the_view_as_root() {
    serves_every_rotation(From::View);
}

fn serves_every_rotation(from: From) {
    let port = free_port();
    let mut agent = Agent::new("");
    let home = agent.path().join("pg");
    open_directory(&home);
    let user = User::from_name("postgres").unwrap().expect("the user postgres");
    nix::unistd::chown(&home, Some(user.uid), Some(user.gid)).unwrap();
    agent.configure(&format!(
        "{}[[identity]]\nname = \"web\"\ndns = [\"localhost\"]\nmatch = {{ user = \"postgres\" }}\n\
         files = {{ owner = \"postgres\", group = \"postgres\", mode = \"0400\" }}\n\
         reload = {{ signal = \"HUP\", pidfile = \"{}/data/postmaster.pid\" }}\nverify = \"postgres://127.0.0.1:{port}\"\n{}",
        from.head(),
        home.display(),
        client_identity()
    ));
    agent.start();
    let made = as_postgres("initdb", &home).args(["-D", "data", "-A", "trust", "--no-sync"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = from.folder(&agent);
    let certs = |name: &str| folder.join(name).display().to_string();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nssl = on\nfsync = off\n\
         ssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'\nssl_crl_file = '{}'\n",
        home.display(),
        certs("tls.crt"),
        certs("tls.key"),
        certs("ca.crt"),
        certs("crl.pem")
    );
    std::fs::write(home.join("data/postgresql.auto.conf"), settings).unwrap();
    std::fs::write(home.join("data/pg_hba.conf"), "hostssl all postgres 127.0.0.1/32 trust clientcert=verify-ca\n").unwrap();
    let mut command = as_postgres("postgres", &home);
    command.args(["-D", "data"]).stderr(std::fs::File::create(agent.path().join("pg.log")).unwrap());
    let _postgres = Server::start(command, port);
    // The pairs are read by the test, which is not whom the view shows them.
    rotates_under_load(&agent, port, Service::Postgres, &From::Files.folder(&agent));
}
