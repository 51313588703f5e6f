//! What the agent tells systemd when it is told to reload or to stop, and what becomes of open requests.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reverie_tests::agent::Agent;
use reverie_tests::http::{Answer, exchange, is_cut, request};
use reverie_tests::programs::wait_until;
use serde_json::json;

#[test]
fn a_reload_is_announced_before_it_begins_and_after_it_ended_good_or_refused() {
    let mut agent = Agent::with_web();
    agent.start();
    for configuration in [Agent::web(), "nonsense".to_owned()] {
        agent.configure(&configuration);
        agent.signal(Signal::SIGHUP);
        // In that order: waiting for the first would go past the second.
        let reloading = agent.wait_for_notice("RELOADING=1");
        let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("Type=notify-reload wants it");
        assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "{reloading}");
        let ready = agent.wait_for_notice("READY=1");
        assert!(ready.contains("STATUS=1 identities"), "{ready}");
    }
    agent.get("/v1/whoami").ok();
}

/// An agent whose service takes `seconds` to reload, all but the first time, and the file where it notes each begin and
/// end.
fn agent_with_a_slow_service(seconds: u32) -> (Agent, PathBuf) {
    let mut agent = Agent::new("");
    let notes = agent.path().join("notes");
    let wait =
        format!("[ -e {0} ] && seconds={seconds}; echo begin >> {0}; sleep ${{seconds:-0}}; echo end >> {0}", notes.display());
    agent.configure(&format!("{}reload = {{ command = [\"/bin/sh\", \"-c\", {wait:?}] }}\n", Agent::web()));
    agent.start();
    wait_until("the service knows its first certificate", 20, || noted(&notes, "end") == 1);
    (agent, notes)
}

fn noted(notes: &PathBuf, word: &str) -> usize {
    std::fs::read_to_string(notes).unwrap_or_default().lines().filter(|line| *line == word).count()
}

/// A rotation by an administrator, which waits for the service.
fn rotation(agent: &Agent) -> std::thread::JoinHandle<Answer> {
    let socket = agent.admin_socket();
    std::thread::spawn(move || request(&socket, "POST", "/api/admin/rotate", &[], b"{\"identity\":\"web\"}"))
}

#[test]
fn a_request_that_is_under_way_is_answered_before_the_agent_stops() {
    let (mut agent, notes) = agent_with_a_slow_service(3);
    let before = agent.file_serial("web");
    let mut idle = UnixStream::connect(agent.agent_socket()).unwrap();
    assert_eq!(exchange(&mut idle, "GET", "/v1/whoami", &[], b"").status, 200);
    let rotation = rotation(&agent);
    wait_until("the service is being told of the second", 20, || noted(&notes, "begin") == 2);
    let begun = Instant::now();
    agent.signal(Signal::SIGTERM);
    agent.wait_for_notice("STOPPING=1");
    wait_until("who asks nothing is let go at once", 2, || is_cut(&idle));
    assert_eq!(noted(&notes, "end"), 1, "the request is still under way");

    let rotated = rotation.join().expect("an answer").ok();
    assert_eq!((&rotated["published"], &rotated["reloaded"]), (&json!(true), &json!("ran /bin/sh")), "{rotated}");
    agent.stopped();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(noted(&notes, "end"), 2);
    agent.start();
    assert_ne!(agent.file_serial("web"), before);
    assert_eq!(rotated["certificate"]["serial"], agent.file_serial("web").as_str());
}

#[test]
fn a_request_that_takes_too_long_does_not_keep_the_agent_from_stopping() {
    // Longer than the agent waits; what it started ends by itself soon after.
    let (mut agent, notes) = agent_with_a_slow_service(30);
    let rotation = rotation(&agent);
    wait_until("the service is being told", 20, || noted(&notes, "begin") == 2);
    let begun = Instant::now();
    agent.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(rotation.join().map_or(true, |answer| answer.status == 503), "hung up on or refused, since it was not done");
    agent.configure(&Agent::web());
    agent.start();
    agent.get("/v1/whoami").ok();
    assert_eq!(agent.admin_get("/api/admin/audit/verify").ok()["report"]["faults"], json!([]));
}
