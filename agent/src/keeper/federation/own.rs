//! The bundle of our own trust domain, for others.

use reverie_core::federation::{BundleKeys, own_document};
use reverie_core::jwt::Purpose;
use reverie_core::mesh::crypto::SigningPublicKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::keeper::{Keeper, svid};

/// JSON (SPIFFE Trust Domain and Bundle §4): the same on every host that trusts the same.
pub fn own_bundle(keeper: &Keeper) -> Vec<u8> {
    let issuers = keeper.issuers();
    let certificates = pem::parse_many(&issuers.bundle_pem).unwrap_or_default().into_iter().map(pem::Pem::into_contents);
    let roots = certificates.filter_map(|der| point_of(&der).map(|key| (der, key))).collect();
    let token_keys = Purpose::ALL
        .into_iter()
        .flat_map(|purpose| svid::public_keys(keeper, purpose).into_iter().map(move |key| (purpose, key)));
    own_document(&BundleKeys { roots, token_keys: token_keys.collect() }).to_string().into_bytes()
}

/// Roots of this product are P-256 (`core::ca`).
fn point_of(certificate: &[u8]) -> Option<SigningPublicKey> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    SigningPublicKey::try_from(&*certificate.public_key().subject_public_key.data).ok()
}
