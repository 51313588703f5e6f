use super::kit::{Double, World, node, set_of};
use crate::mesh::author::{Author, CannotWrite};
use crate::mesh::collection::Collection;
use crate::mesh::record::{Parsed, Stamp};
use crate::mesh::vector::Position;
use crate::moment::Moment;

#[test]
fn a_host_that_starts_again_writes_after_all_that_it_had_heard() {
    let mut world = World::usual();
    // Ahead of this host's clock, as far as that is allowed.
    let ahead = Moment::from_millis(world.now.as_millis() + 20_000);
    let pen = world.pens.get_mut("b").unwrap();
    let said = pen.author.write(Collection::Clients, "c", Some(vec![0xa0]), ahead, &pen.signer).unwrap();
    world.hear(&said.to_bytes());
    world.arrive("a", "a");
    world.write("a", Collection::Clients, "c", None);
    assert_eq!(world.client("c"), None);
}

#[test]
fn every_start_is_a_new_epoch_that_goes_on_from_the_last_record() {
    let mut world = World::usual();
    world.say("m", Collection::Lockouts, "x/m.example", &[0xa0]);
    let (before, hash) = world.set.head(&node("m"));
    // Started again, with a clock that went back a year.
    let earlier = Moment::from_millis(world.now.as_millis() - 365 * 86_400_000);
    world.pens.get_mut("m").unwrap().author = Author::start(node("m"), &world.set, earlier);
    let record = world.whisper("m", Collection::Lockouts, "y/m.example", Some(vec![0xa0]));
    let parsed = Parsed::new(&record).unwrap();
    assert_eq!((parsed.position().epoch, parsed.position().seq), (before.epoch + 1, 1));
    assert_eq!(*parsed.fields().unwrap().prev, hash);
    world.hear(&record);
    assert!(world.set.evidence().is_empty());
}

#[test]
fn a_host_restored_from_a_snapshot_notices_and_stops_writing_until_told_to_go_on() {
    let mut world = World::usual();
    let snapshot = set_of(&world.said);
    world.say("m", Collection::Lockouts, "x/m.example", &[0xa0]);
    let (known, hash) = world.set.head(&node("m"));
    // Restored within the same millisecond: not even the epoch is new.
    let mut restored = Author::start(node("m"), &snapshot, Moment::from_millis(1));
    assert!(restored.is_foreign(known) && restored.is_foreign_record(known, &hash));
    restored.stop(known);
    let pen = &world.pens["m"];
    let write = |author: &mut Author| author.write(Collection::Lockouts, "y/m.example", None, world.now, &pen.signer);
    assert_eq!(write(&mut restored).unwrap_err(), CannotWrite::Cloned);
    // Resumed before it heard its own records: still beyond them, and what else turns up from before is no news.
    restored.resume(&snapshot, Moment::from_millis(2));
    assert!(!restored.is_foreign(known) && !restored.is_foreign(Position { seq: known.seq + 7, ..known }));
    let record = write(&mut restored).unwrap();
    assert!(record.statement.position.epoch > known.epoch);
    assert!(matches!(world.set.offer(&record.to_bytes(), &Double), crate::mesh::set::Offered::Taken { fork: false, .. }));
}

#[test]
fn what_a_restored_host_writes_before_it_hears_anyone_shows_that_it_was_restored_in_whatever_order_it_comes() {
    let mut world = World::usual();
    let snapshot = set_of(&world.said);
    let lost = world.whisper("m", Collection::Lockouts, "x/m.example", Some(vec![0xa0]));
    let mut restored = Author::start(node("m"), &snapshot, world.now);
    // It says the very same anew: nothing of what it lost stands afterwards.
    let signer = &world.pens["m"].signer;
    let again = restored.write(Collection::Lockouts, "x/m.example", Some(vec![0xa0]), world.now, signer).unwrap().to_bytes();
    for order in [[&lost, &again], [&again, &lost]] {
        let mut set = set_of(&world.said);
        order.iter().for_each(|record| drop(set.offer(record, &Double)));
        // The later record alone stands; if it came first, the earlier one is not even looked at.
        assert_eq!(set.evidence().contains_key(&node("m")), order[0] == &lost);
    }
    let mut set = set_of(&world.said);
    [&lost, &again].iter().for_each(|record| drop(set.offer(record, &Double)));
    let evidence = &set.evidence()[&node("m")];
    let lost = Parsed::new(&lost).unwrap();
    assert!([&evidence.first, &evidence.second].iter().any(|record| ***record == *lost.bytes()));
    assert!(restored.is_foreign_record(lost.position(), &lost.hash()), "it knows by that");
}

#[test]
fn a_running_host_that_was_copied_notices_by_another_record_at_a_position_of_its_own() {
    let mut world = World::usual();
    world.say("m", Collection::Lockouts, "x/m.example", &[0xa0]);
    let mut one = world.pens["m"].author.clone();
    let mut other = one.clone();
    let write = |author: &mut Author, key: &str| {
        author.write(Collection::Lockouts, key, None, world.now, &world.pens["m"].signer).unwrap().statement
    };
    let (a, b) = (write(&mut one, "a/m.example"), write(&mut other, "b/m.example"));
    assert_eq!(a.position, b.position);
    assert!(one.is_foreign_record(b.position, &b.hash()) && other.is_foreign_record(a.position, &a.hash()));
    assert!(!one.is_foreign_record(a.position, &a.hash()));
    // Also when both went on.
    write(&mut one, "c/m.example");
    assert!(one.is_foreign_record(b.position, &b.hash()) && !one.is_foreign_record(a.position, &a.hash()));
}

#[test]
fn a_host_is_not_dragged_along_by_a_clock_that_runs_ahead() {
    let mut world = World::usual();
    let now = world.now;
    let author = &mut world.pens.get_mut("m").unwrap().author;
    let wall = now.as_millis() as u64;
    author.hear(Stamp { wall: wall + 30_000, counter: 7 }, now);
    author.hear(Stamp { wall: wall + 30_001 + 1000, counter: 0 }, now);
    let record = world.whisper("m", Collection::Lockouts, "x/m.example", Some(vec![0xa0]));
    let stamp = Parsed::new(&record).unwrap().fields().unwrap().stamp;
    assert_eq!(stamp, Stamp { wall: wall + 30_000, counter: 8 }, "later than what it heard");
}

#[test]
fn what_no_set_would_take_is_not_signed_and_leaves_no_gap() {
    let mut world = World::usual();
    let before = world.pens["m"].author.clone();
    let pen = world.pens.get_mut("m").unwrap();
    let mut refused =
        |collection, key: &str, value| pen.author.write(collection, key, value, world.now, &pen.signer).unwrap_err();
    assert_eq!(
        refused(Collection::Clients, "c", Some(vec![0; 1 << 20])),
        CannotWrite::TooLarge { collection: Collection::Clients, length: 1 << 20 }
    );
    assert_eq!(refused(Collection::Lockouts, "x/n.example", None), CannotWrite::Key(Collection::Lockouts));
    assert_eq!(refused(Collection::AuditHeads, "m.example", None), CannotWrite::NeverWithdrawn(Collection::AuditHeads));
    assert_eq!(world.pens["m"].author.position(), before.position());
}

#[test]
fn a_counter_that_another_used_up_does_not_make_two_statements_of_ours_bear_one_stamp() {
    let mut world = World::usual();
    let now = world.now;
    let wall = now.as_millis() as u64 + 20_000;
    world.pens.get_mut("b").unwrap().author.hear(Stamp { wall, counter: u32::MAX }, now);
    let stamps = ["c", "c", "d"].map(|key| {
        let record = world.whisper("b", Collection::Clients, key, Some(vec![0xa0]));
        Parsed::new(&record).unwrap().fields().unwrap().stamp
    });
    assert!(stamps[0] > Stamp { wall, counter: u32::MAX } && stamps[1] > stamps[0] && stamps[2] > stamps[1], "{stamps:?}");
}
