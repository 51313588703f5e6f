//! Taking records is a join, and equal sets give equal views.

use proptest::prelude::*;

use super::kit::{Double, DoubleSigner, World, cbor, empty, forge, node, set_of, told};
use crate::mesh::collection::{Collection, Floor, Revocation, Standing, key};
use crate::mesh::crypto::Signer;
use crate::mesh::record::Parsed;
use crate::mesh::set::{Limits, Set};
use crate::mesh::vector::VersionVector;
use crate::moment::Moment;

const NAMES: [&str; 5] = ["a", "b", "m", "n", "x"];

#[derive(Debug, Clone)]
enum Deed {
    Write { by: usize, collection: usize, key: u8, value: Option<u8> },
    Fork { by: usize, key: u8, value: u8, elsewhere: bool },
    Ahead { by: usize, key: u8, millis: u64 },
    Admit { by: usize, who: usize, authority: bool },
    Evict { by: usize, who: usize, of_all: bool },
    NextKey { who: usize },
    Lose { who: usize },
    Floor { who: usize, back: u64 },
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || 0..NAMES.len();
    prop_oneof![
        6 => (who(), 0usize..5, 0u8..4, prop::option::of(0u8..4))
            .prop_map(|(by, collection, key, value)| Deed::Write { by, collection, key, value }),
        1 => (who(), 0u8..4, 0u8..4, any::<bool>()).prop_map(|(by, key, value, elsewhere)| Deed::Fork { by, key, value, elsewhere }),
        1 => (who(), 0u8..4, 0u64..100_000).prop_map(|(by, key, millis)| Deed::Ahead { by, key, millis }),
        2 => (who(), who(), any::<bool>()).prop_map(|(by, who, authority)| Deed::Admit { by, who, authority }),
        2 => (who(), who(), any::<bool>()).prop_map(|(by, who, of_all)| Deed::Evict { by, who, of_all }),
        1 => who().prop_map(|who| Deed::NextKey { who }),
        1 => who().prop_map(|who| Deed::Lose { who }),
        1 => (who(), 0u64..6).prop_map(|(who, back)| Deed::Floor { who, back }),
    ]
}

/// Whatever anyone says, right or wrong.
fn world(deeds: &[Deed]) -> World {
    let mut world = World::usual();
    world.arrive("x", "x");
    for (turn, deed) in deeds.iter().enumerate() {
        world.tick(7);
        let said = match *deed {
            Deed::Write { by, collection, key, value } => {
                let by = NAMES[by];
                let (collection, key) = match collection {
                    0 => (Collection::Lockouts, format!("{key}/{by}.example")),
                    1 => (Collection::SigningKeys, key.to_string()),
                    2 => (Collection::Revocations, key::revocation(&"ab".repeat(32), &format!("01{key:02x}"))),
                    _ => (Collection::Clients, key.to_string()),
                };
                let value = value.or_else(|| collection.is_lasting().then_some(0));
                let ends = |value: u8| Moment::from_secs(value.into());
                let bytes = |value: u8| match collection {
                    Collection::Revocations if value != 3 => cbor(&Revocation { at: ends(3 - value), not_after: ends(value) }),
                    _ => vec![0x18, 100 + value],
                };
                vec![world.whisper(by, collection, &key, value.map(bytes))]
            }
            Deed::Fork { by, key, value, elsewhere } => {
                let one = world.whisper(NAMES[by], Collection::Clients, &key.to_string(), Some(vec![0xa0]));
                let other = forge(&one, &world.pens[NAMES[by]].signer, |record| {
                    record.statement.value = Some(vec![0x18, 200 + value]);
                    record.statement.key = if elsewhere { "elsewhere".to_owned() } else { record.statement.key.clone() };
                });
                vec![one, other]
            }
            Deed::Ahead { by, key, millis } => {
                let one = world.whisper(NAMES[by], Collection::Clients, &key.to_string(), Some(vec![0xa1, 0, 0]));
                vec![forge(&one, &world.pens[NAMES[by]].signer, |record| record.statement.stamp.wall += millis)]
            }
            Deed::Admit { by, who, authority } => {
                let standing = if authority { Standing::Authority } else { Standing::Member };
                vec![world.admission(NAMES[by], NAMES[who], standing, "token")]
            }
            Deed::Evict { by, who, of_all } => {
                let upheld = world.view().lasting_of(&node(NAMES[who]));
                world.eviction(NAMES[by], NAMES[who], if of_all { &upheld } else { &[] })
            }
            Deed::NextKey { who } => {
                let name = format!("{who} {turn}");
                let record = world.next_key(NAMES[who], &name);
                world.pens.get_mut(NAMES[who]).unwrap().signer = DoubleSigner::named(&name);
                vec![record]
            }
            Deed::Lose { who } => {
                world.arrive(NAMES[who], &format!("lost {turn}"));
                continue;
            }
            Deed::Floor { who, back } => {
                let at = world.set.heard(&node(NAMES[who]));
                let collected = crate::mesh::vector::Position { seq: at.seq.saturating_sub(back), ..at };
                vec![world.whisper(
                    NAMES[who],
                    Collection::Floors,
                    &format!("{}.example", NAMES[who]),
                    Some(cbor(&Floor { collected })),
                )]
            }
        };
        for record in said {
            // By hand, whether or not the key is known: these laws are about taking.
            world.said.push(record.clone());
            if let Ok(parsed) = Parsed::new(&record) {
                world.set.take(parsed.trusted());
            }
        }
    }
    world.said.retain(|record| Parsed::new(record).is_ok());
    world
}

fn tight() -> Set {
    Set::new(super::kit::anchor(), Limits { most: 5 })
}

fn join(into: &mut Set, records: impl IntoIterator<Item = Vec<u8>>) {
    for record in records {
        into.take(Parsed::new(&record).unwrap().trusted());
    }
}

fn all(set: &Set) -> Vec<Vec<u8>> {
    set.records().map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_does_not_show(
        (deeds, order) in prop::collection::vec(deed(), 0..40).prop_flat_map(|deeds| {
            let most = deeds.len() * 2 + 4;
            (Just(deeds), Just((0..most).collect::<Vec<usize>>()).prop_shuffle())
        }),
        narrow: bool,
    ) {
        let world = world(&deeds);
        let make = || if narrow { tight() } else { empty() };
        let mut straight = make();
        join(&mut straight, world.said.clone());
        let mut shuffled = make();
        join(&mut shuffled, order.iter().filter_map(|&i| world.said.get(i).cloned()));
        join(&mut shuffled, world.said.iter().skip(order.len()).cloned());
        // Heard twice is heard once.
        join(&mut shuffled, world.said.iter().rev().cloned());
        prop_assert_eq!(straight.digest(), shuffled.digest());
        prop_assert_eq!(straight.vector(), shuffled.vector());
        prop_assert_eq!(straight.bytes(), shuffled.bytes());
        prop_assert_eq!(told(&straight, world.now), told(&shuffled, world.now));
    }

    #[test]
    fn joining_is_commutative_associative_and_idempotent(
        deeds in prop::collection::vec(deed(), 0..40), shares in prop::collection::vec(1u8..8, 100), narrow: bool,
    ) {
        let world = world(&deeds);
        let share = |bit: u8| {
            let mut set = if narrow { tight() } else { empty() };
            let held = world.said.iter().enumerate().filter(|(i, _)| shares[i % shares.len()] & bit != 0);
            join(&mut set, held.map(|(_, record)| record.clone()));
            set
        };
        let (x, y, z) = (all(&share(1)), all(&share(2)), all(&share(4)));
        let ends = |first: u8, parts: [&[Vec<u8>]; 3]| {
            let mut set = share(first);
            parts.into_iter().for_each(|part| join(&mut set, part.to_vec()));
            (set.digest(), told(&set, world.now))
        };
        let left = ends(1, [&y, &z, &[]]);
        prop_assert_eq!(&left, &ends(4, [&y, &x, &[]]), "commutative");
        let mut yz = share(2);
        join(&mut yz, z.clone());
        prop_assert_eq!(&left, &ends(1, [&all(&yz), &[], &[]]), "associative");
        prop_assert_eq!(&left, &ends(1, [&y, &z, &x]), "idempotent");
    }

    #[test]
    fn hosts_that_exchange_pages_of_any_size_agree(
        deeds in prop::collection::vec(deed(), 0..30), heard in prop::collection::vec(0usize..3, 70), limit in 1usize..4000,
    ) {
        let world = world(&deeds);
        // Each record is first heard by one host that can verify it, as its author would have it; all others come by pages.
        let mut hosts = [empty(), empty(), empty()];
        for (i, record) in world.said.iter().enumerate() {
            hosts[heard[i % heard.len()]].merge(&[record], &Double);
        }
        for _ in 0..6 {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                exchange(&mut hosts, from, to, limit);
            }
        }
        let digests: Vec<_> = hosts.iter().map(Set::digest).collect();
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
        let views: Vec<_> = hosts.iter().map(|host| told(host, world.now)).collect();
        prop_assert!(views.iter().all(|view| *view == views[0]));
    }
}

/// One host asks another for what it lacks, and for whole histories where vectors agree and digests do not.
fn exchange(hosts: &mut [Set; 3], from: usize, to: usize, limit: usize) {
    let mut asked = hosts[to].vector();
    loop {
        let page = hosts[from].since(&asked, limit);
        hosts[to].merge(&page.records, &Double);
        asked = page.vector;
        if !page.more {
            break;
        }
    }
    if hosts[from].digest() != hosts[to].digest() {
        let theirs = hosts[from].summary();
        let differing: Vec<_> = theirs.keys().filter(|n| hosts[to].summary().get(*n) != theirs.get(*n)).cloned().collect();
        for author in differing {
            let history: Vec<Vec<u8>> = hosts[from].history(&author).map(<[u8]>::to_vec).collect();
            hosts[to].merge(&history, &Double);
        }
    }
}

#[test]
fn an_empty_set_lacks_everything_and_a_full_one_nothing() {
    let world = world(&[]);
    assert_eq!(empty().since(&VersionVector::default(), 1).records.len(), 0);
    assert!(world.set.since(&world.set.vector(), 1 << 20).records.is_empty());
    assert_eq!(set_of(&world.said).digest(), world.set.digest());
    let key = DoubleSigner::named("a").public_key().clone();
    assert_eq!(world.set.keys().find(&node("a"), key.kid()), Some(&key));
}
