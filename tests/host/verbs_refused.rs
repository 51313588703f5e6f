//! Bad input to every verb of `agentctl`, against a real agent: the exit code, what happened and what to try.

use reverie_tests::agent::Agent;

/// Looks like one, and was never given out.
const SERIAL: &str = "4100000000000000000000000000beef";

/// Verb with bad arguments, exit code, and what is said. `{}` is the scratch directory.
const REFUSED: &[(&[&str], i32, &str)] = &[
    (&["init"], 73, "agent.toml"),
    (&["init", "--trust-domain", "NOT A DOMAIN"], 64, "NOT A DOMAIN"),
    (&["status", "extra"], 64, "extra"),
    (&["doctor", "extra"], 64, "extra"),
    (&["whoami", "extra"], 64, "extra"),
    (&["explain"], 64, "--pid"),
    (&["explain", "--pid", "4194305"], 66, "4194305"),
    (&["explain", "--uid", "root"], 64, "root"),
    (&["identity", "add", "UPPER", "--match", "uid=1"], 64, "UPPER"),
    (&["identity", "add", "x", "--match", "color=red"], 78, "color"),
    (&["identity", "add", "x", "--match", "uid=1", "--ttl", "1s"], 78, "1s"),
    (&["identity", "add", "web", "--match", "uid=1"], 78, "web"),
    (&["identity", "show", "other"], 66, "other"),
    (&["identity", "rm", "other"], 66, "other"),
    (&["identity", "rm", "web"], 65, "not in a file of its own"),
    (&["cert", "show", SERIAL], 66, SERIAL),
    (&["cert", "show", "not-hex"], 64, "not-hex"),
    (&["cert", "issue", "other"], 77, "other"),
    (&["cert", "issue", "web", "--csr", "{}/no-such-file"], 66, "no-such-file"),
    (&["cert", "issue", "web", "--csr", "{}/garbage"], 65, "not a certificate request"),
    (&["cert", "issue", "web", "--token-file", "{}/garbage"], 65, "not a capability token"),
    (&["cert", "rotate", "other"], 66, "other"),
    (&["cert", "revoke"], 64, "--serial"),
    (&["cert", "revoke", "--serial", SERIAL], 66, SERIAL),
    (&["cert", "revoke", "--identity", "other"], 66, "other"),
    (&["cert", "revoke", "--intermediate", "beef"], 64, "64 hexadecimal digits"),
    (&["ca", "status", "extra"], 64, "extra"),
    (&["ca", "rotate", "leaf"], 64, "leaf"),
    (&["ca", "rotate", "root", "--overlap", "99"], 64, "99"),
    (&["bundle", "extra"], 64, "extra"),
    (&["crl", "extra"], 64, "extra"),
    (&["secret", "seal", "UPPER", "--file", "{}/garbage"], 64, "UPPER"),
    (&["secret", "seal", "db", "--file", "{}/no-such-file"], 66, "no-such-file"),
    (&["secret", "seal", "db", "--file", "{}/large"], 65, "64 KiB"),
    (&["secret", "show", "other"], 66, "other"),
    (&["secret", "list", "extra"], 64, "extra"),
    (&["secret", "rm", "other"], 66, "other"),
    (&["token", "mint", "--allow", "cert fly web", "--ttl", "1h"], 64, "cert fly web"),
    (&["token", "mint", "--allow", "cert rotate web", "--ttl", "99d"], 65, "30 days"),
    (&["token", "attenuate", "--ttl", "1m", "--token-file", "{}/garbage"], 65, "token"),
    (&["token", "inspect", "--token-file", "{}/garbage"], 65, "token"),
    (&["token", "inspect", "--token-file", "{}/no-such-file"], 66, "no-such-file"),
    (&["token", "revoke", "not-hex"], 64, "not-hex"),
    (&["token", "key", "extra"], 64, "extra"),
    (&["tunnel", "list", "extra"], 64, "extra"),
    (&["tunnel"], 64, "verb"),
    (&["watch", "--count", "many"], 64, "many"),
    (&["audit", "tail", "--lines", "many"], 64, "many"),
    (&["audit", "verify", "{}/no-such-file"], 66, "no-such-file"),
    (&["audit", "export", "--output", "{}/garbage"], 73, "garbage"),
    (&["config", "check", "{}/garbage"], 78, "garbage:1:4: key with no value"),
    (&["config", "show", "{}/garbage"], 78, "garbage:1:4: key with no value"),
    (&["config", "check", "{}/no-such-file"], 66, "no-such-file"),
    (&["config", "convert", "{}/garbage"], 78, "garbage:1:4: key with no value"),
    (&["top", "--count", "many"], 64, "many"),
    (&["demo", "--agent", "{}/no-such-file"], 66, "no-such-file"),
    (&["config", "schema", "extra"], 64, "extra"),
    (&["completions", "tcsh"], 64, "tcsh"),
    (&["man", "--dir", "{}/garbage/pages"], 73, "garbage"),
    (&["openapi", "extra"], 64, "extra"),
    (&["bench", "everything"], 64, "everything"),
    (&["fly"], 64, "fly"),
];

#[test]
fn bad_input_to_each_verb_ends_with_its_code_and_a_sentence() {
    let mut agent = Agent::new(&format!("{}[[secret]]\nname = \"db\"\nallow = [\"web\"]\n", Agent::web()));
    agent.start();
    agent.file("web", "tls.key");
    std::fs::write(agent.path().join("garbage"), "no such thing\n").unwrap();
    std::fs::write(agent.path().join("large"), vec![b'x'; 64 * 1024 + 1]).unwrap();
    let mut wrong = vec![];
    for (arguments, exit, expected) in REFUSED {
        let arguments: Vec<String> = arguments.iter().map(|word| word.replace("{}", agent.path().to_str().unwrap())).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let judged = std::panic::catch_unwind(|| agent.ctl_refused(*exit, &arguments));
        match judged {
            Ok(what) if what.contains(expected) => {}
            Ok(what) => wrong.push(format!("{arguments:?} does not say {expected:?} but {what:?}")),
            Err(_) => wrong.push(format!("{arguments:?}: {:?}", agent.ctl(&arguments))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_damaged_audit_log_and_a_garbled_one_end_with_65() {
    let mut agent = Agent::with_web();
    agent.start();
    let exported = agent.ctl_ok(&["audit", "export"]);
    let file = agent.path().join("log");
    let lines: Vec<&str> = exported.lines().collect();
    for (damage, fault) in
        [(exported.lines().skip(1).collect::<Vec<_>>(), "event 1 is missing"), (vec!["{}"; 2], "cannot be read")]
    {
        assert!(lines.len() > 2);
        std::fs::write(&file, damage.join("\n")).unwrap();
        let output = agent.ctl(&["audit", "verify", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(65));
        assert!(String::from_utf8_lossy(&output.stdout).contains(fault), "{output:?}");
    }
}

#[test]
fn every_verb_that_needs_the_agent_says_so_when_it_is_away() {
    let agent = Agent::with_web();
    let id = "00".repeat(64);
    let verbs: [&[&str]; 20] = [
        &["status"],
        &["whoami"],
        &["explain", "--uid", "1"],
        &["identity", "list"],
        &["identity", "show", "web"],
        &["cert", "list"],
        &["cert", "show", SERIAL],
        &["cert", "issue", "web"],
        &["cert", "rotate", "web"],
        &["cert", "revoke", "--identity", "web"],
        &["ca", "status"],
        &["ca", "rotate", "root"],
        &["bundle"],
        &["crl"],
        &["secret", "list"],
        &["secret", "show", "db"],
        &["secret", "rm", "db"],
        &["token", "mint", "--allow", "cert rotate web", "--ttl", "1h"],
        &["token", "revoke", &id],
        &["watch"],
    ];
    for verb in verbs.into_iter().chain([
        &["audit", "tail"][..],
        &["audit", "verify"],
        &["audit", "export"],
        &["token", "key"],
        &["top", "--count", "1"],
    ]) {
        let said = agent.ctl_refused(69, verb);
        assert!(said.contains(".sock"), "which socket: {said}");
    }
    let doctor = agent.ctl(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
}
