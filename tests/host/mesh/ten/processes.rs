//! What happens to processes.

use std::time::Duration;

use reverie_tests::mesh::{Host, Mesh};

use super::write;

pub(super) fn half_of_the_hosts_may_die_at_once(mesh: &mut Mesh) {
    write(mesh, 1, "before-they-died", &[6, 7, 8, 9, 10], Duration::from_secs(5));
    for number in 6..=10 {
        mesh.host_mut(number).agent.kill();
    }
    write(mesh, 1, "while-they-were-dead", &[2, 3, 4, 5], Duration::from_secs(10));
    for number in 6..=10 {
        mesh.host_mut(number).launch();
    }
    (6..=10).for_each(|number| Host::wait_until_ready(mesh.host_mut(number)));
    for number in 6..=10 {
        assert!(mesh.host(number).awaits_client("before-they-died", 5), "what was acknowledged is kept by host {number}");
        assert!(mesh.host(number).awaits_client("while-they-were-dead", 30), "host {number} catches up");
    }
    mesh.agree();
}
