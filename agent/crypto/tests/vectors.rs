//! What OpenSSL 4 made: `tests/vectors/envelope/make.sh` says how.

use std::path::Path;

use reverie_core::mesh::crypto::{Decapsulator, PublicOperations};
use reverie_core::mesh::envelope::{content_key, parse};
use reverie_crypto::aws::{self, Aws};
use reverie_crypto::pure::{self, Pure};
use reverie_crypto::{KeyError, file};

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/envelope").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn open(message: &[u8], ops: &dyn PublicOperations, key: &dyn Decapsulator) -> Vec<u8> {
    let signer = file::signing_public_from(&read("signer.pub")).unwrap();
    let parsed = parse(message, 1 << 20).unwrap();
    assert_eq!(parsed.signer(), signer.kid());
    let verified = parsed.verify(ops, &signer).unwrap();
    assert_eq!(verified.kem_kid(), key.public_key().kid());
    let cek = content_key(ops, key, verified.kem_ciphertext(), verified.wrapped_key()).unwrap();
    verified.open(ops, &cek).unwrap().to_vec()
}

pub(crate) fn open_all() {
    let der = file::private_from(&read("kem.key")).unwrap();
    let (aws, pure) = (aws::KemKey::from_pkcs8_der(&der).unwrap(), pure::KemKey::from_pkcs8_der(&der).unwrap());
    let public = file::kem_public_from(&read("kem.pub")).unwrap();
    assert!(*aws.public_key() == public && *pure.public_key() == public);
    for name in ["message.pem", "message-with-signing-time.pem"] {
        let message = der::pem::decode_vec(&read(name)).unwrap().1;
        assert_eq!(open(&message, &Aws, &aws), read("plaintext.txt"), "{name}");
        assert_eq!(open(&message, &Pure::from_seed([0; 32]), &pure), read("plaintext.txt"), "{name}");
    }
}

#[test]
fn both_backends_open_what_openssl_made() {
    open_all();
}

#[test]
fn openssls_forms_of_the_key_are_read_if_they_have_the_seed() {
    let seed = *aws::KemKey::from_pkcs8_der(&file::private_from(&read("kem.key")).unwrap()).unwrap().seed();
    let both = file::private_from(&read("kem-both.key")).unwrap();
    assert_eq!(*aws::KemKey::from_pkcs8_der(&both).unwrap().seed(), seed);
    let expanded = file::private_from(&read("kem-expanded.key")).unwrap();
    assert_eq!(pure::KemKey::from_pkcs8_der(&expanded).unwrap_err(), KeyError::NoSeed);
    // The seed of one key beside the expansion of another.
    let mut swapped = both.to_vec();
    let at = swapped.windows(64).position(|window| window == seed).unwrap();
    swapped[at] ^= 1;
    assert_eq!(pure::KemKey::from_pkcs8_der(&swapped).unwrap_err(), KeyError::Damaged);
}
