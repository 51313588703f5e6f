//! What the network does.

use std::time::Duration;

use reverie_tests::mesh::{Link, Mesh, name};
use reverie_tests::programs::wait_until;
use serde_json::json;

use super::{others, write};

pub(super) fn a_write_reaches_everyone(mesh: &mut Mesh) {
    for round in 0..5 {
        write(mesh, 1, &format!("first-{round}"), &others(1), Duration::from_secs(5));
    }
    mesh.agree();
    for host in mesh.hosts() {
        let status = host.status();
        assert_eq!(status["counts"]["clients"], 5, "{}", host.name());
        assert_eq!(status["hosts"].as_array().unwrap().len(), 10);
    }
    wait_until("everyone has met everyone", 30, || {
        mesh.host(4).agent.ctl_ok(&["mesh", "status"]).starts_with("well · 10 of 10 hosts alive")
    });
}

pub(super) fn two_sides_go_on_alone_and_agree_when_they_meet(mesh: &mut Mesh) {
    let (left, right) = ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]);
    mesh.partition(&left, &right);
    write(mesh, 1, "on-the-left", &[2, 3, 4, 5], Duration::from_secs(5));
    assert!(!mesh.host(6).awaits_client("on-the-left", 2), "the sides are apart");

    // A member that is cut off from every authority cannot write what only they may, and goes on issuing.
    let refused = mesh.host(6).put_client("on-the-right");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let issued = mesh.host(6).agent.post("/v1/identities/web/certificates", &json!({})).ok();
    assert_eq!(issued["identity"], "web");
    // What it may write alone, it writes: its own revocations.
    mesh.host(7).agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();

    mesh.switch.clear();
    assert!(mesh.host(6).awaits_client("on-the-left", 20), "what was written meanwhile comes when the sides meet");
    mesh.agree();
}

pub(super) fn a_link_that_works_one_way_hinders_nobody(mesh: &mut Mesh) {
    mesh.switch.cut(1, 7);
    write(mesh, 1, "around", &others(1), Duration::from_secs(20));
    mesh.agree();
}

pub(super) fn a_quarter_of_all_frames_may_be_lost(mesh: &mut Mesh) {
    mesh.switch.link(0, 0, Link { delay_ms: 15.0, jitter_ms: 10.0, loss: 0.25, duplication: 0.05 });
    for round in 0..3 {
        let took = write(mesh, 1, &format!("through-loss-{round}"), &others(1), Duration::from_secs(30));
        eprintln!("with 25 % loss: everywhere after {took:?}");
    }
    mesh.switch.clear();
    mesh.agree();
    assert!(mesh.host(2).sees(3)["node_id"] == name(3));
}
