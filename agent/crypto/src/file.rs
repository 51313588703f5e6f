//! Keys as people and other tools keep them: PEM (RFC 7468) of PKCS #8 and SPKI.

use der::pem::{self, LineEnding};
use reverie_core::mesh::crypto::{KemPublicKey, SigningPublicKey};
use zeroize::Zeroizing;

use crate::KeyError;

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// `PRIVATE KEY`, from what `to_pkcs8_der` of a key gives.
pub fn private_to_pem(der: &[u8]) -> Zeroizing<String> {
    // The label is valid and the length known: it cannot fail.
    Zeroizing::new(pem::encode_string(PRIVATE, LineEnding::LF, der).unwrap_or_default())
}

/// The DER for `from_pkcs8_der` of a key, from PEM or from DER as it is.
pub fn private_from(file: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    der_of(file, PRIVATE).map(Zeroizing::new).ok_or(KeyError::Form("private key, PEM or DER of PKCS #8"))
}

/// `PUBLIC KEY`.
pub fn public_to_pem(spki: &[u8]) -> String {
    pem::encode_string(PUBLIC, LineEnding::LF, spki).unwrap_or_default()
}

/// A signing key from PEM or DER of SPKI.
pub fn signing_public_from(file: &[u8]) -> Result<SigningPublicKey, KeyError> {
    let der = der_of(file, PUBLIC).ok_or(KeyError::Form("public key, PEM or DER of SPKI"))?;
    SigningPublicKey::from_spki_der(&der).map_err(|_| KeyError::Form("public key of P-256, PEM or DER of SPKI"))
}

/// A KEM key from PEM or DER of SPKI.
pub fn kem_public_from(file: &[u8]) -> Result<KemPublicKey, KeyError> {
    let der = der_of(file, PUBLIC).ok_or(KeyError::Form("public key, PEM or DER of SPKI"))?;
    KemPublicKey::from_spki_der(&der).map_err(|_| KeyError::Form("public key of ML-KEM-768, PEM or DER of SPKI"))
}

fn der_of(file: &[u8], label: &str) -> Option<Vec<u8>> {
    if file.first() == Some(&0x30) {
        return Some(file.to_vec());
    }
    match pem::decode_vec(file) {
        Ok((found, der)) if found == label => Some(der),
        _ => None,
    }
}
