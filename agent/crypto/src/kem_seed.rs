//! What an ML-KEM-768 seed stands for (FIPS 203 §7.1). aws-lc-rs takes expanded keys only and gives no seed back, so the
//! seed is what is kept, and the key is expanded from it when it is loaded (some 70 µs).

use ml_kem::kem::KeyExport;
use ml_kem::ml_kem_768::DecapsulationKey;
use reverie_core::mesh::crypto::KemPublicKey;
use zeroize::Zeroizing;

/// A key in the form that FIPS 203 calls dk and ek.
pub struct Expanded {
    pub expanded: Zeroizing<[u8; 2400]>,
    pub public: KemPublicKey,
}

pub fn expand(seed: &[u8; 64]) -> Expanded {
    let key = DecapsulationKey::from_seed((*seed).into());
    #[allow(deprecated, reason = "aws-lc-rs takes no other form; it is never stored")]
    let expanded: Zeroizing<[u8; 2400]> = Zeroizing::new(ml_kem::ExpandedKeyEncoding::to_expanded_bytes(&key).into());
    Expanded { expanded, public: public(&key) }
}

pub fn public(key: &DecapsulationKey) -> KemPublicKey {
    let bytes: [u8; 1184] = key.encapsulation_key().to_bytes().into();
    KemPublicKey(Box::new(bytes))
}
