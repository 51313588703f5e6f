//! What `agentctl` reads and writes: certificates, the configuration, drop-ins.

use crate::answers::healthy;
use crate::transcript::{Transcript, mode};

#[test]
fn an_issued_key_is_readable_by_its_owner_alone() {
    let mut transcript = Transcript::with(healthy);
    transcript.run(&["cert", "issue", "web"]);
    transcript.run(&["cert", "issue", "web", "--json"]);
    transcript.run(&["cert", "issue", "web", "--out", "tls"]);
    for (name, bits) in [("tls", 0o700), ("tls/tls.key", 0o600), ("tls/tls.crt", 0o644), ("tls/ca.crt", 0o644)] {
        assert_eq!(mode(&transcript.path(name)), bits, "{name}");
    }
    assert_eq!(transcript.run(&["cert", "issue", "web", "--out", "tls"]).exit, 73);
    assert_eq!(transcript.run(&["cert", "issue", "web", "--out", "tls", "--force", "--json"]).exit, 0);
    let left = std::fs::read_dir(transcript.path("tls")).unwrap().count();
    assert_eq!(left, 3, "nothing is left beside the files");
    transcript.matches("cert-issue");
}

#[test]
fn a_certificate_request_keeps_its_key() {
    let mut transcript = Transcript::with(healthy);
    transcript.write("good.csr", "-----BEGIN CERTIFICATE REQUEST-----\nQ1NS\n-----END CERTIFICATE REQUEST-----\n");
    transcript.write("bad.csr", "-----BEGIN PRIVATE KEY-----\n");
    transcript.run(&["cert", "issue", "web", "--csr", "good.csr", "--out", "tls"]);
    assert!(transcript.agent.as_ref().unwrap().last().body.contains("Q1NS"));
    assert!(!transcript.path("tls/tls.key").exists());
    let asked = transcript.agent.as_ref().unwrap().seen().len();
    assert_eq!(transcript.run(&["cert", "issue", "web", "--csr", "bad.csr"]).exit, 65);
    assert_eq!(transcript.run(&["cert", "issue", "web", "--csr", "nowhere.csr"]).exit, 66);
    assert_eq!(transcript.agent.as_ref().unwrap().seen().len(), asked, "what is no request is not sent");
    transcript.matches("cert-issue-csr");
}

#[test]
fn nothing_is_issued_that_could_not_be_written() {
    let mut transcript = Transcript::with(healthy);
    transcript.write("file", "");
    assert_eq!(transcript.run(&["cert", "issue", "web", "--out", "file/tls"]).exit, 73);
    assert!(transcript.agent.as_ref().unwrap().seen().is_empty());
    transcript.matches("error-out");
}

#[test]
fn a_first_configuration_is_written_once() {
    let mut transcript = Transcript::alone();
    assert_eq!(transcript.run(&["init", "--trust-domain", "example.org"]).exit, 0);
    assert_eq!(transcript.run(&["config", "check"]).exit, 0);
    let before = std::fs::read(transcript.path("etc/agent.toml")).unwrap();
    assert_eq!(transcript.run(&["init", "--trust-domain", "other.org"]).exit, 73);
    assert_eq!(std::fs::read(transcript.path("etc/agent.toml")).unwrap(), before);
    std::fs::remove_file(transcript.path("etc/agent.toml")).unwrap();
    let arguments = ["init", "--trust-domain", "example.org", "--node-id", "host1.example.org", "--json"];
    assert_eq!(transcript.run(&arguments).exit, 0);
    let text = std::fs::read_to_string(transcript.path("etc/agent.toml")).unwrap();
    assert!(text.contains("\nnode_id = \"host1.example.org\"\n"), "{text}");
    transcript.matches("init");
}

#[test]
fn an_identity_is_declared_in_a_file_of_its_own_and_removed_again() {
    let mut transcript = Transcript::alone();
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\n");
    let add = ["identity", "add", "web", "--match", "user=www-data", "--match", "unit=nginx.service", "--dns", "web.example.org"];
    let more = ["--files", "group=www-data,mode=0440", "--reload-command", "/bin/systemctl", "reload", "nginx"];
    assert_eq!(transcript.run(&[&add[..], &more].concat()).exit, 0);
    let written = std::fs::read_to_string(transcript.path("etc/agent.d/web.toml")).unwrap();
    crate::golden::assert_golden("web.toml", &written);
    assert_eq!(transcript.run(&["config", "check"]).exit, 0);
    assert_eq!(transcript.run(&["config", "show"]).exit, 0);
    assert_eq!(transcript.run(&["config", "show", "--json"]).exit, 0);
    assert_eq!(transcript.run(&add).exit, 73);
    assert_eq!(transcript.run(&["identity", "rm", "web", "--json"]).exit, 0);
    assert!(!transcript.path("etc/agent.d/web.toml").exists());
    assert_eq!(transcript.run(&["identity", "rm", "web"]).exit, 66);
    assert_eq!(std::fs::read_dir(transcript.path("etc/agent.d")).unwrap().count(), 0);
    transcript.matches("identity-add");
}

#[test]
fn an_identity_that_the_configuration_lacks_can_be_added_and_a_wrong_file_is_named() {
    let mut transcript = Transcript::alone();
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\n[[secret]]\nname = \"s\"\nallow = [\"web\"]\n");
    assert_eq!(transcript.run(&["config", "check"]).exit, 78);
    assert_eq!(transcript.run(&["identity", "add", "web", "--match", "uid=1"]).exit, 0);
    assert_eq!(transcript.run(&["config", "check"]).exit, 0);
    transcript.write("etc/agent.d/a.toml", "nonsense = 1\n");
    assert_eq!(transcript.run(&["identity", "add", "db", "--match", "uid=1"]).exit, 78);
    assert!(!transcript.path("etc/agent.d/db.toml").exists());
    transcript.matches("identity-add-lacking");
}

#[test]
fn an_identity_that_would_break_the_configuration_is_not_written() {
    let mut transcript = Transcript::alone();
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\n[[identity]]\nname = \"db\"\nmatch = { uid = 1 }\n");
    let wrong: &[&[&str]] = &[
        &["identity", "add", "db", "--match", "uid=2"],
        &["identity", "add", "web", "--match", "color=red"],
        &["identity", "add", "web", "--match", "exe=/bin/x"],
        &["identity", "add", "web", "--match", "uid=1", "--ttl", "1m"],
        &["identity", "add", "web", "--match", "uid=1", "--spiffe-id", "spiffe://other.org/x"],
        &["identity", "add", "web", "--match", "uid=1", "--files", "mode=0777"],
        &["identity", "add", "web", "--match", "uid=1", "--files", "default", "--reload", "signal=KILL,pidfile=/x"],
        &["identity", "add", "web", "--match", "uid=1", "--verify", "nowhere"],
    ];
    for arguments in wrong {
        assert_eq!(transcript.run(arguments).exit, 78, "{arguments:?}");
    }
    assert!(!transcript.path("etc/agent.d").exists());
    transcript.matches("error-identity-add");
}

#[test]
fn an_identity_declared_elsewhere_or_still_needed_is_not_removed() {
    let mut transcript = Transcript::alone();
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\n[[identity]]\nname = \"db\"\nmatch = { uid = 1 }\n");
    transcript.write(
        "etc/agent.d/two.toml",
        "[[identity]]\nname = \"two\"\nmatch = { uid = 2 }\n[[identity]]\nname = \"three\"\nmatch = { uid = 3 }\n",
    );
    transcript.write("etc/agent.d/used.toml", "[[identity]]\nname = \"used\"\nmatch = { uid = 4 }\n");
    transcript.write("etc/agent.d/secret.toml", "[[secret]]\nname = \"s\"\nallow = [\"used\"]\n");
    assert_eq!(transcript.run(&["identity", "rm", "db"]).exit, 65);
    assert_eq!(transcript.run(&["identity", "rm", "two"]).exit, 65);
    assert_eq!(transcript.run(&["identity", "rm", "used"]).exit, 78);
    assert!(transcript.path("etc/agent.d/used.toml").exists() && transcript.path("etc/agent.d/two.toml").exists());
    transcript.matches("error-identity-rm");
}

#[test]
fn a_wrong_configuration_is_named_by_file_line_and_column() {
    let mut transcript = Transcript::alone();
    assert_eq!(transcript.run(&["config", "check"]).exit, 66);
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\ntrust = 1\n");
    assert_eq!(transcript.run(&["config", "check"]).exit, 78);
    assert_eq!(transcript.run(&["config", "show", "--json"]).exit, 78);
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\n[seal]\nmode = \"tpm\"\n");
    assert_eq!(transcript.run(&["config", "check"]).exit, 78);
    transcript.write("etc/agent.toml", "trust_domain = \"example.org\"\n");
    transcript.write("etc/agent.d/a.toml", "[[identity]]\nname = \"web\"\nmatch = { uid = 1 }\n");
    transcript.write("etc/agent.d/b.toml", "[[identity]]\nname = \"web\"\nmatch = { uid = 1 }\n");
    transcript.write("etc/agent.d/.hidden.toml", "nonsense");
    transcript.write("etc/agent.d/notes.txt", "nonsense");
    assert_eq!(transcript.run(&["config", "check"]).exit, 78);
    std::fs::remove_file(transcript.path("etc/agent.d/b.toml")).unwrap();
    assert_eq!(transcript.run(&["config", "check", "--json"]).exit, 0);
    transcript.write("binary.toml", [0xff, 0xfe]);
    assert_eq!(transcript.run(&["config", "check", "binary.toml"]).exit, 78);
    assert_eq!(transcript.run(&["config", "check", "etc"]).exit, 74);
    transcript.matches("error-config");
}

#[test]
fn a_configuration_is_converted_and_only_if_it_is_one() {
    let mut transcript = Transcript::alone();
    transcript.write("good.toml", "trust_domain = \"example.org\"\n[[identity]]\nname = \"web\"\nmatch = { uid = 33 }\n");
    assert_eq!(transcript.run(&["config", "convert", "good.toml"]).exit, 0);
    transcript
        .write("good.json", r#"{ "trust_domain": "example.org", "identity": [{ "name": "web", "match": { "uid": 33 } }] }"#);
    assert_eq!(transcript.run(&["config", "convert", "good.json"]).exit, 0);
    transcript.write("wrong.json", r#"{ "trust_domain": "example.org", "identitty": [] }"#);
    assert_eq!(transcript.run(&["config", "convert", "wrong.json"]).exit, 78);
    transcript.write("empty.json", r#"{ "trust_domain": null }"#);
    assert_ne!(transcript.run(&["config", "convert", "empty.json"]).exit, 0);
    transcript.write("half.json", r#"{ "trust_domain": "#);
    assert_eq!(transcript.run(&["config", "convert", "half.json"]).exit, 65);
    transcript.matches("config-convert");
}

#[test]
fn a_demo_without_its_agent_says_how_to_name_it() {
    let mut transcript = Transcript::alone();
    assert_eq!(transcript.run(&["demo", "--agent", "/nowhere/reverie-agent"]).exit, 66);
    transcript.matches("error-demo");
}
