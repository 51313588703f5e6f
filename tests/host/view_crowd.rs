//! The file view under load, and what is the same for all in it. Needs root.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reverie_tests::agent::Agent;
use reverie_tests::programs::wait_until;
use serde_json::json;

use super::view::{ALICE, BOB, Reader, agent, as_user, mounts, serial, shown, view};

/// Opens the file of each line and keeps it; says how many it has, and what became of the last.
const KEEPS: &str = "import resource, sys\n\
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n\
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
    files, last = [], 'none'\n\
    for line in sys.stdin:\n\
    \x20   path, count = line.split()\n\
    \x20   try:\n\
    \x20       for _ in range(int(count)): files.append(open(path))\n\
    \x20       if count == '0': last = files.pop().read()\n\
    \x20   except OSError as error: last = error.strerror\n\
    \x20   print(len(files), last, end='\\0', flush=True)\n";

fn metric(agent: &Agent, line: &str) -> u64 {
    let text = agent.admin_get("/metrics").text();
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn one_user_that_opens_thousands_keeps_out_neither_others_nor_the_administrator_as_root() {
    let agent = agent();
    let [bundle, key] = ["certs/alice/bundle.pem", "certs/alice/tls.key"].map(|path| shown(&agent, path));
    let mut crowd: Vec<Reader> = (0..4).map(|_| Reader::running(ALICE, KEEPS)).collect();
    for reader in &mut crowd {
        let said = reader.read(&format!("{bundle} 15000"));
        assert!(said.starts_with("15000 ") || said.contains("Too many open files"), "{said}");
    }
    // And they go on, for keys as well.
    let busy: Vec<_> = crowd
        .into_iter()
        .map(|mut reader| {
            std::thread::spawn({
                let key = key.clone();
                move || reader.read(&format!("{key} 3000"))
            })
        })
        .collect();
    for _ in 0..20 {
        let begun = Instant::now();
        let (said, well) = as_user(BOB, &[], &["cat", &shown(&agent, "certs/bob/tls.key")]);
        assert!(well && said.contains("PRIVATE KEY"), "{said}");
        agent.admin_get("/api/admin/status").ok();
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    let said: Vec<String> = busy.into_iter().map(|thread| thread.join().unwrap()).collect();
    let limited = |said: &String| said.contains("Too many open files") || said.contains("temporarily unavailable");
    assert!(said.iter().any(limited), "{said:?}");
    wait_until("it is counted", 10, || metric(&agent, "reverie_view_shared_opens_total ") > 10_000);
    let refused = || {
        metric(&agent, "reverie_view_refused_total ")
            + metric(&agent, "reverie_view_requests_total{kind=\"open\",outcome=\"busy\"} ")
    };
    wait_until("so is what was refused", 10, || refused() > 0);
}

#[test]
fn a_stopped_reader_holds_up_nobody_and_open_files_do_not_keep_the_mount_as_root() {
    let mut agent = agent();
    let mut stopped = Reader::running(ALICE, KEEPS);
    let path = shown(&agent, "certs/alice/tls.key");
    assert!(stopped.read(&format!("{path} 5")).starts_with("5 "));
    let pid = Pid::from_raw(stopped.0.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    let (said, well) = as_user(ALICE, &[], &["cat", &path]);
    assert!(well && said.contains("PRIVATE KEY"), "{said}");
    let begun = Instant::now();
    agent.stop();
    wait_until("the mount is gone, whoever has files of it", 10, || mounts(&agent) == 0);
    assert!(begun.elapsed() < Duration::from_secs(10));
    kill(pid, Signal::SIGCONT).unwrap();
    let said = stopped.read(&format!("{path} 0"));
    assert!(said.contains("not connected") || said.contains("aborted"), "what is open fails at once: {said}");
}

#[test]
fn what_is_the_same_for_all_asks_nobody_and_is_new_as_soon_as_it_changes_as_root() {
    let agent = agent();
    let [lists, bundle] = ["crl.pem", "bundle.pem"].map(|file| shown(&agent, &format!("certs/alice/{file}")));
    let (mut reader, mut keeps) = (Reader::new(ALICE), Reader::running(ALICE, KEEPS));
    let asked = || metric(&agent, "reverie_view_requests_total{kind=\"open\",outcome=\"shown\"} ");
    let before = asked();
    let own = reader.read(&shown(&agent, "certs/alice/tls.crt"));
    let (roots, old) = (reader.read(&bundle), reader.read(&lists));
    assert_eq!(roots, reader.read(&shown(&agent, "certs/alice/ca.crt")));
    (0..100).for_each(|_| assert_eq!(reader.read(&bundle), roots));
    assert_eq!(asked(), before + 1, "for the certificate alone");

    assert!(keeps.read(&format!("{lists} 1")).starts_with('1'));
    agent.admin_post("/api/admin/revoke", &json!({ "serial": serial(&agent, &own) })).ok();
    wait_until("the new list is there", 1, || reader.read(&lists) != old);
    let fresh = reader.read(&lists);
    assert_eq!(keeps.read(&format!("{lists} 0")), format!("0 {old}"), "who had the old one open reads that to its end");
    let size = std::fs::metadata(view(&agent, "certs/alice")).is_err();
    assert!(size, "root has no such identity");
    let (said, _) = as_user(ALICE, &[], &["stat", "--format", "%s %a", &lists]);
    assert_eq!(said.trim(), format!("{} 444", fresh.len()));
    // It is everyone's, and yet only who has the identity finds it there.
    let (said, well) = as_user(BOB, &[], &["cat", &lists]);
    assert!(!well && said.contains("No such file"), "{said}");
}

#[test]
fn the_next_program_of_a_process_does_not_see_what_the_one_before_was_shown_as_root() {
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let mut agent = Agent::new(&format!(
        "[view]\nenabled = true\n[[identity]]\nname = \"mine\"\nmatch = {{ uid = 46004, exe = {python:?} }}\n"
    ));
    agent.start();
    wait_until("the view is mounted", 20, || mounts(&agent) == 1 && view(&agent, "certs").exists());
    let certs = shown(&agent, "certs");
    let script = format!("import os\nprint(os.listdir({certs:?}), flush=True)\nos.execv('/bin/ls', ['ls', '-A', {certs:?}])");
    for _ in 0..5 {
        let (said, well) = as_user("46004", &[], &["/usr/bin/python3", "-c", &script]);
        let mut lines = said.lines();
        assert!(well && lines.next().is_some_and(|first| first.contains("mine")), "{said}");
        assert_eq!(lines.next(), None, "ls is no such program");
    }
}
