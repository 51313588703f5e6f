//! The main job: a service gets its identity, keeps it fresh, and nobody else can.

use reverie_tests::agent::Agent;
use reverie_tests::openssl::verifies;
use reverie_tests::programs::run;
use serde_json::json;

#[test]
fn the_files_of_an_identity_verify_with_openssl() {
    let mut agent = Agent::with_web();
    agent.start();
    let (leaf, roots) = (agent.file_path("web", "tls.crt"), agent.file_path("web", "ca.crt"));
    let out = run("openssl", &["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &roots, "-untrusted", &leaf, &leaf]);
    assert!(out.contains("OK"), "{out}");
    let text =
        run("openssl", &["x509", "-in", &leaf, "-noout", "-ext", "subjectAltName,keyUsage,extendedKeyUsage,basicConstraints"]);
    for expected in
        ["URI:spiffe://example.org/svc/web", "DNS:web.example.org", "IP Address:127.0.0.1", "CA:FALSE", "Digital Signature"]
    {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let (of_key, of_leaf) = (
        run("openssl", &["pkey", "-in", &agent.file_path("web", "tls.key"), "-pubout"]),
        run("openssl", &["x509", "-in", &leaf, "-noout", "-pubkey"]),
    );
    assert_eq!(of_key, of_leaf);
}

#[test]
fn a_caller_learns_who_it_is_and_gets_a_certificate_of_its_own() {
    let mut agent = Agent::with_web();
    agent.start();
    let whoami = agent.get("/v1/whoami").ok();
    assert_eq!(whoami["identities"], json!(["web"]));
    assert_eq!(whoami["caller"]["pinning"], "pidfd");
    assert_eq!(whoami["caller"]["pid"], std::process::id());
    let issued = agent.post("/v1/identities/web/certificates", &json!({})).ok();
    assert!(issued["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_ne!(issued["serial"].as_str().unwrap(), agent.file_serial("web"));
}

#[test]
fn a_restart_loses_nothing_and_touches_no_file() {
    let mut agent = Agent::with_web();
    agent.start();
    let (serial, roots) = (agent.file_serial("web"), agent.file("web", "ca.crt"));
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(agent.run().join("certs/web/tls.key")).unwrap());
    let before = inode();
    assert_eq!(before, inode());
    agent.stop();
    agent.start();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!((agent.file_serial("web"), agent.file("web", "ca.crt")), (serial.clone(), roots));
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(agent.run().join("certs/web/tls.key")).unwrap()), before);
    agent.kill();
    agent.start();
    assert_eq!(agent.file_serial("web"), serial);
}

#[test]
fn rotation_gives_a_new_serial_and_a_new_key_that_still_verify() {
    let mut agent = Agent::with_web();
    agent.start();
    let files = agent.run().join("certs/web");
    let key = |agent: &Agent| run("openssl", &["pkey", "-in", &agent.file_path("web", "tls.key"), "-pubout"]);
    let (serial, old_key, roots) = (agent.file_serial("web"), key(&agent), agent.file("web", "ca.crt"));
    verifies(&files, &files).unwrap();

    let rotated = agent.admin_post("/api/admin/rotate", &json!({ "identity": "web" })).ok();
    assert_eq!(rotated["published"], true);
    assert_eq!(rotated["certificate"]["serial"], agent.file_serial("web").as_str());
    assert_ne!(serial, agent.file_serial("web"));
    verifies(&files, &files).unwrap();
    let leaf = run("openssl", &["x509", "-in", &agent.file_path("web", "tls.crt"), "-noout", "-pubkey"]);
    assert_eq!(key(&agent), leaf, "the pair belongs together");
    assert_ne!(key(&agent), old_key);
    assert_eq!(agent.file("web", "ca.crt"), roots);
}
