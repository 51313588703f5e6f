//! Ten hosts, brought up once; one trouble after the other, each over before the next.

mod membership;
mod network;
mod processes;
mod revoking;

use std::time::{Duration, Instant};

use reverie_tests::mesh::Mesh;

/// Makes a client known on one host and waits until the others know it; returns how long that took.
#[track_caller]
fn write(mesh: &Mesh, on: usize, id: &str, others: &[usize], patience: Duration) -> Duration {
    let begun = Instant::now();
    mesh.host(on).put_client(id).ok();
    for &other in others {
        let left = patience.saturating_sub(begun.elapsed()).as_secs().max(1);
        let seconds = u32::try_from(left).unwrap();
        assert!(
            mesh.host(other).awaits_client(id, seconds),
            "host {other} has not heard of {id}: {}",
            mesh.describe(&[on, other])
        );
    }
    begun.elapsed()
}

/// Every host but one, of ten.
fn others(than: usize) -> Vec<usize> {
    (1..=10).filter(|number| *number != than).collect()
}

#[test]
fn ten_hosts_agree_through_partitions_losses_deaths_and_evictions_as_root() {
    let begun = Instant::now();
    let mut mesh = Mesh::joined(10, &super::configuration());
    let mut step = |name: &str, scenario: fn(&mut Mesh)| {
        let from = Instant::now();
        scenario(&mut mesh);
        mesh.switch.clear();
        eprintln!("{name}: {:?}", from.elapsed());
    };
    step("convergence", network::a_write_reaches_everyone);
    step("partition", network::two_sides_go_on_alone_and_agree_when_they_meet);
    step("one way", network::a_link_that_works_one_way_hinders_nobody);
    step("loss", network::a_quarter_of_all_frames_may_be_lost);
    step("half killed", processes::half_of_the_hosts_may_die_at_once);
    step("revocation", revoking::what_one_host_revokes_is_in_every_hosts_list_within_a_second);
    step("wrapping key", membership::the_wrapping_key_rotates_while_a_host_is_down);
    step("leave", membership::a_host_that_leaves_is_gone_everywhere);
    step("eviction", membership::a_host_that_is_put_out_is_refused_everywhere);
    step("host keys", membership::a_host_may_change_its_keys);
    eprintln!("in all: {:?}", begun.elapsed());
}
