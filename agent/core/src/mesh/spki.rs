//! Public keys as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), as they are registered and kept in files.

use super::crypto::{InvalidKey, KemPublicKey, SigningPublicKey};

/// id-ecPublicKey with prime256v1 (RFC 5480), then the point.
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
/// id-alg-ml-kem-768 (RFC 9935 §4), then the key.
const ML_KEM_768_HEAD: [u8; 22] = [
    0x30, 0x82, 0x04, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, 0x02, 0x03, 0x82, 0x04, 0xa1,
    0x00,
];

impl SigningPublicKey {
    /// 91 bytes.
    pub fn to_spki_der(&self) -> Vec<u8> {
        [&P256_HEAD[..], &self.0].concat()
    }

    /// There is one encoding in DER, and only that is taken. That the point is on the curve shows when it is used.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let point = der.strip_prefix(&P256_HEAD).ok_or(InvalidKey { what: "SPKI of P-256" })?;
        Self::try_from(point)
    }
}

impl KemPublicKey {
    /// 1206 bytes.
    pub fn to_spki_der(&self) -> Vec<u8> {
        [&ML_KEM_768_HEAD[..], &self.0[..]].concat()
    }

    /// There is one encoding in DER, and only that is taken. That it is reduced shows when it is used.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let key = der.strip_prefix(&ML_KEM_768_HEAD).ok_or(InvalidKey { what: "SPKI of ML-KEM-768" })?;
        Self::try_from(key)
    }
}
