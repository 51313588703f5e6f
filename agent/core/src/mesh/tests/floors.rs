use std::collections::BTreeMap;

use super::kit::{Double, World, cbor, empty, node, set_of, told};
use crate::mesh::author::Sweep;
use crate::mesh::collection::{Collection, Floor};
use crate::mesh::record::Parsed;
use crate::mesh::set::{Offered, Refusal};
use crate::mesh::vector::VersionVector;

/// Writes what a sweep asks for; how many tombstones went.
fn sweep(world: &mut World, who: &'static str, live: &BTreeMap<crate::id::NodeId, VersionVector>, few: usize) -> Option<usize> {
    let plan = Sweep::plan(&world.set, &node(who), live, few)?;
    for again in plan.again {
        let pen = world.pens.get_mut(who).unwrap();
        let record = pen.author.repeat(again.collection, &again.key, again.value, again.stamp, &pen.signer).unwrap();
        assert!(matches!(world.hear(&record.to_bytes()), Offered::Taken { .. }));
    }
    world.say(who, Collection::Floors, &format!("{who}.example"), &cbor(&plan.floor));
    Some(plan.collected)
}

fn clients(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> =
        world.view().entries(Collection::Clients).map(|value| (value.key.to_owned(), value.bytes.to_vec())).collect();
    all.sort();
    all
}

fn with_deletions() -> World {
    let mut world = World::usual();
    for i in 0..6 {
        world.say("a", Collection::Clients, &format!("c{i}"), &[0xa0]);
    }
    for i in 0..4 {
        world.write("a", Collection::Clients, &format!("c{i}"), None);
    }
    world
}

#[test]
fn tombstones_go_and_what_lives_stays() {
    let mut world = with_deletions();
    let before = clients(&world);
    let (records, counts) = (world.set.len(), world.view().counts());
    assert_eq!(sweep(&mut world, "a", &BTreeMap::new(), 4), Some(4));
    assert_eq!(clients(&world), before);
    assert_eq!(world.view().counts(), { counts.into_iter().map(|(k, n)| (k, n + u64::from(k == "floors"))).collect() });
    assert_eq!(world.set.len(), records - 4 + 1);
    assert_eq!(world.view().authorities().len(), 2, "what only grows stays below a floor");
    assert_eq!(sweep(&mut world, "a", &BTreeMap::new(), 1), None, "nothing more to collect");
}

#[test]
fn a_host_that_was_away_for_months_resurrects_nothing() {
    let mut world = with_deletions();
    // It heard of the clients, and of no deletion.
    let heard = world.said.len() - 4;
    let mut away = set_of(&world.said[..heard]);
    assert_eq!(sweep(&mut world, "a", &BTreeMap::new(), 4), Some(4));
    // It comes back and gives all that it has.
    let all: Vec<Vec<u8>> = away.records().map(<[u8]>::to_vec).collect();
    let digest = world.set.digest();
    assert!(world.set.merge(&all, &Double).taken.is_empty());
    assert_eq!(world.set.digest(), digest);
    // And takes what it lacks.
    let page = world.set.since(&away.vector(), usize::MAX);
    away.merge(&page.records, &Double);
    assert_eq!(away.digest(), digest);
    assert_eq!(told(&away, world.now), told(&world.set, world.now));
    // So does a new host.
    let mut new = empty();
    new.merge(&world.set.since(&VersionVector::default(), usize::MAX).records, &Double);
    assert_eq!(new.digest(), digest);
}

#[test]
fn nothing_is_collected_before_every_live_host_has_it() {
    let mut world = with_deletions();
    let mut behind = set_of(&world.said[..world.said.len() - 1]).vector();
    let live = |vector: &VersionVector| BTreeMap::from([(node("m"), vector.clone())]);
    assert_eq!(Sweep::plan(&world.set, &node("a"), &live(&behind), 4), None);
    behind.advance(&node("a"), world.set.heard(&node("a")));
    // It said something by then that we have not heard.
    let unheard = world.whisper("m", Collection::Lockouts, "x/m.example", Some(vec![0xa0]));
    behind.advance(&node("m"), Parsed::new(&unheard).unwrap().position());
    assert_eq!(Sweep::plan(&world.set, &node("a"), &live(&behind), 4), None);
    world.hear(&unheard);
    assert!(sweep(&mut world, "a", &live(&behind), 4).is_some());
}

#[test]
fn a_deletion_of_what_another_said_stays_as_long_as_that() {
    let mut world = World::usual();
    for i in 0..4 {
        world.say("b", Collection::Clients, &format!("c{i}"), &[0xa0]);
        world.write("a", Collection::Clients, &format!("c{i}"), None);
        world.say("a", Collection::Clients, &format!("d{i}"), &[0xa0]);
        world.write("a", Collection::Clients, &format!("d{i}"), None);
    }
    assert_eq!(sweep(&mut world, "a", &BTreeMap::new(), 4), Some(4));
    assert!(clients(&world).is_empty());
    for i in 0..4 {
        world.write("b", Collection::Clients, &format!("c{i}"), None);
    }
    assert_eq!(sweep(&mut world, "a", &BTreeMap::new(), 4), Some(4));
    assert_eq!(sweep(&mut world, "b", &BTreeMap::new(), 4), Some(4));
    assert!(clients(&world).is_empty());
}

#[test]
fn what_is_said_again_does_not_win_against_what_others_said_since() {
    let mut world = with_deletions();
    world.say("b", Collection::Clients, "c4", b"\xa1\x00\x01");
    assert!(sweep(&mut world, "a", &BTreeMap::new(), 4).is_some());
    assert_eq!(world.client("c4"), Some(b"\xa1\x00\x01".to_vec()));
}

#[test]
fn a_floor_does_not_come_down_nor_above_its_own_record() {
    let mut world = with_deletions();
    let low = world.set.heard(&node("a"));
    let deleted = world.said[4..].iter().find(|r| Parsed::new(r).unwrap().fields().unwrap().key == "c0").unwrap().clone();
    assert!(sweep(&mut world, "a", &BTreeMap::new(), 4).is_some());
    let lower = Floor { collected: crate::mesh::vector::Position { epoch: 1, seq: 1 } };
    assert_eq!(world.write("a", Collection::Floors, "a.example", Some(cbor(&lower))), Offered::Superseded);
    assert_eq!(world.hear(&deleted), Offered::Superseded);
    let above = Floor { collected: crate::mesh::vector::Position { epoch: low.epoch, seq: low.seq + 100 } };
    let offered = world.write("a", Collection::Floors, "a.example", Some(cbor(&above)));
    assert!(matches!(offered, Offered::Refused(Refusal::Malformed(_))));
    let other = world.pens.get_mut("b").unwrap();
    let value = Some(cbor(&lower));
    assert!(other.author.write(Collection::Floors, "a.example", value, world.now, &other.signer).is_err(), "another's floor");
}
