//! KEMRecipientInfo (RFC 9629): how the content key reaches the recipient.

use der::Encode;
use zeroize::Zeroizing;

use super::EnvelopeError;
use super::profile::{AES_256_WRAP, AES_256_WRAP_KEY};
use super::wire::KemOtherInfo;
use crate::mesh::crypto::{CryptoFailure, Decapsulator, KemCiphertext, PublicOperations};

/// DER of CMSORIforKEMOtherInfo (RFC 9629 §5), the `info` of HKDF.
pub fn other_info() -> Vec<u8> {
    // 18 bytes, always the same: it cannot fail.
    KemOtherInfo { wrap: AES_256_WRAP, kek_length: AES_256_WRAP_KEY }.to_der().unwrap_or_default()
}

/// The key that wraps the content key.
pub fn kek(ops: &dyn PublicOperations, shared_secret: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, CryptoFailure> {
    ops.hkdf(shared_secret, &other_info())
}

/// The content key of an envelope, where the recipient's key is: decapsulates, derives, unwraps.
///
/// `ciphertext` is [`super::Verified::kem_ciphertext`], `wrapped_key` is [`super::Verified::wrapped_key`].
pub fn content_key(
    ops: &dyn PublicOperations,
    key: &dyn Decapsulator,
    ciphertext: &KemCiphertext,
    wrapped_key: &[u8; 40],
) -> Result<Zeroizing<[u8; 32]>, EnvelopeError> {
    let open = || {
        let shared_secret = key.decapsulate(ciphertext)?;
        ops.unwrap(&*kek(ops, &shared_secret)?, wrapped_key)
    };
    open().map_err(|CryptoFailure| EnvelopeError::Unopenable)
}
