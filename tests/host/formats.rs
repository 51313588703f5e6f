//! DER and PKCS#12 beside PEM, opened by programs that share no code with what wrote them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use reverie_tests::agent::Agent;
use reverie_tests::programs::{output, run, text, wait_until};
use serde_json::json;

const PASSWORD: &str = "correct horse";

fn identity(name: &str, key: &str, files: &str) -> String {
    let uid = nix::unistd::geteuid();
    format!(
        "[[identity]]\nname = \"{name}\"\nkey = \"{key}\"\nmatch = {{ uid = {uid} }}\nfiles = {{ mode = \"0400\", {files} }}\n"
    )
}

fn by_secret(profile: &str) -> String {
    format!("der = true, pkcs12 = {{ secret = \"store\", profile = \"{profile}\" }}")
}

fn secret(allow: &str) -> String {
    format!("[[secret]]\nname = \"store\"\nallow = [{allow}]\n")
}

fn seal(agent: &Agent, password: &str) {
    let value = data_encoding::BASE64.encode(password.as_bytes());
    agent.admin_put("/api/admin/secrets/store", &json!({ "value": value })).ok();
}

fn alarms(agent: &Agent) -> String {
    agent.admin_get("/api/admin/status").ok()["alarms"].to_string()
}

/// What OpenSSL says of the file, or why it does not open it.
fn opened(file: &str, password: &str) -> Result<String, String> {
    let out = output("openssl", &["pkcs12", "-in", file, "-passin", &format!("pass:{password}"), "-info", "-noenc"]);
    if out.status.success() { Ok(text(&out)) } else { Err(text(&out)) }
}

#[test]
fn der_and_both_profiles_of_pkcs12_open_with_openssl_and_keytool() {
    let configuration = identity("app", "p256", &by_secret("modern"))
        + &identity("old", "p256", &by_secret("legacy"))
        + &identity("ed", "ed25519", &by_secret("modern"))
        + &secret("\"app\", \"old\", \"ed\"");
    let mut agent = Agent::new(&configuration);
    agent.start();
    seal(&agent, &format!("{PASSWORD}\n"));
    let modern = ["PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256", "MAC: sha256, Iteration 10000"];
    let legacy = ["pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 10000", "MAC: sha1, Iteration 10000"];
    for (name, expected) in [("app", modern), ("old", legacy), ("ed", modern)] {
        let store = agent.file_path(name, "tls.p12");
        let said = opened(&store, PASSWORD).unwrap();
        for expected in expected {
            assert!(said.contains(expected), "{expected} is not in {said}");
        }
        assert!(opened(&store, "wrong horse").is_err());
        assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o400);

        // The key in each is that of the leaf.
        let of_leaf = run("openssl", &["x509", "-in", &agent.file_path(name, "tls.crt"), "-noout", "-pubkey"]);
        let taken = agent.path().join("taken.pem").display().to_string();
        let password = format!("pass:{PASSWORD}");
        run("openssl", &["pkcs12", "-in", &store, "-passin", &password, "-nocerts", "-noenc", "-out", &taken]);
        assert_eq!(run("openssl", &["pkey", "-in", &taken, "-pubout"]), of_leaf);
        let key = agent.file_path(name, "tls.key.der");
        assert_eq!(run("openssl", &["pkey", "-inform", "DER", "-in", &key, "-pubout"]), of_leaf);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o400);
        let as_pem = |der: &str| run("openssl", &["x509", "-inform", "DER", "-in", &agent.file_path(name, der)]);
        let pem = String::from_utf8(agent.file(name, "tls.crt")).unwrap();
        assert_eq!(pem, as_pem("tls.der") + &as_pem("intermediate.der"));
        assert_eq!(String::from_utf8(agent.file(name, "ca.crt")).unwrap(), as_pem("ca-1.der"));

        let listed = run("keytool", &["-list", "-keystore", &store, "-storepass", PASSWORD]);
        assert!(listed.contains(&format!("{name}, ")) && listed.contains("PrivateKeyEntry"), "{listed}");
        assert!(listed.contains("ca:1, ") && listed.contains("trustedCertEntry"), "{listed}");
        let signed = run("keytool", &["-certreq", "-alias", name, "-keystore", &store, "-storepass", PASSWORD]);
        assert!(signed.contains("BEGIN NEW CERTIFICATE REQUEST"), "{signed}");
    }
}

#[test]
fn a_pkcs12_file_follows_its_password_and_is_written_for_nothing_else() {
    let mut agent = Agent::new(&(identity("app", "p256", &by_secret("modern")) + &secret("\"app\"")));
    agent.start();
    wait_until("the alarm says what to do", 15, || alarms(&agent).contains("agentctl secret seal store"));
    seal(&agent, "bad");
    wait_until("the alarm says why", 15, || alarms(&agent).contains("6 to 128 printable characters"));
    seal(&agent, PASSWORD);
    let store = agent.file_path("app", "tls.p12");
    wait_until("the alarm is gone", 15, || alarms(&agent) == "[]");
    opened(&store, PASSWORD).unwrap();
    let inode = fs::metadata(&store).unwrap().ino();
    agent.reload();
    agent.stop();
    agent.start();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(fs::metadata(&store).unwrap().ino(), inode, "other salt is no other content");
    seal(&agent, "battery staple");
    wait_until("the file has the new password", 15, || opened(&store, "battery staple").is_ok());
    assert!(opened(&store, PASSWORD).is_err());
    assert!(!agent.log().contains(PASSWORD) && !agent.log().contains("battery staple"));
}

#[test]
fn a_password_file_that_everybody_reads_is_not_used() {
    let mut agent = Agent::new("");
    let file = agent.path().join("password");
    fs::write(&file, "changeit\n").unwrap();
    agent.configure(&identity("app", "p256", &format!("pkcs12 = {{ password_file = {file:?} }}")));
    for mode in [0o644, 0o602, 0o620] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        agent.start();
        wait_until("it is said", 15, || alarms(&agent).contains("chmod 0640"));
        agent.stop();
    }
    assert!(!agent.run().join("certs/app").exists());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    agent.start();
    opened(&agent.file_path("app", "tls.p12"), "changeit").unwrap();
}
