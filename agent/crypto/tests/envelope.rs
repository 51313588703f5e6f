//! Envelopes, honest and bent.

use proptest::prelude::*;
use reverie_core::mesh::crypto::{Decapsulator, Signer};
use reverie_core::mesh::envelope::{EnvelopeError, parse, seal, signed_attributes};

use crate::hosts::{ATTRIBUTES, CONTENT, CONTENT_TYPE, Hosts, KEM, MAX, SIGNED, SIGNER, SIGNERS, bend_inside, sign_again};
use crate::tree::{Tree, constructed, primitive};

const ID_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const SIGNING_TIME: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x05];

fn is_malformed(result: Result<Vec<u8>, EnvelopeError>) -> bool {
    matches!(result, Err(EnvelopeError::Malformed(_)))
}

#[test]
fn what_was_sealed_opens() {
    let hosts = Hosts::new();
    for length in [0, 1, 15, 16, 17, 1000, 1 << 20] {
        let plain = vec![0x5a; length];
        let message = hosts.sealed(&plain);
        assert_eq!(hosts.opened(&message).unwrap(), plain);
        assert!(message.len() - length < 1640, "{} bytes around {length}", message.len() - length);
    }
}

#[test]
fn the_same_message_is_read_by_the_types_of_another_library() {
    use cms::cert::x509::der::{Decode, asn1::OctetString};
    use cms::{content_info::ContentInfo, enveloped_data::EnvelopedData, kemri::KemRecipientInfo, signed_data::SignedData};
    let hosts = Hosts::new();
    let message = ContentInfo::from_der(&hosts.sealed(b"hello")).unwrap();
    let signed: SignedData = message.content.decode_as().unwrap();
    let signer = &signed.signer_infos.0.as_slice()[0];
    assert!(signed.certificates.is_none() && signed.crls.is_none() && signer.signed_attrs.as_ref().unwrap().len() == 2);
    let content: OctetString = signed.encap_content_info.econtent.unwrap().decode_as().unwrap();
    let enveloped = EnvelopedData::from_der(content.as_bytes()).unwrap();
    let cms::enveloped_data::RecipientInfo::Ori(ori) = &enveloped.recip_infos.0.as_slice()[0] else { panic!() };
    let kem: KemRecipientInfo = ori.ori_value.decode_as().unwrap();
    assert_eq!((kem.kek_length, kem.ukm, kem.encrypted_key.as_bytes().len()), (32, None, 40));
}

#[test]
fn an_embedded_certificate_is_refused() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    let certificate = constructed(0x30, &[primitive(0x02, &[1])]);
    // Between content and signers; certificates are [0], revocation lists [1].
    for tag in [0xa0, 0xa1] {
        let mut bent = message.clone();
        bent.at(&SIGNED).children.insert(3, constructed(tag, std::slice::from_ref(&certificate)));
        assert!(is_malformed(hosts.opened(&bent.to_der())), "{tag:x}");
    }
    assert!(hosts.opened(&message.to_der()).is_ok());
    // Nor in the originator's corner of the EnvelopedData.
    let inside = constructed(0xa0, &[constructed(0xa0, &[certificate])]);
    let bent = bend_inside(&hosts, &message.to_der(), |tree| tree.children.insert(1, inside));
    assert_eq!(hosts.opened(&bent), Err(EnvelopeError::Unopenable));
    message.at(&SIGNED).children.remove(3);
    assert!(is_malformed(hosts.opened(&message.to_der())));
}

#[test]
fn a_second_signer_is_refused() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    let mut other = message.clone();
    sign_again(&mut other, &hosts.mallory);
    let second = other.at(&SIGNER).clone();
    message.at(&SIGNERS).children.push(second);
    assert!(is_malformed(hosts.opened(&message.to_der())));
    message.at(&SIGNERS).children.clear();
    assert!(is_malformed(hosts.opened(&message.to_der())));
}

#[test]
fn content_that_is_not_enveloped_data_is_refused() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    message.at(&CONTENT_TYPE).bytes = ID_DATA.to_vec();
    assert!(is_malformed(hosts.opened(&message.to_der())));
}

#[test]
fn a_signed_content_type_that_is_another_is_refused() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    message.at(&ATTRIBUTES).children[0].children[1].children[0].bytes = ID_DATA.to_vec();
    sign_attributes(&mut message, &hosts);
    assert!(is_malformed(hosts.opened(&message.to_der())));
}

/// Alice signs the attributes as they are.
fn sign_attributes(message: &mut Tree, hosts: &Hosts) {
    let mut attributes = message.at(&ATTRIBUTES).clone();
    attributes.tag = 0x31;
    message.at(&SIGNER).children[5].bytes = hosts.alice.sign_der(&attributes.to_der()).unwrap();
}

#[test]
fn missing_signed_attributes_are_refused() {
    let hosts = Hosts::new();
    let message = Tree::of(&hosts.sealed(b"hello"));
    // Without any, the signature is over the content itself (RFC 5652 §5.4): what looks like attributes could be content.
    let mut bare = message.clone();
    let content = bare.at(&CONTENT).bytes.clone();
    bare.at(&SIGNER).children[5].bytes = hosts.alice.sign_der(&content).unwrap();
    bare.at(&SIGNER).children.remove(3);
    assert!(is_malformed(hosts.opened(&bare.to_der())));
    for attribute in [0, 1] {
        let mut one = message.clone();
        one.at(&ATTRIBUTES).children.remove(attribute);
        sign_attributes(&mut one, &hosts);
        assert!(is_malformed(hosts.opened(&one.to_der())), "{attribute}");
    }
}

#[test]
fn a_doubled_or_unknown_signed_attribute_is_refused_and_a_signing_time_is_not() {
    let hosts = Hosts::new();
    let message = Tree::of(&hosts.sealed(b"hello"));
    for attribute in [0, 1] {
        let mut twice = message.clone();
        let again = twice.at(&ATTRIBUTES).children[attribute].clone();
        twice.at(&ATTRIBUTES).children.push(again);
        sign_attributes(&mut twice, &hosts);
        assert!(is_malformed(hosts.opened(&twice.to_der())), "{attribute}");
    }
    let with = |kind: &[u8]| {
        let mut message = message.clone();
        let time = constructed(0x31, &[primitive(0x17, b"260101000000Z")]);
        message.at(&ATTRIBUTES).children.insert(1, constructed(0x30, &[primitive(0x06, kind), time]));
        sign_attributes(&mut message, &hosts);
        hosts.opened(&message.to_der())
    };
    assert_eq!(with(&SIGNING_TIME).unwrap(), b"hello");
    assert!(is_malformed(with(&[0x2a, 0x03])));
}

#[test]
fn unsigned_attributes_are_refused() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    message.at(&SIGNER).children.push(constructed(0xa1, &[]));
    assert!(is_malformed(hosts.opened(&message.to_der())));
}

#[test]
fn a_kek_length_that_does_not_fit_the_wrap_algorithm_is_refused() {
    let hosts = Hosts::new();
    let message = hosts.sealed(b"hello");
    for length in [&[16][..], &[24], &[0], &[0x01, 0x00]] {
        let bent = bend_inside(&hosts, &message, |inside| inside.at(&KEM).children[5].bytes = length.to_vec());
        assert_eq!(hosts.opened(&bent), Err(EnvelopeError::Unopenable), "{length:?}");
    }
    assert!(hosts.opened(&bend_inside(&hosts, &message, |_| ())).is_ok());
}

#[test]
fn other_algorithms_versions_and_keying_material_are_refused() {
    let hosts = Hosts::new();
    let message = hosts.sealed(b"hello");
    // ML-KEM-512, HKDF with SHA-512, AES-128 wrap, AES-128-CBC by their last byte; versions; ukm; a second recipient.
    type Bend = fn(&mut Tree);
    let bends: [(&str, Bend); 8] = [
        ("kem", |inside| inside.at(&KEM).children[2].children[0].bytes[8] = 1),
        ("kdf", |inside| inside.at(&KEM).children[4].children[0].bytes[10] = 30),
        ("wrap", |inside| inside.at(&KEM).children[6].children[0].bytes[8] = 5),
        ("cipher", |inside| inside.at(&[2, 1]).children[0].bytes[8] = 2),
        ("version", |inside| inside.at(&[0]).bytes[0] = 2),
        ("KEM version", |inside| inside.at(&KEM).children[0].bytes[0] = 1),
        ("ukm", |inside| inside.at(&KEM).children.insert(6, constructed(0xa0, &[primitive(0x04, b"x")]))),
        ("second recipient", |inside| {
            let again = inside.at(&[1]).children[0].clone();
            inside.at(&[1]).children.push(again);
        }),
    ];
    for (what, bend) in bends {
        assert_eq!(hosts.opened(&bend_inside(&hosts, &message, bend)), Err(EnvelopeError::Unopenable), "{what}");
    }
}

#[test]
fn a_message_signed_anew_by_another_is_not_by_the_sender() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    sign_again(&mut message, &hosts.mallory);
    assert_eq!(hosts.opened(&message.to_der()), Err(EnvelopeError::BadSignature));
    // As Mallory's it is right, and opens: that Alice wrote it is said inside, and is checked there.
    assert!(hosts.opened_as_from(&message.to_der(), &hosts.mallory).is_ok());
    // With Alice's name on Mallory's signature.
    message.at(&SIGNER).children[1].bytes = hosts.alice.public_key().kid().0.to_vec();
    assert_eq!(hosts.opened(&message.to_der()), Err(EnvelopeError::BadSignature));
}

#[test]
fn nothing_is_decrypted_before_the_signature_was_verified() {
    let hosts = Hosts::new();
    let mut message = Tree::of(&hosts.sealed(b"hello"));
    // Damaged both inside and in its digest: what is told is the signature.
    let last = message.at(&CONTENT).bytes.len() - 1;
    message.at(&CONTENT).bytes[last] ^= 1;
    assert_eq!(hosts.opened(&message.to_der()), Err(EnvelopeError::BadSignature));
    message.at(&CONTENT).bytes = b"not DER at all".to_vec();
    assert_eq!(hosts.opened(&message.to_der()), Err(EnvelopeError::BadSignature));
}

#[test]
fn every_failure_after_the_signature_is_the_same() {
    let hosts = Hosts::new();
    let message = hosts.sealed(b"hello");
    type Bend = fn(&mut Tree);
    let bends: [(&str, Bend); 5] = [
        ("KEM ciphertext", |inside| inside.at(&KEM).children[3].bytes[0] ^= 1),
        ("wrapped key", |inside| inside.at(&KEM).children[7].bytes[0] ^= 1),
        ("padding", |inside| *inside.at(&[2, 2]).bytes.last_mut().unwrap() ^= 1),
        ("length", |inside| inside.at(&[2, 2]).bytes.truncate(15)),
        ("IV", |inside| inside.at(&[2, 1, 1]).bytes.truncate(15)),
    ];
    for (what, bend) in bends {
        assert_eq!(hosts.opened(&bend_inside(&hosts, &message, bend)), Err(EnvelopeError::Unopenable), "{what}");
    }
    let to_mallory = seal(&hosts.ops, &hosts.alice, hosts.mallory_kem.public_key(), b"hello").unwrap();
    assert_eq!(hosts.opened(&to_mallory), Err(EnvelopeError::Unopenable));
}

#[test]
fn a_truncated_message_is_refused_wherever_it_is_cut() {
    let hosts = Hosts::new();
    let message = hosts.sealed(b"hello");
    for length in 0..message.len() {
        assert!(is_malformed(hosts.opened(&message[..length])), "{length}");
    }
}

#[test]
fn trailing_bytes_are_refused_outside_and_inside() {
    let hosts = Hosts::new();
    let message = hosts.sealed(b"hello");
    assert!(is_malformed(hosts.opened(&[&message[..], &[0]].concat())));
    let mut tree = Tree::of(&message);
    tree.at(&CONTENT).bytes.push(0);
    sign_again(&mut tree, &hosts.alice);
    assert_eq!(hosts.opened(&tree.to_der()), Err(EnvelopeError::Unopenable));
}

#[test]
fn ber_of_indefinite_length_is_refused() {
    let hosts = Hosts::new();
    let message = Tree::of(&hosts.sealed(b"hello"));
    assert!(is_malformed(hosts.opened(&message.to_indefinite_ber())));
    // And a length that is not the shortest.
    let mut der = message.to_der();
    assert_eq!(der[1], 0x82);
    der.splice(1..2, [0x83, 0x00]);
    assert!(is_malformed(hosts.opened(&der)));
}

#[test]
fn a_message_larger_than_allowed_is_refused_unread() {
    let hosts = Hosts::new();
    let message = hosts.sealed(b"hello");
    assert_eq!(parse(&message, message.len() - 1).unwrap_err(), EnvelopeError::TooLarge);
    assert!(parse(&message, message.len()).is_ok());
    assert_eq!(parse(&vec![0xff; MAX + 1], MAX).unwrap_err(), EnvelopeError::TooLarge);
}

#[test]
fn what_the_keeper_signs_is_der_in_order() {
    let attributes = Tree::of(&signed_attributes(&[9; 32]));
    let encoded: Vec<_> = attributes.children.iter().map(Tree::to_der).collect();
    assert!(encoded.is_sorted() && attributes.to_der() == signed_attributes(&[9; 32]));
}

proptest! {
    #[test]
    fn one_changed_bit_is_always_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let hosts = Hosts::new();
        let mut message = hosts.sealed(b"hello");
        let at = at.index(message.len());
        message[at] ^= 1u8 << bit;
        prop_assert!(hosts.opened(&message).is_err());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes, MAX);
    }
}
