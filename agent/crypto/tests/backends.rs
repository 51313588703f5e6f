//! What one backend makes the other opens and verifies.

use proptest::prelude::*;
use reverie_core::mesh::crypto::{
    BadSignature, CryptoFailure, Decapsulator, KemPublicKey, PublicOperations, Signer, SigningPublicKey,
};
use reverie_core::mesh::envelope::{content_key, parse, seal};
use reverie_crypto::aws::{self, Aws};
use reverie_crypto::pure::{self, Pure};
use reverie_crypto::{KeyError, file};

struct Backend {
    name: &'static str,
    ops: Box<dyn PublicOperations>,
    signer: Box<dyn Signer>,
    kem: Box<dyn Decapsulator>,
}

/// Both, with the same two keys.
fn backends(seed: [u8; 32]) -> [Backend; 2] {
    let ops = Pure::from_seed(seed);
    let (signer, kem) = (pure::SigningKey::generate(&ops).unwrap(), pure::KemKey::generate(&ops));
    let der = signer.to_pkcs8_der().unwrap();
    let aws = Backend {
        name: "aws",
        ops: Box::new(Aws),
        signer: Box::new(aws::SigningKey::from_pkcs8_der(&der).unwrap()),
        kem: Box::new(aws::KemKey::from_seed(kem.seed()).unwrap()),
    };
    [Backend { name: "pure", ops: Box::new(ops), signer: Box::new(signer), kem: Box::new(kem) }, aws]
}

/// Each way round, with itself too.
fn pairs(backends: &[Backend; 2]) -> impl Iterator<Item = (&Backend, &Backend)> {
    backends.iter().flat_map(|maker| backends.iter().map(move |reader| (maker, reader)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_backend_opens_what_the_other_sealed(seed: [u8; 32], plain in prop::collection::vec(any::<u8>(), 0..3000)) {
        let backends = backends(seed);
        for (maker, reader) in pairs(&backends) {
            let message = seal(&*maker.ops, &*maker.signer, reader.kem.public_key(), &plain).unwrap();
            let verified = parse(&message, 1 << 20).unwrap().verify(&*reader.ops, maker.signer.public_key()).unwrap();
            prop_assert_eq!(verified.kem_kid(), reader.kem.public_key().kid());
            let key = content_key(&*reader.ops, &*reader.kem, verified.kem_ciphertext(), verified.wrapped_key()).unwrap();
            prop_assert_eq!(&*verified.open(&*reader.ops, &key).unwrap(), &plain, "{} to {}", maker.name, reader.name);
        }
    }

    #[test]
    fn each_backend_verifies_what_the_other_signed(seed: [u8; 32], message in prop::collection::vec(any::<u8>(), 0..300)) {
        let backends = backends(seed);
        for (maker, reader) in pairs(&backends) {
            let key = maker.signer.public_key();
            let mut signature = maker.signer.sign(&message).unwrap();
            let der = maker.signer.sign_der(&message).unwrap();
            prop_assert_eq!(reader.ops.verify(key, &message, &signature), Ok(()));
            prop_assert_eq!(reader.ops.verify_der(key, &message, &der), Ok(()));
            let longer = [&message[..], &[0]].concat();
            prop_assert_eq!(reader.ops.verify(key, &longer, &signature), Err(BadSignature));
            prop_assert_eq!(reader.ops.verify_der(key, &longer, &der), Err(BadSignature));
            prop_assert_eq!(reader.ops.verify_der(key, &message, &[&der[..], &[0]].concat()), Err(BadSignature));
            signature[40] ^= 1;
            prop_assert_eq!(reader.ops.verify(key, &message, &signature), Err(BadSignature));
        }
    }

    #[test]
    fn the_primitives_agree(seed: [u8; 32], secret: [u8; 32], key: [u8; 32], iv: [u8; 16], data in prop::collection::vec(any::<u8>(), 0..300)) {
        let [pure, aws] = backends(seed);
        prop_assert_eq!(&*pure.ops.hkdf(&secret, &data).unwrap(), &*aws.ops.hkdf(&secret, &data).unwrap());
        prop_assert_eq!(pure.ops.wrap(&secret, &key), aws.ops.wrap(&secret, &key));
        prop_assert_eq!(pure.ops.encrypt(&key, &iv, &data), aws.ops.encrypt(&key, &iv, &data));
        prop_assert_eq!(pure.signer.public_key(), aws.signer.public_key());
        prop_assert!(pure.kem.public_key() == aws.kem.public_key());
        // A ciphertext that nobody made: both give the same secret, which nobody knows (FIPS 203 §7.3).
        let mut forged = [0; 1088];
        pure.ops.random(&mut forged).unwrap();
        prop_assert_eq!(&*pure.kem.decapsulate(&forged).unwrap(), &*aws.kem.decapsulate(&forged).unwrap());
    }
}

#[test]
fn both_backends_refuse_what_is_damaged() {
    for Backend { name, ops, .. } in backends([7; 32]) {
        let wrapped = ops.wrap(&[1; 32], &[2; 32]).unwrap();
        assert_eq!(*ops.unwrap(&[1; 32], &wrapped).unwrap(), [2; 32]);
        let mut damaged = wrapped;
        damaged[39] ^= 1;
        assert_eq!(ops.unwrap(&[1; 32], &damaged).unwrap_err(), CryptoFailure, "{name}");
        let cipher = ops.encrypt(&[1; 32], &[2; 16], b"sixteen bytes !!").unwrap();
        assert_eq!(cipher.len(), 32);
        for bad in [&cipher[..16], &cipher[..31], &[]] {
            assert!(ops.decrypt(&[1; 32], &[2; 16], bad).is_err(), "{name}");
        }
        // Not reduced modulo q (FIPS 203 §7.2), and not on the curve.
        assert!(ops.encapsulate(&KemPublicKey(Box::new([0xff; 1184]))).is_err(), "{name}");
        let mut point = [4; 65];
        point[64] = 5;
        assert!(ops.verify(&SigningPublicKey(point), b"", &[1; 64]).is_err(), "{name}");
    }
}

#[test]
fn keys_go_to_files_and_come_back() {
    let ops = Pure::from_seed([9; 32]);
    let made = aws::SigningKey::generate().unwrap();
    let pem = file::private_to_pem(&made.to_pkcs8_der().unwrap());
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let der = file::private_from(pem.as_bytes()).unwrap();
    assert_eq!(der.len(), 138);
    let read = pure::SigningKey::from_pkcs8_der(&der).unwrap();
    assert_eq!((read.public_key(), &*read.to_pkcs8_der().unwrap()), (made.public_key(), &*der));

    let made = pure::KemKey::generate(&ops);
    let der = made.to_pkcs8_der();
    assert_eq!((der.len(), &*file::private_from(&der).unwrap()), (86, &*der));
    let read = aws::KemKey::from_pkcs8_der(&der).unwrap();
    assert!(read.public_key() == made.public_key() && read.seed() == made.seed());

    let (signing, kem) = (pure::SigningKey::generate(&ops).unwrap(), aws::KemKey::generate().unwrap());
    let pem = file::public_to_pem(&signing.public_key().to_spki_der());
    assert_eq!(file::signing_public_from(pem.as_bytes()).unwrap(), *signing.public_key());
    assert!(file::kem_public_from(pem.as_bytes()).is_err());
    let pem = file::public_to_pem(&kem.public_key().to_spki_der());
    assert!(file::kem_public_from(pem.as_bytes()).unwrap() == *kem.public_key());
}

#[test]
fn what_is_no_key_is_refused_with_a_reason() {
    assert_eq!(file::private_from(b"hello").unwrap_err().to_string(), "not a private key, PEM or DER of PKCS #8");
    assert_eq!(file::private_from(b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n").ok(), None);
    let signing = pure::SigningKey::generate(&Pure::from_seed([3; 32])).unwrap().to_pkcs8_der().unwrap();
    assert!(matches!(aws::KemKey::from_pkcs8_der(&signing), Err(KeyError::Form(_))));
    let kem = pure::KemKey::from_seed(&[3; 64]).to_pkcs8_der();
    assert!(aws::SigningKey::from_pkcs8_der(&kem).is_err() && pure::SigningKey::from_pkcs8_der(&kem).is_err());
    let trailing = [&kem[..], &[0]].concat();
    assert!(matches!(pure::KemKey::from_pkcs8_der(&trailing), Err(KeyError::Form(_))));
}

#[test]
fn a_private_key_shows_its_name_alone() {
    let ops = Pure::from_seed([5; 32]);
    let kem = pure::KemKey::generate(&ops);
    assert_eq!(format!("{kem:?}"), format!("KemKey({})", kem.public_key().kid()));
    let signing = aws::SigningKey::generate().unwrap();
    assert_eq!(format!("{signing:?} {ops:?}"), format!("SigningKey({}) Pure", signing.public_key().kid()));
}

#[test]
fn the_same_seed_makes_the_same_message() {
    let message = || {
        let ops = Pure::from_seed([5; 32]);
        let (signer, kem) = (pure::SigningKey::generate(&ops).unwrap(), pure::KemKey::generate(&ops));
        seal(&ops, &signer, kem.public_key(), b"again").unwrap()
    };
    assert_eq!(message(), message());
}
