//! Messages: whom they are by and for, when, and how large.

use std::time::Duration;

use proptest::prelude::*;
use reverie_core::mesh::crypto::Decapsulator;
use reverie_core::mesh::envelope::seal;
use reverie_core::mesh::message::{Content, Expected, MAX_PLAINTEXT, Message, MessageError, ReplayWindow, Sync};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::moment::Moment;

use crate::hosts::{Hosts, MESH, NOW, expected, greeting, node, sign_again};
use crate::tree::Tree;

fn read(plaintext: &[u8]) -> Result<Message, MessageError> {
    Message::unpack(plaintext, &expected(&node("alice"), &node("bob")), NOW)
}

#[test]
fn what_was_packed_is_read() {
    let vector = VersionVector([(node("alice"), Position { epoch: 5, seq: 9 }), (node("bob"), Position::default())].into());
    let sync = Sync { request_delta_since: Some(vector.clone()), vector, more: true, records: vec![vec![0xa5; 700]; 900] };
    for content in [
        Content::Sync(Sync::default()),
        Content::Sync(sync),
        Content::WrappingKey(vec![1; 40].into()),
        Content::Join(vec![].into()),
        Content::Renewal(vec![2].into()),
    ] {
        let message = Message { content, ..greeting() };
        assert_eq!(read(&message.pack().unwrap()).unwrap(), message);
    }
}

#[test]
fn what_is_asked_for_reads_the_same_in_both_versions_and_is_shorter_in_the_second() {
    let vector =
        VersionVector((1..100).map(|number| (node(&format!("host{number}")), Position { epoch: 5, seq: number })).collect());
    let part = VersionVector([(node("host1"), Position { epoch: 5, seq: 1 })].into());
    for since in [None, Some(part), Some(vector.clone())] {
        let twice = since.as_ref() == Some(&vector);
        let sync = Sync { request_delta_since: since, vector: vector.clone(), ..Sync::default() };
        let [first, second] = [1, 2].map(|version| {
            let message = Message { version, content: Content::Sync(sync.clone()), ..greeting() };
            let packed = message.pack().unwrap();
            assert_eq!(read(&packed).unwrap(), message);
            zstd::bulk::decompress(&packed, MAX_PLAINTEXT).unwrap().len()
        });
        assert_eq!(second < first, twice, "{first} and {second} bytes");
    }
}

#[test]
fn a_message_is_refused_by_everyone_it_is_not_for() {
    let packed = greeting().pack().unwrap();
    let (alice, bob, mallory) = (node("alice"), node("bob"), node("mallory"));
    let refused = |expected| Message::unpack(&packed, &expected, NOW).unwrap_err();
    assert_eq!(refused(expected(&alice, &mallory)), MessageError::Unopenable);
    assert_eq!(refused(expected(&mallory, &bob)), MessageError::Unopenable);
    let elsewhere = [8; 16];
    let other_mesh = Expected { mesh: Some(&elsewhere), ..expected(&alice, &bob) };
    assert_eq!(refused(other_mesh), MessageError::Unopenable);
    assert!(read(&packed).is_ok());
}

#[test]
fn a_message_whose_outer_signature_was_replaced_says_who_wrote_it() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(&greeting().pack().unwrap()));
    sign_again(&mut message, &hosts.mallory);
    let plaintext = hosts.opened_as_from(&message.to_der(), &hosts.mallory).unwrap();
    // Bob looked up the pinned key of Mallory, so Mallory is whom he expects inside.
    let read = Message::unpack(&plaintext, &expected(&node("mallory"), &node("bob")), NOW);
    assert_eq!(read.unwrap_err(), MessageError::Unopenable);
}

#[test]
fn a_message_sent_on_to_someone_else_is_refused() {
    // Mallory opens what Alice sent her and seals it to Bob: her own signature is all she can put on it.
    let hosts = Hosts::new();
    let to_mallory = Message { recipient: node("mallory"), ..greeting() };
    let forwarded = seal(&hosts.ops, &hosts.mallory, hosts.bob.public_key(), &to_mallory.pack().unwrap()).unwrap();
    let plaintext = hosts.opened_as_from(&forwarded, &hosts.mallory).unwrap();
    assert_eq!(read(&plaintext).unwrap_err(), MessageError::Unopenable);
}

#[test]
fn a_stale_message_is_refused() {
    let read_at = |issued_at| read(&Message { issued_at, ..greeting() }.pack().unwrap());
    assert!(read_at(NOW.before(Duration::from_secs(300))).is_ok());
    let refused = read_at(NOW.before(Duration::from_millis(300_001))).unwrap_err();
    assert_eq!((refused.status(), matches!(refused, MessageError::Stale(_))), (409, true));
    assert!(matches!(read_at(Moment::from_millis(i64::MIN)), Err(MessageError::Stale(_))));
}

#[test]
fn a_message_of_a_clock_that_runs_ahead_is_refused() {
    let read_at = |issued_at| read(&Message { issued_at, ..greeting() }.pack().unwrap());
    assert!(read_at(NOW.after(Duration::from_secs(30))).is_ok());
    let refused = read_at(NOW.after(Duration::from_millis(30_001))).unwrap_err();
    assert_eq!((refused.status(), matches!(refused, MessageError::Ahead(_))), (409, true));
    assert!(matches!(read_at(Moment::from_millis(i64::MAX)), Err(MessageError::Ahead(_))));
}

#[test]
fn a_replayed_nonce_is_refused() {
    let mut window = ReplayWindow::new(NOW.before(Duration::from_secs(600)));
    let message = greeting();
    assert_eq!(window.take(&message, NOW), Ok(()));
    assert_eq!(window.take(&message, NOW), Err(MessageError::Replayed));
    assert_eq!(window.take(&message, NOW.after(Duration::from_secs(299))), Err(MessageError::Replayed));
    // By then it is stale, whether or not it is remembered.
    assert!(window.take(&message, NOW.after(Duration::from_secs(301))).is_err());
    assert_eq!(window.take(&Message { nonce: [4; 16], ..message.clone() }, NOW), Ok(()));
    assert_eq!(window.take(&Message { sender: node("mallory"), ..message }, NOW), Ok(()));
}

#[test]
fn what_was_sent_before_this_process_began_is_not_taken() {
    let mut window = ReplayWindow::new(NOW);
    let earlier = Message { issued_at: NOW.before(Duration::from_millis(1)), ..greeting() };
    assert_eq!(window.take(&earlier, NOW), Err(MessageError::Replayed));
    assert_eq!(window.take(&greeting(), NOW), Ok(()));
}

#[test]
fn a_flood_makes_the_window_forget_the_oldest_and_take_them_no_more() {
    let mut window = ReplayWindow::new(NOW.before(Duration::from_secs(600)));
    let numbered = |number: u64| {
        let nonce = u128::from(number).to_be_bytes();
        Message { nonce, issued_at: NOW.after(Duration::from_millis(number)), ..greeting() }
    };
    for number in 0..5000 {
        assert_eq!(window.take(&numbered(number), NOW), Ok(()), "{number}");
    }
    for number in 0..5000 {
        assert_eq!(window.take(&numbered(number), NOW), Err(MessageError::Replayed), "{number}");
    }
    assert!(format!("{window:?}").len() < 300_000, "remembered without bound");
    // Others are not in the way of it.
    assert_eq!(window.take(&Message { sender: node("mallory"), ..numbered(0) }, NOW), Ok(()));
}

#[test]
fn an_answer_must_be_to_this_request() {
    let (alice, bob, nonce) = (node("alice"), node("bob"), [9; 16]);
    let request = expected(&alice, &bob);
    let answer = Expected { in_reply_to: Some(&nonce), ..request };
    let packed = |in_reply_to| Message { in_reply_to, ..greeting() }.pack().unwrap();
    let read = |in_reply_to, expected| Message::unpack(&packed(in_reply_to), expected, NOW).map(drop);
    assert_eq!(read(Some([9; 16]), &answer), Ok(()));
    assert_eq!(read(Some([8; 16]), &answer), Err(MessageError::NotTheAnswer));
    assert_eq!(read(None, &answer), Err(MessageError::NotTheAnswer));
    assert_eq!(read(Some([9; 16]), &request), Err(MessageError::NotTheAnswer));
}

#[test]
fn a_version_we_do_not_speak_is_refused_with_a_sentence() {
    let packed = Message { version: 2, ..greeting() }.pack().unwrap();
    let (alice, bob) = (node("alice"), node("bob"));
    let expected = expected(&alice, &bob);
    let refused = Message::unpack(&packed, &Expected { newest_wire: 1, ..expected }, NOW).unwrap_err();
    let sentence = "the message is in wire version 2, this host speaks 1 to 1: upgrade the older of the two";
    assert_eq!(refused.to_string(), sentence);
    // One that speaks both reads it; and one that it is not for learns nothing, of its version neither.
    assert!(Message::unpack(&packed, &expected, NOW).is_ok());
    let other = Expected { sender: Some(&bob), newest_wire: 1, ..expected };
    assert_eq!(Message::unpack(&packed, &other, NOW).unwrap_err(), MessageError::Unopenable);
    let unknown = Message { version: 3, ..greeting() }.pack().unwrap();
    assert_eq!(read(&unknown).unwrap_err(), MessageError::Version { theirs: 3, ours: 1..=2 });
}

/// A frame that says `size` and is all zeros.
fn bomb(size: usize) -> Vec<u8> {
    zstd::bulk::compress(&vec![0; size], 1).unwrap()
}

#[test]
fn a_zip_bomb_is_refused_before_it_unfolds() {
    let large = bomb(256 << 20);
    assert!(large.len() < 64 << 10, "{}", large.len());
    assert_eq!(read(&large).unwrap_err(), MessageError::Unopenable);
    assert_eq!(read(&bomb(MAX_PLAINTEXT + 1)).unwrap_err(), MessageError::Unopenable);
    // Frames behind one another, skippable ones, and one that hides its size.
    let packed = greeting().pack().unwrap();
    assert_eq!(read(&[&packed[..], &bomb(100)].concat()).unwrap_err(), MessageError::Unopenable);
    assert_eq!(read(&[&packed[..], &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]].concat()).unwrap_err(), MessageError::Unopenable);
    let streamed = zstd::stream::encode_all(&vec![0; 1 << 20][..], 1).unwrap();
    assert_eq!(read(&streamed).unwrap_err(), MessageError::Unopenable);
}

#[test]
fn what_would_be_too_large_to_read_is_not_sent() {
    let content = Content::Sync(Sync { records: vec![vec![0; 1 << 20]; 2], ..Sync::default() });
    assert!(matches!(Message { content, ..greeting() }.pack(), Err(MessageError::Malformed(_))));
}

/// CBOR behind the first four, compressed.
fn with_fields(fields: &[u8]) -> Vec<u8> {
    let mut cbor = vec![0x85, 0x01, 0x50];
    cbor.extend(MESH);
    for name in ["alice.example.org", "bob.example.org"] {
        cbor.push(0x60 | name.len() as u8);
        cbor.extend(name.bytes());
    }
    cbor.extend(fields);
    zstd::bulk::compress(&cbor, 1).unwrap()
}

#[test]
fn content_that_breaks_the_rules_is_refused() {
    let nonce = [&[0x02, 0x50][..], &[0; 16]].concat();
    let whole = [&[0xa4, 0x01, 0x05][..], &nonce, &[0x04, 0x1b], &NOW.as_millis().to_be_bytes(), &[0x05, 0x01]].concat();
    assert!(read(&with_fields(&whole)).is_ok());
    let malformed: [(&str, Vec<u8>); 6] = [
        ("a key twice", [&[0xa2, 0x01, 0x05, 0x01][..], &[0x06]].concat()),
        ("keys that descend", [&[0xa2][..], &nonce, &[0x01, 0x05]].concat()),
        ("indefinite length", vec![0xbf, 0xff]),
        ("a field missing", vec![0xa0]),
        ("more behind it", [&whole[..], &[0]].concat()),
        ("too many records", vec![0xa1, 0x0b, 0x9a, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (what, fields) in malformed {
        assert!(matches!(read(&with_fields(&fields)), Err(MessageError::Malformed(_))), "{what}");
    }
    // What a later version adds is passed over.
    let mut later = [&whole[..], &[0x18, 0x63, 0x81, 0xf6]].concat();
    later[0] = 0xa5;
    assert!(read(&with_fields(&later)).is_ok());
}

#[test]
fn a_body_of_a_sync_or_a_sync_without_its_kind_is_refused() {
    let nonce = [&[0x02, 0x50][..], &[0; 16]].concat();
    let head = [&[0x01, 0x05][..], &nonce, &[0x04, 0x1b], &NOW.as_millis().to_be_bytes()].concat();
    for (count, tail) in [(0xa5, &[0x05, 0x01, 0x0c, 0x40][..]), (0xa3, &[]), (0xa4, &[0x05, 0x02]), (0xa4, &[0x05, 0x09])] {
        let fields = [&[count][..], &head, tail].concat();
        assert!(matches!(read(&with_fields(&fields)), Err(MessageError::Malformed(_))), "{tail:?}");
    }
}

#[test]
fn a_key_in_a_message_is_not_in_its_debug_form() {
    let message = Message { content: Content::WrappingKey(vec![0xc3; 32].into()), ..greeting() };
    assert!(!format!("{message:?}").contains("195"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read(&with_fields(&bytes)).is_err());
        let _ = read(&zstd::bulk::compress(&bytes, 1).unwrap());
    }

    #[test]
    fn any_records_survive(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40)) {
        let message = Message { content: Content::Sync(Sync { records, ..Sync::default() }), ..greeting() };
        prop_assert_eq!(read(&message.pack().unwrap()).unwrap(), message);
    }
}
