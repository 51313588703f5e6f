//! Too many, too slow, too silent: what is over a limit is shed, and administrators get through.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reverie_tests::agent::Agent;
use reverie_tests::http::{is_cut, read_answer};
use reverie_tests::programs::{run, wait_until};

/// How long the agent bears with a client that takes no byte of its answer: `WRITE_STALL` in `listener.rs`.
const STALL: Duration = Duration::from_secs(30);

#[test]
fn a_client_that_never_reads_harms_only_itself_and_is_cut_off() {
    let mut agent = Agent::with_web();
    agent.start();
    let mut silent = UnixStream::connect(agent.agent_socket()).unwrap();
    silent.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Asks for the largest answer over and over until nothing more fits anywhere.
    let question = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    while silent.write_all(&question).is_ok() {}
    let begun = Instant::now();
    agent.get("/v1/whoami").ok();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(!is_cut(&silent), "not before its time");
    wait_until("the agent cuts it off", STALL.as_secs() + 15, || is_cut(&silent));
    let after = begun.elapsed();
    assert!(after > STALL / 2, "cut off after {after:?} only");
    agent.get("/v1/whoami").ok();
}

#[test]
fn a_thousand_large_bodies_that_never_end_cost_little_memory_and_keep_no_other_out() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut agent = Agent::new(&format!("{}[[identity]]\nname = \"theirs\"\nmatch = {{ uid = 4242 }}\n", Agent::web()));
    agent.start();
    let flood = |path: &str, length: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        let request = [head.as_bytes(), &vec![b' '; length - 1]].concat();
        let open = |_| {
            let mut stream = UnixStream::connect(agent.agent_socket()).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            let _ = stream.write_all(&request);
            stream
        };
        (0..1000).map(open).collect::<Vec<_>>()
    };
    // Announced too large, not permitted, and permitted.
    for (path, length) in [
        ("/v1/identities/web/certificates", 256 * 1024),
        ("/v1/identities/theirs/certificates", 32 * 1024),
        ("/v1/identities/web/certificates", 32 * 1024),
    ] {
        let held = flood(path, length);
        let resident = agent.resident_kib();
        assert!(resident < 128 * 1024, "{resident} KiB by {path} with {length} bytes");
        agent.admin_get("/api/admin/status").ok();
        if length < 100_000 {
            let url = "http://localhost/v1/identities/theirs/certificates";
            let socket = agent.agent_socket();
            let curl = ["--reuid", "4242", "--regid", "4242", "--clear-groups", "curl", "--silent", "--data", "{}"];
            let said = run("setpriv", &[&curl[..], &["--unix-socket", socket.to_str().unwrap(), url]].concat());
            assert!(said.contains("BEGIN CERTIFICATE"), "{said}");
        }
        drop(held);
        wait_until("they are gone", 20, || agent.get("/v1/whoami").status == 200);
    }
}

#[test]
fn a_request_that_dribbles_in_is_given_up() {
    let mut agent = Agent::with_head("[seal]\nmode = \"file\"\n[limits]\nidle = \"1s\"\n", &Agent::web());
    agent.start();
    let mut slow = UnixStream::connect(agent.agent_socket()).unwrap();
    slow.write_all(b"GET /v1/whoami HTT").unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let begun = Instant::now();
    let mut rest = vec![];
    let _ = slow.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(8), "still open after {:?}", begun.elapsed());
}

#[test]
fn a_user_over_its_rate_is_told_to_wait() {
    let mut agent = Agent::with_head("[seal]\nmode = \"file\"\n[limits]\nrequests_per_second = 1\nburst = 3\n", &Agent::web());
    agent.start();
    let statuses: Vec<u16> = (0..6).map(|_| agent.get("/v1/whoami").status).collect();
    assert_eq!(&statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    agent.admin_get("/api/admin/status").ok();
}

#[test]
fn a_watcher_sees_the_present_then_each_rotation_and_its_own_end() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    let mut stream = UnixStream::connect(agent.agent_socket()).unwrap();
    stream.write_all(b"GET /v1/watch HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
    let mut seen = String::new();
    let mut see = |what: &str| {
        let deadline = Instant::now() + Duration::from_secs(10);
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        while !seen.contains(what) {
            assert!(Instant::now() < deadline, "{what} is not in {seen}");
            let mut buffer = [0; 4096];
            if let Ok(count) = stream.read(&mut buffer) {
                seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    };
    see(&agent.file_serial("web"));
    see("\"event\":\"trust\"");
    agent.admin_post("/api/admin/rotate", &serde_json::json!({ "identity": "web" })).ok();
    see(&agent.file_serial("web"));
    agent.configure("");
    agent.reload();
    see("\"event\":\"refused\"");
}

#[test]
fn a_connection_is_kept_for_many_requests() {
    let mut agent = Agent::with_web();
    agent.start();
    let mut stream = UnixStream::connect(agent.agent_socket()).unwrap();
    for _ in 0..50 {
        stream.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
    }
}
