//! Secrets: sealed by an administrator, read by whom a rule allows.

use std::os::unix::fs::PermissionsExt;

use reverie_tests::agent::Agent;
use reverie_tests::http::request;
use reverie_tests::programs::{output, text, wait_until};
use serde_json::json;

const VALUE: &[u8] = b"correct horse battery staple";

fn agent() -> Agent {
    let mut agent =
        Agent::new(&format!("{}[[secret]]\nname = \"db\"\nallow = [\"web\"]\nfiles = {{ mode = \"0400\" }}\n", Agent::web()));
    agent.start();
    let sealed = agent.admin_put("/api/admin/secrets/db", &json!({ "value": data_encoding::BASE64.encode(VALUE) })).ok();
    assert_eq!((sealed["version"].as_u64(), sealed["declared"].as_bool()), (Some(1), Some(true)));
    agent
}

#[test]
fn a_secret_reaches_whom_a_rule_allows_and_survives_a_restart() {
    let mut agent = agent();
    for _ in 0..2 {
        let read = agent.get("/v1/secrets/db").ok();
        assert_eq!(read["value"], data_encoding::BASE64.encode(VALUE));
        assert_eq!(agent.get("/v1/secrets/db?format=raw").body, VALUE);
        assert_eq!(agent.get("/v1/secrets").ok()["secrets"], json!(["db"]));
        agent.stop();
        agent.start();
    }
    let file = agent.run().join("secrets/db");
    wait_until("its file is there", 10, || std::fs::read(&file).is_ok_and(|bytes| bytes == VALUE));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(request(&agent.admin_socket(), "DELETE", "/api/admin/secrets/db", &[], b"").status, 200);
    agent.get("/v1/secrets/db").problem(404);
    assert!(!file.exists());
}

#[test]
fn a_secret_is_refused_to_others_and_shows_nowhere() {
    let mut agent = agent();
    let socket = agent.agent_socket().display().to_string();
    let curl = [
        "--reuid=4242",
        "--regid=4242",
        "--clear-groups",
        "curl",
        "--silent",
        "--unix-socket",
        &socket,
        "http://l/v1/secrets/db",
    ];
    let refused = output("setpriv", &curl);
    assert!(text(&refused).contains("may not read a secret"), "{}", text(&refused));
    agent.get("/v1/secrets/db").ok();
    let key = String::from_utf8(agent.file("web", "tls.key")).unwrap();
    let key_line = key.lines().nth(1).unwrap().to_owned();
    agent.stop();
    for needle in [String::from_utf8(VALUE.to_vec()).unwrap(), data_encoding::BASE64.encode(VALUE), key_line] {
        assert!(!agent.log().contains(&needle), "{needle} is in the log");
        let found = output(
            "grep",
            &["--recursive", "--files-with-matches", "--fixed-strings", &needle, &agent.state().display().to_string()],
        );
        assert_eq!(text(&found), "", "{needle} is on the disk in the clear");
    }
}
