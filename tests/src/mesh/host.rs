//! One host: a namespace and an agent in it.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Namespace, PORT, TRUST_DOMAIN, name};
use crate::agent::Agent;
use crate::clock::{is_off_by, off_by};
use crate::http::Answer;
use crate::programs::{built, wait_until};

/// A host of a mesh.
#[derive(Debug)]
pub struct Host {
    /// Its agent, which ends before its namespace does.
    pub agent: Agent,
    namespace: Namespace,
    number: usize,
    /// What starts the role `net`, if that is not the agent itself.
    net: Option<Activator>,
}

#[derive(Debug)]
struct Activator(Child);

impl Drop for Activator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Host {
    pub(super) fn new(number: usize, namespace: Namespace, configuration: &str) -> Self {
        let agent =
            Agent::of_host(TRUST_DOMAIN, &name(number), namespace.wrapper(), &configuration.replace("NODE", &name(number)));
        Self { agent, namespace, number, net: None }
    }

    /// Its node id.
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// Its number, counted from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Starts the agent; [`Host::wait_until_ready`] waits for it, so that many start at once.
    pub fn launch(&mut self) {
        self.agent.launch();
    }

    /// Waits for READY=1.
    pub fn wait_until_ready(&mut self) {
        self.agent.wait_for_notice("READY=1");
    }

    /// Starts the agent anew with a clock that is off in each of its processes. The role `net` gets its variables as it would
    /// under systemd, from whoever listens on its socket.
    pub fn restart_with_clock(&mut self, offset: &str) {
        self.agent.stop();
        self.net = None;
        is_off_by(&mut self.agent, offset);
        let socket = self.agent.path().join("net.sock");
        let _ = std::fs::remove_file(&socket);
        let configuration = std::fs::read_to_string(self.agent.config()).expect("the configuration");
        if !configuration.contains("net_socket") {
            let paths = format!("[paths]\nnet_socket = {socket:?}\n");
            std::fs::write(self.agent.config(), configuration.replacen("[paths]\n", &paths, 1)).expect("the configuration");
        }
        let wrapper = self.namespace.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command
            .args(&wrapper[1..])
            .args(["systemd-socket-activate", "--seqpacket", "--accept", "--inetd", "--listen"])
            .arg(&socket);
        command.args(off_by(offset).iter().map(|(name, value)| format!("--setenv={name}={value}")));
        command.arg(built("reverie-agent")).args(["--role", "net"]);
        self.net = Some(Activator(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("systemd-socket-activate")));
        wait_until("somebody listens on the socket of net", 10, || socket.exists());
        self.agent.start();
    }

    /// Runs a program in the host's namespace to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.namespace.run(program, arguments)
    }

    /// Does something on the host's network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(work)
    }

    /// What runs a program in it.
    pub fn wrapper(&self) -> Vec<String> {
        self.namespace.wrapper()
    }

    /// `GET /api/admin/mesh`.
    pub fn status(&self) -> Value {
        self.agent.admin_get("/api/admin/mesh").ok()
    }

    /// Digest of its records, once it is in a mesh.
    pub fn digest(&self) -> Option<String> {
        self.status()["digest"].as_str().map(str::to_owned)
    }

    /// What it says of another host.
    pub fn sees(&self, other: usize) -> Value {
        let status = self.status();
        let found = status["hosts"].as_array().into_iter().flatten().find(|host| host["node_id"] == name(other));
        found.cloned().unwrap_or(Value::Null)
    }

    /// Makes a client known.
    pub fn put_client(&self, id: &str) -> Answer {
        self.agent.admin_put(&format!("/api/admin/clients/{id}"), &json!({}))
    }

    /// `GET` over the network, from here to a host's port of the mesh, by curl, trusting anyone: the status and the body.
    pub fn fetch(&self, other: usize, path: &str, seconds: u32) -> (u16, String) {
        let url = format!("https://{}:{PORT}{path}", name(other));
        let limit = seconds.to_string();
        let output = self.run("curl", &["--silent", "--insecure", "--max-time", &limit, "--write-out", "\n%{http_code}", &url]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    /// Waits on this host, as `await-client` does, until a client is known here; from its start on too, before it listens.
    pub fn awaits_client(&self, id: &str, seconds: u32) -> bool {
        let until = Instant::now() + Duration::from_secs(seconds.into());
        let path = format!("/api/gossip/await-client?client_id={id}&timeout_ms={}", seconds * 1000);
        loop {
            match self.fetch(self.number, &path, seconds + 2).0 {
                0 if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
                status => return status == 200,
            }
        }
    }
}
