use super::kit::{DoubleSigner, World, cbor, forge, kem, node, told};
use crate::mesh::collection::{Collection, IssuingLimits, Node, Revocation, Standing, WrappingKeyVersion, key};
use crate::mesh::set::Offered;
use crate::mesh::view::View;

#[test]
fn a_view_says_who_is_in_with_which_keys_addresses_and_limits() {
    let mut world = World::usual();
    let kid = world.pens["m"].kid();
    let record = Node {
        addresses: vec!["m.example:7438".to_owned()],
        agent_version: "1.0".to_owned(),
        wire: 1,
        signing_kid: kid,
        kem_kid: kem("m").kid(),
        wrapping_key: Some(1),
    };
    world.say("m", Collection::Nodes, "m.example", &cbor(&record));
    let limits = IssuingLimits { dns: vec!["m.example".to_owned()], ..Default::default() };
    world.say("b", Collection::IssuingLimits, "m.example", &cbor(&limits));
    for version in [1, 3, 2] {
        let value = WrappingKeyVersion { version, digest: [version as u8; 32], made_at: world.now };
        world.say("a", Collection::WrappingKeys, &version.to_string(), &cbor(&value));
    }
    let view = world.view();
    assert_eq!(view.authorities(), [&node("a"), &node("b")]);
    assert_eq!(view.hosts().count(), 4);
    let host = view.host(&node("m")).unwrap();
    assert_eq!((host.standing, host.record, host.limits), (Some(Standing::Member), Some(record), Some(limits)));
    assert_eq!(host.keys[0].kem_key, Some(kem("m")));
    assert_eq!(view.wrapping_key().unwrap().version, 3);
    assert_eq!(view.host(&node("stranger")), None);
}

#[test]
fn entries_that_belong_to_their_authors_stand_side_by_side() {
    let mut world = World::usual();
    world.say("n", Collection::RefreshFamilies, "kid", &[0xa0]);
    world.say("m", Collection::RefreshFamilies, "kid", b"\xa1\x00\x01");
    let view = world.view();
    assert_eq!(view.entries(Collection::RefreshFamilies).count(), 2);
    let of = |name| view.entries(Collection::RefreshFamilies).find(|value| *value.author == node(name)).unwrap().bytes;
    assert_eq!((of("n"), of("m")), (&[0xa0][..], &b"\xa1\x00\x01"[..]));
}

#[test]
fn counts_kept_along_the_way_are_those_counted_anew() {
    let mut world = World::usual();
    world.view().counts();
    let check = |world: &World, what: &str| {
        let anew = super::kit::set_of(&world.said);
        assert_eq!(world.view().counts(), View::of(&anew, world.now).counts(), "{what}");
        assert_eq!(told(&world.set, world.now), told(&anew, world.now), "{what}");
    };
    for i in 0..5 {
        world.say("a", Collection::Clients, &format!("c{i}"), &[0xa0]);
        world.say("b", Collection::Clients, &format!("c{i}"), b"\xa1\x00\x01");
        world.say("m", Collection::Lockouts, &format!("c{i}/m.example"), b"\xa1\x00\x02");
        check(&world, "said");
    }
    world.write("b", Collection::Clients, "c0", None);
    check(&world, "deleted");
    assert_eq!(world.view().counts()["clients"], 4);
    world.evict_upholding("a", "b", &[]);
    check(&world, "evicted");
    assert_eq!(world.view().counts()["clients"], 5, "a void deletion uncovers what it deleted");
    world.say("m", Collection::Lockouts, "x/m.example", &[0xa0]);
    check(&world, "after an eviction");
    // What is held back, and what no longer is, whoever looked before.
    for (key, ahead) in [("d", 40_000), ("e", 50_000), ("d", 45_000)] {
        let record = world.whisper("a", Collection::Clients, key, Some(vec![0xa0]));
        let late = forge(&record, &DoubleSigner::named("a"), |record| record.statement.stamp.wall += ahead);
        assert!(matches!(world.hear(&late), Offered::Taken { .. }));
        check(&world, "held back");
    }
    assert_eq!(world.view().counts()["clients"], 5);
    for ahead in [9_000, 3_000, 5_000] {
        world.tick(ahead);
        check(&world, "due");
    }
    assert_eq!(world.view().counts()["clients"], 6);
    let (issuer, ends) = ("ab".repeat(32), world.now);
    for serial in ["01", "02", "01"] {
        let revocation = Revocation { at: ends, not_after: ends };
        world.say("b", Collection::Revocations, &key::revocation(&issuer, serial), &cbor(&revocation));
        check(&world, "revoked");
    }
}
