//! Damaged, lost and full: refused or said, and nothing is lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use reverie_tests::agent::Agent;
use reverie_tests::programs::{built, output, run, text, wait_until};
use serde_json::json;

fn stopped_after_first_light() -> Agent {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    agent.stop();
    agent
}

#[test]
fn a_damaged_store_is_refused_kept_and_never_emptied() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("emptied", |store| fs::write(store, b"").unwrap()),
        ("overwritten", |store| fs::write(store, b"not a store at all").unwrap()),
        ("gone", |store| fs::remove_file(store).unwrap()),
    ];
    for (what, damage) in damages {
        let mut agent = stopped_after_first_light();
        let store = agent.state().join("store.redb");
        damage(&store);
        let before = fs::read(&store).ok();
        let (code, said) = agent.start_and_fail();
        assert_eq!(code, 74, "{what}: {said}");
        assert!(said.contains("store.redb") && said.contains("backup"), "{what}: {said}");
        assert_eq!(fs::read(&store).ok(), before, "{what}: the file was touched");
    }
}

#[test]
fn a_store_of_another_root_secret_says_so() {
    let mut agent = stopped_after_first_light();
    let mut other = stopped_after_first_light();
    for file in fs::read_dir(other.state().join("seal")).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, agent.state().join("seal").join(path.file_name().unwrap())).unwrap();
    }
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("root secret"), "{said}");
    other.start();
}

#[test]
fn a_lost_record_of_the_seal_is_written_anew_only_on_command_and_nothing_else_is_lost() {
    let mut agent = stopped_after_first_light();
    let serial = agent.file_serial("web");
    let seal = agent.state().join("seal");
    fs::remove_file(seal.join("root.cred.json")).unwrap();
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 77, "{said}");
    let dir = seal.to_str().unwrap();
    assert!(said.contains(&format!("seal adopt --mode MODE --dir {dir}")), "{said}");

    let adopt =
        |mode: &str| Command::new(built("reverie-agent")).args(["seal", "adopt", "--dir", dir, "--mode", mode]).output().unwrap();
    let guess = adopt("magic");
    assert_eq!(guess.status.code(), Some(64), "{}", text(&guess));
    let adopted = adopt("file");
    assert!(adopted.status.success() && text(&adopted).contains("sealed by file"), "{}", text(&adopted));
    let again = adopt("file");
    assert_eq!(again.status.code(), Some(77), "{}", text(&again));
    agent.start();
    assert_eq!(agent.file_serial("web"), serial);
}

#[test]
fn a_lost_root_secret_is_not_replaced_by_a_new_one() {
    let mut agent = stopped_after_first_light();
    fs::remove_dir_all(agent.state().join("seal")).unwrap();
    let (code, said) = agent.start_and_fail();
    assert_eq!(code, 77, "{said}");
    assert!(!agent.state().join("seal/root.cred").exists());
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let mut agent = Agent::with_web();
    let mut acknowledged = vec![];
    for _ in 0..15 {
        agent.start();
        for _ in 0..3 {
            let issued = agent.post("/v1/identities/web/certificates", &json!({})).ok();
            acknowledged.push(issued["serial"].as_str().unwrap().to_owned());
        }
        agent.kill();
    }
    agent.start();
    let listed = agent.admin_get("/api/admin/certificates").text();
    assert!(acknowledged.iter().all(|serial| listed.contains(serial)));
    let verdict = agent.admin_get("/api/admin/audit/verify").ok();
    assert_eq!(verdict["report"]["faults"], json!([]));
}

/// A small file system on the state directory, gone with the test.
struct SmallDisk(String);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        output("umount", &["--lazy", &self.0]);
    }
}

#[test]
fn a_full_disk_stops_issuing_with_a_sentence_and_nothing_else() {
    let mut agent = Agent::with_web();
    let state = agent.state();
    fs::create_dir(&state).unwrap();
    let mounted = SmallDisk(state.display().to_string());
    run("mount", &["-t", "tmpfs", "-o", "size=12m,mode=0700", "reverie-test", &mounted.0]);
    agent.start();
    let serial = agent.file_serial("web");
    let ballast = state.join("ballast");
    let mut filler = fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    let issue = || agent.post("/v1/identities/web/certificates", &json!({}));
    wait_until("issuing stops", 60, || issue().status == 503);
    let refused = issue();
    assert!(refused.text().contains("could not be recorded") && refused.text().contains("\"try\""), "{}", refused.text());
    assert_eq!(agent.get("/v1/whoami").ok()["identities"], json!(["web"]), "the rest goes on");
    assert_eq!(agent.file_serial("web"), serial);
    assert!(agent.admin_get("/ready").problem(503).contains("cannot be recorded"));
    drop(filler);
    fs::remove_file(&ballast).unwrap();
    // Without anybody asking for anything.
    wait_until("it is ready again by itself", 45, || agent.admin_get("/ready").status == 200);
    issue().ok();
    agent.stop();
    agent.start();
    assert_eq!(agent.admin_get("/api/admin/audit/verify").ok()["report"]["faults"], json!([]));
    agent.stop();
}
