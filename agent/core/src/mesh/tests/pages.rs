use super::kit::{Double, DoubleSigner, World, empty, forge, node};
use crate::mesh::collection::{Collection, Standing};
use crate::mesh::set::{Refusal, Set};
use crate::mesh::vector::VersionVector;

/// Takes pages of at most `limit` bytes until there are no more; how many it took.
fn take_all(from: &Set, to: &mut Set, limit: usize) -> usize {
    let mut pages = 0;
    loop {
        let page = from.since(&to.vector(), limit);
        let merge = to.merge(&page.records, &Double);
        assert!(merge.refused.is_empty(), "{:?}", merge.refused);
        pages += 1;
        assert!(page.records.len() <= 1 || page.records.iter().map(|r| r.len()).sum::<usize>() <= limit);
        if !page.more {
            return pages;
        }
        assert_eq!(to.vector(), page.vector, "the page says what the host has once it took it");
    }
}

fn world() -> World {
    let mut world = World::usual();
    for i in 0..20 {
        world.say("a", Collection::Clients, &format!("c{i}"), &[0xa0; 9][..1]);
        world.say("m", Collection::Lockouts, &format!("u{i}/m.example"), &[0xa0]);
    }
    let next = world.next_key("a", "a2");
    world.hear(&next);
    world.pens.get_mut("a").unwrap().signer = DoubleSigner::named("a2");
    world.say("a", Collection::Clients, "c0", b"\xa1\x00\x01");
    // The founder loses its keys and comes back by the other authority: its own history then needs the other's.
    world.evict("b", "a");
    world.tick(10);
    world.arrive("a", "a3");
    world.admit("b", "a", Standing::Authority, "readmission");
    world.say("a", Collection::Clients, "late", &[0xa0]);
    world.arrive("x", "x");
    world.admit("a", "x", Standing::Member, "token");
    world.say("x", Collection::Lockouts, "u/x.example", &[0xa0]);
    world
}

#[test]
fn a_new_host_takes_everything_in_pages_of_any_size_with_every_key_before_what_it_signs() {
    let world = world();
    for limit in [1, 300, 1000, 4096, usize::MAX] {
        let mut new = empty();
        let pages = take_all(&world.set, &mut new, limit);
        assert_eq!(new.digest(), world.set.digest(), "{limit}");
        assert_eq!(pages == 1, limit == usize::MAX);
        assert!(world.set.since(&new.vector(), limit).records.is_empty());
    }
}

#[test]
fn a_record_with_an_unknown_key_comes_again() {
    let mut world = World::usual();
    world.arrive("x", "x");
    let early = world.whisper("x", Collection::Lockouts, "u/x.example", Some(vec![0xa0]));
    let later = world.whisper("x", Collection::Lockouts, "v/x.example", Some(vec![0xa0]));
    let merge = world.set.merge(&[&early, &later], &Double);
    let x = Some(node("x"));
    assert_eq!(merge.refused, [(x.clone(), Refusal::UnknownKey), (x, Refusal::AfterRefused)]);
    assert_eq!(world.set.vector().get(&node("x")), Default::default());
    world.admit("a", "x", Standing::Member, "token");
    assert_eq!(world.set.merge(&[&later, &early], &Double).taken.len(), 2);
}

#[test]
fn nothing_is_taken_after_a_refused_record_of_the_same_author() {
    let mut world = World::usual();
    let mut broken = world.whisper("m", Collection::Lockouts, "u/m.example", Some(vec![0xa0]));
    let good = broken.clone();
    *broken.last_mut().unwrap() ^= 1;
    let at = broken.len() - 64;
    broken[at] ^= 1;
    let later = world.whisper("m", Collection::Lockouts, "v/m.example", Some(vec![0xa0]));
    let merge = world.set.merge(&[&later, &broken], &Double);
    assert!(merge.taken.is_empty());
    assert_eq!(world.set.merge(&[&later, &good], &Double).taken.len(), 2);
}

#[test]
fn the_keys_in_a_message_verify_what_else_is_in_it_whatever_its_order() {
    let world = world();
    let mut records: Vec<Vec<u8>> = world.set.records().map(<[u8]>::to_vec).collect();
    records.reverse();
    let mut new = empty();
    let mut turns = 0;
    let merge = new.merge_with(&records, |keys, parsed| {
        turns += 1;
        parsed.into_iter().map(|record| keys.verify(record, &Double)).collect()
    });
    assert_eq!((merge.taken.len(), merge.refused.len()), (records.len(), 0));
    assert_eq!(new.digest(), world.set.digest());
    assert!(turns < 10, "{turns}");
}

#[test]
fn a_set_loaded_from_a_store_is_the_set_that_was_stored() {
    let world = world();
    let mut records: Vec<Vec<u8>> = world.set.records().map(<[u8]>::to_vec).collect();
    records.sort();
    let mut loaded = empty();
    let merge = loaded.load(&records);
    assert_eq!((merge.refused.len(), merge.displaced.len()), (0, 0));
    assert_eq!((loaded.digest(), loaded.vector(), loaded.bytes()), (world.set.digest(), world.set.vector(), world.set.bytes()));
    // Its keys are all there.
    assert_eq!(loaded.since(&VersionVector::default(), usize::MAX).records.len(), records.len());
}

#[test]
fn a_store_kept_by_what_merges_say_holds_exactly_the_set() {
    let world = world();
    let mut set = empty();
    let mut store = std::collections::BTreeMap::new();
    for chunk in world.said.chunks(7) {
        let merge = set.merge(chunk, &Double);
        merge.taken.iter().for_each(|record| drop(store.insert(record.hash(), record.bytes().to_vec())));
        merge.displaced.iter().for_each(|hash| drop(store.remove(hash)));
    }
    let mut held: Vec<&[u8]> = set.records().collect();
    let mut stored: Vec<&[u8]> = store.values().map(|record| &record[..]).collect();
    held.sort_unstable();
    stored.sort_unstable();
    assert_eq!(held, stored);
}

#[test]
fn a_history_in_pages_mends_a_set_whose_vector_hides_a_gap() {
    let world = world();
    let kept = |i: &usize| !i.is_multiple_of(3);
    let mut gaps = empty();
    gaps.load(world.set.records().enumerate().filter(|(i, _)| kept(i)).map(|(_, record)| record));
    let summary = world.set.summary();
    let differing: Vec<_> = summary.iter().filter(|(node, line)| gaps.summary().get(*node) != Some(line)).collect();
    assert!(!differing.is_empty());
    for (author, _) in differing {
        let mut since = world.set.vector();
        since.0.remove(author);
        loop {
            let page = world.set.since(&since, 500);
            gaps.load(&page.records);
            since = page.vector;
            if !page.more {
                break;
            }
        }
    }
    assert_eq!(gaps.digest(), world.set.digest());
}

#[test]
fn the_proof_of_two_histories_goes_along_with_the_history() {
    let mut world = world();
    let one = world.whisper("m", Collection::Lockouts, "y/m.example", Some(b"\xa0".to_vec()));
    let other = forge(&one, &DoubleSigner::named("m"), |record| record.statement.value = Some(b"\xa1\x00\x01".to_vec()));
    world.hear(&one);
    world.hear(&other);
    let mut host = empty();
    host.load(world.set.records());
    assert_eq!((host.digest(), host.evidence().len()), (world.set.digest(), 0), "the loser stands nowhere");
    let mut since = host.vector();
    since.0.remove(&node("m"));
    host.merge(&world.set.since(&since, usize::MAX).records, &Double);
    assert_eq!((host.digest(), host.evidence()), (world.set.digest(), world.set.evidence()));
    // A new host gets it as well.
    let mut new = empty();
    take_all(&world.set, &mut new, 2000);
    assert_eq!((new.digest(), new.evidence()), (world.set.digest(), world.set.evidence()));
}
