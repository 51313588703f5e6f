use super::kit::{Double, World, node, set_of};
use crate::mesh::author::{Author, CannotWrite};
use crate::mesh::collection::Collection;
use crate::mesh::record::{Parsed, Stamp};
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
    let known = world.set.heard(&node("m"));
    // Restored within the same millisecond: not even the epoch is new.
    let mut restored = Author::start(node("m"), &snapshot, Moment::from_millis(1));
    assert!(restored.hear_own(known));
    assert!(!restored.hear_own(known), "once");
    let pen = &world.pens["m"];
    let write = |author: &mut Author| author.write(Collection::Lockouts, "y/m.example", None, world.now, &pen.signer);
    assert_eq!(write(&mut restored).unwrap_err(), CannotWrite::Cloned);
    // Resumed before it heard its own records: still beyond them.
    restored.resume(&snapshot, Moment::from_millis(2));
    let record = write(&mut restored).unwrap();
    assert!(record.statement.position.epoch > known.epoch);
    assert!(matches!(world.set.offer(&record.to_bytes(), &Double), crate::mesh::set::Offered::Taken { fork: false, .. }));
}

#[test]
fn a_host_is_not_dragged_along_by_a_clock_that_runs_ahead() {
    let mut world = World::usual();
    let now = world.now;
    let author = &mut world.pens.get_mut("m").unwrap().author;
    let wall = now.as_millis() as u64;
    assert!(author.hear(Stamp { wall: wall + 30_000, counter: 7 }, now));
    assert!(!author.hear(Stamp { wall: wall + 30_001 + 1000, counter: 0 }, now));
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
    assert_eq!(refused(Collection::Clients, "c", Some(vec![0; 1 << 20])), CannotWrite::TooLarge);
    assert_eq!(refused(Collection::Lockouts, "x/n.example", None), CannotWrite::TooLarge);
    assert_eq!(refused(Collection::AuditHeads, "m.example", None), CannotWrite::NeverWithdrawn);
    assert_eq!(world.pens["m"].author.position(), before.position());
}
