//! aws-lc, by aws-lc-rs.

mod keys;

pub use keys::{KemKey, SigningKey};

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::kem::{EncapsulationKey, ML_KEM_768};
use aws_lc_rs::key_wrap::{AES_256 as WRAP_256, AesKek, KeyWrap};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use reverie_core::mesh::crypto::{BadSignature, CryptoFailure, KemCiphertext, KemPublicKey, PublicOperations, SigningPublicKey};
use zeroize::Zeroizing;

/// The operations; randomness is the system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Aws;

fn failure(_: Unspecified) -> CryptoFailure {
    CryptoFailure
}

impl PublicOperations for Aws {
    fn verify(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.0).verify(message, signature).map_err(|_| BadSignature)
    }

    fn verify_der(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.0).verify(message, signature).map_err(|_| BadSignature)
    }

    fn encapsulate(&self, key: &KemPublicKey) -> Result<(Box<KemCiphertext>, Zeroizing<[u8; 32]>), CryptoFailure> {
        let key = EncapsulationKey::new(&ML_KEM_768, &key.0[..]).map_err(|_| CryptoFailure)?;
        let (ciphertext, secret) = key.encapsulate().map_err(failure)?;
        let ciphertext = KemCiphertext::try_from(ciphertext.as_ref()).map_err(|_| CryptoFailure)?;
        Ok((Box::new(ciphertext), fixed(secret.as_ref())?))
    }

    fn hkdf(&self, secret: &[u8; 32], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        let mut key = Zeroizing::new([0; 32]);
        let prk = Salt::new(HKDF_SHA256, &[]).extract(secret);
        prk.expand(&[info], HKDF_SHA256).map_err(failure)?.fill(&mut *key).map_err(failure)?;
        Ok(key)
    }

    fn wrap(&self, kek: &[u8; 32], key: &[u8; 32]) -> Result<[u8; 40], CryptoFailure> {
        let mut wrapped = [0; 40];
        AesKek::new(&WRAP_256, kek).map_err(failure)?.wrap(key, &mut wrapped).map_err(failure)?;
        Ok(wrapped)
    }

    fn unwrap(&self, kek: &[u8; 32], wrapped: &[u8; 40]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        let mut key = Zeroizing::new([0; 32]);
        AesKek::new(&WRAP_256, kek).map_err(failure)?.unwrap(wrapped, &mut *key).map_err(failure)?;
        Ok(key)
    }

    fn encrypt(&self, key: &[u8; 32], iv: &[u8; 16], plain: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        // Room for the padding, so that it is not moved, and a copy of the plaintext left behind.
        let mut bytes = Vec::with_capacity(plain.len() + 16);
        bytes.extend_from_slice(plain);
        let key = UnboundCipherKey::new(&AES_256, key).and_then(PaddedBlockEncryptingKey::cbc_pkcs7).map_err(failure)?;
        let context = EncryptionContext::Iv128(FixedLength::from(*iv));
        key.less_safe_encrypt(&mut bytes, context).map_err(failure)?;
        Ok(bytes)
    }

    fn decrypt(&self, key: &[u8; 32], iv: &[u8; 16], cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        let mut bytes = Zeroizing::new(cipher.to_vec());
        let key = UnboundCipherKey::new(&AES_256, key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7).map_err(failure)?;
        let context = DecryptionContext::Iv128(FixedLength::from(*iv));
        let length = key.decrypt(&mut bytes, context).map_err(failure)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), CryptoFailure> {
        aws_lc_rs::rand::fill(bytes).map_err(failure)
    }
}

fn fixed(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
    bytes.try_into().map(Zeroizing::new).map_err(|_| CryptoFailure)
}
