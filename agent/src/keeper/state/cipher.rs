//! Encryption at rest.
//!
//! ```text
//! root secret ──HKDF──► wrapping key ──AES-256-GCM──► data key (random, stored wrapped)
//! data key ──HKDF "names"──► HMAC key for row keys that are names
//! data key ──HKDF "epoch" + 16 random bytes──► AES-256-GCM key of one run of the agent
//! ```
//! A value is stored as `epoch (16) | counter (8) | ciphertext | tag (16)`. The nonce is the counter, which never repeats
//! within an epoch; every open draws a new epoch, so a store put back from a backup cannot make a nonce repeat.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac, rand};
use zeroize::Zeroizing;

const EPOCH: usize = 16;
const COUNTER: usize = 8;
const PREFIX: usize = EPOCH + COUNTER;
const TAG: usize = 16;
/// Keys of earlier runs that are kept ready.
const EARLIER_KEYS: usize = 32;

type Secret = Zeroizing<[u8; 32]>;

/// Cryptography failed: wrong key or changed bytes, or the library refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CipherError;

impl From<Unspecified> for CipherError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(secret: &[u8; 32], label: &[u8], context: &[u8]) -> Result<Secret, CipherError> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"reverie-store-v1").extract(secret);
    let mut key = Secret::default();
    prk.expand(&[label, context], Length(32))?.fill(&mut key[..])?;
    Ok(key)
}

fn aead(secret: &[u8; 32]) -> Result<LessSafeKey, CipherError> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret)?))
}

/// Fills with random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], CipherError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// The data key, wrapped by the root secret, as it lies in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct WrappedKey {
    /// Fresh for each wrapping; part of the derivation, so that the nonce may be fixed.
    salt: [u8; 16],
    /// Recognises the root secret without the data key: tells a wrong secret from damage.
    check: [u8; 16],
    /// Data key and tag.
    wrapped: Vec<u8>,
}

/// Why a data key cannot be unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnwrapError {
    WrongSecret,
    Damaged,
}

impl WrappedKey {
    /// Wraps `data_key`, bound to the store with that id.
    pub(super) fn wrap(root: &[u8; 32], data_key: &[u8; 32], store_id: &[u8]) -> Result<Self, CipherError> {
        let salt = random::<16>()?;
        let key = aead(&*derive(root, b"wrap", &salt)?)?;
        let mut wrapped = Zeroizing::new(data_key.to_vec());
        wrapped.reserve_exact(TAG);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(store_id), &mut *wrapped)?;
        Ok(Self { salt, check: check_value(root, &salt)?, wrapped: wrapped.to_vec() })
    }

    /// The data key.
    pub(super) fn unwrap(&self, root: &[u8; 32], store_id: &[u8]) -> Result<Secret, UnwrapError> {
        let check = check_value(root, &self.salt).map_err(|_| UnwrapError::Damaged)?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(&check, &self.check).is_err() {
            return Err(UnwrapError::WrongSecret);
        }
        let open = || -> Result<Secret, CipherError> {
            let key = aead(&*derive(root, b"wrap", &self.salt)?)?;
            let mut bytes = Zeroizing::new(self.wrapped.clone());
            let plain = key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::from(store_id), &mut bytes)?;
            Ok(Zeroizing::new((&*plain).try_into().map_err(|_| CipherError)?))
        };
        open().map_err(|_| UnwrapError::Damaged)
    }
}

fn check_value(root: &[u8; 32], salt: &[u8; 16]) -> Result<[u8; 16], CipherError> {
    let key = derive(root, b"check", salt)?;
    let mut check = [0; 16];
    check.copy_from_slice(&key[..16]);
    Ok(check)
}

/// Seals and opens the rows of one store.
pub(super) struct Cipher {
    data_key: Secret,
    names: hmac::Key,
    epoch: [u8; EPOCH],
    key: LessSafeKey,
    counter: AtomicU64,
    earlier: Mutex<Vec<([u8; EPOCH], Arc<LessSafeKey>)>>,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    /// Begins a new epoch.
    pub(super) fn new(data_key: Secret) -> Result<Self, CipherError> {
        let epoch = random()?;
        Ok(Self {
            names: hmac::Key::new(hmac::HMAC_SHA256, &derive(&data_key, b"names", b"")?[..]),
            key: aead(&*derive(&data_key, b"epoch", &epoch)?)?,
            epoch,
            counter: AtomicU64::new(0),
            earlier: Mutex::new(vec![]),
            data_key,
        })
    }

    /// The data key, to wrap it anew.
    pub(super) fn data_key(&self) -> &[u8; 32] {
        &self.data_key
    }

    /// A name's stand-in as a row key.
    pub(super) fn hide(&self, domain: u8, name: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(&[domain]);
        context.update(name);
        let mut hidden = [0; 16];
        hidden.copy_from_slice(&context.sign().as_ref()[..16]);
        hidden
    }

    /// Encrypts; `place` is the table and the key of the row, so that rows cannot be swapped.
    pub(super) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, CipherError> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter >= 1 << 48 {
            return Err(CipherError);
        }
        let mut sealed = Vec::with_capacity(PREFIX + plain.len() + TAG);
        sealed.extend_from_slice(&self.epoch);
        sealed.extend_from_slice(&counter.to_be_bytes());
        sealed.extend_from_slice(plain);
        let tag = self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(place), &mut sealed[PREFIX..])?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Decrypts what [`Cipher::seal`] made for the same place.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let (prefix, body) = sealed.split_at_checked(PREFIX).ok_or(CipherError)?;
        let epoch: [u8; EPOCH] = prefix[..EPOCH].try_into().map_err(|_| CipherError)?;
        let counter = u64::from_be_bytes(prefix[EPOCH..].try_into().map_err(|_| CipherError)?);
        let mut bytes = Zeroizing::new(body.to_vec());
        let length = match epoch == self.epoch {
            true => self.key.open_in_place(nonce(counter), Aad::from(place), &mut bytes)?.len(),
            false => self.earlier_key(epoch)?.open_in_place(nonce(counter), Aad::from(place), &mut bytes)?.len(),
        };
        bytes.truncate(length);
        Ok(bytes)
    }

    fn earlier_key(&self, epoch: [u8; EPOCH]) -> Result<Arc<LessSafeKey>, CipherError> {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = earlier.iter().find(|(known, _)| *known == epoch) {
            return Ok(key.clone());
        }
        let key = Arc::new(aead(&*derive(&self.data_key, b"epoch", &epoch)?)?);
        if earlier.len() >= EARLIER_KEYS {
            earlier.remove(0);
        }
        earlier.push((epoch, key.clone()));
        Ok(key)
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Secret {
        Zeroizing::new([byte; 32])
    }

    #[test]
    fn a_wrong_root_secret_is_told_from_damage() {
        let wrapped = WrappedKey::wrap(&key(1), &key(9), b"id").unwrap();
        assert_eq!(wrapped.unwrap(&key(1), b"id").unwrap(), key(9));
        assert_eq!(wrapped.unwrap(&key(2), b"id"), Err(UnwrapError::WrongSecret));
        assert_eq!(wrapped.unwrap(&key(1), b"other"), Err(UnwrapError::Damaged));
        let mut bent = wrapped;
        bent.wrapped[3] ^= 1;
        assert_eq!(bent.unwrap(&key(1), b"id"), Err(UnwrapError::Damaged));
    }

    #[test]
    fn any_changed_byte_of_a_value_is_found() {
        let cipher = Cipher::new(key(9)).unwrap();
        let sealed = cipher.seal(b"place", b"a private key").unwrap();
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 0x10;
            assert!(cipher.open(b"place", &bent).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(cipher.open(b"place", &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_value_moved_to_another_place_does_not_open() {
        let cipher = Cipher::new(key(9)).unwrap();
        let sealed = cipher.seal(b"secrets/a", b"x").unwrap();
        assert_eq!(cipher.open(b"secrets/b", &sealed), Err(CipherError));
    }

    #[test]
    fn a_later_run_reads_what_an_earlier_one_wrote_and_never_repeats_its_nonces() {
        let sealed: Vec<_> = (0..40).map(|n| Cipher::new(key(9)).unwrap().seal(b"p", &[n]).unwrap()).collect();
        let later = Cipher::new(key(9)).unwrap();
        for (n, sealed) in sealed.iter().enumerate() {
            assert_eq!(*later.open(b"p", sealed).unwrap(), [n as u8]);
        }
        let mut prefixes: Vec<_> = sealed.iter().map(|sealed| &sealed[..PREFIX]).collect();
        prefixes.sort();
        prefixes.dedup();
        assert_eq!(prefixes.len(), 40);
    }

    #[test]
    fn names_are_hidden_per_table_and_per_store() {
        let (cipher, other) = (Cipher::new(key(9)).unwrap(), Cipher::new(key(8)).unwrap());
        assert_eq!(cipher.hide(1, b"web"), cipher.hide(1, b"web"));
        assert_ne!(cipher.hide(1, b"web"), cipher.hide(2, b"web"));
        assert_ne!(cipher.hide(1, b"web"), other.hide(1, b"web"));
    }
}
