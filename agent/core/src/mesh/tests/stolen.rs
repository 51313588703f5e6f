//! Keys in other hands: of authorities that were put out, of hosts that went on to the next, of hosts that left.

use super::kit::{Double, DoubleSigner, World, cbor, forge, node, set_of, told};
use crate::mesh::collection::{Collection, IssuingLimits, Revocation, Standing, key};
use crate::mesh::members::MAX_ROTATIONS;
use crate::mesh::record::{Record, Stamp};
use crate::mesh::set::{Offered, Refusal};
use crate::mesh::vector::{MAX_EPOCH, MAX_SEQ, Position};
use crate::mesh::view::View;

/// The record at another position, which fits the signature.
fn moved(record: &[u8], by: &str, position: Position) -> Vec<u8> {
    forge(record, &DoubleSigner::named(by), |record| {
        record.statement.position = position;
        record.statement.before = Position::default();
        record.statement.stamp = Stamp { wall: 1, counter: 0 };
    })
}

/// Every way to place a record among those that an author wrote before.
fn places(world: &World, who: &str) -> Vec<Position> {
    let last = world.set.heard(&node(who));
    let low = Position { epoch: 1, seq: 1 };
    vec![low, Position { seq: last.seq + 1, ..last }, last, Position { epoch: last.epoch - 1, seq: 1 << 40 }]
}

#[test]
fn a_stolen_authority_admits_nobody_after_its_eviction_whatever_position_it_takes() {
    let mut world = World::usual();
    world.say("b", Collection::Clients, "before", b"\xa0");
    world.say("b", Collection::Lockouts, "x/b.example", b"\xa0");
    world.arrive("x", "x");
    let (admission, places) = (world.admission("b", "x", Standing::Authority, "token"), places(&world, "b"));
    let client = world.whisper("b", Collection::Clients, "evil", Some(b"\xa1\x00\x07".to_vec()));
    let eviction = world.eviction("b", "n", &[]).pop().unwrap();
    let limits = world.whisper("b", Collection::IssuingLimits, "n.example", Some(cbor(&IssuingLimits::default())));
    world.evict("a", "b");
    for place in places {
        for record in [&admission, &client, &eviction, &limits] {
            world.hear(&moved(record, "b", place));
        }
        let view = world.view();
        assert!(view.members().get(&node("x")).is_none_or(|member| member.standing.is_none()), "{place:?}");
        assert!(view.members().is_in(&node("n")), "{place:?}");
        assert!(view.limits(&node("n")).is_none() && world.client("evil").is_none(), "{place:?}");
    }
    assert!(world.client("before").is_some());
}

#[test]
fn no_record_stands_at_the_end_of_all_positions() {
    let mut world = World::usual();
    let record = world.whisper("b", Collection::Clients, "c", Some(vec![0xa0]));
    for position in [
        Position { epoch: u64::MAX, seq: u64::MAX },
        Position { epoch: MAX_EPOCH + 1, seq: 1 },
        Position { epoch: 1, seq: MAX_SEQ + 1 },
    ] {
        let offered = world.hear(&moved(&record, "b", position));
        assert!(matches!(offered, Offered::Refused(Refusal::Malformed(_))), "{position:?}: {offered:?}");
    }
}

#[test]
fn a_record_far_ahead_of_its_author_does_not_keep_its_eviction_from_counting() {
    let mut world = World::usual();
    let record = world.whisper("b", Collection::Clients, "c", Some(vec![0xa0]));
    world.hear(&moved(&record, "b", Position { epoch: MAX_EPOCH, seq: MAX_SEQ }));
    world.evict("a", "b");
    world.say("b", Collection::Clients, "late", b"\xa0");
    assert_eq!(world.client("late"), None);
    world.arrive("x", "x");
    world.admit("b", "x", Standing::Member, "token");
    assert!(world.view().members().get(&node("x")).is_none());
}

#[test]
fn a_stolen_authority_cannot_change_or_bring_back_what_it_had_said() {
    let mut world = World::usual();
    world.say("a", Collection::Clients, "gone", b"\xa0");
    world.write("b", Collection::Clients, "gone", None);
    world.say("b", Collection::Clients, "kept", b"\xa1\x00\x01");
    world.evict("a", "b");
    world.say("b", Collection::Clients, "kept", b"\xa1\x00\x09");
    world.say("b", Collection::Clients, "gone", b"\xa1\x00\x09");
    assert_eq!(world.client("kept"), Some(b"\xa1\x00\x01".to_vec()));
    assert_eq!(world.client("gone"), None, "its deletion was said again too");
}

#[test]
fn what_an_evicted_authority_had_revoked_stays_revoked_and_it_revokes_nothing_more() {
    let mut world = World::usual();
    let value = cbor(&Revocation { at: world.now, not_after: world.now });
    let issuer = "ab".repeat(32);
    world.say("b", Collection::Revocations, &key::revocation(&issuer, "0101"), &value);
    world.evict("a", "b");
    world.say("b", Collection::Revocations, &key::revocation(&issuer, "0202"), &value);
    let revoked: Vec<_> = world.view().revocations().into_keys().collect();
    assert_eq!(revoked, [(issuer.as_str(), "0101")]);
}

#[test]
fn an_authority_with_thousands_of_admissions_is_put_out_and_those_it_admitted_stay() {
    let mut world = World::usual();
    world.arrive("x", "x");
    let first = Record::from_bytes(&world.admission("b", "x", Standing::Member, "token")).unwrap().statement;
    for _ in 0..3_500 {
        world.say("b", Collection::Admissions, &first.key, first.value.as_ref().unwrap());
    }
    world.arrive("y", "y");
    world.admit("b", "y", Standing::Member, "token");
    world.evict("a", "b");
    let lists = world.view().entries(Collection::Upheld).count();
    assert_eq!(lists, 3, "of 1,600 each");
    assert!(world.view().members().is_in(&node("x")) && world.view().members().is_in(&node("y")));
    world.arrive("z", "z");
    world.admit("b", "z", Standing::Member, "token");
    assert!(!world.view().members().is_in(&node("z")));
    // A list that is not there yet upholds nothing; once it comes, the order does not show.
    let expected = told(&world.set, world.now);
    let back = set_of(world.said.iter().rev());
    assert_eq!(told(&back, world.now), expected);
}

#[test]
fn a_list_is_named_by_its_content() {
    let mut world = World::usual();
    let value = cbor(&crate::mesh::collection::UpheldList { marks: vec![7; 20] });
    let offered = world.write("m", Collection::Upheld, &"ab".repeat(32), Some(value));
    assert!(matches!(offered, Offered::Refused(Refusal::Malformed(_))), "{offered:?}");
}

#[test]
fn a_host_with_hundreds_of_keys_is_put_out_and_comes_back() {
    let mut world = World::usual();
    for turn in 0..250 {
        let name = format!("m{turn}");
        let record = world.next_key("m", &name);
        world.hear(&record);
        world.pens.get_mut("m").unwrap().signer = DoubleSigner::named(&name);
    }
    let rotations = world.view().members().get(&node("m")).unwrap().rotations;
    assert_eq!(rotations, MAX_ROTATIONS, "further ones come to nothing");
    world.evict("a", "m");
    assert!(!world.view().members().is_in(&node("m")));
    for turn in [0, 63, 64, 249] {
        world.pens.get_mut("m").unwrap().signer = DoubleSigner::named(&format!("m{turn}"));
        world.say("m", Collection::Lockouts, "x/m.example", b"\xa0");
        assert_eq!(world.view().entries(Collection::Lockouts).count(), 0);
    }
    world.arrive("m", "fresh");
    world.admit("b", "m", Standing::Member, "readmission");
    assert!(world.view().members().is_in(&node("m")));
}

#[test]
fn one_key_after_another_in_a_circle_ends() {
    let mut world = World::usual();
    for name in ["m2", "m", "m2", "m"] {
        let record = world.next_key("m", name);
        world.hear(&record);
        world.pens.get_mut("m").unwrap().signer = DoubleSigner::named(name);
    }
    world.evict("a", "m");
    assert!(!world.view().members().is_in(&node("m")));
}

/// `m` goes on from its first key to `m2`, and whoever kept the first one says it went on to `thief`.
fn rotated(world: &mut World, who: &'static str) -> (Vec<u8>, Vec<u8>) {
    let (good, evil) = (format!("{who}2"), format!("{who} thief"));
    let stolen = world.next_key(who, &evil);
    let record = world.next_key(who, &good);
    let mut low = world.set.heard(&node(who));
    (low.epoch, low.seq) = (low.epoch.max(2) - 1, 1);
    world.hear(&record);
    world.pens.get_mut(who).unwrap().signer = DoubleSigner::named(&good);
    (record, moved(&stolen, who, low))
}

#[test]
fn a_retired_key_makes_nobody_else_its_hosts_next_once_that_is_confirmed() {
    for who in ["m", "b"] {
        for forged_first in [true, false] {
            let mut world = World::usual();
            world.say(who, Collection::Lockouts, &format!("x/{who}.example"), b"\xa0");
            let (record, forged) = rotated(&mut world, who);
            if forged_first {
                world.hear(&forged);
            }
            world.confirm("a", who, who, &record);
            world.hear(&forged);
            let keys = world.view().members().get(&node(who)).unwrap().keys.clone();
            let kids: Vec<_> = keys.iter().map(|key| key.signing_key.kid()).collect();
            assert_eq!(kids, [world.pens[who].kid()], "{who}, forged first: {forged_first}");
            world.say(who, Collection::Lockouts, &format!("y/{who}.example"), b"\xa0");
            assert!(world.view().get(Collection::Lockouts, &format!("y/{who}.example")).is_some());
            let rotation = world.view().members().rotations()[0].clone();
            assert!(rotation.confirmed && rotation.record.is_none(), "two are there");
            let back = set_of(world.said.iter().rev());
            assert_eq!(told(&back, world.now), told(&world.set, world.now));
        }
    }
}

#[test]
fn a_retired_key_says_nothing_more_at_any_position() {
    let mut world = World::usual();
    world.arrive("x", "x");
    world.arrive("y", "y");
    world.admit("b", "y", Standing::Member, "token");
    let admission = world.admission("b", "x", Standing::Authority, "token");
    let client = world.whisper("b", Collection::Clients, "evil", Some(vec![0xa0]));
    let eviction = world.eviction("b", "n", &[]).pop().unwrap();
    let places = places(&world, "b");
    rotated(&mut world, "b");
    for place in places {
        for record in [&admission, &client, &eviction] {
            world.hear(&moved(record, "b", place));
        }
        assert!(world.view().members().get(&node("x")).is_none(), "{place:?}");
        assert!(world.client("evil").is_none() && world.view().members().is_in(&node("n")), "{place:?}");
    }
    assert!(world.view().members().is_in(&node("y")), "what it had said is upheld");
}

#[test]
fn while_nobody_confirmed_an_authority_two_next_keys_let_neither_evict_those_who_can() {
    let mut world = World::usual();
    world.arrive("c", "c");
    world.admit("a", "c", Standing::Authority, "token");
    let (record, forged) = rotated(&mut world, "b");
    world.hear(&forged);
    // The thief writes with the key it made up: b is senior to c.
    let honest = std::mem::replace(&mut world.pens.get_mut("b").unwrap().signer, DoubleSigner::named("b thief"));
    world.evict("b", "c");
    world.pens.get_mut("b").unwrap().signer = honest;
    world.confirm("c", "b", "b", &record);
    assert!(world.view().members().is_authority(&node("c")));
    let keys = world.view().members().get(&node("b")).unwrap().keys.clone();
    assert_eq!(keys[0].signing_key.kid(), world.pens["b"].kid());
}

#[test]
fn a_confirmation_by_a_member_by_the_host_itself_or_by_one_that_is_out_confirms_nothing() {
    let mut world = World::usual();
    let (record, forged) = rotated(&mut world, "m");
    world.hear(&forged);
    world.confirm("n", "m", "m", &record);
    world.confirm("m", "m", "m", &record);
    assert!(!world.view().members().rotations()[0].confirmed);
    world.evict("a", "b");
    world.confirm("b", "m", "m", &record);
    assert!(!world.view().members().rotations()[0].confirmed);
    world.confirm("a", "m", "m", &record);
    assert!(world.view().members().rotations()[0].confirmed);
}

#[test]
fn a_leaver_with_a_clock_far_ahead_can_be_readmitted() {
    let mut world = World::usual();
    let record = world.eviction("m", "m", &[]).pop().unwrap();
    let ahead = forge(&record, &DoubleSigner::named("m"), |record| record.statement.stamp.wall = 1 << 63);
    world.hear(&ahead);
    assert!(!world.view().members().is_in(&node("m")));
    world.arrive("m", "m2");
    world.admit("a", "m", Standing::Member, "readmission");
    assert!(world.view().members().is_in(&node("m")));
}

#[test]
fn an_authority_with_a_clock_far_ahead_keeps_nobody_from_coming_back() {
    let mut world = World::usual();
    let record = world.eviction("b", "m", &[]).pop().unwrap();
    world.hear(&forge(&record, &DoubleSigner::named("b"), |record| record.statement.stamp.wall = 1 << 63));
    world.arrive("m", "m2");
    world.admit("a", "m", Standing::Member, "readmission");
    assert!(world.view().members().is_in(&node("m")), "admitted in knowledge of that eviction");
    let next = world.eviction("b", "m", &[]).pop().unwrap();
    world.hear(&next);
    assert!(!world.view().members().is_in(&node("m")), "and put out by the next");
}

#[test]
fn a_retired_key_does_not_take_its_host_out_once_the_next_is_confirmed() {
    let mut world = World::usual();
    let left = world.eviction("m", "m", &[]).pop().unwrap();
    let (record, _) = rotated(&mut world, "m");
    world.hear(&left);
    assert!(!world.view().members().is_in(&node("m")), "nobody said yet which was first");
    world.confirm("a", "m", "m", &record);
    assert!(world.view().members().is_in(&node("m")));
}

#[test]
fn a_key_that_follows_one_of_a_host_that_left_is_out_with_it() {
    let mut world = World::usual();
    world.evict("m", "m");
    let record = world.next_key("m", "m2");
    world.hear(&record);
    assert!(!world.view().members().is_in(&node("m")));
}

#[test]
fn an_authority_that_leaves_goes_on_counting_until_another_says_it_again() {
    let mut world = World::usual();
    world.say("b", Collection::Clients, "c", b"\xa0");
    let upheld = world.view().all_of(&node("b"));
    let late = world.whisper("b", Collection::Clients, "late", Some(vec![0xa0]));
    world.evict_upholding("b", "b", &upheld);
    world.hear(&moved(&late, "b", Position { epoch: 1, seq: 1 }));
    assert_eq!((world.client("c"), world.client("late")), (Some(vec![0xa0]), None));
    let estate = world.view().estate_of(&node("b"));
    assert_eq!(estate.len(), 1);
    estate.into_iter().for_each(|again| world.repeat("a", again));
    assert!(world.view().estate_of(&node("b")).is_empty(), "done");
    world.say("b", Collection::Clients, "c", b"\xa1\x00\x09");
    assert_eq!(world.client("c"), Some(vec![0xa0]), "whoever has its key changes nothing");
}

#[test]
fn thousands_of_evictions_of_oneself_are_one() {
    let mut world = World::usual();
    let one = world.eviction("m", "m", &[]).pop().unwrap();
    let flood = (1..=4_096).map(|seq| moved(&one, "m", Position { epoch: MAX_EPOCH, seq }));
    let records: Vec<Vec<u8>> = world.said.iter().cloned().chain(flood).collect();
    let mut set = super::kit::empty();
    set.merge(&records, &Double);
    let members = View::of(&set, world.now);
    assert!(!members.members().is_in(&node("m")) && members.members().is_in(&node("n")));
}
