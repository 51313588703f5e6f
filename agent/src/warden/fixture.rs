//! What the warden's tests are made of. Several of them need root, as `make test` has it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reverie_core::ipc::warden::{Reply, Request};
use reverie_sys::{pidfd::PidFd, seqpacket};

use super::{Options, serve};
use crate::ops::channel::Channel;

pub(super) const AMPLE: Duration = Duration::from_secs(30);

pub(super) fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root (namespaces, cgroups or other users): run make test");
}

/// Waits for something another process does.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + AMPLE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {AMPLE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is ended with its test.
#[derive(Debug)]
pub(super) struct Process(pub(super) Child);

impl Process {
    pub(super) fn start(program: impl AsRef<OsStr>, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(arguments))
    }

    pub(super) fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub(super) fn pidfd(&self) -> PidFd {
        PidFd::open(self.pid()).unwrap()
    }

    /// Waits until it runs `path`, as the kernel shows it.
    pub(super) fn await_exe(&self, path: &Path) {
        eventually("exec", || self.exe().is_some_and(|exe| exe == path));
    }

    pub(super) fn exe(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.pid())).ok()
    }

    pub(super) fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies a program. By another process: a descriptor of ours open for writing, inherited for an instant by another
/// test's child, would make the copy impossible to start (ETXTBSY).
pub(super) fn copy_program(from: &str, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Writes a shell script, by another process for the same reason.
pub(super) fn write_script(path: &Path, text: &str) {
    let mut write = Command::new("sh");
    write.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(path).arg(text);
    assert!(write.status().unwrap().success());
}

/// A warden on a thread, and the keeper's end of its channel.
pub(super) struct Served {
    runtime: tokio::runtime::Runtime,
    channel: Option<Channel<Request, Reply>>,
    warden: Option<std::thread::JoinHandle<Result<(), super::Error>>>,
    pub(super) run_dir: tempfile::TempDir,
}

impl Served {
    pub(super) fn start() -> Self {
        let run_dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = seqpacket::pair().unwrap();
        let options = Options { reload_deadline: Duration::from_secs(3), ..Options::new(run_dir.path().to_owned()) };
        let warden = std::thread::spawn(move || serve(theirs, options));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let channel = runtime.block_on(Channel::connect(ours, "warden")).unwrap();
        Self { runtime, channel: Some(channel), warden: Some(warden), run_dir }
    }

    pub(super) fn ask(&self, request: &Request, about: Option<&PidFd>) -> Reply {
        let channel = self.channel.as_ref().unwrap();
        self.runtime.block_on(channel.call(request, about.map(AsFd::as_fd), AMPLE)).unwrap()
    }

    /// All at once.
    pub(super) fn ask_all(&self, requests: &[(Request, &PidFd)]) -> Vec<Reply> {
        let channel = self.channel.as_ref().unwrap();
        let calls = requests.iter().map(|(request, about)| channel.call(request, Some(about.as_fd()), AMPLE));
        self.runtime.block_on(futures_util::future::join_all(calls)).into_iter().map(Result::unwrap).collect()
    }

    /// All at once, each with the time it took.
    pub(super) fn ask_all_timed(&self, requests: &[(Request, &PidFd)]) -> Vec<(Reply, Duration)> {
        let (channel, begun) = (self.channel.as_ref().unwrap(), Instant::now());
        let calls = requests.iter().map(|(request, about)| async move {
            let reply = channel.call(request, Some(about.as_fd()), AMPLE).await.unwrap();
            (reply, begun.elapsed())
        });
        self.runtime.block_on(futures_util::future::join_all(calls))
    }

    /// Closes the channel, and returns what the warden ended with.
    pub(super) fn stop(mut self) -> Result<(), super::Error> {
        let channel = self.channel.take();
        self.runtime.block_on(async { drop(channel) });
        self.warden.take().unwrap().join().unwrap()
    }
}

/// A cgroup of the unified hierarchy, removed with its test.
pub(super) struct Cgroup {
    root: PathBuf,
    path: String,
}

impl Cgroup {
    /// Makes `PARENT/UNIT`, with a unit name that no other test has.
    pub(super) fn make(parent: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        require_root();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let unified = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let root = PathBuf::from(unified.expect("this test needs cgroup v2").split(' ').nth(1).unwrap());
        let unit = format!("reverie-test-{}-{}.service", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = format!("{parent}/{unit}");
        // Another test may just remove the parent that it shares with us.
        eventually("mkdir", || std::fs::create_dir_all(root.join(&path)).is_ok());
        Self { root, path }
    }

    pub(super) fn unit(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    pub(super) fn path(&self) -> String {
        format!("/{}", self.path)
    }

    pub(super) fn take(&self, process: &Process) {
        std::fs::write(self.root.join(&self.path).join("cgroup.procs"), process.pid().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let own = self.root.join(&self.path);
        eventually("rmdir", || std::fs::remove_dir(&own).is_ok());
        for parent in own.ancestors().skip(1).take_while(|parent| **parent != *self.root) {
            if std::fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
}
