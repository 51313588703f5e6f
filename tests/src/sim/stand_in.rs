//! Cheap stand-ins for signatures: the real ones take three hundred times as long, and these runs are not about them.
//!
//! What is refused is the same: a signature that is not by that key over that message. A forger here has no other way than
//! the one real forgers have, to sign with a key of its own.

use reverie_core::mesh::crypto::{
    BadSignature, CryptoFailure, KemCiphertext, KemPublicKey, PublicOperations, Signer, SigningPublicKey,
};
use sha2::{Digest, Sha256};

/// A key pair. The secret is what `sign` is called on; the public key does not give it away within these rules.
#[derive(Debug, Clone)]
pub struct Key(SigningPublicKey);

impl Key {
    pub fn of(owner: &str, generation: u32) -> Self {
        let mut point = [4; 65];
        for (part, half) in point[1..].chunks_exact_mut(32).enumerate() {
            half.copy_from_slice(&Sha256::digest(format!("{owner} {generation} {part}")));
        }
        Self(SigningPublicKey(point))
    }
}

fn signature(key: &SigningPublicKey, message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    let digest = Sha256::new().chain_update(key.0).chain_update(message).finalize();
    signature[..32].copy_from_slice(&digest);
    signature[32..].copy_from_slice(&digest);
    signature
}

impl Signer for Key {
    fn public_key(&self) -> &SigningPublicKey {
        &self.0
    }
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoFailure> {
        Ok(signature(&self.0, message))
    }
    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        Ok(signature(&self.0, message).to_vec())
    }
}

#[derive(Debug)]
pub struct Operations;

impl PublicOperations for Operations {
    fn verify(&self, key: &SigningPublicKey, message: &[u8], by: &[u8; 64]) -> Result<(), BadSignature> {
        if signature(key, message) == *by { Ok(()) } else { Err(BadSignature) }
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
