//! Tunnels between two hosts, each with an agent and a network of its own.

mod callers;
mod connections;
mod services;
mod slow;
mod trust;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use reverie_tests::mesh::{Mesh, TRUST_DOMAIN, name};
use reverie_tests::programs::wait_until;

/// Where tunnels meet.
const PORT: u16 = 7443;

/// Two hosts in one mesh: callers on the first, services on the second.
pub(super) struct Pair {
    pub(super) mesh: Mesh,
}

/// The identities of both: `app` calls, `service` serves, `other` is neither.
fn identities() -> String {
    let one = |name: &str| format!("[[identity]]\nname = {name:?}\nmatch = {{ uid = 0 }}\n");
    ["app", "service", "other"].map(one).concat()
}

fn spiffe(identity: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/svc/{identity}")
}

/// The tunnel's end where callers are.
pub(super) fn near(accept: &str, further: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"t\"\nidentity = \"app\"\naccept = {accept:?}\nconnect = \"tls:{}:{PORT}\"\npeers = [{:?}]\n{further}",
        name(2),
        spiffe("service")
    )
}

/// The one where the service is.
pub(super) fn far(connect: &str, further: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"t\"\nidentity = \"service\"\naccept = \"tls:0.0.0.0:{PORT}\"\nconnect = {connect:?}\npeers = [{:?}]\n{further}",
        spiffe("app")
    )
}

impl Pair {
    /// Both ends as they are said.
    pub(super) fn new(near: &str, far: &str) -> Self {
        let pair = Self { mesh: Mesh::joined(2, &identities()) };
        pair.configure(1, near);
        pair.configure(2, far);
        pair.listens();
        if !near.is_empty() {
            pair.is_known(near.contains("\"unix\""));
        }
        pair
    }

    /// Waits until the hosts know each other's issuers, and their lists: a handshake holds, whatever is behind it.
    fn is_known(&self, by_socket: bool) {
        wait_until("a handshake holds", 30, || {
            match by_socket {
                true => drop(self.call()),
                false => drop(self.dial(1, 7000)),
            }
            let unreachable = self.metric(2, "reverie_tunnel_refused_total{tunnel=\"t\",reason=\"unreachable\"}");
            unreachable + self.metric(2, "reverie_tunnel_connections_total{tunnel=\"t\"}") > 0.0
        });
        // Those that were tried and are on their way would be the first callers of a service that starts now.
        std::thread::sleep(Duration::from_secs(2));
    }

    /// A host's tunnels, and whatever else.
    pub(super) fn configure(&self, host: usize, tunnels: &str) {
        let agent = &self.mesh.host(host).agent;
        agent.configure(&format!("{}{tunnels}", identities()));
        let loaded = || agent.admin_get("/api/admin/status").ok()["config"]["loaded_at"].clone();
        let before = loaded();
        agent.signal(nix::sys::signal::Signal::SIGHUP);
        wait_until("the configuration is read", 10, || loaded() != before);
    }

    /// Waits until both ends are there.
    pub(super) fn listens(&self) {
        wait_until("the far end listens", 20, || {
            self.mesh.host(1).within(|| TcpStream::connect((reverie_tests::mesh::address(2), PORT))).is_ok()
        });
    }

    /// The near end's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.mesh.host(1).agent.run().join("tunnels/t.sock")
    }

    /// A connection by it.
    pub(super) fn call(&self) -> UnixStream {
        wait_until("the socket is there", 10, || self.socket().exists());
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// A connection to a port on a host's loopback.
    pub(super) fn dial(&self, host: usize, port: u16) -> TcpStream {
        let stream = self.mesh.host(host).within(|| {
            let begun = Instant::now();
            loop {
                match TcpStream::connect(("127.0.0.1", port)) {
                    Ok(stream) => return stream,
                    Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{error}"),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// A service on the second host's loopback, which does `work` with each connection.
    pub(super) fn serve(&self, port: u16, work: fn(TcpStream)) {
        let listener = self.mesh.host(2).within(|| TcpListener::bind(("127.0.0.1", port))).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || work(stream));
            }
        });
    }

    /// A program on a host.
    pub(super) fn start(&self, host: usize, program: &str, arguments: &[&str]) -> Running {
        let wrapper = self.mesh.host(host).wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Running(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// The role `tunnel` of a host's agent.
    pub(super) fn role(&self, host: usize) -> Pid {
        let mut found = None;
        wait_until("there is a role", 20, || {
            found = self.find_role(host);
            found.is_some()
        });
        found.unwrap()
    }

    fn find_role(&self, host: usize) -> Option<Pid> {
        let keeper = self.mesh.host(host).agent.pid();
        let is_it = |pid: &i32| {
            let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let of_keeper = || read("status").lines().any(|line| line == format!("PPid:\t{keeper}"));
            read("cmdline").ends_with("--role\0tunnel\0") && of_keeper()
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it).map(Pid::from_raw)
    }

    /// A metric of a host's.
    pub(super) fn metric(&self, host: usize, series: &str) -> f64 {
        let text = self.mesh.host(host).agent.admin_get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A program that ends with this.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends everything back, and ends when the other side does.
pub(super) fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// One question and its answer.
pub(super) fn ask(stream: &mut (impl Read + Write), question: &str) -> std::io::Result<String> {
    stream.write_all(question.as_bytes())?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Is a connection that was opened closed again without an answer?
pub(super) fn is_refused(stream: &mut (impl Read + Write)) -> bool {
    ask(stream, "hello").is_err()
}
