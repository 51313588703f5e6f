//! Clocks that differ, and certificates that ended while a host was off.

use reverie_tests::clock::{Clock, follows_a_file};
use reverie_tests::mesh::{Host, Mesh, name};
use reverie_tests::programs::wait_until;
use serde_json::json;

/// Three hosts, each with a clock that follows a file.
fn with_clocks() -> (Mesh, Vec<Clock>) {
    let mut mesh = Mesh::new(3, &super::configuration());
    let clocks = (1..=3).map(|number| follows_a_file(&mut mesh.host_mut(number).agent)).collect();
    (1..=3).for_each(|number| Host::launch(mesh.host_mut(number)));
    (1..=3).for_each(|number| Host::wait_until_ready(mesh.host_mut(number)));
    mesh.found();
    mesh.join(2, 1);
    mesh.join(3, 1);
    mesh.agree();
    (mesh, clocks)
}

#[test]
fn a_host_whose_clock_is_wrong_is_named_and_harms_nobody_as_root() {
    let mut mesh = Mesh::joined(3, &super::configuration());
    mesh.host_mut(3).restart_with_clock("+20s");
    wait_until("the others see by how much it is off", 30, || {
        mesh.host(1).sees(3)["clock_offset_ms"].as_i64().is_some_and(|offset| (15_000..25_000).contains(&offset))
    });
    let said = mesh.host(1).agent.ctl_ok(&["mesh", "status"]);
    assert!(said.contains(&format!("the clock of {} is", name(3))), "{said}");
    // Within the bounds it goes on working.
    mesh.host(1).put_client("with-a-clock-off").ok();
    assert!(mesh.host(3).awaits_client("with-a-clock-off", 20));

    // Far off, its messages are refused, and it takes those of others for old ones.
    mesh.host_mut(3).restart_with_clock("+10m");
    mesh.host(3).agent.admin_post("/api/admin/revoke", &json!({ "identity": "web" })).ok();
    mesh.host(1).put_client("while-it-was-far-off").ok();
    assert!(mesh.host(2).awaits_client("while-it-was-far-off", 10), "the others go on");
    assert!(!mesh.host(3).awaits_client("while-it-was-far-off", 3));
    assert_eq!(mesh.host(1).status()["counts"]["revocations"], 0, "what it says meanwhile does not come through");
    wait_until("it says why", 30, || {
        let why = mesh.host(3).sees(1)["last_error"].as_str().map(str::to_owned).unwrap_or_default();
        why.contains("clock")
    });

    mesh.host_mut(3).restart_with_clock("+0s");
    assert!(mesh.host(3).awaits_client("while-it-was-far-off", 60), "once its clock is right, so is everything");
    wait_until("what it said has come", 60, || mesh.host(1).status()["counts"]["revocations"].as_u64() >= Some(1));
}

#[test]
fn a_host_whose_certificates_all_ended_while_it_was_off_recovers_by_itself_as_root() {
    let (mut mesh, clocks) = with_clocks();
    mesh.host_mut(3).agent.stop();
    // Two months and more: the intermediates of those that are up are renewed on the way.
    for days in [20, 40, 60, 80] {
        clocks.iter().for_each(|clock| clock.set(&format!("+{days}d")));
        wait_until("the intermediate of the host that is up is renewed", 90, || {
            let ends = mesh.host(2).status()["intermediate_ends"].as_str().map(str::to_owned);
            ends.is_some_and(|ends| ends > clocks[1].date_after_days(days + 20))
        });
    }
    mesh.host_mut(3).launch();
    mesh.host_mut(3).wait_until_ready();
    wait_until("it has a new intermediate", 90, || {
        let ends = mesh.host(3).status()["intermediate_ends"].as_str().map(str::to_owned);
        ends.is_some_and(|ends| ends > clocks[2].date_after_days(100))
    });
    wait_until("it issues", 60, || mesh.host(3).agent.post("/v1/identities/web/certificates", &json!({})).status == 200);
    mesh.agree();
}
