//! Who is asking: other users, other programs, other units.

use std::path::Path;
use std::process::Command;

use reverie_tests::agent::Agent;
use reverie_tests::programs::{output, text};

/// Asks as another user; answers status and body.
fn as_uid(uid: u32, options: &[&str], socket: &Path, path: &str) -> (String, String) {
    let (uid, socket) = (uid.to_string(), socket.display().to_string());
    let identity = ["--reuid", &uid, "--regid", &uid];
    let options = if options.is_empty() { &["--clear-groups"] } else { options };
    let url = format!("http://localhost{path}");
    let curl = ["curl", "--silent", "--write-out", "\n%{http_code}", "--unix-socket", &socket, &url];
    let output = output("setpriv", &[&identity[..], options, &curl].concat());
    let all = text(&output);
    let (body, status) = all.rsplit_once('\n').unwrap_or(("", &all));
    (status.to_owned(), body.to_owned())
}

#[test]
fn another_user_has_no_identity_and_no_administration() {
    let mut agent = Agent::with_web();
    agent.start();
    let (status, body) = as_uid(4242, &[], &agent.agent_socket(), "/v1/whoami");
    assert_eq!(status, "200");
    assert!(body.contains("\"uid\":4242") && body.contains("\"identities\":[]"), "{body}");
    for path in ["/v1/identities/web", "/v1/identities/web/certificate", "/v1/secrets/x", "/v1/watch"] {
        assert_eq!(as_uid(4242, &[], &agent.agent_socket(), path).0, "403", "{path}");
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(agent.admin_socket(), mode).unwrap();
    let (status, body) = as_uid(4242, &[], &agent.admin_socket(), "/api/admin/status");
    assert_eq!(status, "403", "the peer's credentials decide, not the socket's mode");
    assert!(body.contains("is not an administrator"), "{body}");
    let audit = agent.admin_get("/api/admin/audit?limit=1000").text();
    assert!(audit.contains("request-denied") && audit.contains("\\\"uid\\\":4242"), "{audit}");
}

#[test]
fn a_supplementary_group_counts_and_a_made_up_one_does_not() {
    let mut agent = Agent::new("[[identity]]\nname = \"disk\"\nmatch = { supplementary_group = \"disk\" }\n");
    agent.start();
    let gid = nix::unistd::Group::from_name("disk").unwrap().unwrap().gid.to_string();
    let (_, with) = as_uid(4242, &["--groups", &gid], &agent.agent_socket(), "/v1/whoami");
    assert!(with.contains("\"identities\":[\"disk\"]"), "{with}");
    let (_, without) = as_uid(4242, &[], &agent.agent_socket(), "/v1/whoami");
    assert!(without.contains("\"identities\":[]"), "{without}");
}

/// Connects, becomes another program, and only then asks, on the connection it made before.
const TURNCOAT: &str = r#"
import os, socket, sys
if len(sys.argv) == 4:
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.set_inheritable(True)
    s.sendall(b"GET /v1/identities HTTP/1.1\r\nhost: x\r\n\r\n"); first = s.recv(65536)
    os.execv(sys.argv[2], [sys.argv[2], sys.argv[3], str(s.fileno()), "CERT" if b'"trusted"' in first else "NONE"])
s = socket.socket(fileno=int(sys.argv[1]))
s.sendall(b"GET /v1/identities/trusted/certificate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
print("before:", sys.argv[2]); print("after:", s.recv(65536).split(b"\r\n")[0].decode())
"#;

#[test]
fn a_process_that_becomes_another_program_after_it_connected_loses_what_rested_on_the_first() {
    let mut agent = Agent::new("");
    let (script, trusted, other) = (agent.path().join("turncoat.py"), agent.path().join("trusted"), agent.path().join("other"));
    std::fs::write(&script, TURNCOAT).unwrap();
    std::fs::copy("/usr/bin/python3", &trusted).unwrap();
    std::fs::copy("/usr/bin/python3", &other).unwrap();
    let uid = nix::unistd::geteuid();
    agent.configure(&format!("[[identity]]\nname = \"trusted\"\nmatch = {{ uid = {uid}, exe = {trusted:?} }}\n"));
    agent.start();
    let becoming = |second: &Path| {
        let output = Command::new(&trusted).arg(&script).arg(agent.agent_socket()).arg(second).arg(&script).output().unwrap();
        text(&output)
    };
    assert_eq!(becoming(&trusted), "before: CERT\nafter: HTTP/1.1 200 OK\n", "the same program keeps it");
    assert_eq!(becoming(&other), "before: CERT\nafter: HTTP/1.1 403 Forbidden\n");
}

#[test]
fn a_program_mounted_over_a_trusted_path_is_not_the_trusted_program() {
    let mut agent = Agent::new("");
    let trusted = agent.path().join("trusted");
    std::fs::copy("/bin/true", &trusted).unwrap();
    let uid = nix::unistd::geteuid();
    agent.configure(&format!("[[identity]]\nname = \"trusted\"\nmatch = {{ uid = {uid}, exe = {trusted:?} }}\n"));
    agent.start();
    let (path, socket) = (trusted.display(), agent.agent_socket());
    let ask = format!("--silent --unix-socket {} http://localhost/v1/whoami", socket.display());
    let disguised =
        output("unshare", &["--mount", "sh", "-c", &format!("mount --bind $(command -v curl) {path} && {path} {ask}")]);
    assert!(text(&disguised).contains("\"identities\":[]"), "{}", text(&disguised));
    assert!(text(&disguised).contains(&format!("\"shown_path\":\"{path}\"")), "the disguise worked: {}", text(&disguised));
    std::fs::remove_file(&trusted).unwrap();
    std::fs::copy("/usr/bin/curl", &trusted).unwrap();
    let honest = output("sh", &["-c", &format!("{path} {ask}")]);
    assert!(text(&honest).contains("\"identities\":[\"trusted\"]"), "{}", text(&honest));
}

#[test]
fn a_digest_rule_of_one_user_costs_nobody_else_his_attestation() {
    let mut agent = Agent::new("");
    let digest = "a".repeat(64);
    agent.configure(&format!(
        "{}[[identity]]\nname = \"digested\"\nmatch = {{ uid = 4300, sha256 = \"{digest}\" }}\n",
        Agent::web()
    ));
    agent.start();
    // Each has an executable of its own that takes long to digest, and all ask at once.
    let script = "cp $(command -v curl) $1/c$2 && truncate -s 250M $1/c$2 && exec $1/c$2 --silent --unix-socket $3 http://localhost/v1/whoami";
    let directory = agent.path().join("many");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let as_uid = |uid: &str, n: usize| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--regid", uid, "--clear-groups", "sh", "-c", script, "sh"]);
        command.arg(&directory).arg(format!("{uid}-{n}")).arg(agent.agent_socket());
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let crowd: Vec<_> = (0..24).map(|n| as_uid(if n % 2 == 0 { "4242" } else { "4300" }, n)).collect();
    for _ in 0..20 {
        assert_eq!(agent.get("/v1/whoami").ok()["identities"], serde_json::json!(["web"]));
    }
    for one in crowd {
        let said = text(&one.wait_with_output().unwrap());
        assert!(said.contains("\"identities\":[]"), "attested, whatever its executable: {said}");
        assert!(!said.contains("\"uid\":4242") || said.contains("\"sha256\":null"), "whose digest can help nobody: {said}");
    }
}
