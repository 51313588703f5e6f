//! A host's two keys.

use ml_kem::kem::Decapsulate;
use ml_kem::ml_kem_768::DecapsulationKey;
use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as EcdsaKey};
use p256::pkcs8::DecodePrivateKey;
use reverie_core::mesh::crypto::{CryptoFailure, Decapsulator, KemCiphertext, KemPublicKey, Signer, SigningPublicKey};
use zeroize::Zeroizing;

use super::Pure;
use crate::{KeyError, kem_seed, pkcs8, signature};

/// A P-256 key. Its signatures are deterministic (RFC 6979).
pub struct SigningKey {
    key: EcdsaKey,
    public: SigningPublicKey,
}

impl SigningKey {
    /// The next one of that randomness.
    pub fn generate(random: &Pure) -> Result<Self, CryptoFailure> {
        let mut secret = Zeroizing::new([0; 32]);
        loop {
            random.fill(&mut *secret);
            // One in 2^32 is not below the order of the curve.
            if let Ok(key) = EcdsaKey::from_slice(&secret[..]) {
                return Self::of(key).ok_or(CryptoFailure);
            }
        }
    }

    /// From PKCS #8.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        SecretKey::from_pkcs8_der(der)
            .ok()
            .and_then(|key| Self::of(EcdsaKey::from(key)))
            .ok_or(KeyError::Form("PKCS #8 private key of P-256"))
    }

    fn of(key: EcdsaKey) -> Option<Self> {
        let public = SigningPublicKey::try_from(key.verifying_key().to_sec1_point(false).as_bytes()).ok()?;
        Some(Self { key, public })
    }

    /// PKCS #8, with the public key inside.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(self.key.to_bytes().into());
        Ok(pkcs8::signing_to_der(&secret, &self.public))
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> &SigningPublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoFailure> {
        let signature: Signature = self.key.try_sign(message).map_err(|_| CryptoFailure)?;
        Ok(signature.to_bytes().into())
    }

    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        signature::to_der(&self.sign(message)?)
    }
}

/// An ML-KEM-768 key, kept as its seed.
pub struct KemKey {
    seed: Zeroizing<[u8; 64]>,
    key: DecapsulationKey,
    public: KemPublicKey,
}

impl KemKey {
    /// The next one of that randomness.
    pub fn generate(random: &Pure) -> Self {
        let mut seed = Zeroizing::new([0; 64]);
        random.fill(&mut *seed);
        Self::from_seed(&seed)
    }

    /// From d ‖ z (FIPS 203 §7.1).
    pub fn from_seed(seed: &[u8; 64]) -> Self {
        let key = DecapsulationKey::from_seed((*seed).into());
        Self { seed: Zeroizing::new(*seed), public: kem_seed::public(&key), key }
    }

    /// From PKCS #8 that has the seed (RFC 9935 §6).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        pkcs8::kem_from_der(der).map(|seed| Self::from_seed(&seed))
    }

    /// PKCS #8, the seed alone.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        pkcs8::kem_to_der(&self.seed)
    }

    /// d ‖ z.
    pub fn seed(&self) -> &[u8; 64] {
        &self.seed
    }
}

impl Decapsulator for KemKey {
    fn public_key(&self) -> &KemPublicKey {
        &self.public
    }

    fn decapsulate(&self, ciphertext: &KemCiphertext) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        Ok(Zeroizing::new(self.key.decapsulate(&(*ciphertext).into()).into()))
    }
}

crate::shown_by_name! { SigningKey KemKey }
