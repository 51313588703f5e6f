//! The socket of LoadCredential=, met by others than the service manager. That it serves the real one is in tests/systemd.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use reverie_tests::agent::Agent;
use reverie_tests::programs::{output, text, wait_until};

const MIB: usize = 1 << 20;

fn agent() -> Agent {
    let unit = "[[identity]]\nname = \"job\"\nmatch = { unit = \"job.service\" }\n";
    let mut agent = Agent::new(&format!("{}{unit}", Agent::web()));
    agent.start();
    agent
}

fn socket(agent: &Agent) -> String {
    agent.run().join("credentials.sock").display().to_string()
}

/// Connects from that abstract address as systemd does, and reads to the end.
fn ask(agent: &Agent, uid: u32, address: &str) -> Result<Vec<u8>, String> {
    let script = "import socket, sys\n\
                  s = socket.socket(socket.AF_UNIX)\n\
                  if sys.argv[2]: s.bind('\\0' + sys.argv[2])\n\
                  s.connect(sys.argv[1])\n\
                  s.shutdown(socket.SHUT_WR)\n\
                  while (b := s.recv(65536)): sys.stdout.buffer.write(b)\n";
    let uid = uid.to_string();
    let arguments =
        ["--reuid", &uid, "--regid", &uid, "--clear-groups", "/usr/bin/python3", "-I", "-c", script, &socket(agent), address];
    let output = output("setpriv", &arguments);
    if output.status.success() { Ok(output.stdout) } else { Err(text(&output)) }
}

fn is_refusal(bytes: &[u8]) -> bool {
    bytes.len() > MIB && !bytes.windows(10).any(|bytes| bytes == b"-----BEGIN")
}

fn audited(agent: &Agent, object: &str) -> bool {
    agent.admin_get("/api/admin/audit").text().contains(object)
}

#[test]
fn a_name_that_root_forges_gets_a_refusal_that_no_unit_starts_with() {
    let agent = agent();
    for address in ["f00/unit/job.service/job.key", "f00/unit/job.service/secret.db", "f00/unit/job.service/none", "f00", ""] {
        let answer = ask(&agent, 0, address).unwrap();
        assert!(is_refusal(&answer), "{address:?}: {} bytes", answer.len());
    }
    let log = agent.log();
    assert!(log.contains("credential \"job.key\" for job.service is refused: it runs") && log.contains("not systemd"), "{log}");
    assert!(log.contains("connection to credentials.sock is refused: it does not connect from an address"), "{log}");
    wait_until("the audit log has it", 10, || audited(&agent, "for job.service"));
}

#[test]
fn another_user_cannot_even_connect_and_is_refused_where_the_mode_lets_it() {
    let agent = agent();
    let address = "f00/unit/job.service/job.key";
    assert!(ask(&agent, 4242, address).unwrap_err().contains("PermissionError"));
    std::fs::set_permissions(socket(&agent), PermissionsExt::from_mode(0o666)).unwrap();
    assert!(is_refusal(&ask(&agent, 4242, address).unwrap()));
    assert!(agent.log().contains("it connects as uid 4242"), "{}", agent.log());
}

#[test]
fn those_who_connect_and_do_not_read_hold_up_neither_each_other_for_long_nor_the_rest() {
    let agent = agent();
    let held: Vec<UnixStream> = (0..200).map_while(|_| UnixStream::connect(socket(&agent)).ok()).collect();
    assert!(held.len() >= 64);
    agent.admin_get("/health").ok();
    agent.get("/v1/whoami").ok();
    let begun = std::time::Instant::now();
    assert!(is_refusal(&ask(&agent, 0, "f00/unit/job.service/job.key").unwrap()));
    assert!(begun.elapsed().as_secs() < 45, "{:?}", begun.elapsed());
    // One who is slow gets all of the refusal: what is cut off would count as a credential.
    std::thread::sleep(std::time::Duration::from_secs(7));
    let mut refusal = vec![];
    held.into_iter().next().unwrap().read_to_end(&mut refusal).unwrap();
    assert!(is_refusal(&refusal), "{} bytes", refusal.len());
}
