//! What one host can make every other hold, and make them do.

use super::kit::{Double, DoubleSigner, World, anchor, cbor, empty, forge, node, set_of, told};
use crate::mesh::author::{CannotWrite, Room, check_room};
use crate::mesh::collection::{Collection, Drawer, Revocation, Standing, key};
use crate::mesh::crypto::Signer;
use crate::mesh::record::{MAX_KEY, Parsed};
use crate::mesh::set::{Limits, Offered, Refusal, Set};

/// Head, names, positions, hashes and signature of a record, and what a set keeps of it beside its bytes.
const BESIDE: u64 = 512;

#[test]
fn a_member_makes_no_host_hold_more_than_sixty_four_mebibytes() {
    let mut all = 0;
    for &collection in Collection::ALL {
        // Its own name, and that of another.
        for key in ["m.example", "m.example/m.example", "n.example/m.example"] {
            if collection.is_for_authorities(key, "m.example") {
                continue;
            }
            let drawer = collection.drawer(key, "m.example");
            // There is but one key.
            let share = if collection == Collection::Nodes { 1 } else { drawer.share() };
            let longest = match collection {
                Collection::Lockouts => MAX_KEY as u64,
                Collection::SigningKeys | Collection::RefreshFamilies => MAX_KEY as u64,
                _ => 2 * 253,
            };
            let bytes = share * (collection.max_value() as u64 + longest + BESIDE);
            if key == "m.example" || drawer.own {
                all += bytes;
            }
        }
    }
    assert!(all <= 64 << 20, "{} MiB", all >> 20);
}

#[test]
fn what_only_authorities_say_takes_up_no_room_of_a_members() {
    let mut world = World::usual();
    let before = world.set.len();
    for i in 0..50 {
        world.cannot_say("m", Collection::Clients, &format!("c{i}"), Some(&[0xa0]));
        world.cannot_say("m", Collection::Nodes, &format!("x{i}.example"), Some(&[0xa0]));
        world.cannot_say("m", Collection::Intermediates, &format!("{i:064x}"), Some(&[0xa0]));
        world.cannot_say("m", Collection::Evictions, &format!("x{i}.example/m.example"), Some(&[0xa0]));
    }
    assert_eq!(world.set.len(), before);
    // It may leave as often as it likes, and that is little.
    for _ in 0..50 {
        world.write("m", Collection::Evictions, "m.example/m.example", Some(vec![0xa0]));
    }
    assert_eq!(world.set.len(), before + 8);
}

#[test]
fn what_an_authority_said_before_it_was_put_out_is_still_taken() {
    let mut world = World::usual();
    let early = world.whisper("b", Collection::Clients, "c", Some(vec![0xa0]));
    let behind = world.said.clone();
    world.hear(&early);
    world.evict("a", "b");
    let mut other = set_of(&behind);
    other.merge(&world.said[behind.len() + 1..], &Double);
    assert_eq!(other.merge(&[&early], &Double).taken.len(), 1, "whether it is put out came first or not");
    assert_eq!((other.digest(), told(&other, world.now)), (world.set.digest(), told(&world.set, world.now)));
}

/// A member that becomes an authority by its second key, and writes as one by its third.
fn promoted_later() -> World {
    let mut world = World::usual();
    world.say("m", Collection::Lockouts, "x/m.example", &[0xa0]);
    for name in ["m2", "m3"] {
        let next = world.next_key("m", name);
        if name == "m3" {
            world.admit("b", "m", Standing::Authority, "promotion");
        }
        world.hear(&next);
        world.pens.get_mut("m").unwrap().signer = DoubleSigner::named(name);
    }
    for i in 0..20 {
        world.say("m", Collection::Clients, &format!("c{i}"), &[0xa0]);
    }
    world
}

#[test]
fn a_page_has_what_makes_a_key_an_authoritys_before_what_it_says_as_one() {
    let world = promoted_later();
    for limit in [1, 700, 2000, usize::MAX] {
        let mut new = empty();
        for turn in 0.. {
            let page = world.set.since(&new.vector(), limit);
            assert!(new.merge(&page.records, &Double).refused.is_empty(), "{limit} {turn}");
            assert_eq!(new.vector(), page.vector);
            if !page.more {
                break;
            }
        }
        assert_eq!(new.digest(), world.set.digest(), "{limit}");
    }
}

#[test]
fn records_of_an_authority_wait_for_its_promotion_and_then_come_again() {
    let world = promoted_later();
    let promotion = world.said.iter().position(|raw| {
        let parsed = Parsed::new(raw).unwrap();
        *parsed.author() == node("b") && parsed.fields().unwrap().collection == Collection::Admissions
    });
    let (mut early, mut new) = (world.said.clone(), empty());
    let promotion = early.remove(promotion.unwrap());
    let merge = new.merge(&early, &Double);
    assert_eq!(merge.refused.len(), 20);
    assert_eq!(merge.refused[0], (Some(node("m")), Refusal::UnknownKey));
    assert_eq!(merge.refused[1].1, Refusal::AfterRefused);
    assert!(new.vector().get(&node("m")) < world.set.heard(&node("m")));
    new.merge(&[promotion], &Double);
    let page = world.set.since(&new.vector(), usize::MAX);
    assert_eq!(new.merge(&page.records, &Double).taken.len(), 20);
    assert_eq!(new.digest(), world.set.digest());
}

#[test]
fn an_admission_that_fell_out_of_its_authors_share_lets_nobody_speak() {
    let mut world = World::usual();
    let narrow = || Set::new(anchor(), Limits { most: 4 });
    let mut set = narrow();
    set.merge(&world.said, &Double);
    assert_eq!(set.len(), 4);
    world.arrive("x", "x");
    let late = world.admission("a", "x", Standing::Member, "token");
    let of_x = world.whisper("x", Collection::Lockouts, "u/x.example", Some(vec![0xa0]));
    let merge = set.merge(&[&late, &of_x], &Double);
    assert_eq!(merge.taken.len(), 0, "{:?}", merge.refused);
    // Nor does one that stood, once an earlier one takes its place.
    let last = Parsed::new(&world.said[3]).unwrap();
    let earlier = forge(&late, &DoubleSigner::named("a"), |record| record.statement.position.epoch -= 1);
    let kid = DoubleSigner::named("n").public_key().kid();
    assert!(set.keys().find(&node("n"), kid).is_some());
    assert!(matches!(set.offer(&earlier, &Double), Offered::Taken { displaced, .. } if displaced == [last.hash()]));
    assert!(set.keys().find(&node("n"), kid).is_none());
    assert!(set.keys().find(&node("x"), DoubleSigner::named("x").public_key().kid()).is_some());
    // As if it had come first.
    let mut other = narrow();
    other.merge(&[&earlier], &Double);
    other.merge(&world.said, &Double);
    assert_eq!(other.digest(), set.digest());
    assert!(other.keys().find(&node("n"), kid).is_none());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it is about the time it takes")]
fn any_number_of_revocations_under_one_name_are_taken_as_fast_as_under_many() {
    let time = |name: fn(u32) -> String| {
        let mut world = World::usual();
        world.view().counts();
        let value = cbor(&Revocation { at: world.now, not_after: world.now });
        let records: Vec<_> =
            (0..3000).map(|i| world.whisper("m", Collection::Revocations, &name(i), Some(value.clone()))).collect();
        let begun = std::time::Instant::now();
        for record in &records {
            world.set.take(Parsed::new(record).unwrap().trusted());
        }
        begun.elapsed()
    };
    let many = time(|i| key::revocation(&"ab".repeat(32), &format!("01{i:08x}")));
    let one = time(|_| key::revocation(&"ab".repeat(32), "01"));
    assert!(one < many * 5 + std::time::Duration::from_millis(50), "{one:?} against {many:?}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it is about the time it takes")]
fn counts_that_nothing_changed_are_not_counted_again_however_much_is_held_back() {
    let mut world = World::usual();
    for i in 0..3000 {
        let record = world.whisper("m", Collection::Lockouts, &format!("u{i}/m.example"), Some(vec![0xa0]));
        world.hear(&forge(&record, &DoubleSigner::named("m"), |record| record.statement.stamp.wall += 1 << 30));
    }
    let first = std::time::Instant::now();
    let counts = world.view().counts();
    let first = first.elapsed();
    let again = std::time::Instant::now();
    for _ in 0..10 {
        world.tick(1);
        assert_eq!(world.view().counts(), counts);
    }
    assert!(again.elapsed() < first, "{:?} against {first:?} for one", again.elapsed());
}

#[test]
fn what_would_push_out_something_of_ours_that_counts_is_not_signed() {
    let mut world = World::usual();
    let mut set = Set::new(anchor(), Limits { most: 4 });
    set.merge(&world.said, &Double);
    let (a, kid) = (node("a"), world.pens["a"].kid());
    let check = |set: &Set, keys: &[&str]| check_room(set, &a, keys.iter().map(|key| (kid, Collection::Clients, *key)));
    for key in ["c0", "c1", "c2", "c3"] {
        assert_eq!(check(&set, &[key]), Ok(()));
        let record = world.whisper("a", Collection::Clients, key, Some(vec![0xa0]));
        set.merge(&[&record], &Double);
    }
    let full = Err(CannotWrite::Full { collection: Collection::Clients, share: 4 });
    assert_eq!((check(&set, &["c4"]), check(&set, &["c0", "c4"])), (full, full));
    assert_eq!(check(&set, &["c0", "c0", "c1"]), Ok(()), "what replaces needs no room");
    assert!(Room::of(&set, &a).iter().any(|room| room.collection == Collection::Clients && room.is_short()));
    let alone = Room { collection: Collection::AuditHeads, taken: 1, share: 1 };
    assert!(!alone.is_short(), "what is one record of a host is replaced and never two");
    let text = CannotWrite::Full { collection: Collection::Clients, share: 4 }.to_string();
    assert!(text.contains("(4 records); have another authority say it"), "{text}");
    // A tombstone may go, as long as it covers nothing of another.
    let record = world.whisper("b", Collection::Clients, "c0", Some(vec![0xa0]));
    set.merge(&[&record], &Double);
    for key in ["c0", "c1", "c2", "c3"] {
        let record = world.whisper("a", Collection::Clients, key, None);
        set.merge(&[&record], &Double);
    }
    assert_eq!(check(&set, &["c4"]), full);
    let record = world.whisper("b", Collection::Clients, "c0", None);
    set.merge(&[&record], &Double);
    assert_eq!(check(&set, &["c4"]), Ok(()));
    // What only grows makes no room.
    let admissions = [(kid, Collection::Admissions, "x.example/00")];
    assert_eq!(check_room(&set, &a, admissions), Err(CannotWrite::Full { collection: Collection::Admissions, share: 4 }));
    // And what nobody would take is not said.
    let member = check_room(&set, &node("m"), [(world.pens["m"].kid(), Collection::Clients, "c")]);
    assert_eq!(member, Err(CannotWrite::NotAuthority(Collection::Clients)));
}

#[test]
fn a_host_says_little_of_itself_and_much_of_others() {
    let of = |key: &str| Collection::Evictions.drawer(key, "a.example");
    assert_eq!(of("a.example/a.example"), Drawer { collection: Collection::Evictions, own: true });
    assert!(of("a.example/a.example").share() < of("b.example/a.example").share());
}

#[test]
fn proof_of_two_histories_outlives_a_restart_and_ends_with_the_keys_it_is_about() {
    let mut world = World::usual();
    let one = world.whisper("m", Collection::Lockouts, "y/m.example", Some(vec![0xa0]));
    let other = forge(&one, &DoubleSigner::named("m"), |record| record.statement.value = Some(b"\xa1\x00\x01".to_vec()));
    world.hear(&one);
    world.hear(&other);
    assert!(world.view().evidence().contains_key(&node("m")));
    // What stands shows nothing; what was kept apart does.
    let records: Vec<Vec<u8>> = world.set.records().map(<[u8]>::to_vec).collect();
    let mut restarted = empty();
    restarted.load(&records);
    assert!(restarted.evidence().is_empty());
    for evidence in world.set.evidence().values() {
        restarted.recall(&evidence.first, &evidence.second);
        restarted.recall(&evidence.first, &evidence.first);
    }
    assert_eq!(restarted.evidence(), world.set.evidence());
    world.evict("a", "m");
    assert!(world.view().evidence().is_empty(), "it is out");
    world.tick(10);
    world.arrive("m", "m again");
    world.admit("a", "m", Standing::Member, "readmission");
    assert!(world.view().evidence().is_empty(), "and came back with other keys");
    let one = world.whisper("m", Collection::Lockouts, "z/m.example", Some(vec![0xa0]));
    world.hear(&one);
    world.hear(&forge(&one, &DoubleSigner::named("m again"), |record| record.statement.value = None));
    assert!(world.view().evidence().contains_key(&node("m")), "copied once more");
}

#[test]
fn a_serial_has_the_one_spelling_that_a_list_has() {
    let fits = |serial: &str| Collection::Revocations.fits_key(&key::revocation(&"ab".repeat(32), serial), "a.example");
    for good in ["01", "7f", "0080", "00ff01", &"7f".repeat(20)] {
        assert!(fits(good), "{good}");
    }
    for bad in ["", "0", "00", "0001", "80", "ff01", "7F", "0000ff", &"01".repeat(21)] {
        assert!(!fits(bad), "{bad}");
    }
}
