//! `reverie-agent seal`: shown and renewed by hand, with nothing lost.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use reverie_tests::agent::Agent;
use reverie_tests::programs::{built, text};
use serde_json::json;

const VALUE: &str = "c2VhbGVk";

/// An agent that was started once, sealed by a key file, and keeps a secret.
fn stopped_with_a_secret() -> Agent {
    let mut agent = Agent::new(&configuration());
    agent.start();
    agent.file("web", "tls.key");
    agent.admin_put("/api/admin/secrets/db", &json!({ "value": VALUE })).ok();
    agent.stop();
    agent
}

fn configuration() -> String {
    format!("{}[[secret]]\nname = \"db\"\nallow = [\"web\"]\n", Agent::web())
}

fn seal(agent: &Agent, arguments: &[&str]) -> Output {
    let mut command = Command::new(built("reverie-agent"));
    command.arg("seal").args(arguments).arg("--dir").arg(agent.state().join("seal")).arg("--config").arg(agent.config());
    command.env_remove("CREDENTIALS_DIRECTORY").output().unwrap()
}

#[track_caller]
fn seal_ok(agent: &Agent, arguments: &[&str]) -> String {
    let output = seal(agent, arguments);
    assert!(output.status.success(), "seal {arguments:?}: {}\n{}", output.status, text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// It must be refused with that code and sentence, and leave every byte as it was.
#[track_caller]
fn refused(agent: &Agent, exit: i32, arguments: &[&str], expected: &str) {
    let before = sealed(agent);
    let output = seal(agent, arguments);
    assert_eq!(output.status.code(), Some(exit), "seal {arguments:?}: {}", text(&output));
    assert!(text(&output).contains(expected), "seal {arguments:?} does not say {expected:?}: {}", text(&output));
    assert_eq!(sealed(agent), before, "seal {arguments:?} was refused and changed something");
}

/// Every file of the seal.
fn sealed(agent: &Agent) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(agent.state().join("seal")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// The store is read, written, and holds what it held.
fn lost_nothing(agent: &Agent, serial: &str, mode: &str) {
    assert_eq!(agent.file_serial("web"), serial);
    assert_eq!(agent.get("/v1/secrets/db").ok()["value"], VALUE);
    agent.post("/v1/identities/web/certificates", &json!({})).ok();
    assert_eq!(agent.admin_get("/api/admin/status").ok()["seal"]["mode"], mode);
    assert_eq!(agent.admin_get("/api/admin/audit/verify").ok()["report"]["faults"], json!([]));
}

#[test]
fn a_renewed_seal_is_another_and_opens_the_same_store() {
    let mut agent = stopped_with_a_secret();
    let serial = agent.file_serial("web");
    let shown = seal_ok(&agent, &["show"]);
    assert!(shown.starts_with("sealed by file, PCRs [], made 20"), "{shown}");
    let before = sealed(&agent);
    assert_eq!(seal_ok(&agent, &["renew"]), "sealed by file, PCRs []\n", "the same mode, as configured");
    let after = sealed(&agent);
    assert_eq!(after.len(), before.len(), "nothing is left lying around");
    let blob = |files: &[(String, Vec<u8>)]| files.iter().find(|(name, _)| name.ends_with("root.cred")).unwrap().1.clone();
    assert_ne!(blob(&after), blob(&before), "sealed anew");
    agent.start();
    lost_nothing(&agent, &serial, "file");

    // Also under a running agent, which needs it at the next start only.
    seal_ok(&agent, &["renew", "--mode", "file"]);
    agent.kill();
    agent.start();
    lost_nothing(&agent, &serial, "file");
}

#[test]
fn what_cannot_be_sealed_so_is_refused_and_the_old_seal_stays() {
    let mut agent = stopped_with_a_secret();
    let serial = agent.file_serial("web");
    refused(&agent, 77, &["renew", "--mode", "tpm2", "--tpm2-device", "/dev/no-such-tpm"], "no TPM at /dev/no-such-tpm");
    refused(&agent, 77, &["renew", "--pcrs", "7"], "PCR 7 cannot be bound by sealing with file");
    refused(&agent, 64, &["renew", "--mode", "magic"], "\"magic\" is not a way to seal");
    refused(&agent, 64, &["renew", "--pcrs", "99"], "there is no PCR 99");
    refused(&agent, 64, &["fly"], "unrecognized subcommand");
    std::fs::write(agent.config(), "nonsense").unwrap();
    refused(&agent, 78, &["renew"], "agent.toml:1:");
    agent.configure(&configuration());
    agent.start();
    lost_nothing(&agent, &serial, "file");
}

#[test]
fn where_there_is_no_seal_none_is_shown_or_renewed() {
    let agent = Agent::new("");
    std::fs::create_dir_all(agent.state().join("seal")).unwrap();
    assert!(seal_ok(&agent, &["show"]).contains("there is no root secret"));
    refused(&agent, 77, &["renew"], "root secret");
}

/// Ends with this, since its input does.
struct SoftTpm(Child);

impl SoftTpm {
    fn start(agent: &Agent) -> (Self, String) {
        let mut command = Command::new(built("examples/swtpm_front"));
        let mut child = command.arg(agent.path().join("tpm")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut tcti = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut tcti).unwrap();
        (Self(child), tcti.trim().to_owned())
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_key_file_is_replaced_by_a_tpm_and_back_only_by_asking_for_less() {
    let mut agent = stopped_with_a_secret();
    let serial = agent.file_serial("web");
    let (_tpm, tcti) = SoftTpm::start(&agent);
    let head = |mode: &str| format!("[seal]\nmode = \"{mode}\"\ntpm2_device = \"{tcti}\"\n");
    agent.configure_with_head(&head("file"), &configuration());
    assert_eq!(seal_ok(&agent, &["renew", "--mode", "tpm2", "--pcrs", "7"]), "sealed by tpm2, PCRs [7]\n");
    assert!(seal_ok(&agent, &["show"]).starts_with("sealed by tpm2, PCRs [7], made 20"));
    assert!(sealed(&agent).iter().all(|(name, _)| !name.ends_with("root.key")), "the key file is gone with its use");
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 77, "another mode is configured: {said}");
    agent.configure_with_head(&head("tpm2"), &configuration());
    agent.start();
    lost_nothing(&agent, &serial, "tpm2");
    agent.stop();

    refused(&agent, 77, &["renew", "--mode", "file"], "--allow-weaker");
    assert_eq!(seal_ok(&agent, &["renew", "--mode", "file", "--allow-weaker"]), "sealed by file, PCRs []\n");
    agent.configure(&configuration());
    agent.start();
    lost_nothing(&agent, &serial, "file");
}
