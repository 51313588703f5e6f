//! Who is in, and with which keys.

use reverie_tests::mesh::Mesh;
use reverie_tests::programs::wait_until;
use serde_json::json;

use super::others;

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
