//! A host's two keys.

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use reverie_core::mesh::crypto::{CryptoFailure, Decapsulator, KemCiphertext, KemPublicKey, Signer, SigningPublicKey};
use zeroize::Zeroizing;

use super::fixed;
use crate::{KeyError, kem_seed, pkcs8, signature};

/// A P-256 key.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: SigningPublicKey,
}

impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self, CryptoFailure> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| CryptoFailure)?;
        Self::of(pair).ok_or(CryptoFailure)
    }

    /// From PKCS #8.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .ok()
            .and_then(Self::of)
            .ok_or(KeyError::Form("PKCS #8 private key of P-256"))
    }

    fn of(pair: EcdsaKeyPair) -> Option<Self> {
        let public = SigningPublicKey::try_from(pair.public_key().as_ref()).ok()?;
        Some(Self { pair, public })
    }

    /// PKCS #8, with the public key inside.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        Ok(pkcs8::signing_to_der(&*self.secret()?, &self.public))
    }

    /// The private scalar, big-endian.
    pub fn secret(&self) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        let secret: EcPrivateKeyBin<'_> = self.pair.private_key().as_be_bytes().map_err(|_| CryptoFailure)?;
        fixed(secret.as_ref())
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> &SigningPublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoFailure> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| CryptoFailure)?;
        signature.as_ref().try_into().map_err(|_| CryptoFailure)
    }

    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        signature::to_der(&self.sign(message)?)
    }
}

/// An ML-KEM-768 key, kept as its seed and used expanded.
pub struct KemKey {
    seed: Zeroizing<[u8; 64]>,
    // aws-lc cleanses what it frees.
    key: DecapsulationKey,
    public: KemPublicKey,
}

impl KemKey {
    /// A new one.
    pub fn generate() -> Result<Self, CryptoFailure> {
        let mut seed = Zeroizing::new([0; 64]);
        aws_lc_rs::rand::fill(&mut *seed).map_err(|_| CryptoFailure)?;
        Self::from_seed(&seed)
    }

    /// From d ‖ z (FIPS 203 §7.1).
    pub fn from_seed(seed: &[u8; 64]) -> Result<Self, CryptoFailure> {
        let kem_seed::Expanded { expanded, public } = kem_seed::expand(seed);
        let key = DecapsulationKey::new(&ML_KEM_768, &expanded[..]).map_err(|_| CryptoFailure)?;
        Ok(Self { seed: Zeroizing::new(*seed), key, public })
    }

    /// From PKCS #8 that has the seed (RFC 9935 §6).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_seed(&*pkcs8::kem_from_der(der)?).map_err(|_| KeyError::Damaged)
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
        let secret = self.key.decapsulate(Ciphertext::from(&ciphertext[..])).map_err(|_| CryptoFailure)?;
        fixed(secret.as_ref())
    }
}

crate::shown_by_name! { SigningKey KemKey }
