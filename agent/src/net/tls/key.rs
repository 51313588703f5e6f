//! Public keys in certificates (RFC 5480).

use reverie_core::mesh::crypto::SigningPublicKey;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The P-256 key that a certificate carries; `None` for any other kind of key, or none.
pub fn signing_key_of(certificate: &[u8]) -> Option<SigningPublicKey> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let info = certificate.public_key();
    let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
    (info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256)
        .then(|| SigningPublicKey::try_from(&*info.subject_public_key.data).ok())
        .flatten()
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
        assert_eq!(key.to_spki_der(), rcgen::PublicKeyData::subject_public_key_info(&p256));

        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert_eq!(signing_key_of(params.self_signed(&other).unwrap().der()), None);
        assert_eq!(signing_key_of(b"nonsense"), None);
    }
}
