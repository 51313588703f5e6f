//! Public keys in certificates and as SubjectPublicKeyInfo (RFC 5480, RFC 9935).

use reverie_core::mesh::crypto::{KemPublicKey, SigningPublicKey};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer, X509Certificate};

/// SubjectPublicKeyInfo of a P-256 key, up to the point.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SubjectPublicKeyInfo of an ML-KEM-768 key, up to the key.
const ML_KEM_768_SPKI: [u8; 22] = [
    0x30, 0x82, 0x04, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, 0x02, 0x03, 0x82, 0x04, 0xa1,
    0x00,
];

/// The P-256 key that a certificate carries; `None` for any other kind of key, or none.
pub fn signing_key_of(certificate: &[u8]) -> Option<SigningPublicKey> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let info = certificate.public_key();
    let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
    (info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256)
        .then(|| SigningPublicKey::try_from(&*info.subject_public_key.data).ok())
        .flatten()
}

/// The P-256 key in a SubjectPublicKeyInfo, DER.
pub fn signing_key_from_spki(der: &[u8]) -> Option<SigningPublicKey> {
    SigningPublicKey::try_from(der.strip_prefix(&P256_SPKI)?).ok()
}

/// DER.
pub fn kem_spki(key: &KemPublicKey) -> Vec<u8> {
    [&ML_KEM_768_SPKI[..], &key.0[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_certificate_and_another_kind_of_key_is_none() {
        let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example.org".to_owned()]).unwrap();
        let certificate = params.self_signed(&p256).unwrap();
        let key = signing_key_of(certificate.der()).unwrap();
        assert_eq!(signing_key_from_spki(&rcgen::PublicKeyData::subject_public_key_info(&p256)), Some(key));

        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert_eq!(signing_key_of(params.self_signed(&other).unwrap().der()), None);
        assert_eq!(signing_key_of(b"nonsense"), None);
    }

    #[test]
    fn the_lengths_in_an_encoded_kem_key_fit() {
        let der = kem_spki(&KemPublicKey(Box::new([7; 1184])));
        let (rest, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(info.subject_public_key.data.len(), 1184);
        assert_eq!(info.algorithm.algorithm.to_id_string(), "2.16.840.1.101.3.4.4.2");
    }
}
