//! A network namespace with names of its own, without a trace in `/run/netns` or `/etc/netns`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use tempfile::TempDir;

/// Network and mount namespaces, held by a process that waits for the end of its standard input.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
    _rope: ChildStdin,
    directory: TempDir,
}

impl Namespace {
    /// A namespace with no device but the loopback, whose `/etc/hosts` says `hosts`.
    pub fn new(hosts: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "namespaces need root: run the tests with sudo");
        let directory = tempfile::Builder::new().prefix("reverie-ns-").tempdir().expect("a directory");
        let table = directory.path().join("hosts");
        std::fs::write(&table, hosts).expect("a table of hosts");
        let script = "mount --bind \"$1\" /etc/hosts; ip link set lo up; echo ready; exec cat >/dev/null";
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-ec", script, "holder"]).arg(&table);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare, of util-linux");
        let rope = holder.stdin.take().expect("its input");
        let mut answer = String::new();
        BufReader::new(holder.stdout.take().expect("its output")).read_line(&mut answer).expect("an answer");
        assert_eq!(answer.trim(), "ready", "no namespace: unshare, mount or ip failed");
        Self { holder, _rope: rope, directory }
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Where its `/etc/hosts` lies.
    pub fn hosts_file(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    /// What runs a program in it, which dies with the thread that starts it.
    pub fn wrapper(&self) -> Vec<String> {
        let of = |kind: &str| format!("--{}=/proc/{}/ns/{}", if kind == "mnt" { "mount" } else { kind }, self.pid(), kind);
        ["nsenter", &of("net"), &of("mnt"), "setpriv", "--pdeathsig", "KILL"].map(str::to_owned).to_vec()
    }

    /// Does something on its network: sockets that are made there stay there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).expect("a namespace");
        let enter = move || {
            nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter it");
            work()
        };
        // A thread of its own: it does not come back.
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program in it to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let wrapper = self.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(program).args(arguments).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
