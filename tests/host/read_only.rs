//! The disk below the state directory fails, and is read-only from then on.

use reverie_tests::agent::Agent;
use reverie_tests::programs::{output, run, text};
use serde_json::json;

/// A file system of its own at the state directory, gone with the test.
struct Disk {
    image: String,
    at: String,
}

impl Disk {
    fn below(agent: &Agent) -> Self {
        let text = |path: std::path::PathBuf| path.display().to_string();
        let disk = Self { image: text(agent.path().join("image")), at: text(agent.state()) };
        std::fs::create_dir(&disk.at).unwrap();
        std::fs::File::create(&disk.image).unwrap().set_len(24 << 20).unwrap();
        run("mkfs.ext4", &["-q", &disk.image]);
        disk.mount();
        disk
    }

    fn mount(&self) {
        run("mount", &["-o", "loop,errors=remount-ro", &self.image, &self.at]);
    }

    /// What ext4 does when it meets an error: read-only, whatever is open. An ordinary remount is refused while a file
    /// is open for writing.
    fn fail(&self) {
        run("mount", &["-o", "remount,abort", &self.at]);
    }

    /// The one way back after that.
    fn repair(&self) {
        run("umount", &[&self.at]);
        // 1: there were errors, and they were corrected.
        let repaired = output("fsck.ext4", &["-y", &self.image]);
        assert!(matches!(repaired.status.code(), Some(0 | 1)), "{}", text(&repaired));
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        output("umount", &["--lazy", &self.at]);
    }
}

#[test]
fn a_read_only_state_directory_stops_issuing_with_a_sentence_and_nothing_acknowledged_is_lost() {
    let mut agent = Agent::with_web();
    let disk = Disk::below(&agent);
    agent.start();
    let file_serial = agent.file_serial("web");
    let issue = |agent: &Agent| agent.post("/v1/identities/web/certificates", &json!({}));
    let mut acknowledged = vec![issue(&agent).ok()["serial"].as_str().unwrap().to_owned()];

    disk.fail();
    for _ in 0..2 {
        let refused = issue(&agent);
        assert!(refused.text().contains("repair the state directory"), "what to try: {}", refused.text());
        let detail = refused.problem(503);
        assert!(detail.starts_with("it could not be recorded, so it was not done") && detail.contains("Read-only"), "{detail}");
    }
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).problem(503);
    assert_eq!(agent.get("/v1/whoami").ok()["identities"], json!(["web"]), "the rest goes on");
    let status = agent.admin_get("/api/admin/status").ok();
    assert!(status["alarms"].to_string().contains("Read-only file system"), "{status}");
    assert_eq!((&status["secrets"], &status["ready"]), (&json!(null), &json!(false)), "how many is not known now");
    assert!(status["alarms"].to_string().contains("\"recording\""), "{status}");
    let shown = agent.ctl_ok(&["status"]);
    assert!(shown.contains("Read-only file system") && shown.contains("the store cannot be read"), "{shown}");
    assert_eq!(agent.file_serial("web"), file_serial);

    agent.stop();
    disk.repair();
    agent.start();
    acknowledged.push(issue(&agent).ok()["serial"].as_str().unwrap().to_owned());
    let listed = agent.admin_get("/api/admin/certificates").text();
    assert!(acknowledged.iter().all(|serial| listed.contains(serial)), "{acknowledged:?} are not all in {listed}");
    assert_eq!(agent.admin_get("/api/admin/audit/verify").ok()["report"]["faults"], json!([]));
    assert_eq!(agent.admin_get("/api/admin/status").ok()["alarms"], json!([]));
    assert_eq!(agent.file_serial("web"), file_serial);
    agent.stop();
}

#[test]
fn an_agent_is_not_started_on_a_read_only_state_directory_and_starts_once_it_is_writable() {
    let mut agent = Agent::with_web();
    let disk = Disk::below(&agent);
    agent.start();
    let serial = agent.file_serial("web");
    agent.stop();
    // Nothing is open for writing, so an ordinary remount does it.
    run("mount", &["-o", "remount,ro", &disk.at]);
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("mounted writable"), "{said}");
    run("mount", &["-o", "remount,rw", &disk.at]);
    agent.start();
    assert_eq!(agent.file_serial("web"), serial);
    assert_eq!(agent.admin_get("/api/admin/audit/verify").ok()["report"]["faults"], json!([]));
    agent.stop();
}
