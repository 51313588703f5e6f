use super::kit::{DoubleSigner, START, World, cbor, node, set_of, told};
use crate::mesh::collection::{Collection, Eviction, Standing, key};
use crate::mesh::set::Offered;
use crate::mesh::view::View;

#[test]
fn what_an_authority_said_for_the_mesh_outlives_it_and_what_comes_after_is_void() {
    let mut world = World::usual();
    world.say("b", Collection::Clients, "before", b"\xa0");
    world.evict("a", "b");
    world.say("b", Collection::Clients, "after", b"\xa0");
    assert_eq!(world.view().get(Collection::Clients, "before").unwrap().author, &node("a"), "who evicts says it again");
    assert_eq!(world.client("after"), None);
    let host = world.view().host(&node("b")).unwrap();
    assert_eq!((host.standing, host.keys.len()), (None, 0));
    assert_eq!(host.evicted.unwrap().by, node("a"));
}

#[test]
fn the_evicted_cannot_undo_its_eviction() {
    let mut world = World::usual();
    world.evict("a", "b");
    world.admit("b", "b", Standing::Authority, "readmission");
    let (keys, reason, upheld, heard) = Default::default();
    let eviction = Eviction { node: node("b"), keys, reason, left: false, upheld, heard };
    world.say("b", Collection::Evictions, &key::eviction(&node("b"), &node("b")), &cbor(&eviction));
    let next = world.next_key("b", "b2");
    world.hear(&next);
    world.pens.get_mut("b").unwrap().signer = DoubleSigner::named("b2");
    world.say("b", Collection::Clients, "c", b"\xa0");
    assert!(!world.view().members().is_in(&node("b")));
    assert_eq!(world.client("c"), None);
}

#[test]
fn a_key_that_an_eviction_does_not_name_is_out_as_well() {
    let mut world = World::usual();
    let next = world.next_key("m", "m2");
    // The evicting host never heard of the next key.
    world.evict("a", "m");
    world.hear(&next);
    assert!(!world.view().members().is_in(&node("m")));
}

#[test]
fn of_two_authorities_that_evict_each_other_the_senior_stays() {
    for first in ["a", "b"] {
        let mut world = World::usual();
        let second = if first == "a" { "b" } else { "a" };
        let of = |world: &World, who| world.view().lasting_of(&node(who));
        let upheld = [of(&world, "a"), of(&world, "b")];
        for by in [first, second] {
            let (other, upheld) = if by == "a" { ("b", &upheld[1]) } else { ("a", &upheld[0]) };
            world.evict_upholding(by, other, upheld);
        }
        let view = world.view();
        assert!(view.members().is_authority(&node("a")), "{first} first");
        assert!(!view.members().is_in(&node("b")), "{first} first");
    }
}

#[test]
fn a_junior_authority_can_evict_a_stolen_senior() {
    let mut world = World::usual();
    world.evict("b", "a");
    assert!(!world.view().members().is_in(&node("a")));
    assert!(world.view().members().is_authority(&node("b")), "promoted before");
    world.say("a", Collection::Clients, "c", b"\xa0");
    assert_eq!(world.client("c"), None);
    world.arrive("x", "x");
    world.admit("b", "x", Standing::Member, "token");
    assert!(world.view().members().is_in(&node("x")));
}

#[test]
fn those_whom_an_evicted_authority_admitted_after_its_eviction_are_not_in() {
    let mut world = World::usual();
    world.evict("a", "b");
    world.arrive("x", "x");
    world.admit("b", "x", Standing::Authority, "token");
    assert!(world.view().members().get(&node("x")).is_none());
}

#[test]
fn those_whom_an_evicted_authority_admitted_and_evicted_before_stay_so() {
    let mut world = World::usual();
    world.arrive("x", "x");
    world.admit("b", "x", Standing::Member, "token");
    world.evict("b", "n");
    world.evict("a", "b");
    assert!(world.view().members().is_in(&node("x")));
    assert!(!world.view().members().is_in(&node("n")));
}

#[test]
fn a_host_that_leaves_is_out_by_its_own_word() {
    let mut world = World::usual();
    world.evict("m", "m");
    let host = world.view().host(&node("m")).unwrap();
    assert_eq!(host.standing, None);
    assert!(host.evicted.unwrap().left);
}

#[test]
fn an_evicted_host_is_readmitted_with_new_keys_and_evicted_again() {
    let mut world = World::usual();
    world.say("m", Collection::Lockouts, "early/m.example", b"\xa0");
    world.evict("a", "m");
    world.tick(1000);
    world.arrive("m", "m2");
    world.admit("b", "m", Standing::Member, "readmission");
    let host = world.view().host(&node("m")).unwrap();
    assert_eq!(host.standing, Some(Standing::Member));
    assert_eq!(host.keys.len(), 1, "the old key stays out");
    assert_eq!(host.by, "readmission");
    world.say("m", Collection::Lockouts, "late/m.example", b"\xa0");
    let count = |world: &World| world.view().entries(Collection::Lockouts).count();
    assert_eq!(count(&world), 1, "of its old key nothing counts any more");
    world.evict("a", "m");
    world.say("m", Collection::Lockouts, "void/m.example", b"\xa0");
    assert!(!world.view().members().is_in(&node("m")));
    assert_eq!(count(&world), 0);
}

#[test]
fn the_old_key_of_a_readmitted_host_says_nothing_more() {
    let mut world = World::usual();
    world.evict("a", "m");
    world.tick(1000);
    world.arrive("m", "m2");
    world.admit("a", "m", Standing::Member, "readmission");
    world.pens.get_mut("m").unwrap().signer = DoubleSigner::named("m");
    world.say("m", Collection::Lockouts, "x/m.example", b"\xa0");
    assert_eq!(world.view().entries(Collection::Lockouts).count(), 0);
}

#[test]
fn a_lost_founder_comes_back_by_the_second_authority() {
    let mut world = World::usual();
    world.evict("b", "a");
    world.tick(1000);
    world.arrive("a", "a2");
    world.admit("b", "a", Standing::Authority, "readmission");
    world.say("a", Collection::Clients, "c", b"\xa0");
    assert!(world.view().members().is_authority(&node("a")));
    assert!(world.client("c").is_some());
    // It is junior now to the one that took it back.
    world.evict("b", "a");
    let offered = world.whisper("a", Collection::Clients, "d", Some(vec![0xa0]));
    assert!(matches!(world.hear(&offered), Offered::Taken { .. }));
    assert_eq!(world.client("d"), None);
}

#[test]
fn members_come_out_the_same_whatever_the_order() {
    let mut world = World::usual();
    world.evict("b", "n");
    world.evict("a", "b");
    let next = world.next_key("m", "m2");
    world.hear(&next);
    world.tick(10);
    world.arrive("n", "n2");
    world.admit("a", "n", Standing::Authority, "readmission");
    let expected = told(&world.set, world.now);
    for turn in 0..world.said.len() {
        let mut said = world.said.clone();
        said.rotate_left(turn);
        let set = set_of(&said);
        assert_eq!(told(&set, world.now), expected, "turned by {turn}");
        assert_eq!(set.digest(), world.set.digest());
    }
    assert!(View::of(&world.set, START).members().is_authority(&node("n")));
}
