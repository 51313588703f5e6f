//! RustCrypto, with randomness from a seed.

mod keys;

pub use keys::{KemKey, SigningKey};

use std::sync::{Mutex, PoisonError};

use aes::Aes256;
use aes_kw::KwAes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use hkdf::Hkdf;
use ml_kem::ml_kem_768::EncapsulationKey;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use reverie_core::mesh::crypto::{BadSignature, CryptoFailure, KemCiphertext, KemPublicKey, PublicOperations, SigningPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The operations; randomness is ChaCha20's from a seed, so that a simulation can be run again.
pub struct Pure {
    random: Mutex<ChaCha20Rng>,
}

impl Pure {
    /// The same seed gives the same bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { random: Mutex::new(ChaCha20Rng::from_seed(seed)) }
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}

impl std::fmt::Debug for Pure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pure")
    }
}

impl PublicOperations for Pure {
    fn verify(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        verify(key, message, Signature::from_slice(signature))
    }

    fn verify_der(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        verify(key, message, Signature::from_der(signature))
    }

    fn encapsulate(&self, key: &KemPublicKey) -> Result<(Box<KemCiphertext>, Zeroizing<[u8; 32]>), CryptoFailure> {
        let key = EncapsulationKey::new(&(*key.0).into()).map_err(|_| CryptoFailure)?;
        let mut message = Zeroizing::new([0; 32]);
        self.fill(&mut *message);
        let (ciphertext, secret) = key.encapsulate_deterministic(&(*message).into());
        Ok((Box::new(ciphertext.into()), Zeroizing::new(secret.into())))
    }

    fn hkdf(&self, secret: &[u8; 32], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, secret).expand(info, &mut *key).map_err(|_| CryptoFailure)?;
        Ok(key)
    }

    fn wrap(&self, kek: &[u8; 32], key: &[u8; 32]) -> Result<[u8; 40], CryptoFailure> {
        let mut wrapped = [0; 40];
        KwAes256::new(&(*kek).into()).wrap_key(key, &mut wrapped).map_err(|_| CryptoFailure)?;
        Ok(wrapped)
    }

    fn unwrap(&self, kek: &[u8; 32], wrapped: &[u8; 40]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        let mut key = Zeroizing::new([0; 32]);
        KwAes256::new(&(*kek).into()).unwrap_key(wrapped, &mut *key).map_err(|_| CryptoFailure)?;
        Ok(key)
    }

    fn encrypt(&self, key: &[u8; 32], iv: &[u8; 16], plain: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        Ok(cbc::Encryptor::<Aes256>::new(&(*key).into(), &(*iv).into()).encrypt_padded_vec::<Pkcs7>(plain))
    }

    fn decrypt(&self, key: &[u8; 32], iv: &[u8; 16], cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        cbc::Decryptor::<Aes256>::new(&(*key).into(), &(*iv).into())
            .decrypt_padded_vec::<Pkcs7>(cipher)
            .map(Zeroizing::new)
            .map_err(|_| CryptoFailure)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), CryptoFailure> {
        self.fill(bytes);
        Ok(())
    }
}

fn verify<E>(key: &SigningPublicKey, message: &[u8], signature: Result<Signature, E>) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_sec1_bytes(&key.0).map_err(|_| BadSignature)?;
    key.verify(message, &signature.map_err(|_| BadSignature)?).map_err(|_| BadSignature)
}
