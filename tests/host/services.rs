//! Services that are to be told, and owners that are to be looked up.

use std::fs;

use reverie_tests::agent::Agent;
use reverie_tests::programs::wait_until;

fn alarms(agent: &Agent) -> String {
    agent.admin_get("/api/admin/status").ok()["alarms"].to_string()
}

#[test]
fn a_service_that_could_not_be_told_stays_an_alarm_over_reload_and_restart_until_it_is() {
    let marker = |agent: &Agent| agent.path().join("reloaded");
    let mut agent = Agent::new("");
    agent.configure(&format!("{}reload = {{ command = [\"/bin/false\"] }}\n", Agent::web()));
    agent.start();
    let told = "its service could not be reloaded";
    wait_until("the alarm", 15, || alarms(&agent).contains(told));
    agent.reload();
    wait_until("the alarm after a reload of the configuration", 15, || alarms(&agent).contains(told));
    agent.stop();
    agent.start();
    wait_until("the alarm after a restart", 15, || alarms(&agent).contains(told));
    agent.stop();
    // Commands run as the warden does; in a test that is us.
    let command = format!("reload = {{ command = [\"/bin/touch\", {:?}] }}\n", marker(&agent));
    agent.configure(&format!("{}{command}", Agent::web()));
    agent.start();
    wait_until("the service is told, and the alarm gone", 15, || marker(&agent).exists() && !alarms(&agent).contains(told));

    // Told once: neither a reload nor a restart tells it again.
    fs::remove_file(marker(&agent)).unwrap();
    agent.reload();
    agent.stop();
    agent.start();
    agent.file("web", "tls.key");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!marker(&agent).exists(), "{}", agent.log());
}

#[test]
fn a_rule_that_is_corrected_is_followed_at_once() {
    let touch = |agent: &Agent, file: &str| {
        let command = format!("reload = {{ command = [\"/bin/touch\", {:?}] }}\n", agent.path().join(file));
        agent.configure(&format!("{}{command}", Agent::web()));
    };
    let mut agent = Agent::new("");
    touch(&agent, "wrong");
    agent.start();
    wait_until("the wrong service is told", 15, || agent.path().join("wrong").exists());
    let serial = agent.file_serial("web");
    touch(&agent, "right");
    agent.reload();
    wait_until("the right one is told", 15, || agent.path().join("right").exists());
    assert_eq!(agent.file_serial("web"), serial, "of the same certificate");
}

#[test]
fn a_service_that_is_slow_to_reload_holds_up_no_other_identity() {
    let identity = |name: &str, reload: &str| {
        format!("[[identity]]\nname = \"{name}\"\nmatch = {{ uid = {} }}\nfiles = {{}}\n{reload}", nix::unistd::geteuid())
    };
    let slow = "reload = { command = [\"/bin/sleep\", \"300\"] }\n";
    let mut agent = Agent::new(&format!("{}{}{}", identity("a", slow), identity("b", slow), identity("c", "")));
    agent.start();
    wait_until("the third identity has its files", 5, || agent.run().join("certs/c/tls.key").exists());
    agent.admin_post("/api/admin/rotate", &serde_json::json!({ "identity": "c" })).ok();
}

#[test]
fn files_stay_as_they_are_while_their_owner_cannot_be_looked_up() {
    let mut agent = Agent::with_web();
    agent.start();
    let serial = agent.file_serial("web");
    agent.configure(&Agent::web().replace("files = { mode", "files = { owner = \"no-such-user\", mode"));
    agent.reload();
    wait_until("it is said", 15, || {
        let alarms = alarms(&agent);
        alarms.contains("no-such-user") && alarms.contains("its files stay as they are")
    });
    assert_eq!(agent.file_serial("web"), serial);
    agent.configure(&Agent::web());
    agent.reload();
    wait_until("all is well again", 15, || alarms(&agent) == "[]");
    assert_eq!(agent.file_serial("web"), serial);
}
