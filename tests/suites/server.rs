//! A server under test, and the load on it while its certificate rotates.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tests::agent::Agent;
use reverie_tests::programs::wait_until;
use serde_json::json;

use super::client::{Client, Load};
use super::service::Service;

/// A server that ends with the test.
pub(super) struct Server(Child);

impl Server {
    pub(super) fn start(mut command: Command, port: u16) -> Self {
        let mut server = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the server starts"));
        wait_until("the server listens", 15, || {
            assert!(server.0.try_wait().expect("a status").is_none(), "the server ended: {command:?}");
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("a signal");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The identity of the clients, beside the server's own.
pub(super) fn client_identity() -> String {
    format!("[[identity]]\nname = \"client\"\nmatch = {{ uid = {} }}\n", nix::unistd::geteuid())
}

/// Rotates `web` over and over while clients make new connections and a reader reads the pairs in a folder: nothing may fail.
pub(super) fn rotates_under_load(agent: &Agent, port: u16, service: Service, pairs: &Path) {
    let client = Client::new(agent);
    // One that listens may not be ready to serve yet.
    wait_until("a first connection", 15, || client.connect(port, service).is_ok());
    Client::anonymous(agent).connect(port, service).expect_err("the service wants a certificate of its clients");
    let load = Load::start(&client, port, service, pairs);
    let (begun, mut rotations) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(8) {
        let rotated = agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).ok();
        assert!(rotated["verified"].is_string(), "not seen served: {rotated}\n{}", agent.admin_get("/api/admin/status").text());
        rotations += 1;
        std::thread::sleep(Duration::from_millis(400));
    }
    let outcome = load.finish();
    assert_eq!(outcome.failures, [""; 0], "after {} handshakes and {rotations} rotations", outcome.handshakes);
    assert!(rotations >= 5 && outcome.serials.len() >= 5, "{rotations} rotations, {} serials seen", outcome.serials.len());
    assert!(outcome.handshakes > 50 && outcome.pairs > 50, "{} handshakes, {} pairs", outcome.handshakes, outcome.pairs);
}

/// Where a service reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Published files.
    Files,
    /// The file view.
    View,
}

impl From {
    /// What the configuration begins with.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Files => "",
            Self::View => "[view]\nenabled = true\n",
        }
    }

    /// The folder of `web`, once it is there.
    pub(super) fn folder(self, agent: &Agent) -> PathBuf {
        match self {
            Self::Files => {
                agent.file("web", "tls.key");
                agent.run().join("certs/web")
            }
            Self::View => {
                wait_until("the view is mounted", 20, || agent.run().join("view/certs").exists());
                agent.run().join("view/certs/web")
            }
        }
    }
}

/// A directory that any user may enter.
pub(super) fn open_directory(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path).expect("a directory");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
}
