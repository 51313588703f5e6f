//! Who is in, and with which keys.

use std::time::Duration;

use reverie_tests::mesh::{Mesh, name};
use reverie_tests::programs::wait_until;
use serde_json::json;

use super::{others, write};

pub(super) fn the_wrapping_key_rotates_while_a_host_is_down(mesh: &mut Mesh) {
    let before = mesh.host(1).status()["wrapping_key"].as_u64().expect("a wrapping key");
    mesh.host_mut(5).agent.stop();
    let rotated = mesh.host(1).agent.admin_post("/api/admin/mesh/rotate", &json!({ "what": "wrapping-key" })).ok();
    assert_eq!(rotated["newest_wrapping_key"], before + 1);
    for number in others(5) {
        wait_until("every host that is up has the new key", 20, || mesh.host(number).status()["wrapping_key"] == before + 1);
    }
    mesh.host_mut(5).agent.start();
    wait_until("the host that was down has pulled it", 30, || mesh.host(5).status()["wrapping_key"] == before + 1);
    mesh.agree();
}

pub(super) fn a_host_may_change_its_keys(mesh: &mut Mesh) {
    let before = mesh.host(1).sees(3)["signing_kid"].clone();
    mesh.host(3).agent.admin_post("/api/admin/mesh/rotate", &json!({ "what": "host-keys" })).ok();
    for number in [1, 2, 4, 5, 6, 7, 8] {
        wait_until("every host knows the new key", 20, || mesh.host(number).sees(3)["signing_kid"] != before);
    }
    // Both ways it goes on under the new key.
    write(mesh, 1, "under-the-new-key", &[3], Duration::from_secs(10));
    mesh.host(3).agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    mesh.agree();
}

pub(super) fn a_host_that_leaves_is_gone_everywhere(mesh: &mut Mesh) {
    mesh.host(9).agent.admin_post("/api/admin/mesh/leave", &json!({})).ok();
    for number in 1..=8 {
        wait_until("every host knows that it left", 20, || mesh.host(number).sees(9)["state"] == "left");
    }
    assert_eq!(mesh.host(9).status()["state"], "left");
    mesh.host_mut(9).agent.stop();
    write(mesh, 1, "without-nine", &[2, 3, 4, 5, 6, 7, 8, 10], Duration::from_secs(10));
}

pub(super) fn a_host_that_is_put_out_is_refused_everywhere(mesh: &mut Mesh) {
    let request = json!({ "node_id": name(10), "reason": "stolen" });
    mesh.host(1).agent.admin_post("/api/admin/mesh/evict", &request).ok();
    for number in 2..=8 {
        wait_until("every host knows that it is out", 20, || mesh.host(number).sees(10)["state"] == "evicted");
    }
    // It hears nothing more.
    write(mesh, 1, "not-for-ten", &[2, 3, 4, 5, 6, 7, 8], Duration::from_secs(10));
    assert!(!mesh.host(10).awaits_client("not-for-ten", 2), "what is said after its eviction does not reach it");
    // It is told that it is refused, and says so.
    wait_until("it knows that it is out", 20, || mesh.host(10).status()["state"] == "refused");
    let said = mesh.host(10).agent.ctl_ok(&["mesh", "status"]);
    assert!(said.contains("mesh readmit"), "{said}");
    // Nor does what it says count.
    let refused = mesh.host(10).put_client("by-ten");
    assert_ne!(refused.status, 200, "{}", refused.text());
    mesh.host_mut(10).agent.stop();
    mesh.agree();
}
