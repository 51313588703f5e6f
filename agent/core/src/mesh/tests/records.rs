use proptest::prelude::*;

use super::kit::{Double, DoubleSigner, START, World, node};
use crate::mesh::collection::Collection;
use crate::mesh::crypto::Signer;
use crate::mesh::record::{Fields, MAX_RECORD, Malformed, Parsed, Record, Stamp, Statement};
use crate::mesh::set::{Offered, Refusal};
use crate::mesh::vector::{MAX_EPOCH, MAX_SEQ, Position};

fn statement(key: &str, epoch: u64, seq: u64, wall: u64, value: Option<Vec<u8>>) -> Statement {
    Statement {
        collection: Collection::Clients,
        key: key.to_owned(),
        author: node("a"),
        kid: DoubleSigner::named("a").public_key().kid(),
        position: Position { epoch, seq },
        prev: [7; 32],
        before: Position::default(),
        stamp: Stamp { wall, counter: 3 },
        value,
    }
}

fn sample() -> Vec<u8> {
    let statement = statement("client", 1_800_000_000_000, 24, 256, Some(vec![0xa0]));
    statement.sign(&DoubleSigner::named("a")).unwrap().to_bytes()
}

#[test]
fn a_record_has_the_bytes_that_the_protocol_page_shows() {
    let hex = data_encoding::HEXLOWER.encode(&sample()[..60]);
    assert_eq!(
        hex,
        "82890e66636c69656e7469612e6578616d706c6554".to_owned()
            + &DoubleSigner::named("a").public_key().kid().to_string()
            + "821b000001a3185c5000181858200707070707"
    );
}

#[test]
fn non_canonical_cbor_is_refused() {
    let good = sample();
    assert!(Parsed::new(&good).is_ok());
    let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
    cases.push(("a byte more", [&good[..], &[0]].concat()));
    cases.push(("a byte less", good[..good.len() - 1].to_vec()));
    cases.push(("the collection in two bytes", [&good[..2], &[0x18, 0x0e], &good[3..]].concat()));
    cases.push(("an indefinite array", [&[0x9f], &good[1..], &[0xff]].concat()));
    cases.push(("an indefinite statement", {
        let end = good.len() - 66;
        [&good[..1], &[0x9f], &good[2..end], &[0xff], &good[end..]].concat()
    }));
    cases.push(("a long length of the key", [&good[..3], &[0x78, 0x06], &good[4..]].concat()));
    cases.push(("a tagged record", [&[0xd8, 0x18], &good[..]].concat()));
    cases.push(("null for a tombstone", {
        let end = good.len() - 68;
        [&good[..end], &[0xf6], &good[good.len() - 66..]].concat()
    }));
    cases.push(("a signature of 63 bytes", {
        let end = good.len() - 66;
        [&good[..end], &[0x58, 63], &good[end + 2..good.len() - 1]].concat()
    }));
    for (what, bytes) in cases {
        assert!(Parsed::new(&bytes).is_err(), "{what}");
        assert!(Record::from_bytes(&bytes).is_err(), "{what}");
    }
}

#[test]
fn what_could_never_be_taken_is_refused_by_its_bytes_alone() {
    let refused = |statement: Statement| {
        let bytes = statement.sign(&DoubleSigner::named("a")).unwrap().to_bytes();
        Parsed::new(&bytes).unwrap_err()
    };
    let good = || statement("client", 1, 1, 1, Some(vec![0xa0]));
    assert_eq!(refused(Statement { key: String::new(), ..good() }), Malformed::Key);
    assert_eq!(refused(Statement { key: "x".repeat(513), ..good() }), Malformed::TooLong);
    assert_eq!(refused(Statement { value: Some(vec![0; 3000]), ..good() }), Malformed::Value);
    assert_eq!(refused(Statement { position: Position { epoch: 0, seq: 1 }, ..good() }), Malformed::Position);
    assert_eq!(refused(Statement { position: Position { epoch: 1, seq: 0 }, ..good() }), Malformed::Position);
    let lockout = Statement { collection: Collection::Lockouts, key: "alice/b.example".to_owned(), ..good() };
    assert_eq!(refused(lockout), Malformed::Key, "another host's shard");
    let key = format!("{}/0102", "ab".repeat(32));
    let revocation = Statement { collection: Collection::Revocations, key, value: None, ..good() };
    assert_eq!(refused(revocation), Malformed::Tombstone);
    assert_eq!(Parsed::new(&vec![0; MAX_RECORD + 1]).unwrap_err(), Malformed::TooLong);
}

#[test]
fn a_record_with_a_malleated_signature_is_the_same_record() {
    let mut world = World::usual();
    let record = world.whisper("a", Collection::Clients, "c", Some(vec![0xa0]));
    world.hear(&record);
    let digest = world.set.digest();
    let mut other = record.clone();
    // The double leaves the second half of a signature open, as whoever knows one ECDSA signature can make another.
    *other.last_mut().unwrap() ^= 1;
    assert_ne!(record, other);
    assert_eq!(world.set.offer(&other, &Double), Offered::Known);
    assert_eq!((world.set.digest(), world.set.evidence().len()), (digest, 0));
}

#[test]
fn a_record_whose_signature_does_not_fit_is_refused() {
    let mut world = World::usual();
    let mut record = world.whisper("a", Collection::Clients, "c", Some(vec![0xa0]));
    let signature = record.len() - 64;
    record[signature] ^= 1;
    assert_eq!(world.hear(&record), Offered::Refused(Refusal::BadSignature));
    // Nor may a key of one host sign for another.
    let record = super::kit::forge(&record, &DoubleSigner::named("m"), |_| ());
    assert_eq!(world.hear(&record), Offered::Refused(Refusal::UnknownKey));
    assert_eq!(world.client("c"), None);
}

#[test]
fn a_derived_decoder_reads_what_ours_writes_and_writes_the_same() {
    for value in [None, Some(Vec::new()), Some(vec![1; 300])] {
        let record = statement("k", START.as_millis() as u64, 1, u64::MAX, value).sign(&DoubleSigner::named("a")).unwrap();
        let bytes = record.to_bytes();
        assert_eq!(minicbor::decode::<Record>(&bytes).unwrap(), record);
        assert_eq!(minicbor::to_vec(&record).unwrap(), bytes);
    }
}

proptest! {
    #[test]
    fn every_record_reads_as_it_was_written(
        key in "[a-z/.]{1,40}", epoch in 1..=MAX_EPOCH, seq in 1..=MAX_SEQ, wall: u64,
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        let record = statement(&key, epoch, seq, wall, value).sign(&DoubleSigner::named("a")).unwrap();
        let bytes = record.to_bytes();
        prop_assert_eq!(&Record::from_bytes(&bytes).unwrap(), &record);
        prop_assert_eq!(Parsed::new(&bytes).unwrap().hash(), record.statement.hash());
    }

    #[test]
    fn whatever_is_read_has_no_second_form(at in 0usize..200, byte: u8) {
        let mut bytes = sample();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(record) = Record::from_bytes(&bytes) {
            prop_assert_eq!(record.to_bytes(), bytes);
        }
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Fields::read(&bytes).is_err());
    }
}
