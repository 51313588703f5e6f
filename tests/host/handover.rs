//! A connection outlives the process that made it, in the hands of another.

use std::process::Command;

use reverie_tests::agent::Agent;
use reverie_tests::programs::text;
use serde_json::Value;

/// A child connects, perhaps asks, hands the connection to its parent and ends. The parent asks on it, then on one of
/// its own.
const HEIR: &str = r#"
import json, os, socket, sys
path, asks_first, reaped = sys.argv[1], sys.argv[2] == "asks", sys.argv[3] == "reaped"
def ask(s, method, path):
    try:
        s.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
    except BrokenPipeError:
        pass
    got = b""
    while True:
        head, _, body = got.partition(b"\r\n\r\n")
        length = [int(l.split(b":")[1]) for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")]
        if length and len(body) >= length[0]:
            return [int(head.split(b" ")[1]), body.decode()]
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return [0, "closed"]
        got += more
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(path)
    return s
here, there = socket.socketpair()
child = os.fork()
if child == 0:
    s = connect()
    first = ask(s, "GET", "/v1/whoami")[0] if asks_first else 0
    socket.send_fds(there, [str(first).encode()], [s.fileno()])
    os._exit(0)
said, fds, _, _ = socket.recv_fds(here, 100, 1)
os.waitid(os.P_PID, child, os.WEXITED | (0 if reaped else os.WNOWAIT))
s = socket.socket(fileno=fds[0]); s.settimeout(20)
inherited = [ask(s, "GET", "/v1/whoami"), ask(s, "POST", "/v1/identities/web/certificates")]
own = ask(connect(), "GET", "/v1/whoami")
print(json.dumps({"parent": os.getpid(), "child": child, "first": int(said), "inherited": inherited, "own": own}))
"#;

#[test]
fn a_connection_handed_on_by_a_process_that_ended_is_refused_and_not_taken_for_its_holder() {
    let mut agent = Agent::with_web();
    agent.start();
    let script = agent.path().join("heir.py");
    std::fs::write(&script, HEIR).unwrap();
    for (first, then) in [("asks", "reaped"), ("asks", "zombie"), ("silent", "reaped"), ("silent", "zombie")] {
        let output = Command::new("python3").arg(&script).arg(agent.agent_socket()).args([first, then]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        let at = format!("{first} {then}: {said}");
        assert_eq!(said["first"], if first == "asks" { 200 } else { 0 }, "the child had an identity: {at}");
        assert_eq!(said["own"][0], 200, "and so has the parent, on a connection of its own: {at}");
        let inherited = said["inherited"].as_array().unwrap();
        let refused = |answer: &Value| {
            answer[0] == 403
                && answer[1].as_str().unwrap().contains("the process that connected has ended, or runs another program now")
        };
        assert!(refused(&inherited[0]), "{at}");
        // Who was never attested is told so once, and hung up on.
        assert!(refused(&inherited[1]) || (first == "silent" && inherited[1][0] == 0), "{at}");
        let lines = agent.admin_get("/api/admin/audit?limit=1000").ok()["lines"].clone();
        for line in lines.as_array().unwrap() {
            let event = &serde_json::from_str::<Value>(line.as_str().unwrap()).unwrap()["event"];
            assert_ne!(event["actor"]["pid"], said["parent"], "it was the child's connection: {event}");
            assert!(event["kind"] != "certificate-issued" || event["actor"]["type"] == "agent", "{event}");
        }
    }
}
