//! Roots, intermediates and revocation lists, judged by OpenSSL.

use std::path::PathBuf;

use reverie_tests::agent::Agent;
use reverie_tests::openssl::verifies;
use reverie_tests::programs::wait_until;
use serde_json::json;

/// A copy of an identity's files, as a client keeps them.
fn keep(agent: &Agent, name: &str) -> PathBuf {
    let folder = agent.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    for file in ["tls.crt", "ca.crt", "crl.pem"] {
        std::fs::write(folder.join(file), agent.file("web", file)).unwrap();
    }
    folder
}

#[test]
fn a_revoked_leaf_is_refused_and_its_replacement_accepted() {
    let mut agent = Agent::with_web();
    agent.start();
    let before = keep(&agent, "before");
    verifies(&before, &before).unwrap();
    let revoked = agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    assert_eq!(revoked["serials"].as_array().unwrap().len(), 1);
    wait_until("the files follow", 15, || agent.file("web", "crl.pem") != std::fs::read(before.join("crl.pem")).unwrap());
    let after = keep(&agent, "after");
    assert!(verifies(&before, &after).unwrap_err().contains("certificate revoked"));
    verifies(&after, &after).unwrap();
}

#[test]
fn a_new_root_is_trusted_before_it_signs_and_the_old_one_after() {
    let mut agent = Agent::with_web();
    agent.start();
    let first = keep(&agent, "first");
    let made = agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "root", "overlap_seconds": 3 })).ok();
    assert_eq!(made["state"], "published");
    let two_roots = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().matches("BEGIN CERTIFICATE").count() == 2;
    wait_until("both roots are in the files", 10, || two_roots(agent.file("web", "ca.crt")));
    let overlap = keep(&agent, "overlap");
    verifies(&overlap, &overlap).unwrap();
    verifies(&overlap, &first).expect("who has only the old bundle still accepts");

    let signing = || agent.admin_get("/api/admin/status").ok()["roots"][1]["state"] == "signing";
    wait_until("the new root signs", 20, signing);
    wait_until("an intermediate under it", 20, || {
        let status = agent.admin_get("/api/admin/status").ok();
        status["intermediates"].as_array().unwrap().iter().any(|i| i["root"] == made["fingerprint"] && i["state"] == "signing")
    });
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).ok();
    let after = keep(&agent, "after");
    verifies(&after, &after).unwrap();
    verifies(&first, &after).expect("a leaf under the old root stays good");
    assert!(verifies(&after, &first).is_err(), "who never learnt of the new root refuses what it signed");
    let audit = agent.admin_get("/api/admin/audit?limit=1000").text();
    assert_eq!(audit.matches("agent-started").count(), 1, "and all that without a restart");
}

#[test]
fn a_new_intermediate_takes_over_and_leaves_of_the_old_one_stay_good() {
    let mut agent = Agent::with_web();
    agent.start();
    let before = keep(&agent, "before");
    agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "intermediate" })).ok();
    let rotated = agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).ok();
    assert_eq!(rotated["published"], true);
    wait_until("three lists are in the files", 10, || {
        String::from_utf8(agent.file("web", "crl.pem")).unwrap().matches("BEGIN X509 CRL").count() == 3
    });
    let after = keep(&agent, "after");
    verifies(&before, &after).unwrap();
    verifies(&after, &after).unwrap();
}

#[test]
fn a_revoked_intermediate_takes_every_leaf_under_it_along_and_is_replaced() {
    let mut agent = Agent::with_web();
    agent.start();
    let before = keep(&agent, "before");
    let fingerprint = agent.admin_get("/api/admin/status").ok()["intermediates"][0]["fingerprint"].clone();
    agent.admin_post("/api/admin/revoke", &json!({ "intermediate": fingerprint })).ok();
    wait_until("the files hold a leaf of a new intermediate", 15, || {
        agent.file("web", "tls.crt") != std::fs::read(before.join("tls.crt")).unwrap()
            && String::from_utf8(agent.file("web", "crl.pem")).unwrap().matches("BEGIN X509 CRL").count() == 3
    });
    let after = keep(&agent, "after");
    assert!(verifies(&before, &after).unwrap_err().contains("certificate revoked"));
    verifies(&after, &after).unwrap();
}
