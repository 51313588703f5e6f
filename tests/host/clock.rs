//! The clock of a running agent is set.

use std::path::{Path, PathBuf};

use reverie_tests::agent::Agent;
use reverie_tests::openssl;
use reverie_tests::programs::wait_until;
use serde_json::json;

/// The library alone: the program `faketime` would stand between us and the agent.
fn library() -> String {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(Path::new(&library).exists(), "{library} is missing: tests/install.sh brings it");
    library
}

/// Has the agent's clock, and only that, follow a file.
fn with_a_clock_of_its_own(agent: &mut Agent) -> PathBuf {
    let file = agent.path().join("clock");
    std::fs::write(&file, "+0d").unwrap();
    agent.set_variable("LD_PRELOAD", &library());
    agent.set_variable("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap());
    agent.set_variable("FAKETIME_NO_CACHE", "1");
    // What counts the time since boot is not set by who sets the clock.
    agent.set_variable("DONT_FAKE_MONOTONIC", "1");
    agent.set_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    file
}

/// Does what lies in the files verify by the true clock, revocation of the whole chain included?
fn verifies(agent: &Agent) -> Result<(), String> {
    let files = agent.run().join("certs/web");
    openssl::verifies(&files, &files)
}

fn alarms(agent: &Agent) -> String {
    agent.admin_get("/api/admin/status").ok()["alarms"].to_string()
}

#[test]
fn a_clock_that_ran_ahead_for_a_while_leaves_nothing_behind_that_peers_refuse() {
    for days in [16, 400] {
        let mut agent = Agent::with_web();
        let clock = with_a_clock_of_its_own(&mut agent);
        agent.start();
        agent.file("web", "tls.key");
        let (roots, serial) = (agent.file("web", "ca.crt"), agent.file_serial("web"));
        verifies(&agent).unwrap();

        std::fs::write(&clock, format!("+{days}d")).unwrap();
        wait_until("a certificate by the wrong clock, and an alarm", 60, || {
            agent.file_serial("web") != serial && alarms(&agent).contains("the clock was set ahead by")
        });
        wait_until("the files are those of the wrong clock", 60, || verifies(&agent).is_err());

        std::fs::write(&clock, "+0d").unwrap();
        wait_until("files that are good by the true clock", 90, || verifies(&agent).is_ok());
        wait_until("no alarm stands", 30, || !alarms(&agent).contains("clock"));
        let bundle = String::from_utf8(agent.file("web", "ca.crt")).unwrap();
        assert!(bundle.contains(std::str::from_utf8(&roots).unwrap().trim()), "the root that peers know is in the bundle again");
        agent.post("/v1/identities/web/certificates", &json!({})).ok();
    }
}

#[test]
fn a_host_that_was_founded_by_a_clock_that_ran_ahead_begins_anew_on_command() {
    let mut agent = Agent::with_web();
    let clock = with_a_clock_of_its_own(&mut agent);
    std::fs::write(&clock, "+400d").unwrap();
    agent.start();
    agent.file("web", "tls.key");
    std::fs::write(&clock, "+0d").unwrap();
    let refused = agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "intermediate" }));
    assert_ne!(refused.status, 200, "{}", refused.text());
    wait_until("it says what to do", 60, || alarms(&agent).contains("agentctl ca rotate root"));
    let made = agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "root" })).ok();
    assert_eq!(made["state"], "signing", "no other could sign meanwhile");
    wait_until("files that are good by the true clock", 90, || verifies(&agent).is_ok());
}

#[test]
fn a_clock_before_the_birth_of_the_authority_stops_issuing_and_is_named() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    let serial = agent.file_serial("web");
    agent.stop();
    agent.set_variable("LD_PRELOAD", &library());
    agent.set_variable("FAKETIME", "-2d");
    agent.start();
    assert!(agent.admin_get("/ready").problem(503).contains("the clock says"));
    let refused = agent.post("/v1/identities/web/certificates", &json!({})).problem(503);
    assert!(refused.contains("set the clock right"), "{refused}");
    assert_eq!(agent.file_serial("web"), serial);
    agent.kill();
    agent.clear_variables();
    agent.start();
    agent.post("/v1/identities/web/certificates", &json!({})).ok();
}
