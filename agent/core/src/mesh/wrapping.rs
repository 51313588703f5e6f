//! The cluster wrapping key: how a version travels to a host, and how long an old one is kept.
//!
//! The envelope around it is opened by `net`, which is to hold no key: so each version is sealed once more, to the KEM key
//! that the recipient's keeper holds, and bound to mesh, recipient, version and the question it answers.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::crypto::{CryptoFailure, Decapsulator, KemCiphertext, KemPublicKey, Kid, PublicOperations};
use super::strict::{self, Unreadable};
use crate::id::NodeId;

/// Versions side by side: the newest and those some host still lacks the successor of. Each eviction makes one, and an
/// administrator may put out many hosts while one is being restarted.
pub const MAX_KEYS: usize = 32;
/// Bytes of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// One version.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct WrappingKey {
    /// Counts up.
    pub version: u64,
    /// AES-256.
    pub key: [u8; 32],
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappingKey({})", self.version)
    }
}

impl WrappingKey {
    /// What the record of the version says of it: SHA-256 of `"reverie-wrapping-key-v1" ‖ key`.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"reverie-wrapping-key-v1").chain_update(self.key).finalize().into()
    }
}

/// Which question is answered, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion<'a> {
    /// The mesh.
    pub mesh: &'a [u8; 16],
    /// Who asked.
    pub recipient: &'a NodeId,
    /// The asker's nonce; for joins and renewals, the first half of the answer's binding.
    pub nonce: [u8; 16],
}

impl Occasion<'_> {
    /// HKDF's info.
    fn info(&self, kem: Kid, version: u64) -> Vec<u8> {
        let mut info = b"reverie-wrapping-key-seal-v1".to_vec();
        info.extend_from_slice(self.mesh);
        info.extend_from_slice(&self.nonce);
        info.extend_from_slice(&kem.0);
        info.extend_from_slice(&version.to_be_bytes());
        info.extend_from_slice(self.recipient.as_str().as_bytes());
        info
    }
}

/// A version, sealed to one host for one occasion.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedKey {
    /// Which version.
    #[n(0)]
    pub version: u64,
    /// To which KEM key.
    #[n(1)]
    pub kem: Kid,
    /// ML-KEM-768.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub ciphertext: [u8; 1088],
    /// AES-256 key wrap.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub wrapped: [u8; 40],
}

/// A key that does not open, or is not the one the record names; the same for every cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster wrapping key did not open: it is sealed to another host, for another question, or it is not the one the mesh names; it is asked for again"
)]
pub struct NotOpened;

/// Seals a version to a host.
pub fn seal(
    operations: &dyn PublicOperations,
    key: &WrappingKey,
    to: &KemPublicKey,
    occasion: Occasion<'_>,
) -> Result<SealedKey, CryptoFailure> {
    let (ciphertext, secret) = operations.encapsulate(to)?;
    let kek = operations.hkdf(&secret, &occasion.info(to.kid(), key.version))?;
    let wrapped = operations.wrap(&kek, &key.key)?;
    let ciphertext: KemCiphertext = *ciphertext;
    Ok(SealedKey { version: key.version, kem: to.kid(), ciphertext, wrapped })
}

/// Opens it, and compares it with the digest that the record of the version holds.
pub fn open(
    operations: &dyn PublicOperations,
    with: &dyn Decapsulator,
    sealed: &SealedKey,
    occasion: Occasion<'_>,
    digest: &[u8; 32],
) -> Result<WrappingKey, NotOpened> {
    let kem = with.public_key().kid();
    let opened = || -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
        let secret = with.decapsulate(&sealed.ciphertext)?;
        let kek = operations.hkdf(&secret, &occasion.info(kem, sealed.version))?;
        operations.unwrap(&kek, &sealed.wrapped)
    };
    let key = opened().map_err(|_| NotOpened)?;
    let key = WrappingKey { version: sealed.version, key: *key };
    if key.digest() == *digest { Ok(key) } else { Err(NotOpened) }
}

/// The answer to `GET /api/gossip/wrapping-key`, CBOR, within its envelope.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WrappingKeys {
    /// The mesh.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub mesh: [u8; 16],
    /// Who asked.
    #[n(1)]
    pub recipient: NodeId,
    /// Its nonce; zeros if it sent none.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// The newest first.
    #[n(3)]
    pub keys: Vec<SealedKey>,
}

impl WrappingKeys {
    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        strict::encode(self)
    }

    /// Reads it; it must answer that question.
    pub fn check(bytes: &[u8], occasion: Occasion<'_>) -> Result<Self, Unreadable> {
        let answer: Self = strict::decode(bytes, MAX_ANSWER, "the answer with the wrapping key")?;
        let ours = answer.mesh == *occasion.mesh
            && answer.recipient == *occasion.recipient
            && answer.nonce == occasion.nonce
            && answer.keys.len() <= MAX_KEYS;
        if ours { Ok(answer) } else { Err(Unreadable { what: "the answer with the wrapping key" }) }
    }
}

/// Which of the versions a host holds may go: all below the one that every live host has, by its own word, and all beyond
/// [`MAX_KEYS`].
pub fn to_drop(held: &[u64], live_hosts_have: impl IntoIterator<Item = Option<u64>>) -> Vec<u64> {
    let everyone_has = live_hosts_have.into_iter().map(Option::unwrap_or_default).min().unwrap_or_default();
    let mut held = held.to_vec();
    held.sort_unstable_by(|one, other| other.cmp(one));
    held.iter()
        .enumerate()
        .filter(|(at, version)| *at > 0 && (*at >= MAX_KEYS || **version < everyone_has))
        .map(|(_, v)| *v)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_version_stays_until_every_live_host_has_the_new_one() {
        assert_eq!(to_drop(&[1, 2], [Some(2), Some(1)]), Vec::<u64>::new());
        assert_eq!(to_drop(&[1, 2], [Some(2), None]), Vec::<u64>::new(), "one that has none yet");
        assert_eq!(to_drop(&[1, 2], [Some(2), Some(2)]), [1]);
        assert_eq!(to_drop(&[2], [Some(3)]), Vec::<u64>::new(), "the last one held is never dropped");
        assert_eq!(to_drop(&[1, 2, 3, 4, 5], [Some(1)]), Vec::<u64>::new(), "several evictions in a row");
        let many: Vec<u64> = (1..=MAX_KEYS as u64 + 1).collect();
        assert_eq!(to_drop(&many, [None]), [1]);
        assert_eq!(to_drop(&[1, 2], []), Vec::<u64>::new());
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        let recipient: NodeId = "web1.example.org".parse().unwrap();
        let other: NodeId = "web2.example.org".parse().unwrap();
        let answer = WrappingKeys { mesh: [1; 16], recipient: recipient.clone(), nonce: [2; 16], keys: vec![] };
        let occasion = Occasion { mesh: &[1; 16], recipient: &recipient, nonce: [2; 16] };
        assert_eq!(WrappingKeys::check(&answer.encode(), occasion), Ok(answer.clone()));
        for wrong in [
            Occasion { mesh: &[0; 16], ..occasion },
            Occasion { recipient: &other, ..occasion },
            Occasion { nonce: [3; 16], ..occasion },
        ] {
            assert!(WrappingKeys::check(&answer.encode(), wrong).is_err());
        }
    }

    #[test]
    fn the_key_is_not_shown_in_debug() {
        assert_eq!(format!("{:?}", WrappingKey { version: 3, key: [0xee; 32] }), "WrappingKey(3)");
    }
}
