//! Public keys as SubjectPublicKeyInfo, DER (RFC 5480 §2, RFC 9935 §4): the form in which hosts register them. DER has one
//! spelling, and these keys have one length, so each is a fixed head and the key.

use super::crypto::{InvalidKey, KemPublicKey, SigningPublicKey};

/// SEQUENCE { SEQUENCE { id-ecPublicKey, secp256r1 }, BIT STRING.
const SIGNING: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SEQUENCE { SEQUENCE { id-alg-ml-kem-768 }, BIT STRING.
const KEM: [u8; 22] = [
    0x30, 0x82, 0x04, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, 0x02, 0x03, 0x82, 0x04, 0xa1,
    0x00,
];

/// The form of a signing key.
pub fn of_signing(key: &SigningPublicKey) -> Vec<u8> {
    [&SIGNING[..], &key.0].concat()
}

/// The form of a KEM key.
pub fn of_kem(key: &KemPublicKey) -> Vec<u8> {
    [&KEM[..], &key.0[..]].concat()
}

/// Reads a P-256 key.
pub fn signing(der: &[u8]) -> Result<SigningPublicKey, InvalidKey> {
    let wrong = InvalidKey { what: "P-256 public key (SubjectPublicKeyInfo, DER)" };
    der.strip_prefix(&SIGNING).and_then(|point| SigningPublicKey::try_from(point).ok()).ok_or(wrong)
}

/// Reads an ML-KEM-768 key.
pub fn kem(der: &[u8]) -> Result<KemPublicKey, InvalidKey> {
    let wrong = InvalidKey { what: "ML-KEM-768 public key (SubjectPublicKeyInfo, DER)" };
    der.strip_prefix(&KEM).and_then(|key| KemPublicKey::try_from(key).ok()).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_from_their_form_and_from_nothing_else() {
        let mut point = [7; 65];
        point[0] = 4;
        let key = SigningPublicKey(point);
        assert_eq!(signing(&of_signing(&key)), Ok(key.clone()));
        let encapsulation = KemPublicKey(Box::new([9; 1184]));
        assert_eq!(kem(&of_kem(&encapsulation)), Ok(encapsulation.clone()));
        assert!(signing(&of_kem(&encapsulation)).is_err() && kem(&of_signing(&key)).is_err());
        for length in [0, 1, 26, 90] {
            assert!(signing(&of_signing(&key)[..length]).is_err(), "{length}");
        }
        let mut long = of_signing(&key);
        long.push(0);
        assert!(signing(&long).is_err());
    }

    #[test]
    fn the_heads_say_what_der_says() {
        // Lengths: what follows the outer header, and the bit string with its first, unused byte.
        assert_eq!(usize::from(SIGNING[1]), SIGNING.len() - 2 + 65);
        assert_eq!(usize::from(u16::from_be_bytes([KEM[2], KEM[3]])), KEM.len() - 4 + 1184);
        assert_eq!(usize::from(u16::from_be_bytes([KEM[19], KEM[20]])), 1184 + 1);
    }
}
