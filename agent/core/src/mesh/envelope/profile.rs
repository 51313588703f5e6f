//! The algorithms of an envelope, and nothing else.

use der::asn1::ObjectIdentifier;
use spki::AlgorithmIdentifierRef;

pub const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
pub const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
pub const ID_ENVELOPED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");
pub const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
pub const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
pub const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
/// RFC 9629 §3.
pub const ID_ORI_KEM: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.13.3");

/// RFC 5754 §2: parameters are absent.
pub const SHA_256: AlgorithmIdentifierRef<'static> = bare("2.16.840.1.101.3.4.2.1");
/// RFC 5754 §3.3.
pub const ECDSA_SHA_256: AlgorithmIdentifierRef<'static> = bare("1.2.840.10045.4.3.2");
/// RFC 9936 §2.
pub const ML_KEM_768: AlgorithmIdentifierRef<'static> = bare("2.16.840.1.101.3.4.4.2");
/// RFC 8619 §3.
pub const HKDF_SHA_256: AlgorithmIdentifierRef<'static> = bare("1.2.840.113549.1.9.16.3.28");
/// RFC 3565 §2.3.2.
pub const AES_256_WRAP: AlgorithmIdentifierRef<'static> = bare("2.16.840.1.101.3.4.1.45");
/// RFC 3565 §2.3.2: bytes of the key that [`AES_256_WRAP`] takes.
pub const AES_256_WRAP_KEY: u16 = 32;
/// RFC 3565 §4.1; the parameter is the IV.
pub const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

const fn bare(oid: &'static str) -> AlgorithmIdentifierRef<'static> {
    AlgorithmIdentifierRef { oid: ObjectIdentifier::new_unwrap(oid), parameters: None }
}
