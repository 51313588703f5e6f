//! A real `reverie-agent` in a directory of its own.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, request};
use crate::programs::built;

/// How long an agent may take to become ready or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place for one agent: its configuration, state and run directory. Starting and stopping it is up to the test.
#[derive(Debug)]
pub struct Agent {
    directory: TempDir,
    process: Option<Child>,
    notify: UnixDatagram,
    environment: Vec<(String, String)>,
    /// Trust domain and node id.
    names: (String, String),
    /// What the agent is started by: it ends as the agent itself (`exec`), in a namespace or under another user.
    wrapper: Vec<String>,
}

/// The head of a configuration whose seal is a key file.
const KEY_FILE: &str = "[seal]\nmode = \"file\"\n";

impl Agent {
    /// A place whose configuration ends with `configuration`; sealed by a key file.
    pub fn new(configuration: &str) -> Self {
        Self::with_head(KEY_FILE, configuration)
    }

    /// A place for one host of many: with names of its own, started by `wrapper`.
    pub fn of_host(trust_domain: &str, node_id: &str, wrapper: Vec<String>, configuration: &str) -> Self {
        let mut agent = Self::new("");
        agent.names = (trust_domain.to_owned(), node_id.to_owned());
        agent.wrapper = wrapper;
        agent.configure(configuration);
        agent
    }

    /// The same with another `[seal]` section, or other sections beside it.
    pub fn with_head(head: &str, configuration: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("reverie-").tempdir().expect("a directory");
        // Other users must reach the sockets.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let notify = UnixDatagram::bind(directory.path().join("notify")).expect("a notify socket");
        notify.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let names = ("example.org".to_owned(), "host1.example.org".to_owned());
        let agent = Self { directory, process: None, notify, environment: vec![], names, wrapper: vec![] };
        agent.configure_with_head(head, configuration);
        agent
    }

    /// A place whose only identity is `web`, for the user who runs the test, with files.
    pub fn with_web() -> Self {
        Self::new(&Self::web())
    }

    /// The declaration of that identity.
    pub fn web() -> String {
        format!(
            "[[identity]]\nname = \"web\"\ndns = [\"localhost\", \"web.example.org\"]\nip = [\"127.0.0.1\"]\nmatch = {{ uid = {} }}\nfiles = {{ mode = \"0400\" }}\n",
            geteuid()
        )
    }

    /// Writes the configuration anew; takes effect at the next start or SIGHUP.
    pub fn configure(&self, configuration: &str) {
        self.configure_with_head(KEY_FILE, configuration);
    }

    /// The same with another head, as in [`Agent::with_head`].
    pub fn configure_with_head(&self, head: &str, configuration: &str) {
        let (trust_domain, node_id) = &self.names;
        let text = format!(
            "trust_domain = {trust_domain:?}\nnode_id = {node_id:?}\n[paths]\nrun = {:?}\nstate = {:?}\n{head}{configuration}",
            self.run(),
            self.state()
        );
        fs::write(self.config(), text).expect("the configuration");
    }

    /// Adds a variable to the agent's environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes such variables back.
    pub fn clear_variables(&mut self) {
        self.environment.clear();
    }

    /// The place itself.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("agent.toml")
    }

    /// The run directory.
    pub fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Everything the agent wrote to its standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// The agent's process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.as_ref().expect("a running agent").id()).expect("a pid")
    }

    /// Resident memory of the keeper, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running agent");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Starts the agent without waiting for anything.
    pub fn launch(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path().join("log")).expect("a log");
        let mut words = self.wrapper.iter().map(std::ffi::OsString::from).chain([built("reverie-agent").into_os_string()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg("--config").arg(self.config()).env("NOTIFY_SOCKET", self.path().join("notify"));
        command.env_remove("CREDENTIALS_DIRECTORY").envs(self.environment.iter().map(|(name, value)| (name, value)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the agent starts");
        self.process = Some(child);
    }

    /// Starts the agent and waits until it says READY=1; returns how long that took.
    pub fn start(&mut self) -> Duration {
        let begun = Instant::now();
        self.launch();
        self.wait_for_notice("READY=1");
        begun.elapsed()
    }

    /// Waits for a message with that line on the notify socket, past all that come before it; returns the message.
    pub fn wait_for_notice(&mut self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            if let Ok(count) = self.notify.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..count]);
                if message.lines().any(|notice| notice == line) {
                    return message.into_owned();
                }
            }
            let ended = self.process.as_mut().expect("a running agent").try_wait().expect("a status");
            assert!(ended.is_none(), "the agent ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "no {line} in {PATIENCE:?}:\n{}", self.log());
        }
    }

    /// Starts an agent that is expected to give up; returns its exit code and what it said.
    pub fn start_and_fail(&mut self) -> (i32, String) {
        let before = self.log().len();
        self.launch();
        let status = self.wait();
        (status.code().unwrap_or(-1), self.log().split_off(before))
    }

    fn wait(&mut self) -> ExitStatus {
        let mut child = self.process.take().expect("a running agent");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a status") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("the agent did not end in {PATIENCE:?}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the keeper.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal");
    }

    /// Stops in good order.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.stopped();
    }

    /// Waits for the end after a SIGTERM, which must be a good one.
    pub fn stopped(&mut self) {
        let status = self.wait();
        assert!(status.success(), "the agent ended with {status}:\n{}", self.log());
    }

    /// Ends without any order.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// SIGHUP, and waits until the agent has read its configuration.
    pub fn reload(&mut self) {
        while self.notify.recv(&mut [0; 4096]).is_ok() {}
        self.signal(Signal::SIGHUP);
        self.wait_for_notice("READY=1");
    }

    /// The socket for everyone.
    pub fn agent_socket(&self) -> PathBuf {
        self.run().join("agent.sock")
    }

    /// The socket for administrators.
    pub fn admin_socket(&self) -> PathBuf {
        self.run().join("admin.sock")
    }

    /// GET on `agent.sock`.
    pub fn get(&self, path: &str) -> Answer {
        request(&self.agent_socket(), "GET", path, &[], b"")
    }

    /// DELETE on `admin.sock`.
    pub fn admin_delete(&self, path: &str) -> Answer {
        request(&self.admin_socket(), "DELETE", path, &[], b"")
    }

    /// Is it running, as far as its starter knows?
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// POST on `agent.sock`.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        request(&self.agent_socket(), "POST", path, &[], body.to_string().as_bytes())
    }

    /// GET on `admin.sock`.
    pub fn admin_get(&self, path: &str) -> Answer {
        request(&self.admin_socket(), "GET", path, &[], b"")
    }

    /// POST on `admin.sock`.
    pub fn admin_post(&self, path: &str, body: &Value) -> Answer {
        request(&self.admin_socket(), "POST", path, &[], body.to_string().as_bytes())
    }

    /// PUT on `admin.sock`.
    pub fn admin_put(&self, path: &str, body: &Value) -> Answer {
        request(&self.admin_socket(), "PUT", path, &[], body.to_string().as_bytes())
    }

    /// A file of an identity, once it is there.
    pub fn file(&self, identity: &str, name: &str) -> Vec<u8> {
        let path = self.run().join("certs").join(identity).join(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut bytes = vec![];
            if fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).is_ok() {
                return bytes;
            }
            assert!(Instant::now() < deadline, "{} does not appear:\n{}", path.display(), self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The path of a file of an identity, once it is there.
    pub fn file_path(&self, identity: &str, name: &str) -> String {
        self.file(identity, name);
        self.run().join("certs").join(identity).join(name).display().to_string()
    }

    /// The serial of the certificate in the files, lower-case hex.
    pub fn file_serial(&self, identity: &str) -> String {
        let block = pem::parse(self.file(identity, "tls.crt")).expect("a certificate");
        let (_, certificate) = x509_parser::parse_x509_certificate(block.contents()).expect("a certificate");
        data_encoding::HEXLOWER.encode(certificate.raw_serial())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            if std::thread::panicking() {
                eprintln!("--- the agent's log ---\n{}", self.log());
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
