//! Capability tokens: they grant what they name, to whom, for as long as they say.

use reverie_tests::agent::Agent;
use reverie_tests::programs::{output, text};
use serde_json::{Value, json};

fn agent() -> Agent {
    let mut agent = Agent::with_web();
    agent.start();
    agent
}

fn mint(agent: &Agent, request: &Value) -> Value {
    agent.admin_post("/api/admin/tokens", request).ok()
}

/// POST as an ordinary user, with a token; answers the status and the body.
fn post_as(uid: u32, agent: &Agent, path: &str, token: &str) -> (String, String) {
    let (identity, socket) = (format!("--reuid={uid}"), agent.agent_socket().display().to_string());
    let (header, url) = (format!("Authorization: Biscuit {token}"), format!("http://l{path}"));
    let curl = [
        &identity,
        "--regid=4242",
        "--clear-groups",
        "curl",
        "--silent",
        "--data",
        "",
        "--header",
        &header,
        "--write-out",
        "\n%{http_code}",
        "--unix-socket",
        &socket,
        &url,
    ];
    let all = text(&output("setpriv", &curl));
    let (body, status) = all.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

const ROTATE: &str = "/v1/identities/web/rotate";

#[test]
fn a_token_lets_a_stranger_do_what_it_names_and_nothing_else() {
    let agent = agent();
    let minted = mint(&agent, &json!({ "allow": ["cert rotate web"], "ttl_seconds": 60 }));
    let token = minted["token"].as_str().unwrap();
    let before = agent.file_serial("web");
    assert_eq!(post_as(4242, &agent, ROTATE, token).0, "200");
    assert_ne!(agent.file_serial("web"), before);
    for path in ["/v1/identities/web/revoke", "/v1/identities/web/certificates", "/v1/identities/other/rotate"] {
        assert_eq!(post_as(4242, &agent, path, token).0, "403", "{path}");
    }
    let audit = agent.admin_get("/api/admin/audit?limit=1000").text();
    assert!(audit.contains(minted["revocation_id"].as_str().unwrap()) && audit.contains("\\\"uid\\\":4242"), "{audit}");
}

#[test]
fn a_token_is_refused_after_its_end_for_another_user_and_once_revoked() {
    let agent = agent();
    let short = mint(&agent, &json!({ "allow": ["cert rotate web"], "ttl_seconds": 1 }));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(post_as(4242, &agent, ROTATE, short["token"].as_str().unwrap()).0, "403");

    let bound = mint(&agent, &json!({ "allow": ["cert rotate *"], "ttl_seconds": 60, "uid": 4242 }));
    let token = bound["token"].as_str().unwrap();
    assert_eq!(post_as(4242, &agent, ROTATE, token).0, "200");
    assert_eq!(post_as(4243, &agent, ROTATE, token).0, "403");

    agent.admin_post("/api/admin/tokens/revoke", &json!({ "revocation_id": bound["revocation_id"] })).ok();
    let (status, body) = post_as(4242, &agent, ROTATE, token);
    assert!(status == "401" && body.contains("revoked"), "{status} {body}");
}

#[test]
fn a_revoked_token_stays_revoked_over_a_restart() {
    let mut agent = agent();
    let minted = mint(&agent, &json!({ "allow": ["cert rotate web"], "ttl_seconds": 60 }));
    agent.admin_post("/api/admin/tokens/revoke", &json!({ "revocation_id": minted["revocation_id"] })).ok();
    agent.kill();
    agent.start();
    assert_eq!(post_as(4242, &agent, ROTATE, minted["token"].as_str().unwrap()).0, "401");
}

#[test]
fn a_bad_wish_for_a_token_is_refused() {
    let agent = agent();
    let refused = |request: Value| agent.admin_post("/api/admin/tokens", &request).problem(422);
    assert!(refused(json!({ "allow": [], "ttl_seconds": 60 })).contains("from 1 to 64"));
    assert!(refused(json!({ "allow": ["cert fly web"], "ttl_seconds": 60 })).contains("is not an operation"));
    assert!(refused(json!({ "allow": ["cert rotate web"], "ttl_seconds": 99_999_999 })).contains("30 days"));
}
