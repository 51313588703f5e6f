//! The wire version changes under a mesh that goes on working.

use reverie_tests::mesh::{Host, Mesh, name};
use reverie_tests::programs::wait_until;
use serde_json::json;

/// Has a host speak no newer version from its next start on.
fn hold_at(host: &Host, version: u16) {
    let configuration = std::fs::read_to_string(host.agent.config()).unwrap();
    let kept = configuration.lines().filter(|line| !line.starts_with("newest_wire"));
    let written: String = kept.map(|line| format!("{line}\n")).collect();
    let written = written.replacen("[gossip]\n", &format!("[gossip]\nnewest_wire = {version}\n"), 1);
    std::fs::write(host.agent.config(), written).unwrap();
}

/// Restarts a host as one that speaks that version; what was written while it was down reaches it, and what it writes the others.
fn comes_back_with(mesh: &mut Mesh, number: usize, version: u16, members: &[usize]) {
    let others = || members.iter().copied().filter(|other| *other != number);
    mesh.host_mut(number).agent.stop();
    hold_at(mesh.host(number), version);
    let meanwhile = format!("while-{number}-was-down-for-{version}");
    let authority = if number == 1 { 2 } else { 1 };
    mesh.host(authority).put_client(&meanwhile).ok();
    mesh.host_mut(number).launch();
    mesh.host_mut(number).wait_until_ready();
    assert!(mesh.host(number).awaits_client(&meanwhile, 30), "{}", mesh.describe(&[number, authority]));
    wait_until("every host knows what it speaks", 30, || others().all(|other| mesh.host(other).sees(number)["wire"] == version));
    for from in 1..=2 {
        let id = format!("from-{from}-with-{number}-at-{version}");
        mesh.host(from).put_client(&id).ok();
        for &to in members.iter().filter(|to| **to != from) {
            assert!(mesh.host(to).awaits_client(&id, 20), "{} has not heard of {id}: {}", name(to), mesh.describe(&[from, to]));
        }
    }
    mesh.agree();
    let complaint = |on: usize, of: usize| {
        let seen = mesh.host(on).sees(of);
        let error = seen["last_error"].as_str().unwrap_or_default().to_owned();
        (seen["failures"] != 0 && error.contains("wire version")).then_some(error)
    };
    wait_until("nobody is spoken to in a version that it does not speak", 30, || {
        others().all(|other| complaint(other, number).is_none() && complaint(number, other).is_none())
    });
}

#[test]
fn hosts_are_upgraded_one_by_one_and_back_and_go_on_agreeing_as_root() {
    let mut mesh = Mesh::new(4, &super::configuration());
    (1..=3).for_each(|number| hold_at(mesh.host(number), 1));
    let start = |mesh: &mut Mesh, number: usize| {
        mesh.host_mut(number).launch();
        mesh.host_mut(number).wait_until_ready();
    };
    [1, 2, 4].into_iter().for_each(|number| start(&mut mesh, number));
    mesh.found();
    mesh.join(2, 1);
    mesh.host(1).agent.admin_post("/api/admin/mesh/promote", &json!({ "node_id": name(2) })).ok();
    // A host of the new release joins by one of the old.
    mesh.join(4, 1);
    wait_until("each sees what the other speaks", 30, || mesh.host(1).sees(4)["wire"] == 2 && mesh.host(4).sees(1)["wire"] == 1);
    comes_back_with(&mut mesh, 1, 2, &[1, 2, 4]);
    // And one of the old release by one of the new.
    start(&mut mesh, 3);
    mesh.join(3, 1);
    mesh.agree();
    for (number, version) in [(2, 2), (2, 1), (2, 2), (3, 2)] {
        comes_back_with(&mut mesh, number, version, &[1, 2, 3, 4]);
    }
}
