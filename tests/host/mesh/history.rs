//! A host that lost its disk, and one that was brought back from a copy.

use std::time::Duration;

use reverie_tests::mesh::{Mesh, PORT, name};
use reverie_tests::programs::{run, wait_until};
use serde_json::json;

fn mesh() -> Mesh {
    Mesh::joined(3, &super::configuration())
}

#[test]
fn a_host_that_lost_its_disk_comes_back_by_readmission_and_not_by_itself_as_root() {
    let mut mesh = mesh();
    mesh.host(1).put_client("kept-by-the-others").ok();
    mesh.host_mut(3).agent.kill();
    std::fs::remove_dir_all(mesh.host(3).agent.state()).unwrap();
    mesh.host_mut(3).agent.start();
    assert_eq!(mesh.host(3).status()["state"], "none");

    // Whoever has the name alone does not get in by an ordinary invitation.
    let invited = mesh.host(1).agent.admin_post("/api/admin/mesh/invites", &json!({ "node_id": name(3), "ttl_seconds": 600 }));
    assert_eq!(invited.status, 409, "{}", invited.text());
    let readmitted =
        mesh.host(1).agent.admin_post("/api/admin/mesh/readmit", &json!({ "node_id": name(3), "ttl_seconds": 600 })).ok();
    mesh.redeem(3, 1, &readmitted);
    assert!(mesh.host(3).awaits_client("kept-by-the-others", 20));
    mesh.agree();
    // A token is good once.
    let request = json!({ "address": format!("{}:{PORT}", name(1)), "token": readmitted["token"] });
    let again = mesh.host(3).agent.admin_post("/api/admin/mesh/join", &request);
    assert_ne!(again.status, 200, "{}", again.text());
}

#[test]
fn a_host_restored_from_a_snapshot_notices_stops_writing_and_resumes_on_command_as_root() {
    let mut mesh = mesh();
    mesh.host_mut(3).agent.stop();
    let (state, snapshot) = (mesh.host(3).agent.state(), mesh.host(3).agent.path().join("snapshot"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        run("cp", &["--archive", from.to_str().unwrap(), to.to_str().unwrap()]);
    };
    copy(&state, &snapshot);
    mesh.host_mut(3).agent.start();
    // It writes on, and others hear it.
    mesh.host(3).agent.file("web", "tls.key");
    mesh.host(3).agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    wait_until("the others have heard of it", 20, || mesh.host(1).status()["counts"]["revocations"].as_u64() >= Some(1));
    mesh.agree();
    mesh.host_mut(3).agent.kill();
    std::fs::remove_dir_all(&state).unwrap();
    copy(&snapshot, &state);
    mesh.host_mut(3).agent.start();
    wait_until("it notices that it wrote more than it knows", 30, || mesh.host(3).status()["state"] == "cloned");
    let alarms = mesh.host(3).agent.admin_get("/api/admin/status").ok()["alarms"].to_string();
    assert!(alarms.contains("mesh resume"), "it says what to do: {alarms}");
    let said = mesh.host(3).agent.ctl_ok(&["mesh", "status"]);
    assert!(said.contains("restored or copied"), "{said}");

    mesh.host(3).agent.admin_post("/api/admin/mesh/resume", &json!({})).ok();
    wait_until("it writes again", 20, || mesh.host(3).status()["state"] == "member");
    mesh.host(3).agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    mesh.agree_within(&[1, 2, 3], Duration::from_secs(30));
    // Nobody took it for two.
    wait_until("it is one of them again", 30, || mesh.host(1).sees(3)["state"] == "alive");
    assert_eq!(mesh.host(1).sees(3)["evidence"], serde_json::Value::Null);
}
