//! Starting, reloading, stopping.

use std::io::Write;

use nix::sys::signal::Signal;
use reverie_tests::agent::Agent;
use reverie_tests::programs::{built, output, text, wait_until};

#[test]
fn a_wrong_configuration_ends_with_78_and_says_where_and_what_is_allowed() {
    let mut agent = Agent::new("[[identity]]\nname = \"web\"\ntll = \"7d\"\nmatch = { uid = 0 }\n");
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 78, "{said}");
    let place = format!("{}:10:1: unknown field `tll`, expected one of `name`", agent.config().display());
    assert!(said.contains(&place), "{said}");
}

#[test]
fn a_reload_takes_a_good_configuration_and_refuses_a_wrong_one() {
    let mut agent = Agent::with_web();
    agent.start();
    let more = format!("{}[[identity]]\nname = \"more\"\nmatch = {{ uid = {} }}\n", Agent::web(), nix::unistd::geteuid());
    agent.configure(&more);
    agent.reload();
    assert_eq!(agent.get("/v1/whoami").ok()["identities"], serde_json::json!(["web", "more"]));
    agent.configure(&more.replace("name = \"more\"", "nmae = \"more\""));
    agent.reload();
    assert_eq!(agent.get("/v1/whoami").ok()["identities"], serde_json::json!(["web", "more"]), "the old one stays in force");
    let status = agent.admin_get("/api/admin/status").ok();
    assert!(status["config"]["refused"].as_str().unwrap().contains("unknown field `nmae`"), "{status}");
    assert!(status["alarms"].to_string().contains("configuration"), "{status}");
    agent.configure(&Agent::web());
    agent.reload();
    let status = agent.admin_get("/api/admin/status").ok();
    assert_eq!((&status["config"]["refused"], status["identities"].as_u64()), (&serde_json::json!(null), Some(1)));
}

#[test]
fn an_identity_that_is_no_longer_declared_loses_its_files() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    agent.configure("");
    agent.reload();
    wait_until("the files are gone", 10, || !agent.run().join("certs/web").exists());
}

#[test]
fn a_stop_is_announced_recorded_and_clean() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.signal(Signal::SIGTERM);
    agent.wait_for_notice("STOPPING=1");
    agent.stopped();
    agent.start();
    assert!(agent.admin_get("/api/admin/audit?limit=1000").text().contains("agent-stopped"));
}

#[test]
fn a_second_agent_in_the_same_place_is_refused() {
    let mut agent = Agent::with_web();
    agent.start();
    let second = output(
        &reverie_tests::programs::built("reverie-agent").display().to_string(),
        &["--config", &agent.config().display().to_string()],
    );
    assert!(!second.status.success());
    assert!(text(&second).contains("in use by another reverie-agent"), "{}", text(&second));
    agent.get("/v1/whoami").ok();
}

#[test]
fn a_person_runs_an_agent_without_root() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path();
    let own = |path: &std::path::Path| nix::unistd::chown(path, Some(4243.into()), Some(4243.into())).unwrap();
    for folder in ["config/reverie", "state", "run"] {
        std::fs::create_dir_all(home.join(folder)).unwrap();
        own(&home.join(folder));
    }
    own(home);
    let text_of = "trust_domain = \"me.example\"\nnode_id = \"me.example\"\n[[identity]]\nname = \"me\"\nmatch = { uid = 4243 }\nfiles = {}\n";
    std::fs::write(home.join("config/reverie/agent.toml"), text_of).unwrap();
    let variable = |name: &str, folder: &str| format!("{name}={}", home.join(folder).display());
    let run = |program: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=4243", "--regid=4243", "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin"]);
        command.args([variable("HOME", ""), variable("XDG_CONFIG_HOME", "config"), variable("XDG_STATE_HOME", "state")]);
        command.arg(variable("XDG_RUNTIME_DIR", "run")).arg(reverie_tests::programs::built(program));
        command
    };
    let log = std::fs::File::create(home.join("log")).unwrap();
    let mut agent = run("reverie-agent").arg("--user").stderr(log).spawn().unwrap();
    let key = home.join("run/reverie/certs/me/tls.key");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    while !key.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let whoami = run("agentctl").args(["--user", "whoami"]).output().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = agent.wait().unwrap();
    let log = std::fs::read_to_string(home.join("log")).unwrap();
    assert!(key.exists(), "{log}");
    assert!(whoami.status.success() && text(&whoami).contains("me"), "{}\n{log}", text(&whoami));
    assert!(status.success(), "{status}\n{log}");
}

#[test]
fn no_thread_of_keeper_or_warden_can_gain_a_privilege_or_make_every_system_call() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    let mut threads = 0;
    // Whichever thread started it is its parent here.
    let children = output("pgrep", &["--parent", &agent.pid().to_string()]);
    let pids: Vec<String> = text(&children).split_whitespace().map(str::to_owned).chain([agent.pid().to_string()]).collect();
    assert!(pids.len() >= 2, "the keeper has a warden");
    let tasks = pids.iter().flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).unwrap());
    for thread in tasks {
        let Ok(status) = std::fs::read_to_string(thread.unwrap().path().join("status")) else { continue };
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
        threads += 1;
    }
    assert!(threads > 2, "{threads}");
}

#[test]
fn at_a_reload_the_log_changes_its_level_and_what_waits_for_a_restart_is_named() {
    let mut agent = Agent::with_web();
    agent.start();
    let settings = |agent: &Agent| {
        let alarms = agent.admin_get("/api/admin/status").ok()["alarms"].clone();
        alarms.as_array().unwrap().iter().find(|alarm| alarm["subject"] == "settings").map(|alarm| alarm["message"].to_string())
    };
    assert_eq!(settings(&agent), None);
    agent.configure(&format!("pcrs = [7]\n[audit]\nkeep = 9\n[log]\nlevel = \"debug\"\n{}", Agent::web()));
    agent.reload();
    wait_until("the alarm", 10, || settings(&agent).is_some_and(|said| said.contains("[seal], audit.keep: changed in the file")));
    wait_until("a finer log", 10, || {
        std::os::unix::net::UnixStream::connect(agent.agent_socket()).unwrap().write_all(b"nonsense\r\n\r\n").unwrap();
        agent.log().contains("DEBUG a connection ended badly")
    });
    agent.configure(&Agent::web());
    agent.reload();
    wait_until("no alarm", 10, || settings(&agent).is_none());
}

#[test]
fn a_root_secret_that_systemd_hands_over_must_be_sealed_as_configured() {
    let mut agent = Agent::with_head("[seal]\nmode = \"tpm2\"\n", &Agent::web());
    let handed = agent.path().join("credentials");
    std::fs::create_dir(&handed).unwrap();
    std::fs::write(handed.join("reverie-root"), [7; 32]).unwrap();
    agent.set_variable("CREDENTIALS_DIRECTORY", handed.to_str().unwrap());
    agent.start();
    let seal = agent.admin_get("/api/admin/status").ok()["seal"].clone();
    assert_eq!(seal["mode"], "systemd");
    assert!(seal["remark"].as_str().unwrap().contains("whether by tpm2, as configured, is not known"), "{seal}");
    agent.stop();

    // As `reverie-agent seal init` writes it.
    let dir = agent.path().join("sealed");
    let made =
        output(built("reverie-agent").to_str().unwrap(), &["seal", "init", "--mode", "file", "--dir", dir.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made));
    std::fs::copy(dir.join("root.cred.json"), handed.join("reverie-root.json")).unwrap();
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("sealed with file, but tpm2 is configured"), "{said}");
    agent.configure(&Agent::web());
    agent.start();
    assert_eq!(agent.admin_get("/api/admin/status").ok()["seal"]["mode"], "file");
}
