use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use reverie_core::ipc::warden::{File, Publication, Reload, Reply, Request, Target, TargetKind};
use reverie_sys::pidfd::PidFd;

use super::fixture::{Process, Served, copy_program, require_root};
use super::{Error, check_uid};

fn failure(reply: Reply) -> String {
    match reply {
        Reply::Failed { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_keeper_root_and_the_wardens_own_user_are_obeyed() {
    for uid in [0, 900, 901] {
        check_uid(uid, Some(900), 901).unwrap();
    }
    assert!(matches!(check_uid(1000, Some(900), 901), Err(Error::WrongKeeper { uid: 1000, keeper: 900 })));
    check_uid(1000, None, 901).unwrap();
}

#[test]
fn bad_requests_are_answered_and_the_warden_goes_on() {
    let warden = Served::start();
    let facts = Request::Facts { digest_exe: true };
    assert!(failure(warden.ask(&facts, None)).contains("without exactly one pidfd"));
    assert!(failure(warden.ask(&Request::StillRuns { device: 0, inode: 0 }, None)).contains("pidfd"));
    let target = Target { kind: TargetKind::Certificates, name: "../x".into() };
    assert!(failure(warden.ask(&Request::Withdraw(target), None)).contains("cannot name a file"));
    let command = Reload::Command { argv: vec!["reboot".into()] };
    assert!(failure(warden.ask(&Request::Reload(command), None)).contains("absolute path"));
    assert_eq!(warden.ask(&Request::List(TargetKind::Secret), None), Reply::Names(vec![]));
    warden.stop().unwrap();
}

#[test]
fn files_are_published_listed_and_withdrawn() {
    let warden = Served::start();
    let target = Target { kind: TargetKind::Certificates, name: "web".into() };
    let files = vec![File { name: "tls.crt".into(), mode: 0o644, content: vec![7; 300_000], made_from: None }];
    let publish = Request::Publish(Publication { target: target.clone(), uid: None, gid: None, files });
    assert_eq!(warden.ask(&publish, None), Reply::Published { changed: true });
    assert_eq!(warden.ask(&publish, None), Reply::Published { changed: false });
    assert_eq!(std::fs::read(warden.run_dir.path().join("certs/web/tls.crt")).unwrap(), vec![7; 300_000]);
    assert_eq!(warden.ask(&Request::List(TargetKind::Certificates), None), Reply::Names(vec!["web".into()]));
    assert_eq!(warden.ask(&Request::Withdraw(target), None), Reply::Withdrawn);
    assert_eq!(warden.ask(&Request::List(TargetKind::Certificates), None), Reply::Names(vec![]));
}

fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap().stdout;
    String::from_utf8(output).unwrap()[..64].to_owned()
}

#[test]
fn the_running_file_is_digested_for_many_who_ask_at_once() {
    let warden = Served::start();
    let directory = tempfile::tempdir().unwrap();
    let processes: Vec<_> = ["/bin/sleep", "/bin/cat", "/bin/sh"]
        .map(|program| {
            let path = std::fs::canonicalize(directory.path()).unwrap().join(Path::new(program).file_name().unwrap());
            copy_program(program, &path);
            // `cat` and `sh` wait for their input, and so does `sleep` for longer than this.
            let process = if program.ends_with("sleep") { Process::start(&path, &["600"]) } else { Process::start(&path, &[]) };
            process.await_exe(&path);
            (process.pidfd(), process, sha256sum(&path))
        })
        .into();
    let questions: Vec<(Request, &PidFd)> =
        (0..60).map(|n| (Request::Facts { digest_exe: true }, &processes[n % processes.len()].0)).collect();
    for _ in 0..2 {
        for (n, reply) in warden.ask_all(&questions).into_iter().enumerate() {
            let Reply::Facts(facts) = reply else { panic!("{reply:?}") };
            let exe = facts.exe.unwrap();
            assert_eq!(exe.sha256.as_deref(), Some(&*processes[n % processes.len()].2));
            assert!(exe.is_that_file);
        }
    }
    let Reply::Facts(facts) = warden.ask(&Request::Facts { digest_exe: false }, Some(&processes[0].0)) else { panic!() };
    assert_eq!(facts.exe.unwrap().sha256, None);
}

#[test]
fn a_changed_file_is_digested_anew() {
    let warden = Served::start();
    let directory = tempfile::tempdir().unwrap();
    let path = std::fs::canonicalize(directory.path()).unwrap().join("program");
    let mut digests = Vec::new();
    for program in ["/bin/sleep", "/bin/cat"] {
        // Into the same file: the inode stays.
        copy_program(program, &path);
        let mut process = Process::start(&path, &[]);
        if program == "/bin/sleep" {
            process = Process::start(&path, &["600"]);
        }
        process.await_exe(&path);
        let Reply::Facts(facts) = warden.ask(&Request::Facts { digest_exe: true }, Some(&process.pidfd())) else { panic!() };
        assert_eq!(facts.exe.as_ref().unwrap().sha256.as_deref(), Some(&*sha256sum(&path)));
        digests.push(facts.exe.unwrap());
        process.end();
    }
    assert_eq!(digests[0].inode, digests[1].inode);
    assert_ne!(digests[0].sha256, digests[1].sha256);
}

#[test]
fn a_reload_too_many_is_refused_while_facts_are_still_told() {
    let warden = Served::start();
    let process = Process::start("/bin/cat", &[]);
    let pidfd = process.pidfd();
    let hang = || Request::Reload(Reload::Command { argv: vec!["/bin/sleep".into(), "600".into()] });
    let mut requests: Vec<(Request, &PidFd)> = (0..9).map(|_| (hang(), &pidfd)).collect();
    requests.push((Request::Facts { digest_exe: true }, &pidfd));
    let replies = warden.ask_all(&requests);
    let busy = replies.iter().filter(|reply| matches!(reply, Reply::Failed { message } if message.contains("busy"))).count();
    let killed =
        replies.iter().filter(|reply| matches!(reply, Reply::Failed { message } if message.contains("was killed"))).count();
    assert_eq!((busy, killed), (1, 8));
    assert!(matches!(replies[9], Reply::Facts(_)));
    warden.stop().unwrap();
}

/// By name, so that whoever is not root can leave them out: `cargo test -- --skip as_root`.
mod as_root {
    use super::*;

    #[test]
    fn many_large_executables_of_one_user_do_not_keep_another_from_its_digest() {
        require_root();
        let warden = Served::start();
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let run_as = |uid: u32, program: &Path| {
            let process = Process::spawn(Command::new(program).arg("600").uid(uid));
            process.await_exe(program);
            process
        };
        let large: Vec<_> = (0..24)
            .map(|n| {
                let path = std::fs::canonicalize(directory.path()).unwrap().join(format!("large{n}"));
                copy_program("/bin/sleep", &path);
                // Sparse: no disk, much to digest.
                std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(64 * 1024 * 1024).unwrap();
                let process = run_as(1234, &path);
                (process.pidfd(), process)
            })
            .collect();
        let small = std::fs::canonicalize(directory.path()).unwrap().join("small");
        copy_program("/bin/sleep", &small);
        let small = run_as(4321, &small);
        let about = small.pidfd();
        let facts = Request::Facts { digest_exe: true };
        let mut questions: Vec<(Request, &PidFd)> = large.iter().map(|(about, _)| (facts.clone(), about)).collect();
        questions.push((facts.clone(), &about));
        // A third runs a file that stands late in the first one's line.
        let shared = run_as(5678, &std::fs::canonicalize(directory.path()).unwrap().join("large15"));
        let about = shared.pidfd();
        questions.push((facts, &about));
        let answered: Vec<_> = warden.ask_all_timed(&questions);
        let digested = |reply: &Reply| {
            let Reply::Facts(facts) = reply else { panic!("{reply:?}") };
            facts.exe.as_ref().unwrap().sha256.is_some()
        };
        let of_the_first = answered[..24].iter().filter(|(reply, _)| digested(reply)).count();
        assert!((16..24).contains(&of_the_first), "as many as may stand in line, and facts for all: {of_the_first}");
        let slowest = answered.iter().map(|(_, after)| *after).max().unwrap();
        for (reply, after) in &answered[24..] {
            assert!(digested(reply) && *after < slowest / 2, "{after:?} of {slowest:?}");
        }
    }
}
