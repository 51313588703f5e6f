//! Every verb of `agentctl` against a real agent, in text and in JSON. How verbs look is held by the golden tests of `ctl`.

use reverie_tests::agent::Agent;
use reverie_tests::programs::{run, wait_until};
use serde_json::{Value, json};

fn started() -> Agent {
    let mut agent = Agent::new(&format!("{}[[secret]]\nname = \"db\"\nallow = [\"web\"]\n", Agent::web()));
    agent.start();
    agent.file("web", "tls.key");
    agent
}

/// A verb that may be run twice: in text it says `expected`.
#[track_caller]
fn both(agent: &Agent, arguments: &[&str], expected: &str) -> Value {
    let printed = agent.ctl_ok(arguments);
    assert!(printed.contains(expected), "agentctl {arguments:?} does not say {expected:?}: {printed}");
    agent.ctl_json(arguments)
}

/// A file in the agent's scratch directory.
fn scratch(agent: &Agent, name: &str) -> String {
    agent.path().join(name).display().to_string()
}

#[test]
fn the_verbs_that_look_agree_with_the_agent() {
    let agent = started();
    let pid = std::process::id();
    let status = both(&agent, &["status"], "ready\n");
    assert_eq!((&status["pid"], &status["alarms"]), (&json!(agent.pid()), &json!([])));
    let whoami = both(&agent, &["whoami"], "identities   web");
    assert_eq!((&whoami["identities"], &whoami["caller"]["pinning"]), (&json!(["web"]), &json!("pidfd")));
    let explained = both(&agent, &["explain", "--pid", &pid.to_string()], "may have web");
    assert_eq!(explained["caller"]["pid"], pid);
    let stranger = both(&agent, &["explain", "--uid", "4242"], "may not have web");
    assert_eq!((&stranger["matched"], &stranger["nearest"][0]["identity"]), (&json!([]), &json!("web")));
    let findings = both(&agent, &["doctor"], "0 failed");
    let checks = findings.as_array().unwrap();
    assert!(checks.len() > 10 && checks.iter().all(|check| check["level"] != "fail"), "{findings}");
    assert!(agent.ctl_ok(&["top", "--count", "1"]).contains("1 identities, 0 secrets"));
    assert_eq!(agent.ctl_json_lines(&["top", "--count", "2", "--every", "10ms"]).len(), 2);
    let events = agent.ctl_json_lines(&["watch", "--count", "2"]);
    assert_eq!((&events[0]["identity"], &events[1]["event"]), (&json!("web"), &json!("trust")));
    assert!(agent.ctl_ok(&["watch", "--count", "1"]).contains(&agent.file_serial("web")));
}

#[test]
fn identities_are_listed_shown_declared_and_removed() {
    let mut agent = started();
    let list = both(&agent, &["identity", "list"], "spiffe://example.org/svc/web");
    assert_eq!(list["identities"][0]["name"], "web");
    let web = both(&agent, &["identity", "show", "web"], &agent.file_serial("web"));
    assert_eq!(web["certificate"]["serial"], agent.file_serial("web").as_str());

    for (name, json) in [("one", false), ("two", true)] {
        let add = ["identity", "add", name, "--match", "uid=4242", "--dns", "api.example.org", "--files", "default"];
        match json {
            false => assert!(agent.ctl_ok(&add).contains(&format!("agent.d/{name}.toml"))),
            true => assert!(agent.ctl_json(&add)["file"].as_str().unwrap().ends_with(&format!("agent.d/{name}.toml"))),
        }
    }
    agent.reload();
    let names = |agent: &Agent| {
        let list = agent.ctl_json(&["identity", "list"]);
        list["identities"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&agent), ["web", "one", "two"]);
    assert_eq!(agent.ctl_json(&["explain", "--uid", "4242"])["matched"].as_array().unwrap().len(), 2);
    agent.file("two", "tls.key");
    assert!(agent.ctl_ok(&["identity", "rm", "one"]).contains("removed"));
    assert!(agent.ctl_json(&["identity", "rm", "two"])["file"].is_string());
    agent.reload();
    assert_eq!(names(&agent), ["web"]);
}

#[test]
fn certificates_are_issued_listed_rotated_and_revoked() {
    let agent = started();
    let issued = both(&agent, &["cert", "issue", "web"], "-----BEGIN PRIVATE KEY-----");
    let serial = issued["serial"].as_str().unwrap();
    let out = scratch(&agent, "out");
    let written = agent.ctl_json(&["cert", "issue", "web", "--out", &out]);
    assert_eq!(written["files"].as_array().unwrap().len(), 3);
    let leaf = format!("{out}/tls.crt");
    run("openssl", &["verify", "-CAfile", &format!("{out}/ca.crt"), "-untrusted", &leaf, &leaf]);
    let csr = scratch(&agent, "csr");
    let request = ["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/"];
    run("openssl", &[&request[..], &["-keyout", "/dev/null", "-out", &csr]].concat());
    let by_csr = both(&agent, &["cert", "issue", "web", "--csr", &csr], "-----BEGIN CERTIFICATE-----");
    assert!(by_csr["private_key"].is_null(), "the key stays where it was made");

    let list = both(&agent, &["cert", "list"], serial);
    assert!(list["certificates"].as_array().unwrap().iter().any(|one| one["serial"] == serial));
    assert_eq!(both(&agent, &["cert", "show", serial], serial)["identity"], "web");
    let rotated = both(&agent, &["cert", "rotate", "web"], "published    yes");
    assert_eq!(rotated["certificate"]["serial"], agent.file_serial("web").as_str());
    assert!(agent.ctl_ok(&["cert", "revoke", "--serial", serial]).contains(&format!("revoked {serial}")));
    assert!(!agent.ctl_json(&["cert", "show", serial])["revoked_at"].is_null());
    let other = written["serial"].as_str().unwrap();
    let revoked = agent.ctl_json(&["cert", "revoke", "--identity", "web"]);
    assert!(revoked["serials"].as_array().unwrap().iter().any(|one| one == other), "{revoked}");
}

#[test]
fn issuers_are_shown_rotated_and_published() {
    let agent = started();
    let status = both(&agent, &["ca", "status"], "intermediate");
    assert_eq!(status["roots"][0]["state"], "signing");
    let made = agent.ctl_json(&["ca", "rotate", "intermediate"]);
    assert!(agent.ctl_ok(&["ca", "status"]).contains(&made["fingerprint"].as_str().unwrap()[..16]));
    assert!(agent.ctl_ok(&["ca", "rotate", "root", "--overlap", "1h"]).contains("published"));
    let bundle = both(&agent, &["bundle"], "-----BEGIN CERTIFICATE-----");
    assert_eq!(bundle["trust_domain"], "example.org");
    assert_eq!(agent.ctl_ok(&["bundle"]).matches("BEGIN CERTIFICATE").count(), 2);
    let crl = both(&agent, &["crl"], "-----BEGIN X509 CRL-----");
    assert!(crl["crls"].as_array().unwrap().len() >= 3, "{crl}");
}

#[test]
fn secrets_are_sealed_listed_shown_and_removed() {
    let agent = started();
    let file = scratch(&agent, "value");
    std::fs::write(&file, "correct horse\n").unwrap();
    assert_eq!(both(&agent, &["secret", "seal", "db", "--file", &file], "sealed db")["version"], 2);
    assert_eq!(both(&agent, &["secret", "list"], "db")["secrets"][0]["allow"], json!(["web"]));
    assert_eq!(agent.ctl_ok(&["secret", "show", "db"]), "correct horse\n", "byte by byte");
    agent.ctl_ok(&["secret", "seal", "db", "--trim", "--file", &file]);
    assert_eq!(agent.ctl_ok(&["secret", "show", "db"]), "correct horse");
    assert_eq!(agent.ctl_json(&["secret", "show", "db"])["value"], data_encoding::BASE64.encode(b"correct horse"));
    assert!(agent.ctl_ok(&["secret", "rm", "db"]).contains("removed db"));
    agent.ctl_ok(&["secret", "seal", "db", "--file", &file]);
    assert_eq!(agent.ctl_json(&["secret", "rm", "db"])["name"], "db");
}

#[test]
fn tunnels_are_listed_with_what_they_do_or_why_they_do_not() {
    let mut agent = started();
    assert!(both(&agent, &["tunnel", "list"], "No tunnel is declared.")["tunnels"] == json!([]));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let accepts = ["unix".to_owned(), format!("tcp:{}", taken.local_addr().unwrap())];
    let tunnels = accepts.iter().enumerate().map(|(number, accept)| {
        format!(
            "[[tunnel]]\nname = \"t{number}\"\nidentity = \"web\"\naccept = {accept:?}\nconnect = \"tls:127.0.0.1:9\"\n\
             peers = [\"spiffe://example.org/svc/db\"]\n"
        )
    });
    agent.configure(&format!("{}{}", Agent::web(), tunnels.collect::<String>()));
    agent.reload();
    wait_until("one listens, and the other says why not", 20, || {
        let list = agent.ctl_json(&["tunnel", "list"]);
        list["tunnels"][0]["trouble"].is_null() && list["tunnels"][1]["trouble"].to_string().contains("cannot listen")
    });
    // Nobody is at the other end.
    drop(std::os::unix::net::UnixStream::connect(agent.run().join("tunnels/t0.sock")).unwrap());
    wait_until("what it could not reach is counted", 20, || {
        agent.ctl_json(&["tunnel", "list"])["tunnels"][0]["refused"]["unreachable"] == 1
    });
    let list = both(&agent, &["tunnel", "list"], "1 unreachable");
    let serial = agent.file_serial("web");
    let first = &list["tunnels"][0];
    assert_eq!((&first["accept"], &first["certificate"]), (&json!("unix"), &json!(serial)));
    assert_eq!((&first["peers"], &first["open"]), (&json!(["spiffe://example.org/svc/db"]), &json!(0)));
    let findings: Value = serde_json::from_slice(&agent.ctl(&["doctor", "--json"]).stdout).unwrap();
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "tunnels").unwrap();
    assert!(finding["level"] == "fail" && finding["what"].as_str().unwrap().starts_with("t1: "), "{finding}");
}

#[test]
fn tokens_are_minted_narrowed_judged_used_and_revoked() {
    let agent = started();
    let file = scratch(&agent, "token");
    let narrow = scratch(&agent, "narrow");
    std::fs::write(&file, agent.ctl_ok(&["token", "mint", "--allow", "cert rotate *", "--ttl", "1h"])).unwrap();
    let minted = agent.ctl_json(&["token", "mint", "--allow", "cert rotate web", "--ttl", "1h"]);
    assert!(minted["token"].as_str().unwrap().len() > 100);
    let attenuate = ["token", "attenuate", "--allow", "cert rotate web", "--ttl", "1m", "--token-file", &file];
    std::fs::write(&narrow, agent.ctl_ok(&attenuate)).unwrap();
    assert!(agent.ctl_json(&attenuate)["token"].is_string());
    let inspected = both(&agent, &["token", "inspect", "--token-file", &narrow], "revocation id");
    assert_eq!(inspected["blocks"].as_array().unwrap().len(), 2);
    let key = both(&agent, &["token", "key"], "ed25519/")["public_key"].as_str().unwrap().to_owned();
    let verify = |token: &str, what: &str| {
        ["token", "verify", "--public-key", &key, "--operation", what, "--token-file", token].map(str::to_owned).to_vec()
    };
    let words = verify(&narrow, "cert rotate web");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(both(&agent, &words, "allowed: cert rotate web")["allowed"], true);
    let words = verify(&narrow, "cert rotate other");
    agent.ctl_refused(77, &words.iter().map(String::as_str).collect::<Vec<_>>());

    let wrong_key = ["token", "verify", "--public-key", "rot13/00", "--operation", "cert rotate web", "--token-file", &narrow];
    assert!(agent.ctl_refused(64, &wrong_key).contains("public key"));
    assert_eq!(agent.ctl_json(&["cert", "rotate", "web", "--token-file", &narrow])["published"], true);
    let id = inspected["revocation_ids"][0].as_str().unwrap();
    assert_eq!(both(&agent, &["token", "revoke", id], "revoked")["ok"], true);
    agent.ctl_refused(77, &["cert", "rotate", "web", "--token-file", &narrow]);
}

#[test]
fn the_audit_log_is_shown_checked_and_exported() {
    let agent = started();
    assert!(agent.ctl_ok(&["audit", "tail"]).contains("agent-started"));
    assert_eq!(agent.ctl_json_lines(&["audit", "tail", "--lines", "3"]).len(), 3);
    let verdict = both(&agent, &["audit", "verify"], "whole: ");
    assert_eq!(verdict["report"]["faults"], json!([]));
    let exported = agent.ctl_json_lines(&["audit", "export"]);
    assert_eq!(exported[0]["event"]["seq"], 1);
    let (one, two) = (scratch(&agent, "one.jsonl"), scratch(&agent, "two.jsonl"));
    assert!(agent.ctl_ok(&["audit", "export", "--output", &one]).contains("wrote "));
    assert_eq!(agent.ctl_json(&["audit", "export", "--output", &two])["events"], exported.len());
    assert_eq!(both(&agent, &["audit", "verify", &one], "whole: ")["events"], exported.len());
}

#[test]
fn the_verbs_that_need_no_agent_do_without() {
    let agent = Agent::with_web();
    for name in ["first", "second"] {
        let config = scratch(&agent, &format!("{name}/agent.toml"));
        let init = ["--config", &config, "init", "--trust-domain", "new.example", "--node-id", "host.new.example"];
        match name {
            "first" => assert!(agent.ctl_ok(&init).contains("new.example")),
            _ => assert_eq!(agent.ctl_json(&init)["trust_domain"], "new.example"),
        }
        assert!(agent.ctl_ok(&["config", "check", &config]).contains("good: "), "what init writes is a good configuration");
    }
    assert_eq!(both(&agent, &["config", "check"], "good: 1 identity, 0 secrets")["identities"], 1);
    let shown = both(&agent, &["config", "show"], "trust_domain = \"example.org\"");
    assert_eq!(shown["limits"]["connections_per_uid"], 1024, "with its defaults");
    let main_file = agent.config().display().to_string();
    let as_json = agent.ctl_ok(&["config", "convert", &main_file]);
    let json_file = scratch(&agent, "agent.json");
    std::fs::write(&json_file, &as_json).unwrap();
    assert!(agent.ctl_ok(&["config", "convert", &json_file]).contains("trust_domain = \"example.org\""), "and back");
    assert!(both(&agent, &["config", "schema"], "$defs")["properties"]["identity"].is_object());
    assert!(both(&agent, &["openapi"], "\"paths\"")["paths"]["/v1/whoami"].is_object());
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(both(&agent, &["completions", shell], "agentctl")["script"].as_str().unwrap().contains("whoami"));
    }
    assert!(both(&agent, &["man"], ".TH agentctl 1")["page"].is_string());
    let pages = scratch(&agent, "man");
    std::fs::create_dir(&pages).unwrap();
    let written = both(&agent, &["man", "--dir", &pages], "agentctl-cert-rotate.1");
    assert!(written.as_array().unwrap().len() > 40);
}
