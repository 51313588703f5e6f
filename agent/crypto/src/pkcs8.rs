//! Private keys as PKCS #8 (RFC 5958): P-256 with its public key inside (RFC 5915), ML-KEM-768 as its seed (RFC 9935).

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Sequence, Tag, TagNumber, Tagged};
use reverie_core::mesh::crypto::SigningPublicKey;
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::kem_seed;

const P256_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20,
];
const P256_PUBLIC: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
const ML_KEM_768_HEAD: [u8; 22] = [
    0x30, 0x54, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, 0x02, 0x04, 0x42, 0x80,
    0x40,
];
const ML_KEM_768: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2");
/// The form `seed` (RFC 9935 §6).
const SEED: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };

/// RFC 5958 §2, as far as it is read.
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierRef<'a>,
    key: &'a OctetStringRef,
}

/// RFC 9935 §6, the form `both`.
#[derive(Sequence)]
struct Both<'a> {
    seed: &'a OctetStringRef,
    expanded: &'a OctetStringRef,
}

/// 138 bytes.
pub fn signing_to_der(secret: &[u8; 32], public: &SigningPublicKey) -> Zeroizing<Vec<u8>> {
    joined(&[&P256_HEAD, secret, &P256_PUBLIC, &public.0])
}

/// 86 bytes.
pub fn kem_to_der(seed: &[u8; 64]) -> Zeroizing<Vec<u8>> {
    joined(&[&ML_KEM_768_HEAD, seed])
}

fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // Room for all at once: growing would leave a copy behind.
    let mut der = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

/// The seed of an ML-KEM-768 key, from the forms `seed` and `both`; in the latter the two halves must fit.
pub fn kem_from_der(der: &[u8]) -> Result<Zeroizing<[u8; 64]>, KeyError> {
    let wrong = |_| KeyError::Form("PKCS #8 private key of ML-KEM-768");
    let info = PrivateKeyInfo::from_der(der).map_err(wrong)?;
    if info.version != 0 || info.algorithm.oid != ML_KEM_768 || info.algorithm.parameters.is_some() {
        return Err(KeyError::Form("PKCS #8 private key of ML-KEM-768"));
    }
    let choice = AnyRef::from_der(info.key.as_bytes()).map_err(wrong)?;
    match choice.tag() {
        SEED => seed(choice.value()),
        Tag::Sequence => {
            let both = Both::from_der(info.key.as_bytes()).map_err(wrong)?;
            let seed = seed(both.seed.as_bytes())?;
            if kem_seed::expand(&seed).expanded[..] == *both.expanded.as_bytes() { Ok(seed) } else { Err(KeyError::Damaged) }
        }
        Tag::OctetString => Err(KeyError::NoSeed),
        _ => Err(KeyError::Form("PKCS #8 private key of ML-KEM-768")),
    }
}

fn seed(bytes: &[u8]) -> Result<Zeroizing<[u8; 64]>, KeyError> {
    bytes.try_into().map(Zeroizing::new).map_err(|_| KeyError::Damaged)
}
