//! Meshes in trouble, simulated; `tests/src/sim` has the simulator.

use reverie_tests::sim::figures;
use reverie_tests::sim::network::Loss;
use reverie_tests::sim::scenario::{Scenario, run, run_careless};

/// Hundreds of runs over all stories; `make sim SEEDS=10000` runs more.
fn runs(scenarios: &[Scenario], seeds: std::ops::Range<u64>) {
    let stories = scenarios.iter().flat_map(|scenario| seeds.clone().map(move |seed| (*scenario, seed)));
    let failures: Vec<String> =
        stories.filter_map(|(scenario, seed)| run(scenario, 2 + (seed % 9) as usize, seed).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_mesh_converges_and_shows_nothing_unauthorised_over_bad_networks() {
    use Scenario::{Burst, Chain, Lossy, OneWay, Partition, Quiet, Ring};
    runs(&[Quiet, Burst, Lossy, Partition, OneWay, Chain, Ring], 0..36);
}

#[test]
fn a_mesh_survives_bad_hosts_without_losing_what_it_acknowledged() {
    use Scenario::{Eviction, HalfKilled, Restarts, Rogue, Skew, Snapshot};
    runs(&[Restarts, HalfKilled, Snapshot, Skew, Eviction, Rogue], 0..36);
}

#[test]
fn what_one_authority_removes_of_another_stays_removed_when_tombstones_are_collected() {
    runs(&[Scenario::Authorities], 0..72);
    let collected: usize = (0..9).filter_map(|seed| run(Scenario::Authorities, 4, seed).ok()).map(|run| run.collected).sum();
    assert!(collected > 9, "hardly a tombstone was collected: {collected}");
}

#[test]
fn the_model_notices_if_tombstones_go_before_everyone_has_them() {
    let told: Vec<String> = (0..200).filter_map(|seed| run_careless(2 + (seed % 9) as usize, seed).err()).collect();
    assert!(told.iter().any(|why| why.contains("is back")), "{told:?}");
}

#[test]
fn a_mesh_survives_everything_at_once() {
    runs(&[Scenario::Everything], 0..72);
}

#[test]
fn thirty_hosts_survive_everything_at_once() {
    let failures: Vec<String> = (0..3).filter_map(|seed| run(Scenario::Everything, 30, seed).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let twice = [(); 2].map(|()| run(Scenario::Everything, 7, 11).unwrap());
    assert_eq!(twice[0].events, twice[1].events);
    assert_eq!(twice[0].settled, twice[1].settled);
}

#[test]
fn a_write_reaches_a_hundred_hosts_ahead_of_the_bar_even_if_a_quarter_is_lost() {
    let quiet = figures::convergence(1, 100, 0.0, Loss::Silent, 20);
    assert!(quiet.all.at(99.0) < 2_000_000, "{quiet:?}");
    let lossy = figures::convergence(1, 100, 0.25, Loss::Silent, 20);
    assert!(lossy.all.at(99.0) < 3_000_000, "{lossy:?}");
}

#[test]
fn an_idle_host_among_a_hundred_needs_less_than_two_kilobytes_a_second() {
    let (bytes, kinds) = figures::idle(1, 100, 60);
    assert!(bytes < 2_000.0, "{bytes} {kinds:?}");
    assert_eq!(kinds[0], 0.0, "equal digests cost no envelope");
}
