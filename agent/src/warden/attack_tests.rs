//! Callers that are not what they seem.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use reverie_core::caller::{Executable, system_unit};
use reverie_core::ipc::warden::{Facts, Reply, Request};
use reverie_sys::{peer, pidfd::PidFd};

use super::facts::{Look, Subject, Wait, look};
use super::failure::Failure;
use super::fixture::{Cgroup, Process, Served, copy_program, eventually, require_root};

const FACTS: Request = Request::Facts { digest_exe: false };

fn sleep() -> PathBuf {
    std::fs::canonicalize("/bin/sleep").unwrap()
}

fn facts(warden: &Served, process: &Process) -> Facts {
    match warden.ask(&FACTS, Some(&process.pidfd())) {
        Reply::Facts(facts) => facts,
        other => panic!("{other:?}"),
    }
}

fn exe(warden: &Served, process: &Process) -> Executable {
    facts(warden, process).exe.unwrap()
}

/// Starts `sleep` until one of them has the pid of a process that has ended.
fn recycle(pid: i32) -> Process {
    require_root();
    for _ in 0..10_000 {
        // The next process gets the number after this one, if no other takes it first.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("this kernel cannot be told the next pid");
        let mut impostor = Process::start(sleep(), &["600"]);
        if impostor.pid() == pid {
            impostor.await_exe(&sleep());
            return impostor;
        }
        impostor.end();
    }
    panic!("pid {pid} was not given out again");
}

#[test]
fn a_caller_that_ended_is_gone() {
    let warden = Served::start();
    let mut caller = Process::start(sleep(), &["600"]);
    let pidfd = caller.pidfd();
    caller.0.kill().unwrap();
    eventually("exit", || !pidfd.is_alive().unwrap());
    assert_eq!(warden.ask(&FACTS, Some(&pidfd)), Reply::Gone, "a zombie");
    caller.0.wait().unwrap();
    assert_eq!(warden.ask(&FACTS, Some(&pidfd)), Reply::Gone);
}

#[test]
fn an_executable_that_was_replaced_after_connecting_is_noticed() {
    let warden = Served::start();
    let mut caller = Process::start("/bin/sh", &["-c", "read go; exec /bin/sleep 600"]);
    caller.await_exe(&std::fs::canonicalize("/bin/sh").unwrap());
    let pidfd = caller.pidfd();
    let exe = exe(&warden, &caller);
    assert!(exe.is_that_file);
    let question = Request::StillRuns { device: exe.device, inode: exe.inode };
    assert_eq!(warden.ask(&question, Some(&pidfd)), Reply::StillRuns(true));
    caller.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    caller.await_exe(&sleep());
    assert_eq!(warden.ask(&question, Some(&pidfd)), Reply::StillRuns(false));
    caller.end();
    assert_eq!(warden.ask(&question, Some(&pidfd)), Reply::Gone);
}

#[test]
fn a_deleted_executable_is_no_file_whatever_lies_at_its_path() {
    let warden = Served::start();
    let directory = tempfile::tempdir().unwrap();
    let path = std::fs::canonicalize(directory.path()).unwrap().join("program");
    copy_program("/bin/sleep", &path);
    let caller = Process::start(&path, &["600"]);
    caller.await_exe(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(!exe(&warden, &caller).is_that_file);
    copy_program("/bin/sleep", &path);
    assert!(!exe(&warden, &caller).is_that_file);
    // The kernel's mark can be part of a file's own name.
    let marked = path.with_file_name("other (deleted)");
    copy_program("/bin/sleep", &marked);
    let caller = Process::start(&marked, &["600"]);
    caller.await_exe(&marked);
    assert!(!exe(&warden, &caller).is_that_file);
}

/// By name, so that whoever is not root can leave them out: `cargo test -- --skip as_root`.
mod as_root {
    use super::*;

    #[test]
    fn a_recycled_pid_is_refused() {
        let warden = Served::start();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let program = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; sleep 600";
        let mut caller = Process::start("perl", &["-e", program, path.to_str().unwrap()]);
        let (connection, _) = listener.accept().unwrap();
        let early = peer::peer_pidfd(&connection).unwrap().unwrap();
        assert!(matches!(warden.ask(&FACTS, Some(&early)), Reply::Facts(_)));

        let pid = caller.pid();
        caller.end();
        let impostor = recycle(pid);

        // What goes by the pid is taken in, even by a pidfd that is opened only now …
        assert_eq!(peer::peer_credentials(&connection).unwrap().pid, pid);
        assert_eq!(impostor.exe().unwrap(), sleep());
        assert!(PidFd::open(pid).unwrap().is_alive().unwrap());
        // … but the kernel's own handle on the peer is not, whenever it is asked for.
        assert_eq!(warden.ask(&FACTS, Some(&early)), Reply::Gone);
        assert_eq!(warden.ask(&Request::StillRuns { device: 0, inode: 0 }, Some(&early)), Reply::Gone);
        if let Ok(Some(late)) = peer::peer_pidfd(&connection) {
            assert_eq!(warden.ask(&FACTS, Some(&late)), Reply::Gone);
        }
    }

    #[test]
    fn a_pid_that_is_recycled_while_it_is_looked_at_is_refused() {
        let mut caller = Process::start("perl", &["-e", "sleep 600"]);
        let subject = Subject::new(vec![caller.pidfd().into()]).unwrap();
        assert!(matches!(look(&subject, Wait::Never), Ok(Look::Complete(..))));
        let pid = caller.pid();
        caller.end();
        let _impostor = recycle(pid);
        assert_eq!(look(&subject, Wait::Never).unwrap_err(), Failure::Gone);
    }

    #[test]
    fn another_binary_mounted_over_a_trusted_path_is_not_that_file() {
        require_root();
        let warden = Served::start();
        let directory = tempfile::tempdir().unwrap();
        let trusted = std::fs::canonicalize(directory.path()).unwrap().join("trusted");
        copy_program("/bin/sleep", &trusted);
        let honest = Process::start(&trusted, &["600"]);
        honest.await_exe(&trusted);
        assert_eq!(exe(&warden, &honest).verified_path(), trusted.to_str());

        let script = "mount --bind /bin/sleep \"$0\" && exec \"$0\" 600";
        let impostor = Process::start("unshare", &["-m", "sh", "-c", script, trusted.to_str().unwrap()]);
        impostor.await_exe(&trusted);
        let exe = exe(&warden, &impostor);
        assert_eq!(Path::new(&exe.shown_path), trusted, "the kernel shows what the namespace says");
        assert!(!exe.is_that_file);
        assert_eq!(exe.verified_path(), None);
    }

    #[test]
    fn a_user_unit_with_a_system_units_name_is_not_the_system_unit() {
        let warden = Served::start();
        let forged = Cgroup::make("user.slice/user-1000.slice/user@1000.service/app.slice");
        let genuine = Cgroup::make("system.slice");
        for (cgroup, unit) in [(&forged, "user@1000.service"), (&genuine, genuine.unit())] {
            let process = Process::start(sleep(), &["600"]);
            cgroup.take(&process);
            let facts = facts(&warden, &process);
            assert_eq!(facts.cgroup.as_deref(), Some(&*cgroup.path()));
            assert_eq!(facts.cgroup.as_deref().and_then(system_unit), Some(unit));
        }
    }
}
