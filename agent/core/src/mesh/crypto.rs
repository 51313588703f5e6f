//! The primitives the mesh needs. Two backends implement them (crate `reverie-crypto`): aws-lc for production, RustCrypto
//! with injected randomness for simulation and as a cross-check.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A P-256 point, uncompressed (SEC 1 §2.3.3): 65 bytes that begin with 4.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningPublicKey(pub [u8; 65]);

/// An ML-KEM-768 encapsulation key (FIPS 203 §7.2): 1184 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct KemPublicKey(pub Box<[u8; 1184]>);

/// An ML-KEM-768 ciphertext: 1088 bytes.
pub type KemCiphertext = [u8; 1088];

/// Names a key: the leftmost 160 bits of the SHA-256 of its public key bits (RFC 7093 §2, method 1). It is also the
/// subject key identifier in CMS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Kid(#[cbor(with = "minicbor::bytes")] pub [u8; 20]);

impl Kid {
    fn of(public_key: &[u8]) -> Self {
        let mut kid = [0; 20];
        kid.copy_from_slice(&Sha256::digest(public_key)[..20]);
        Self(kid)
    }
}

impl SigningPublicKey {
    /// Its name.
    pub fn kid(&self) -> Kid {
        Kid::of(&self.0)
    }
}

impl KemPublicKey {
    /// Its name.
    pub fn kid(&self) -> Kid {
        Kid::of(&self.0[..])
    }
}

/// A signature that does not fit key and message, or a key that is no point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not by that key over that message")]
pub struct BadSignature;

/// A primitive that failed, without saying how: a wrong key, a damaged ciphertext, no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cryptographic operation failed")]
pub struct CryptoFailure;

/// What needs no secret key.
pub trait PublicOperations: Send + Sync {
    /// ECDSA P-256 with SHA-256 (FIPS 186-5); `signature` is r ‖ s, 64 bytes.
    fn verify(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature>;
    /// The same over a DER signature (RFC 3279 §2.2.3).
    fn verify_der(&self, key: &SigningPublicKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature>;
    /// ML-KEM-768 (FIPS 203): ciphertext and shared secret.
    fn encapsulate(&self, key: &KemPublicKey) -> Result<(Box<KemCiphertext>, zeroize::Zeroizing<[u8; 32]>), CryptoFailure>;
    /// HKDF-SHA-256 (RFC 5869), no salt.
    fn hkdf(&self, secret: &[u8; 32], info: &[u8]) -> Result<zeroize::Zeroizing<[u8; 32]>, CryptoFailure>;
    /// AES-256 key wrap of a 32-byte key (RFC 3394).
    fn wrap(&self, kek: &[u8; 32], key: &[u8; 32]) -> Result<[u8; 40], CryptoFailure>;
    /// The reverse; fails if the integrity check does.
    fn unwrap(&self, kek: &[u8; 32], wrapped: &[u8; 40]) -> Result<zeroize::Zeroizing<[u8; 32]>, CryptoFailure>;
    /// AES-256-CBC with PKCS #7 padding.
    fn encrypt(&self, key: &[u8; 32], iv: &[u8; 16], plain: &[u8]) -> Result<Vec<u8>, CryptoFailure>;
    /// The reverse.
    fn decrypt(&self, key: &[u8; 32], iv: &[u8; 16], cipher: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoFailure>;
    /// Random bytes.
    fn random(&self, bytes: &mut [u8]) -> Result<(), CryptoFailure>;
}

/// A host's signing key.
pub trait Signer: Send + Sync {
    /// Its public half.
    fn public_key(&self) -> &SigningPublicKey;
    /// ECDSA P-256 with SHA-256; r ‖ s.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoFailure>;
    /// The same as DER.
    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, CryptoFailure>;
}

/// A host's decapsulation key.
pub trait Decapsulator: Send + Sync {
    /// Its public half.
    fn public_key(&self) -> &KemPublicKey;
    /// The shared secret; a forged ciphertext gives a random one (implicit rejection, FIPS 203 §7.3).
    fn decapsulate(&self, ciphertext: &KemCiphertext) -> Result<zeroize::Zeroizing<[u8; 32]>, CryptoFailure>;
}

macro_rules! shown_as_hex {
    ($($type:ty: $bytes:expr;)*) => { $(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let bytes: fn(&$type) -> &[u8] = $bytes;
                f.write_str(&data_encoding::HEXLOWER.encode(bytes(self)))
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let bytes: fn(&$type) -> &[u8] = $bytes;
                match serializer.is_human_readable() {
                    true => serializer.collect_str(self),
                    false => serializer.serialize_bytes(bytes(self)),
                }
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                let bytes = match deserializer.is_human_readable() {
                    true => data_encoding::HEXLOWER
                        .decode(String::deserialize(deserializer)?.as_bytes())
                        .map_err(|_| D::Error::custom("not hexadecimal"))?,
                    false => Vec::<u8>::deserialize(deserializer)?,
                };
                Self::try_from(&bytes[..]).map_err(D::Error::custom)
            }
        }
    )* };
}

shown_as_hex! {
    SigningPublicKey: |key| &key.0;
    KemPublicKey: |key| &key.0[..];
    Kid: |kid| &kid.0;
}

/// Bytes of the wrong length or form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: wrong length or form")]
pub struct InvalidKey {
    /// What they were meant to be.
    pub what: &'static str,
}

impl TryFrom<&[u8]> for SigningPublicKey {
    type Error = InvalidKey;
    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        match <[u8; 65]>::try_from(bytes) {
            Ok(point) if point[0] == 4 => Ok(Self(point)),
            _ => Err(InvalidKey { what: "P-256 public key" }),
        }
    }
}

impl TryFrom<&[u8]> for KemPublicKey {
    type Error = InvalidKey;
    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        <Box<[u8; 1184]>>::try_from(bytes.to_vec().into_boxed_slice())
            .map(Self)
            .map_err(|_| InvalidKey { what: "ML-KEM-768 public key" })
    }
}

impl TryFrom<&[u8]> for Kid {
    type Error = InvalidKey;
    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        bytes.try_into().map(Self).map_err(|_| InvalidKey { what: "key id" })
    }
}

impl fmt::Debug for SigningPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningPublicKey({})", self.kid())
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemPublicKey({})", self.kid())
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! cbor_bytes {
    ($($type:ty: $bytes:expr;)*) => { $(
        impl<C> Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                let bytes: fn(&$type) -> &[u8] = $bytes;
                encoder.bytes(bytes(self))?.ok()
            }
        }
        impl<'b, C> Decode<'b, C> for $type {
            fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Self::try_from(decoder.bytes()?).map_err(minicbor::decode::Error::message)
            }
        }
    )* };
}

cbor_bytes! {
    SigningPublicKey: |key| &key.0;
    KemPublicKey: |key| &key.0[..];
}
