//! Sets of records with real signatures, checked by both backends.

use std::sync::LazyLock;

use reverie_core::id::NodeId;
use reverie_core::mesh::author::Author;
use reverie_core::mesh::collection::{Admission, Collection, Eviction, HostKey, Standing, key};
use reverie_core::mesh::crypto::{KemPublicKey, PublicOperations, Signer};
use reverie_core::mesh::record::{Parsed, host_key_bytes};
use reverie_core::mesh::set::{Anchor, Limits, Refusal, Set};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;
use reverie_crypto::aws::Aws;
use reverie_crypto::pure::{KemKey, Pure, SigningKey};

const NOW: Moment = Moment::from_secs(1_800_000_000);

struct World {
    anchor: Anchor,
    said: Vec<Vec<u8>>,
}

fn node(name: &str) -> NodeId {
    format!("{name}.example").parse().unwrap()
}

fn cbor<T: minicbor::Encode<()>>(value: &T) -> Option<Vec<u8>> {
    Some(minicbor::to_vec(value).unwrap())
}

/// Two authorities and a member; a key rotated, an authority evicted, values, deletions, a word after the eviction.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    use reverie_core::mesh::crypto::Decapsulator;
    let ops = Pure::from_seed([5; 32]);
    let [a, b, m, next] = [(); 4].map(|()| SigningKey::generate(&ops).unwrap());
    let kem: KemPublicKey = KemKey::generate(&ops).public_key().clone();
    let anchor = Anchor { node: node("a"), key: a.public_key().clone() };
    let mut set = Set::new(anchor.clone(), Limits::default());
    let mut hands = ["a", "b", "m"].map(|name| Author::start(node(name), &set, NOW));
    let mut said = Vec::new();
    let mut say = |hand: usize, signer: &SigningKey, collection, name: &str, value| {
        let now = Moment::from_millis(NOW.as_millis() + said.len() as i64);
        let record = hands[hand].write(collection, name, value, now, signer).unwrap().to_bytes();
        let merge = set.merge(&[&record], &ops);
        assert!(merge.taken.len() == 1 && merge.forks.is_empty(), "{name}");
        said.push(record);
    };
    for (name, signer, standing) in [("a", &a, Standing::Authority), ("b", &b, Standing::Authority), ("m", &m, Standing::Member)]
    {
        let signing_key = signer.public_key().clone();
        let name = key::admission(&node(name), &signing_key.kid());
        let of = name.split('/').next().unwrap().parse().unwrap();
        let admission = Admission {
            node: of,
            signing_key,
            kem_key: Some(kem.clone()),
            standing,
            by: "token".to_owned(),
            despite: Default::default(),
        };
        say(0, &a, Collection::Admissions, &name, cbor(&admission));
    }
    for i in 0..4 {
        say(0, &a, Collection::Clients, &format!("c{i}"), Some(vec![0xa0]));
        say(2, &m, Collection::Lockouts, &format!("u{i}/m.example"), Some(vec![0xa0]));
        say(1, &b, Collection::Clients, &format!("c{i}"), (i % 2 == 0).then(|| vec![0xa1, 0, 1]));
    }
    let mut step = HostKey {
        signing_key: next.public_key().clone(),
        kem_key: kem,
        previous: m.public_key().kid(),
        proof: [0; 64],
        upheld: Default::default(),
    };
    step.proof = next.sign(&host_key_bytes(&node("m"), &step)).unwrap();
    say(2, &m, Collection::HostKeys, &key::host_key(&node("m"), &next.public_key().kid()), cbor(&step));
    say(2, &next, Collection::Lockouts, "u0/m.example", None);
    let (keys, upheld, heard) = Default::default();
    let eviction = Eviction { node: node("b"), keys, reason: "stolen".to_owned(), left: false, upheld, heard };
    say(0, &a, Collection::Evictions, &key::eviction(&node("b"), &node("a")), cbor(&eviction));
    say(1, &b, Collection::Clients, "c1", Some(vec![0xa1, 0, 9]));
    World { anchor, said }
});

fn empty() -> Set {
    Set::new(WORLD.anchor.clone(), Limits::default())
}

fn told(set: &Set) -> String {
    let view = View::of(set, NOW);
    let mut values: Vec<String> =
        Collection::ALL.iter().flat_map(|c| view.entries(*c)).map(|value| format!("{value:?}")).collect();
    values.sort();
    format!("{:?} {values:?} {:?}", view.hosts().collect::<Vec<_>>(), view.counts())
}

#[test]
fn sets_of_really_signed_records_agree_in_any_order_and_by_either_backend() {
    let backends: [&dyn PublicOperations; 2] = [&Aws, &Pure::from_seed([6; 32])];
    let mut expected = empty();
    assert_eq!(expected.merge(&WORLD.said, &Aws).taken.len(), WORLD.said.len());
    let mut clients: Vec<_> = View::of(&expected, NOW).clients().map(|value| value.key.to_owned()).collect();
    clients.sort();
    // Nobody said again what the evicted authority had deleted.
    assert_eq!(clients, ["c0", "c1", "c2", "c3"]);
    for turn in 0..WORLD.said.len() {
        let mut said = WORLD.said.clone();
        said.rotate_left(turn);
        if turn % 2 == 1 {
            said.reverse();
        }
        // In messages of five; what has to wait for a key comes again.
        let mut set = empty();
        for _ in 0..3 {
            said.chunks(5).for_each(|message| drop(set.merge(message, backends[turn % 2])));
        }
        let history = said.iter().map(|record| Parsed::new(record).unwrap()).collect::<Vec<_>>();
        history.into_iter().for_each(|parsed| {
            let verified = set.keys().verify(parsed, backends[turn % 2]).unwrap();
            set.take(verified);
        });
        assert_eq!(set.digest(), expected.digest(), "turned by {turn}");
        assert_eq!(told(&set), told(&expected), "turned by {turn}");
    }
}

/// The order of P-256 (SP 800-186 §3.2.1.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e,
    0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn the_other_signature_that_ecdsa_allows_makes_no_other_record() {
    let mut set = empty();
    set.merge(&WORLD.said, &Aws);
    let mut other = WORLD.said[4].clone();
    let s = other.len() - 32;
    let mut borrow = 0;
    for i in (0..32).rev() {
        let rest = i16::from(ORDER[i]) - i16::from(other[s + i]) - borrow;
        borrow = i16::from(rest < 0);
        other[s + i] = rest.rem_euclid(256) as u8;
    }
    assert_ne!(other, WORLD.said[4]);
    let parsed = Parsed::new(&other).unwrap();
    assert!(set.keys().verify(parsed, &Aws).is_ok(), "s and n - s both verify");
    let digest = set.digest();
    assert_eq!(set.merge(&[&other], &Aws).known, 1);
    assert_eq!((set.digest(), set.evidence().len()), (digest, 0));
}

#[test]
fn no_byte_of_a_signed_record_can_be_changed() {
    let record = &WORLD.said[3];
    for at in 0..record.len() {
        let mut changed = record.clone();
        changed[at] ^= 1;
        let mut set = empty();
        set.merge(&WORLD.said[..3], &Aws);
        let merge = set.merge(&[&changed], &Aws);
        let refused = |why: &Refusal| matches!(why, Refusal::Malformed(_) | Refusal::BadSignature | Refusal::UnknownKey);
        assert!(merge.taken.is_empty() && merge.refused.iter().all(|(_, why)| refused(why)), "byte {at}: {merge:?}");
    }
}
