//! The clock of a running agent is set.

use reverie_tests::agent::Agent;
use reverie_tests::clock::{follows_a_file, library};
use reverie_tests::openssl;
use reverie_tests::programs::wait_until;
use serde_json::json;

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
        let clock = follows_a_file(&mut agent);
        agent.start();
        agent.file("web", "tls.key");
        let (roots, serial) = (agent.file("web", "ca.crt"), agent.file_serial("web"));
        verifies(&agent).unwrap();

        clock.set(&format!("+{days}d"));
        wait_until("a certificate by the wrong clock, and an alarm", 60, || {
            agent.file_serial("web") != serial && alarms(&agent).contains("the clock was set ahead by")
        });
        wait_until("the files are those of the wrong clock", 60, || verifies(&agent).is_err());

        clock.set("+0d");
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
    let clock = follows_a_file(&mut agent);
    clock.set("+400d");
    agent.start();
    agent.file("web", "tls.key");
    clock.set("+0d");
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
