//! Cryptography for tests of decisions: fast, and nobody can be taken for another by accident. It resists no attack.

use sha2::{Digest, Sha256};

use super::crypto::{BadSignature, CryptoFailure, KemCiphertext, KemPublicKey, PublicOperations, Signer, SigningPublicKey};

/// A signature is SHA-256 of key and message, twice: enough to tell who signed what.
pub struct Fake(pub SigningPublicKey);

fn mark(key: &SigningPublicKey, message: &[u8]) -> [u8; 64] {
    let hash = Sha256::new().chain_update(key.0).chain_update(message).finalize();
    let mut mark = [0; 64];
    mark[..32].copy_from_slice(&hash);
    mark
}

impl Signer for Fake {
    fn public_key(&self) -> &SigningPublicKey {
        &self.0
    }
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoFailure> {
        Ok(mark(&self.0, message))
    }
    fn sign_der(&self, _: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        Err(CryptoFailure)
    }
}

impl PublicOperations for Fake {
    fn verify(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        if mark(key, message) == *signature { Ok(()) } else { Err(BadSignature) }
    }
    fn verify_der(&self, _: &SigningPublicKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Err(BadSignature)
    }
    fn encapsulate(&self, _: &KemPublicKey) -> Result<(Box<KemCiphertext>, zeroize::Zeroizing<[u8; 32]>), CryptoFailure> {
        Err(CryptoFailure)
    }
    fn hkdf(&self, _: &[u8; 32], _: &[u8]) -> Result<zeroize::Zeroizing<[u8; 32]>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn wrap(&self, _: &[u8; 32], _: &[u8; 32]) -> Result<[u8; 40], CryptoFailure> {
        Err(CryptoFailure)
    }
    fn unwrap(&self, _: &[u8; 32], _: &[u8; 40]) -> Result<zeroize::Zeroizing<[u8; 32]>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn encrypt(&self, _: &[u8; 32], _: &[u8; 16], _: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn decrypt(&self, _: &[u8; 32], _: &[u8; 16], _: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoFailure> {
        Err(CryptoFailure)
    }
    fn random(&self, _: &mut [u8]) -> Result<(), CryptoFailure> {
        Err(CryptoFailure)
    }
}

/// The key of that byte.
pub fn fake(byte: u8) -> Fake {
    let mut point = [byte; 65];
    point[0] = 4;
    Fake(SigningPublicKey(point))
}
