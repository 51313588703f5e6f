//! Ten thousand connections that are open and ask for nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reverie_tests::agent::Agent;
use reverie_tests::http::{is_cut, read_answer};
use reverie_tests::programs::wait_until;

const CROWD: usize = 10_000;
/// As `LimitNOFILE=` of the packaged unit: the agent holds a socket and a pidfd for each.
const DESCRIPTORS: u64 = 65_536;
/// Descriptors for all else.
const SPARE: usize = 512;
/// What the keeper may take for one that is idle: its read buffer of 8 KiB, its task, and the attested caller.
const MOST_KIB_EACH: u64 = 24;

/// Raises the limit for this process and the agents it starts from now on; returns how large a crowd it allows.
fn allowed_crowd() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // A container may keep even root from raising the hard limit.
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard.max(DESCRIPTORS), hard.max(DESCRIPTORS)) {
        Ok(()) => hard.max(DESCRIPTORS),
        Err(_) => setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard).unwrap(),
    };
    let crowd = CROWD.min((usize::try_from(limit).unwrap_or(usize::MAX) - SPARE) / 2);
    assert!(crowd * 100 >= CROWD * 97, "a limit of {limit} open files (ulimit -Hn) is too small for this test");
    crowd
}

fn prompt<T>(what: &str, ask: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let answer = ask();
    assert!(begun.elapsed() < Duration::from_secs(2), "{what} took {:?}", begun.elapsed());
    answer
}

/// Connections that asked once and stay: accepted, attested, served, and now idle.
fn crowd(agent: &Agent, size: usize) -> Vec<UnixStream> {
    let mut crowd = Vec::with_capacity(size);
    // Not all at once: how many the agent attests in a second is not the question here.
    while crowd.len() < size {
        let batch = (size - crowd.len()).min(500);
        let mut some: Vec<UnixStream> = (0..batch).map(|_| UnixStream::connect(agent.agent_socket()).unwrap()).collect();
        some.iter_mut().for_each(|stream| stream.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n").unwrap());
        some.iter_mut().for_each(|stream| assert_eq!(read_answer(stream).status, 200));
        crowd.append(&mut some);
    }
    crowd
}

#[test]
fn ten_thousand_idle_connections_are_held_and_everybody_else_is_answered_promptly() {
    let size = allowed_crowd();
    let limits = "[limits]\nconnections = 10100\nconnections_per_uid = 10100\nrequests_per_second = 0\n";
    let mut agent = Agent::with_head(&format!("[seal]\nmode = \"file\"\n{limits}"), &Agent::web());
    agent.start();
    agent.file("web", "tls.key");
    agent.get("/v1/whoami").ok();
    let before = agent.resident_kib();

    let mut crowd = crowd(&agent, size);
    let grown = agent.resident_kib().saturating_sub(before);
    for _ in 0..20 {
        prompt("whoami", || agent.get("/v1/whoami").ok());
        prompt("status", || agent.admin_get("/api/admin/status").ok());
    }
    prompt("rotation", || agent.admin_post("/api/admin/rotate", &serde_json::json!({ "identity": "web" })).ok());
    assert!(grown < MOST_KIB_EACH * size as u64, "{grown} KiB for {size} connections");
    let metrics = agent.admin_get("/metrics").text();
    assert!(!metrics.contains("reverie_connections_shed_total"), "none was turned away: {metrics}");
    for stream in &mut crowd {
        stream.set_nonblocking(true).unwrap();
        let error = stream.read(&mut [0; 16]).expect_err("a connection was closed, or got what it did not ask for");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn two_thousand_connections_of_one_user_are_too_many_by_default_and_administrators_get_through() {
    let mut agent = Agent::with_web();
    agent.start();
    let mut idle: Vec<UnixStream> = (0..2_000).map(|_| UnixStream::connect(agent.agent_socket()).unwrap()).collect();
    wait_until("one more is told there are too many", 20, || {
        let mut one_more = UnixStream::connect(agent.agent_socket()).unwrap();
        one_more.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut said = String::new();
        let _ = one_more.read_to_string(&mut said);
        said.starts_with("HTTP/1.1 429") && said.contains("too many connections")
    });
    let held = || idle.iter().filter(|stream| !is_cut(stream)).count();
    wait_until("those that are too many are closed, and no others", 20, || held() == 1024);
    agent.admin_get("/api/admin/status").ok();
    idle.clear();
    wait_until("all is well again", 20, || {
        UnixStream::connect(agent.agent_socket()).is_ok_and(|mut stream| {
            stream.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").is_ok() && {
                let mut said = String::new();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                stream.read_to_string(&mut said).is_ok() && said.starts_with("HTTP/1.1 200")
            }
        })
    });
}
