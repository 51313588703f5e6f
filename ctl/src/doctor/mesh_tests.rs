//! Each check of the mesh against one that is well, then against one with a single thing wrong.

use std::time::Duration;

use reverie_core::api::mesh::{HostStatus, MeshStatus};
use serde_json::json;

use super::names::Names;
use super::tests::{NOW, days, sound};
use super::*;

fn host(name: &str, state: &str, standing: &str) -> serde_json::Value {
    json!({
        "node_id": format!("{name}.example.org"), "standing": standing, "state": state, "addresses": [format!("{name}.example.org:7438")],
        "agent_version": "1.0.0", "signing_kid": "ab", "last_sync": NOW, "in_sync": true, "clock_offset_ms": 2, "round_trip_ms": 1,
        "failures": 0, "last_error": null, "intermediate_ends": days(50), "wrapping_key": 3,
    })
}

fn mesh() -> MeshStatus {
    serde_json::from_value(json!({
        "trust_domain": "example.org", "node_id": "host1.example.org", "state": "member", "mesh": "ab".repeat(16),
        "digest": "cd".repeat(32), "records": 12, "record_bytes": 4800, "counts": { "nodes": 3 }, "wrapping_key": 3,
        "newest_wrapping_key": 3, "intermediate_ends": days(50), "listen": ["[::]:7438"], "admission": "admissions",
        "hosts": [host("host1", "self", "member"), host("host2", "alive", "authority"), host("host3", "alive", "member")],
    }))
    .unwrap()
}

fn found(change: impl FnOnce(&mut MeshStatus)) -> Vec<Finding> {
    let mut status = mesh();
    change(&mut status);
    seen(Facts { mesh: Some(status), ..named() })
}

/// A host that is called as it should be.
fn named() -> Facts {
    let names = Names { addresses: vec!["192.0.2.1".into()], back: vec!["host1.example.org".into()] };
    Facts { names: Some(names), own_port: Some(Ok(())), mesh: Some(mesh()), ..sound() }
}

fn seen(facts: Facts) -> Vec<Finding> {
    let findings = examine(&facts);
    findings.into_iter().filter(|finding| finding.check.starts_with("mesh") && finding.level != Level::Ok).collect()
}

/// What the change brings about: exactly one finding, with something to try.
#[track_caller]
fn finds(check: &str, level: Level, words: &str, change: impl FnOnce(&mut MeshStatus)) {
    finds_in(check, level, words, &found(change));
}

#[track_caller]
fn finds_in(check: &str, level: Level, words: &str, found: &[Finding]) {
    let [finding] = found else { panic!("{found:?}") };
    assert_eq!((finding.check, finding.level), (check, level), "{finding:?}");
    assert!(finding.what.contains(words), "{finding:?}");
    assert!(finding.advice.as_ref().is_some_and(|advice| !advice.is_empty()), "{finding:?}");
}

#[track_caller]
fn finds_of_a_host(check: &str, level: Level, words: &str, change: impl FnOnce(&mut HostStatus)) {
    finds(check, level, words, |status| change(&mut status.hosts[2]));
}

#[test]
fn nothing_is_wrong_with_a_mesh_that_is_well_or_with_none() {
    assert_eq!(found(|_| ()), []);
    let none = found(|status| {
        status.mesh = None;
        status.state = "none".into();
        status.hosts.clear();
        status.listen.clear();
    });
    assert_eq!(none, []);
}

#[test]
fn a_host_that_is_not_reached_is_named_with_why_and_what_to_try() {
    finds_of_a_host("mesh peers", Level::Fail, "host3.example.org is down, 12 attempts failed: connection refused", |host| {
        host.state = "down".into();
        host.failures = 12;
        host.last_error = Some("connection refused".into());
    });
    finds_of_a_host("mesh peers", Level::Warn, "has not answered lately", |host| host.state = "suspect".into());
    finds_of_a_host("mesh peers", Level::Warn, "has registered no key", |host| host.state = "no-key".into());
    finds_of_a_host("mesh peers", Level::Fail, "was never reached, 1 attempt failed", |host| {
        host.state = "unknown".into();
        host.failures = 1;
    });
}

#[test]
fn a_host_that_others_reach_and_this_one_does_not_is_named() {
    finds_of_a_host("mesh peers", Level::Warn, "alive, but not reached from here", |host| host.failures = 3);
}

#[test]
fn a_host_that_stays_behind_is_named_but_not_one_that_is_just_catching_up() {
    assert_eq!(found(|status| status.hosts[2].in_sync = Some(false)), []);
    finds_of_a_host("mesh sync", Level::Fail, "lacks some", |host| {
        host.in_sync = Some(false);
        host.last_sync = Some(NOW.before(Duration::from_secs(120)));
    });
}

#[test]
fn a_clock_that_differs_is_named_and_one_that_differs_much_is_a_fault() {
    finds_of_a_host("mesh clocks", Level::Warn, "1.5 s ahead of ours", |host| host.clock_offset_ms = Some(1_500));
    finds_of_a_host("mesh clocks", Level::Fail, "31.0 s behind ours", |host| host.clock_offset_ms = Some(-31_000));
}

#[test]
fn a_history_that_forked_is_a_fault() {
    finds_of_a_host("mesh histories", Level::Fail, "two histories from epoch 7 (and 1 more)", |host| {
        host.evidence = vec!["two histories from epoch 7".into(), "another".into()];
    });
}

#[test]
fn records_from_the_future_are_counted() {
    finds("mesh held back", Level::Warn, "4 records of host3.example.org", |status| {
        status.held_back.insert("host3.example.org".into(), 4);
    });
}

#[test]
fn a_member_that_the_allowlist_leaves_out_is_named() {
    finds_of_a_host("mesh allowlist", Level::Fail, "not on this host's list", |host| host.state = "not-allowed".into());
}

#[test]
fn a_directory_that_does_not_answer_is_named_with_the_age_of_what_it_said() {
    finds("mesh directory", Level::Warn, "the topology is that of 2027-01-15", |status| {
        status.topology_at = Some(NOW);
        status.topology_error = Some("timed out".into());
    });
    finds("mesh directory", Level::Fail, "never learnt", |status| status.topology_error = Some("timed out".into()));
    finds("mesh directory", Level::Warn, "the topology is that of", |status| {
        status.topology_at = Some(NOW.before(Duration::from_secs(7200)));
    });
}

#[test]
fn an_intermediate_near_its_end_is_named_and_whether_anyone_can_renew_it() {
    finds("mesh intermediate", Level::Warn, "ends at", |status| status.intermediate_ends = Some(days(10)));
    finds("mesh intermediate", Level::Fail, "issues nothing", |status| status.intermediate_ends = Some(days(-1)));
    let found = found(|status| {
        status.intermediate_ends = Some(days(2));
        status.hosts[1].state = "down".into();
    });
    assert!(found.iter().any(|finding| finding.what.contains("no authority is reachable")), "{found:?}");
}

#[test]
fn a_wrapping_key_that_is_not_here_yet_is_named() {
    finds("mesh wrapping key", Level::Warn, "version 4", |status| status.newest_wrapping_key = Some(4));
    finds("mesh wrapping key", Level::Warn, "version 3", |status| status.wrapping_key = None);
}

#[test]
fn a_host_that_listens_nowhere_is_named() {
    finds("mesh port", Level::Warn, "listens nowhere", |status| status.listen.clear());
}

#[test]
fn a_copy_stops_and_says_how_to_go_on() {
    finds("mesh state", Level::Fail, "restored or copied", |status| status.state = "cloned".into());
    finds("mesh state", Level::Fail, "put out", |status| status.state = "evicted".into());
    finds("mesh state", Level::Warn, "has left", |status| status.state = "left".into());
    finds("mesh state", Level::Warn, "joining", |status| {
        status.state = "joining".into();
        status.advice = Some("the token is being redeemed".into());
    });
}

#[test]
fn a_name_that_does_not_resolve_or_resolves_to_another_is_found() {
    let with = |addresses: &[&str], back: &[&str]| {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        seen(Facts { names: Some(Names { addresses: list(addresses), back: list(back) }), ..named() })
    };
    finds_in("mesh name", Level::Fail, "does not resolve", &with(&[], &[]));
    finds_in("mesh name", Level::Warn, "127.0.1.1", &with(&["127.0.1.1"], &["host1.example.org"]));
    finds_in("mesh name", Level::Warn, "called web.example.org", &with(&["192.0.2.1"], &["web.example.org"]));
    finds_in("mesh name", Level::Warn, "no name of its own", &with(&["192.0.2.1"], &[]));
    assert_eq!(with(&["192.0.2.1"], &["Host1.example.org."]), []);
}

#[test]
fn a_port_that_another_program_has_or_that_shows_another_name_is_found() {
    let found = seen(Facts { own_port: Some(Err("certificate not valid for name".into())), ..named() });
    finds_in("mesh certificate", Level::Fail, "not valid for name", &found);
}
